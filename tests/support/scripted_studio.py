"""A studio that plays scripted changes, to test the dashboard without a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.status import ServiceStatus
from mobvibe_app.studio.changes import (
    Change,
    DemoSummary,
    EventsArrived,
    OverviewChanged,
    PreviewChanged,
    ServiceChanged,
    SessionSelected,
    ViewChanged,
)
from mobvibe_app.studio.commands import (
    Command,
    ReplayDemo,
    SeeAs,
    SelectSession,
    SubmitPrompt,
)
from mobvibe_worker.errors import MobvibeError
from mobvibe_worker.events import (
    Completion,
    Event,
    FileChange,
    Message,
    Payload,
    PreviewReady,
    Terminal,
    Thinking,
    to_data,
)
from mobvibe_worker.jobs import (
    JobId,
    JobStatus,
    Prompt,
    QueueStats,
    SessionId,
    SessionSummary,
    WorkerId,
    WorkerSummary,
    WorkLine,
)

URL = "exp://192.168.1.23:8081"
SESSION = SessionId(UUID(int=1))
JOB = JobId(UUID(int=100))
START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
DEMOS = (
    DemoSummary(
        "tip-splitter",
        "Tip splitter",
        "A tip calculator that splits the bill between friends, with a dark theme",
        None,
    ),
    DemoSummary(
        "tip-splitter-rounding",
        "Round the shares up",
        "Let me round every share up to a whole amount",
        "tip-splitter",
    ),
    DemoSummary("habit-tracker", "Habit tracker", "A habit tracker with streaks", None),
)


class ScriptedStudio:
    """Implements StudioPort: yields the changes given to `show` and records the commands in `asked`."""

    def __init__(
        self,
        changes: Iterable[Change] = (),
        *,
        refusal: MobvibeError | None = None,
        failure: Exception | None = None,
    ) -> None:
        self.asked: list[Command] = []
        self.is_started = self.is_closed = False
        self._refusal = refusal
        self._failure = failure
        self._queue: asyncio.Queue[Change] = asyncio.Queue()
        for change in changes:
            self._queue.put_nowait(change)

    def show(self, *changes: Change) -> None:
        """Queue changes for the dashboard."""
        for change in changes:
            self._queue.put_nowait(change)

    async def changes(self) -> AsyncIterator[Change]:
        self.is_started = True
        while self._failure is None or not self._queue.empty():
            yield await self._queue.get()
        raise self._failure

    async def do(self, command: Command) -> None:
        """Record the command. A demo is built at once."""
        if self._refusal is not None:
            raise self._refusal
        match command:
            case SubmitPrompt(text=text):
                Prompt(text)
            case ReplayDemo():
                self.show(*build_changes())
            case SelectSession(session_id=session_id):
                self.show(SessionSelected(session_id))
            case SeeAs(email=email):
                self.show(ViewChanged(email))
        self.asked.append(command)

    async def close(self) -> None:
        self.is_closed = True


def event(seq: int, payload: Payload, *, seconds: float = 0, job: JobId = JOB) -> Event:
    """A stored event of the session, `seconds` after its start."""
    at = START + timedelta(seconds=seconds or seq * 7)
    return Event(SESSION, seq, job, payload.type, to_data(payload), at)


def summary(
    number: int,
    title: str,
    status: JobStatus | None,
    *,
    ago: timedelta = timedelta(),
    project: str | None = None,
) -> SessionSummary:
    """A row of the list of sessions."""
    return SessionSummary(
        id=SessionId(UUID(int=number)),
        project=project or title.lower().replace(" ", "-"),
        title=title,
        sdk=54,
        job_id=JobId(UUID(int=100 + number)),
        job_status=status,
        attempt=1,
        activity_at=datetime.now(UTC) - ago,
    )


def services_up() -> list[Change]:
    """All services healthy."""
    return [
        ServiceChanged(ServiceStatus("postgres", "healthy", "18.6 embedded", port=54329)),
        ServiceChanged(ServiceStatus("worker", "healthy", "waits for jobs")),
        ServiceChanged(ServiceStatus("starter", "healthy", "SDK 54")),
        ServiceChanged(ServiceStatus("preview", "healthy", "Metro", port=8081)),
    ]


def empty_overview() -> OverviewChanged:
    """A home without sessions."""
    return OverviewChanged(QueueStats(), (), Decimal(0))


def overview(status: JobStatus | None = "processing") -> OverviewChanged:
    """A home with several sessions; the first session's newest job has this status."""
    sessions = (
        summary(1, "Habit tracker", status, ago=timedelta(minutes=2)),
        summary(2, "Recipe box", "completed", ago=timedelta(hours=1)),
        summary(3, "Tip splitter", "completed", ago=timedelta(hours=3)),
        summary(4, "Chess clock", "failed", ago=timedelta(days=1)),
        summary(5, "Dog walker", "pending", ago=timedelta(minutes=1)),
        summary(6, "Plant diary", "pending", ago=timedelta(minutes=1)),
    )
    stats = QueueStats(2, int(status == "processing"), 14, 1, 0, 48.0)
    finished = (
        0,
        0,
        1,
        0,
        2,
        1,
        3,
        2,
        4,
        4,
        1,
        0,
        0,
        1,
        3,
        2,
        2,
        1,
        3,
        5,
        1,
        0,
        2,
        2,
        1,
        0,
        0,
        1,
    ) * 2
    return OverviewChanged(
        stats, sessions, Decimal("0.41"), (*finished, 0, 2, 1, 3), (worker_here(status),)
    )


