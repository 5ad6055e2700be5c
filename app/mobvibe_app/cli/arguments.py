"""The command line's shape: commands, flags, and nothing that is slow to import."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version

DESCRIPTION = "Describe an app. Scan the code. It is on your phone."


def parser() -> argparse.ArgumentParser:
    """The parser of DESIGN section 7's commands. Wrong use ends with exit code 2."""
    everywhere = _everywhere()
    top = argparse.ArgumentParser(
        "mobvibe-tui", description=DESCRIPTION, parents=[everywhere], allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"mobvibe-tui {version('mobvibe-tui')}")
    top.add_argument("--plain", action="store_true", help="plain lines instead of the dashboard")
    top.add_argument(
        "--as",
        dest="view_as",
        metavar="EMAIL",
        help="see what that person's phone would get, through their row-level security",
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=help_text, description=help_text, parents=[everywhere], allow_abbrev=False
        )

    _run(command("run", "headless: environment up, one job, its events, the QR"))
    command("demo", "list the builds recorded with the real loop, for those without a key")
    _worker(command("worker", "only the worker, for another machine (needs DATABASE_URL)"))
    command("preview", "only the previews, where workers run elsewhere")
    _services(command)
    _care(command)
    command("doctor", "what this machine has and lacks, with a remedy each")
    _queue(command)
    bench = command("bench", "measure the queue or the events, beside the peers that are installed")
    bench.add_argument("what", choices=("queue", "events"))
    bench.add_argument("--quick", action="store_true", help="tiny counts, ours alone: does it run?")
    _db(command("db", "the database: migrate, verify, branch, seed, psql ..."))
    return top


def _services(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    command("up", "start Postgres and leave it running")
    down = command("down", "stop everything of this home")
    down.add_argument(
        "--all",
        action="store_true",
        help="also remove what Docker keeps for it: containers, images, the database's volume",
    )
    command("status", "what runs in this home")
    command("logs", "what a service printed").add_argument("service", metavar="SERVICE")


def _queue(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    command("jobs", "the newest jobs")
    command("events", "a session's events").add_argument("session", metavar="SESSION")
    retry = command("retry", "run a failed or cancelled job again")
    retry.add_argument("job", metavar="JOB", nargs="?")
    retry.add_argument("--all-dead", action="store_true", help="every job that failed for good")
    command("cancel", "cancel a waiting or running job").add_argument("job", metavar="JOB")


def _care(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    named = "postgres, starter, preview (all of them) or preview-NAME"
    restart = command("restart", "stop a service and start it again")
    restart.add_argument("service", metavar="SERVICE", help=named)
    rebuild = command("rebuild", "make anew what a service runs from: images, packages, caches")
    rebuild.add_argument("service", metavar="SERVICE", help=named)
    reset = command("reset", "delete what a service has, so that it begins afresh; asks first")
    reset.add_argument("service", metavar="SERVICE", help=named)
    reset.add_argument("--yes", action="store_true", help="do not ask")


def _everywhere() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    flags.add_argument("--home", metavar="DIR", help="where all state lives")
    flags.add_argument(
        "--postgres", metavar="auto|docker|embedded|URL", help="where Postgres comes from"
    )
    flags.add_argument("--preview", metavar="auto|docker|process", help="how previews run")
    flags.add_argument("--sdk", type=int, metavar="54|57", help="the Expo SDK of new projects")
    flags.add_argument("--host", metavar="ADDRESS", help="the address that phones reach")
    flags.add_argument("--postgres-port", type=int, metavar="PORT", help="fix Postgres's port")
    flags.add_argument("--preview-port", type=int, metavar="PORT", help="fix the preview's port")
    flags.add_argument("--json", action="store_true", help="one JSON object a line on stdout")
    return flags


def _run(run: argparse.ArgumentParser) -> None:
    run.add_argument("prompt", nargs="?", metavar="PROMPT", help="what to build or to change")
    run.add_argument("--demo", metavar="NAME", help="replay a recorded build: no key, no cost")
    run.add_argument("--project", metavar="NAME", help="change this project")
    run.add_argument("--platform", choices=("mobile", "web"), help="a phone, or a browser")
    run.add_argument("--budget", metavar="USD", help="the most that this job may cost")
    run.add_argument("--keep", action="store_true", help="go on serving afterwards")


def _worker(worker: argparse.ArgumentParser) -> None:
    worker.add_argument(
        "--concurrency", type=int, metavar="N", default=argparse.SUPPRESS, help="jobs at once"
    )
    worker.add_argument(
        "--metrics",
        dest="metrics_port",
        type=int,
        metavar="PORT",
        default=argparse.SUPPRESS,
        help="serve Prometheus text there, on this machine",
    )
    worker.add_argument(
        "--drain",
        dest="drain_seconds",
        type=float,
        metavar="SECONDS",
        default=argparse.SUPPRESS,
        help="how long jobs may still run after the first ctrl+c",
    )
    worker.add_argument(
        "--reload",
        nargs="?",
        const="",
        metavar="DIR",
        help="start again when the source (or what is in DIR) changes; jobs are handed back first",
    )


def _db(db: argparse.ArgumentParser) -> None:
    verbs = db.add_subparsers(dest="verb", metavar="VERB", required=True)
    parents = [_everywhere()]

    def verb(name: str, help_text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(
            name, help=help_text, description=help_text, parents=parents, allow_abbrev=False
        )

    migrate = verb("migrate", "apply what is pending")
    migrate.add_argument("--on-branch", action="store_true", help="on a copy with the data first")
    rollback = verb("rollback", "take the newest back")
    rollback.add_argument("--to", type=int, metavar="N", help="down to this version")
    rollback.add_argument("--yes", action="store_true", help="do not ask where rows would be gone")
    verb("status", "what is applied, what is pending")
    verb("verify", "up, down and up again on a branch: is the schema the same?")
    reset = verb("reset", "export the projects' files, then start with an empty database")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    reset.add_argument(
        "--without-export", action="store_true", help="delete the projects without a copy"
    )
    reset.add_argument("--seed", action="store_true", help="put the data set in afterwards")
    verb("seed", "put in people, apps and builds to look around in")
    branch = verb("branch", "copy the database: branch NAME, branch list, branch drop NAME")
    branch.add_argument("name", metavar="NAME|list|drop")
    branch.add_argument("dropped", nargs="?", metavar="NAME")
    contracts = verb("contracts", "write the row types from the live catalog")
    contracts.add_argument("--check", action="store_true", help="only say whether they are current")
    url = verb("url", "print DATABASE_URL, password included")
    url.add_argument("--branch", metavar="NAME", help="of this branch")
    psql = verb("psql", "psql on the database")
    psql.add_argument("--branch", metavar="NAME", help="on this branch")
    psql.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="for psql, after --")
