"""python -m mobvibe_worker: the worker by itself, without anything of the app."""

from __future__ import annotations

import asyncio
import sys

from pydantic import ValidationError

from mobvibe_worker.errors import MobvibeError


def main() -> int:
    """Run until stopped; returns an exit code that README explains."""
    from mobvibe_worker.runner.headless import run_headless
    from mobvibe_worker.runner.log_lines import log_to_stderr
    from mobvibe_worker.settings import WorkerSettings

    try:
        settings = WorkerSettings()
    except ValidationError as error:
        first = error.errors()[0]
        print(
            f"mobvibe-worker: {'.'.join(map(str, first['loc']))}: {first['msg']}", file=sys.stderr
        )
        return 2
    log_to_stderr(settings.secrets())
    try:
        asyncio.run(run_headless(settings, lambda line: print(line, file=sys.stderr, flush=True)))
    except MobvibeError as error:
        print(f"mobvibe-worker: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
