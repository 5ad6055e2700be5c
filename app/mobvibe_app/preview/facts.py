"""What is known about one running preview, as a frozen value, and how each event changes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

MOST_LINES = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """A client other than us fetched something. `at` is Unix time, here and below."""

    at: float
    what: Literal["manifest", "bundle", "page"]
    platform: str
    address: str


@dataclass(frozen=True, slots=True)
class Bundled:
    """A phone was given its whole bundle."""

    at: float
    platform: str
    seconds: float
    address: str


@dataclass(frozen=True, slots=True)
class Building:
    """A bundle is being built: modules done, and modules known so far."""

    at: float
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Built:
    """That bundle is built, for us or for a phone."""

    at: float


@dataclass(frozen=True, slots=True)
class Broken:
    """The app does not compile. `platform` is empty if an edit of a running app broke it."""

    at: float
    platform: str
    message: str
    file: str
    line: int | None


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """A line of the running app's console."""

    at: float
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class PhoneConnected:
    """A phone opened a hot-reload socket."""

    at: float
    number: int
    address: str


@dataclass(frozen=True, slots=True)
class PhoneDisconnected:
    """That socket was closed."""

    at: float
    number: int


PreviewEvent = (
    Asked | Bundled | Building | Built | Broken | ConsoleLine | PhoneConnected | PhoneDisconnected
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a preview uses of this machine. Network bytes count from its start; None if they are not counted."""

    cpu_percent: float
    """100 is one whole processor."""
    memory_bytes: int
    received_bytes: int | None = None
    sent_bytes: int | None = None

    def to_data(self) -> dict[str, float | int | None]:
        """The value of preview_containers.resource_usage."""
        return {
            "cpu_percent": round(self.cpu_percent, 1),
            "memory_bytes": self.memory_bytes,
            "network_rx_bytes": self.received_bytes,
            "network_tx_bytes": self.sent_bytes,
        }


@dataclass(frozen=True, slots=True)
class PreviewFacts:
    """Times are Unix times, None for what has not happened since this Metro started."""

    manifest_at: float | None = None
    page_at: float | None = None
    bundle_asked_at: float | None = None
    bundled_at: float | None = None
    bundle_seconds: float = 0.0
    building: Building | None = None
    broken: Broken | None = None
    """Why the app does not compile now."""
    phones: frozenset[int] = frozenset()
    """The hot-reload sockets that are open."""
    address: str = ""
    """The address of the last phone."""
    lines: tuple[ConsoleLine, ...] = ()
    """The newest lines of the running app's console."""
    line_count: int = 0
    """The number of lines in all."""
    active_at: float = 0.0
    """When a phone was last active."""
    usage: Usage | None = None
    ended: str | None = None
    """Why it no longer runs; empty if it was stopped on purpose, None while it runs."""

    @property
    def was_reached(self) -> bool:
        """Whether a client other than us asked for anything."""
        return self.manifest_at is not None or self.page_at is not None

    def last_sign(self, now: float) -> float:
        """When a phone was last connected; `now` if one is."""
        return now if self.phones else self.active_at


@dataclass(frozen=True, slots=True)
class Hint:
    """Why a phone does not show the app yet, and what to do. `key` is the name of the page in docs/phone."""

    key: str
    message: str
    remedy: str

    @property
    def page(self) -> str:
        return f"docs/phone/{self.key}.md"


def apply(facts: PreviewFacts, events: Iterable[PreviewEvent]) -> PreviewFacts:
    for event in events:
        facts = _apply(facts, event)
        if not isinstance(event, Broken | Building | Built):
            facts = replace(facts, active_at=max(facts.active_at, event.at))
    return facts


def _apply(facts: PreviewFacts, event: PreviewEvent) -> PreviewFacts:
    match event:
        case Asked(what="manifest"):
            return replace(facts, manifest_at=event.at, address=event.address)
        case Asked(what="page"):
            return replace(facts, page_at=event.at, address=event.address)
        case Asked():
            return replace(facts, bundle_asked_at=event.at, address=event.address)
        case Bundled():
            return replace(
                facts,
                bundled_at=event.at,
                bundle_seconds=event.seconds,
                address=event.address,
                building=None,
                broken=None,
            )
        case Building():
            return replace(facts, building=event)
        case Built():
            return replace(facts, building=None)
        case Broken():
            return replace(facts, broken=event, building=None)
        case ConsoleLine():
            return replace(
                facts, lines=(*facts.lines, event)[-MOST_LINES:], line_count=facts.line_count + 1
            )
        case PhoneConnected():
            return replace(facts, phones=facts.phones | {event.number}, address=event.address)
        case PhoneDisconnected():
            return replace(facts, phones=facts.phones - {event.number})


@dataclass(frozen=True, slots=True)
class PreviewKnown:
    """What is known about a project's preview now, with a hint if its phone does not show the app."""

    slug: str
    facts: PreviewFacts
    hint: Hint | None = None
    metro_url: str = ""
    """http://ADDRESS:PORT, which changes when this machine joins another network."""
