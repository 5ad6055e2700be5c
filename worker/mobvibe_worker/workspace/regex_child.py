"""Runs as a program of its own: reads a pattern and texts as JSON on stdin, prints the matching lines as JSON."""

from __future__ import annotations

import json
import re
import sys


def main() -> None:
    """Answer one question; a wrong pattern is an answer too."""
    question = json.load(sys.stdin)
    try:
        pattern = re.compile(question["pattern"])
    except re.error as error:
        json.dump({"error": str(error)}, sys.stdout)
        return
    matches: list[tuple[str, int, str]] = []
    for path, text in question["texts"].items():
        for number, line in enumerate(text.splitlines(), 1):
            if len(matches) < question["matches"] and pattern.search(line):
                matches.append((path, number, line[: question["line"]]))
    json.dump({"matches": matches}, sys.stdout)


if __name__ == "__main__":
    main()
