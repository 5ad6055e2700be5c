"""The command line: parses it, runs one command, and turns errors into a sentence and an exit code."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from mobvibe_app.cli.arguments import parser
from mobvibe_app.cli.output import Output
from mobvibe_worker.errors import InputError, MobvibeError

if TYPE_CHECKING:
    from mobvibe_app.settings import AppSettings

INTERRUPTED = 130


def run(arguments: list[str]) -> int:
    """Run one command line; returns an exit code that README explains."""
    flags = parser().parse_args(arguments)
    out = Output(is_json=bool(getattr(flags, "json", False)))
    try:
        return _dispatch(flags, out)
    except MobvibeError as error:
        out.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _dispatch(flags: argparse.Namespace, out: Output) -> int:
    if flags.command == "demo":
        from mobvibe_app.cli.demo import list_demos

        return list_demos(out)
    from mobvibe_app.settings import AppSettings, load_settings

    fields = AppSettings.model_fields
    given = {name: value for name, value in vars(flags).items() if name in fields}
    if flags.command == "run" and flags.budget is not None:
        given["budget_usd"] = flags.budget
    return _answer(load_settings(given), flags, out)


def _answer(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    match flags.command:
        case None:
            from mobvibe_app.cli.dashboard import open_dashboard

            is_plain = flags.plain or out.is_json or not _is_terminal()
            return open_dashboard(settings, out, is_plain=is_plain)
        case "run":
            from mobvibe_app.cli.run import run_job

            return asyncio.run(run_job(settings, flags, out))
        case "worker":
            from mobvibe_app.cli.worker import run_worker

            return run_worker(settings, flags, out)
        case "preview":
            from mobvibe_app.cli import preview

            return asyncio.run(preview.serve(settings, flags, out))
        case "doctor":
            from mobvibe_app.cli.doctor import print_findings

            return print_findings(settings, out)
        case "bench":
            from mobvibe_app.cli.bench import bench

            return bench(settings, flags, out)
        case "db":
            from mobvibe_app.cli.db import branching, inspecting, migrating

            verbs = {**branching.COMMANDS, **inspecting.COMMANDS, **migrating.COMMANDS}
            return asyncio.run(verbs[flags.verb](settings, flags, out))
    return _manage(settings, flags, out)


def _manage(settings: AppSettings, flags: argparse.Namespace, out: Output) -> int:
    match flags.command:
        case "up" | "down" | "status" | "logs" | "restart" | "rebuild" | "reset":
            from mobvibe_app.cli import services

            return asyncio.run(services.COMMANDS[flags.command](settings, flags, out))
        case "jobs" | "events" | "retry" | "cancel":
            from mobvibe_app.cli import queue

            return asyncio.run(queue.COMMANDS[flags.command](settings, flags, out))
    raise InputError(f"Unknown command {flags.command}.", "See mobvibe-tui --help.")


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
