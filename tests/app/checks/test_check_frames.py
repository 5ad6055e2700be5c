"""The frames of a check container are read correctly from any chunks, and invalid data is refused."""

from __future__ import annotations

import struct

import pytest

from mobvibe_app.checks.frames import LARGEST_FRAME, BadFrame, Frame, FrameReader

_STDOUT, _STDERR = 1, 2


def printed(source: int, data: bytes) -> bytes:
    """A container's output as the engine wraps it for its client."""
    return struct.pack(">BxxxI", source, len(data)) + data


def test_frames_are_complete_whatever_the_size_of_the_chunks() -> None:
    frames = [Frame(1, "data", b"a" * 300), Frame(70_000, "data"), Frame(1, "end", b"0")]
    sent = b"".join(frame.encoded() for frame in frames)
    stream = b"".join(printed(_STDOUT, sent[at : at + 7]) for at in range(0, len(sent), 7))
    for size in (1, 2, 13, len(stream)):
        reader = FrameReader()
        got = [
            frame
            for at in range(0, len(stream), size)
            for frame in reader.feed(stream[at : at + size])
        ]
        assert got == frames


def test_stderr_is_kept_separate_and_short() -> None:
    reader = FrameReader()
    assert reader.feed(printed(_STDERR, b"x" * 50_000 + b" the end")) == []
    assert len(reader.errors) < 5_000 and reader.errors.endswith(b" the end")
    assert reader.feed(printed(_STDOUT, Frame(1, "end", b"1").encoded())) == [Frame(1, "end", b"1")]


@pytest.mark.parametrize(
    "hostile",
    [b"\0\0\0\1?\0\0\0\1x", b"\0\0\0\1D" + struct.pack(">I", LARGEST_FRAME + 1), b"GET / HTTP/1.1"],
)
def test_invalid_frames_are_refused(hostile: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameReader().feed(printed(_STDOUT, hostile))
