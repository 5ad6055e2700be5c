"""python -m mobvibe_app: the same as the mobvibe-tui command."""

import sys


def main() -> int:
    """Run the command line; the exit code is DESIGN section 7's."""
    from mobvibe_app.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
