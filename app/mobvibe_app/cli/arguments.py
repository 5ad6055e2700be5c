"""The commands and flags of the command line. Imports nothing slow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version

DESCRIPTION = "Describe an app. Scan the code. It is on your phone."


def parser() -> argparse.ArgumentParser:
    """The parser of the command line. Wrong use ends the program with exit code 2."""
    everywhere = _everywhere()
    top = argparse.ArgumentParser(
        "mobvibe-tui", description=DESCRIPTION, parents=[everywhere], allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"mobvibe-tui {version('mobvibe-tui')}")
    top.add_argument(
        "--plain", action="store_true", help="print plain lines instead of the dashboard"
    )
    top.add_argument(
        "--as",
        dest="view_as",
        metavar="EMAIL",
        help="show what this person would see, through their row-level security",
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=help_text, description=help_text, parents=[everywhere], allow_abbrev=False
        )

    _run(command("run", "run one job without the dashboard, print its events and the QR code"))
    command("demo", "list the recorded builds, which need no key")
    _worker(command("worker", "run only a worker, on any machine (needs DATABASE_URL)"))
    command("preview", "run only the previews, if the workers run elsewhere")
    _services(command)
    _care(command)
    command("doctor", "check what this machine has and lacks, with a remedy for each problem")
    _queue(command)
    bench = command(
        "bench", "measure the queue or the events, beside other queues if they are installed"
    )
    bench.add_argument("what", choices=("queue", "events"))
    bench.add_argument(
        "--quick",
        action="store_true",
        help="tiny counts and no other queues, to see that it runs",
    )
    _db(command("db", "manage the database: migrate, verify, branch, seed, psql ..."))
    return top


def _services(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    command("up", "start Postgres and leave it running")
    down = command("down", "stop everything of this home")
    down.add_argument(
        "--all",
        action="store_true",
        help="also remove its Docker containers, images and the database's volume",
    )
    command("status", "show what runs in this home")
    command("logs", "print the log of a service").add_argument("service", metavar="SERVICE")


def _queue(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    command("jobs", "list the newest jobs")
    command("events", "print the events of a session").add_argument("session", metavar="SESSION")
    retry = command("retry", "run a failed or cancelled job again")
    retry.add_argument("job", metavar="JOB", nargs="?")
    retry.add_argument("--all-dead", action="store_true", help="every failed job")
    command("cancel", "cancel a waiting or running job").add_argument("job", metavar="JOB")


def _care(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    named = "postgres, starter, preview (all of them) or preview-NAME"
    restart = command("restart", "stop a service and start it again")
    restart.add_argument("service", metavar="SERVICE", help=named)
    rebuild = command("rebuild", "rebuild the images, packages and caches of a service")
    rebuild.add_argument("service", metavar="SERVICE", help=named)
    reset = command("reset", "delete all data of a service; asks first")
    reset.add_argument("service", metavar="SERVICE", help=named)
    reset.add_argument("--yes", action="store_true", help="do not ask")


def _everywhere() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    flags.add_argument("--home", metavar="DIR", help="the folder of all state")
    flags.add_argument(
        "--postgres", metavar="auto|docker|embedded|URL", help="how Postgres runs, or its URL"
    )
    flags.add_argument("--preview", metavar="auto|docker|process", help="how previews run")
    flags.add_argument("--sdk", type=int, metavar="54|57", help="the Expo SDK of new projects")
    flags.add_argument("--host", metavar="ADDRESS", help="this machine's address for phones")
    flags.add_argument(
        "--postgres-port", type=int, metavar="PORT", help="a fixed port for Postgres"
    )
    flags.add_argument(
        "--preview-port", type=int, metavar="PORT", help="a fixed port for the preview"
    )
    flags.add_argument(
        "--json", action="store_true", help="print one JSON object per line on stdout"
    )
    return flags


def _run(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "prompt", nargs="?", metavar="PROMPT", help="the app to build, or the change to make"
    )
    run.add_argument(
        "--demo", metavar="NAME", help="replay a recorded build, without a key or cost"
    )
    run.add_argument("--project", metavar="NAME", help="change this project")
    run.add_argument(
        "--platform", choices=("mobile", "web"), help="build for a phone or for a browser"
    )
    run.add_argument(
        "--budget", metavar="USD", help="the most that this job may cost, in US dollars"
    )
    run.add_argument("--keep", action="store_true", help="keep serving the app afterwards")


def _worker(worker: argparse.ArgumentParser) -> None:
    worker.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        default=argparse.SUPPRESS,
        help="how many jobs run at once",
    )
    worker.add_argument(
        "--metrics",
        dest="metrics_port",
        type=int,
        metavar="PORT",
        default=argparse.SUPPRESS,
        help="serve metrics for Prometheus on this port of this machine",
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
        help="restart when the source code, or a file in DIR, changes; jobs are handed back first",
    )


def _db(db: argparse.ArgumentParser) -> None:
    verbs = db.add_subparsers(dest="verb", metavar="VERB", required=True)
    parents = [_everywhere()]

    def verb(name: str, help_text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(
            name, help=help_text, description=help_text, parents=parents, allow_abbrev=False
        )

    migrate = verb("migrate", "apply the pending migrations")
    migrate.add_argument(
        "--on-branch", action="store_true", help="try them on a copy with the data first"
    )
    rollback = verb("rollback", "roll back the newest migration")
    rollback.add_argument("--to", type=int, metavar="N", help="roll back all above this version")
    rollback.add_argument("--yes", action="store_true", help="do not ask, even if rows are deleted")
    verb("status", "list the applied and the pending migrations")
    verb("verify", "migrate a copy up, down and up again, and compare the schemas")
    reset = verb("reset", "export the projects' files, then start with an empty database")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    reset.add_argument(
        "--without-export", action="store_true", help="delete the projects without a copy"
    )
    reset.add_argument("--seed", action="store_true", help="insert the example data afterwards")
    verb("seed", "insert example people, apps and builds")
    branch = verb("branch", "copy the database: branch NAME, branch list, branch drop NAME")
    branch.add_argument("name", metavar="NAME|list|drop")
    branch.add_argument("dropped", nargs="?", metavar="NAME")
    contracts = verb("contracts", "generate the row types from the live catalog")
    contracts.add_argument(
        "--check", action="store_true", help="only check whether they are up to date"
    )
    url = verb("url", "print the database's URL, including the password")
    url.add_argument("--branch", metavar="NAME", help="of this branch")
    psql = verb("psql", "run psql on the database")
    psql.add_argument("--branch", metavar="NAME", help="of this branch")
    psql.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="passed to psql, after --")
