"""The stream's rows: how events are worded and wrapped, and how fast a long history is."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest
from rich.cells import cell_len
from rich.style import Style

from mobvibe_app.ui.stream.buffer import StreamBuffer, row_spans
from mobvibe_app.ui.stream.entries import entry_of
from mobvibe_app.ui.stream.row import TONES, Ink, row_text
from mobvibe_worker.events import ErrorRaised, Message, Payload, Terminal, Thinking
from support.polling import patient
from support.scripted_studio import START, build_payloads, event


def buffer_of(*payloads: Payload, width: int = 40, limit: int = 1_000) -> StreamBuffer:
    """A buffer with these events."""
    buffer = StreamBuffer(limit)
    buffer.lay_out(width, is_wrapped=True, has_thoughts=True)
    buffer.extend(event(seq, each) for seq, each in enumerate(payloads, 1))
    return buffer


def lines(buffer: StreamBuffer) -> list[str]:
    """The text of each row."""
    return [buffer.text(row) for row in buffer.rows]


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one two three", 8, ["one two", "three"]),
        ("abcdefghij kl", 4, ["abcd", "efgh", "ij", "kl"]),
        ("a\n\nb\n", 9, ["a", "", "b"]),
        ("日本語のテキスト", 6, ["日本語", "のテキ", "スト"]),
        ("", 5, [""]),
        ("  indented words", 10, ["  indented", "words"]),
    ],
)
def test_words_wrap_at_the_width_in_cells(text: str, width: int, expected: list[str]) -> None:
    spans = list(row_spans(text, width))

    assert [text[start:end] for start, end in spans] == expected
    assert all(cell_len(text[start:end]) <= width for start, end in spans)


def test_the_deltas_of_a_thought_are_one_entry_and_a_check_is_one_row() -> None:
    buffer = buffer_of(
        Thinking("One ", "1"),
        Terminal("check types"),
        Thinking("thought.", "1"),
        Terminal("check types", "passed", "", 2.4),
        Terminal("check types"),
    )

    assert lines(buffer) == ["One thought.", "check types  ✓ 2.4s", "check types  …"]


def test_an_entry_of_a_failed_attempt_is_not_continued() -> None:
    buffer = buffer_of(
        Thinking("First.", "1"),
        Terminal("check types"),
        ErrorRaised("Lost.", will_retry=True),
        Thinking("Second.", "1"),
        Terminal("check types", "passed", "", 2.4),
    )

    assert lines(buffer)[:3] == ["First.", "check types  …", "Lost."]
    assert lines(buffer)[-2:] == ["Second.", "check types  ✓ 2.4s"]


def test_a_failed_check_shows_its_output_and_is_found_as_an_error() -> None:
    output = "\n".join(f"line {number}" for number in range(20))
    buffer = buffer_of(Message("go", "person"), Terminal("check", "failed", output, 1.0), width=60)

    assert lines(buffer)[1:3] == ["check  failed 1.0s", "line 0"]
    assert lines(buffer)[-1] == "6 more lines"
    assert buffer.errors() == [1]


def test_text_from_outside_is_drawn_without_control_sequences() -> None:
    hostile = "app/(tabs)/[id].tsx a[/b]c \x1b]0;PWNED\x07\x1b[31mred\x9b2J\u202e"
    text = entry_of(event(1, ErrorRaised(hostile, hostile))).text

    assert text.splitlines() == ["app/(tabs)/[id].tsx a[/b]c red"] * 2
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]|PWNED", text)


def test_hidden_thoughts_take_no_rows() -> None:
    buffer = buffer_of(Thinking("One"), Message("two"))
    buffer.lay_out(40, is_wrapped=True, has_thoughts=False)

    assert lines(buffer) == ["two"]


def test_the_oldest_entries_are_dropped_above_the_limit() -> None:
    buffer = buffer_of(*[Message(f"number {n}") for n in range(100)], limit=100)
    dropped = buffer.extend([event(101, Message("last"))])

    assert dropped == 11
    assert lines(buffer)[0] == "number 11"
    assert lines(buffer)[-1] == "last"


def test_a_match_is_found_in_the_row_where_it_begins() -> None:
    buffer = buffer_of(Message("alpha beta gamma delta beta"), Message("none"), width=11)

    assert lines(buffer)[:3] == ["alpha beta", "gamma delta", "beta"]
    assert buffer.find(re.compile("BETA", re.IGNORECASE)) == [0, 2]


def test_the_clock_is_local_time_and_only_on_an_entrys_first_row() -> None:
    buffer = buffer_of(Message("alpha beta gamma delta"), width=11)
    ink = Ink(dict.fromkeys(TONES, Style()), Style(), Style())
    first, second = (row_text(buffer, row, ink, has_clock=True).plain for row in buffer.rows)
    local = (START + timedelta(seconds=7)).astimezone()

    assert first == f" {local:%H:%M:%S} ◆ alpha beta"
    assert second == " " * 12 + "gamma delta"


def test_a_hundred_thousand_rows_are_appended_to_searched_and_wrapped_quickly() -> None:
    buffer = StreamBuffer(200_000)
    buffer.lay_out(80, is_wrapped=True, has_thoughts=True)
    events = [event(seq, Message(f"row {seq} " + "words " * 14)) for seq in range(1, 50_001)]
    buffer.extend(events)
    assert len(buffer.rows) == 100_000

    started = time.process_time()
    buffer.extend([event(50_001, build_payloads()[0])])
    grown = time.process_time()
    buffer.find(re.compile("row 49999"))
    searched = time.process_time()
    buffer.lay_out(60, is_wrapped=True, has_thoughts=True)
    wrapped = time.process_time()

    assert grown - started < patient(0.01)
    assert searched - grown < patient(0.5)
    assert wrapped - searched < patient(2.0)
