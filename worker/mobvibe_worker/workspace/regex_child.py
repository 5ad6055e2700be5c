"""Separate program that reads a pattern and texts as JSON on stdin, and prints the matching lines as JSON."""

from __future__ import annotations

import json
import re
import sys


def main() -> None:
    """Answer one request; an invalid pattern is reported in the answer."""
    request = json.load(sys.stdin)
    try:
        pattern = re.compile(request["pattern"])
    except re.error as error:
        json.dump({"error": str(error)}, sys.stdout)
        return
    matches: list[tuple[str, int, str]] = []
    for path, text in request["texts"].items():
        for number, line in enumerate(text.splitlines(), 1):
            if len(matches) < request["matches"] and pattern.search(line):
                matches.append((path, number, line[: request["line"]]))
    json.dump({"matches": matches}, sys.stdout)


if __name__ == "__main__":
    main()
