"""How each change updates the state of the panels."""

from __future__ import annotations

import time
from decimal import Decimal
from uuid import UUID

from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.changes import (
    Change,
    EventsArrived,
    PreviewChanged,
    ServiceChanged,
    SessionSelected,
    TroubleChanged,
)
from mobvibe_app.studio.state import BuildState, FileLine, Trouble, apply
from mobvibe_worker.events import ErrorRaised, Event, FileChange, Message, Payload, Thinking
from mobvibe_worker.jobs import JobId, SessionId
from support.polling import patient
from support.scripted_studio import (
    JOB,
    SESSION,
    build_payloads,
    event,
    overview,
    preview,
    services_up,
)


def after(*changes: Change) -> BuildState:
    """The state after these changes, from an empty one."""
    state = BuildState()
    for change in changes:
        state = apply(state, change)
    return state


def arrived(*payloads: Payload) -> EventsArrived:
    """These payloads as the session's first events."""
    return EventsArrived(tuple(event(seq, each) for seq, each in enumerate(payloads, 1)))


def test_a_finished_build_has_its_files_its_cost_and_the_served_revision() -> None:
    state = after(SessionSelected(SESSION), arrived(*build_payloads()))

    assert state.progress is not None
    assert (state.progress.phase, state.progress.cost_usd) == ("done", Decimal("0.41"))
    assert state.files["App.tsx"] == FileLine("App.tsx", "modified", 98, 14)
    assert state.files["lib/streaks.ts"].change == "created"
    assert (state.last_seq, state.preview_seq) == (18, 18)


def test_repeated_events_and_those_of_another_session_change_nothing() -> None:
    events = arrived(*build_payloads())
    state = after(SessionSelected(SESSION), events)
    other = Event(
        SessionId(UUID(int=9)), 99, None, "message", {"text": "x"}, events.events[0].created_at
    )

    assert apply(state, EventsArrived(events.events[3:6])) == state
    assert apply(state, EventsArrived((other,))) == state


def test_a_failed_attempt_changed_no_file_and_a_new_prompt_starts_a_new_list() -> None:
    change = FileChange("App.tsx", "modified", 5, 1)
    failed = after(
        SessionSelected(SESSION), arrived(Message("a", "person"), change, ErrorRaised("no"))
    )
    again = after(SessionSelected(SESSION), arrived(change, Message("b", "person")))

    assert not failed.files and not again.files
    assert failed.progress is not None and failed.progress.phase == "failed"
    assert again.progress is not None and again.progress.prompt == "b"


def test_files_created_and_deleted_within_one_job_are_not_listed() -> None:
    state = after(
        SessionSelected(SESSION),
        arrived(
            FileChange("a.ts", "created", 3),
            FileChange("a.ts", "deleted", 0, 3),
            FileChange("b.ts", "created", 3),
            FileChange("c.ts", "renamed", 1, 0, "b.ts"),
        ),
    )

    assert list(state.files.values()) == [FileLine("c.ts", "created", 4, 0)]


def test_a_retried_job_is_still_running_and_a_cancelled_one_is_over() -> None:
    retried = after(
        SessionSelected(SESSION), arrived(Message("a", "person"), ErrorRaised("x", will_retry=True))
    )
    cancelled = after(
        SessionSelected(SESSION),
        arrived(Message("a", "person"), ErrorRaised("x", is_cancelled=True)),
    )

    assert retried.progress is not None and retried.progress.phase == "running"
    assert retried.progress.activity == "trying again"
    assert cancelled.progress is not None and cancelled.progress.phase == "cancelled"


def test_selecting_a_session_clears_the_previous_one() -> None:
    state = after(
        SessionSelected(SESSION), arrived(*build_payloads()), PreviewChanged(SESSION, preview())
    )
    other = apply(state, SessionSelected(SessionId(UUID(int=2))))

    assert state.preview is not None
    assert (other.preview, other.progress, other.last_seq, dict(other.files)) == (None, None, 0, {})
    assert apply(other, PreviewChanged(SESSION, preview())).preview is None


def test_services_keep_their_order_and_their_newest_status() -> None:
    failed = ServiceStatus("postgres", "failed", "no disk", "Free some.")
    state = after(*reversed(services_up()), ServiceChanged(failed))

    assert [each.name for each in state.services] == ["postgres", "worker", "starter", "preview"]
    assert state.services[0] == failed


def test_a_running_job_is_unfinished_and_a_completed_one_is_not() -> None:
    running = after(SessionSelected(SESSION), overview("processing"))
    done = after(SessionSelected(SESSION), overview("completed"))

    assert running.is_anything_running and running.is_job_unfinished
    assert not done.is_anything_running and not done.is_job_unfinished


def test_trouble_appears_and_disappears() -> None:
    state = after(TroubleChanged("Gone.", "Wait."))

    assert state.trouble == Trouble("Gone.", "Wait.")
    assert apply(state, TroubleChanged(None)).trouble is None


def test_values_of_a_wrong_type_are_ignored() -> None:
    odd = Event(
        SESSION, 1, JOB, "file_change", {"path": 5, "change": []}, event(1, Thinking("")).created_at
    )
    state = after(SessionSelected(SESSION), EventsArrived((odd,)))

    assert state.last_seq == 1
    assert not state.files


def test_a_long_history_does_not_slow_down_the_next_event() -> None:
    thoughts = [
        event(seq, Thinking("x" * 50, str(seq)), job=JobId(JOB)) for seq in range(1, 20_001)
    ]
    state = after(SessionSelected(SESSION), EventsArrived(tuple(thoughts)))

    started = time.process_time()
    for seq in range(20_001, 20_201):
        state = apply(state, EventsArrived((event(seq, Thinking("y")),)))
    assert time.process_time() - started < patient(0.2)
    assert state.last_seq == 20_200
