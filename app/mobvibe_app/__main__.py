"""python -m mobvibe_app: the same as the mobvibe-tui command."""

import sys


def main() -> int:
    from mobvibe_app.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
