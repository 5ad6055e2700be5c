"""Makes text from outside (model, npm, files, prompts) safe to store and to display."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS, SOS, PM, APC up to their terminator
    r"|\x1b[ -/]*[0-~]"  # two-character escapes
    r"|\x9b[0-?]*[ -/]*[@-~]"  # CSI in one C1 character
    r"|[\x9d\x90\x98\x9e\x9f].*?(?:\x07|\x1b\\|\x9c|$)",
    re.DOTALL,
)
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c\ufeff]"
)
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_MASK = "[secret]"
_SHORTEST_SECRET = 8


def clean_text(text: str, limit: int | None = None) -> str:
    """Remove terminal sequences, control characters and bidirectional overrides, and replace lone surrogates.

    Newlines and tabs stay. Text beyond `limit` characters is cut, with a note that says how much.
    """
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}\n[{len(text) - limit} characters cut]"
    text = _SEQUENCES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


class Redactor:
    """Masks known secrets in text: raw, base64 and URL-encoded. Very short ones are ignored."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                encoded = base64.b64encode(secret.encode()).decode()
                forms |= {secret, quote(secret, safe=""), encoded, encoded.rstrip("=")}
        longest_first = sorted(forms, key=len, reverse=True)
        self.longest = len(longest_first[0]) if longest_first else 0
        """Characters in the longest form of a secret; a stream must hold back as many but one."""
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub(_MASK, text) if self._pattern else text