def worker_here(status: JobStatus | None = "processing") -> WorkerSummary:
    """The worker of this machine, which builds the first session's app while that job runs."""
    now = datetime.now(UTC)
    work = (WorkLine(JOB, "habit-tracker", 1, now - timedelta(seconds=48)),)
    return WorkerSummary(
        *(WorkerId("worker"), "laptop", 4312, "0.1.0", 1),
        *(now - timedelta(hours=1), now - timedelta(seconds=2), False),
        work if status == "processing" else (),
    )


def build_payloads() -> list[Payload]:
    """One job from the prompt to the phone, with one mistake that the checks catch."""
    checks: list[dict[str, object]] = [
        {"name": name, "is_green": True, "seconds": 2.0, "problems": [], "size": None}
        for name in ("types", "dependencies", "ios", "android")
    ]
    return [
        Message("A habit tracker with streaks, a calm dark theme and a weekly view", "person"),
        Thinking("The user wants a habit tracker with streaks. ", "1"),
        Thinking("I will keep one screen and one list, stored on the device.", "1"),
        FileChange("App.tsx", "modified", 96, 12),
        FileChange("components/HabitRow.tsx", "created", 52, 0),
        FileChange("lib/streaks.ts", "created", 41, 0),
        Thinking("Streak logic needs the device's local date, not UTC.", "2"),
        Terminal("check types"),
        Terminal(
            "check types",
            "failed",
            "App.tsx:41:17 TS2322 Type 'Date' is not assignable to type 'string'.",
            3.1,
        ),
        Thinking("Fixing: store ISO dates.", "3"),
        FileChange("App.tsx", "modified", 2, 2),
        FileChange("app.json", "modified", 3, 1),
        Terminal("check types"),
        Terminal("check types", "passed", "", 2.4),
        Terminal("bundle ios and android"),
        Terminal("bundle ios and android", "passed", "", 6.2),
        Completion(
            "r1",
            {"green": True, "checks": checks},
            "Your habit tracker is ready: tap a habit to keep its streak.",
            files=4,
            turns=3,
            tokens=38_214,
            cost_usd="0.41",
            seconds=134,
        ),
        PreviewReady(URL, 54, "r1"),
    ]


def preview(url: str = URL) -> PreviewAddress:
    """The address of the session's preview."""
    words = "Opens in Expo Go for SDK 54, from the App Store or Play Store, on the same Wi-Fi"
    return PreviewAddress(SESSION, url, 54, words, "http://192.168.1.23:8081")


def build_changes() -> list[Change]:
    """The changes of a whole demo, from its job to its QR code."""
    events = tuple(event(seq, payload) for seq, payload in enumerate(build_payloads(), 1))
    return [
        overview("processing"),
        SessionSelected(SESSION),
        EventsArrived(events[:-2]),
        EventsArrived(events[-2:]),
        PreviewChanged(SESSION, preview()),
        overview("completed"),
    ]
