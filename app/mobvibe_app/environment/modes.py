"""The mode of each service: as requested, as before, or what this machine offers, with the reason."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal, get_args

from mobvibe_app.supervisor.choices import Choices
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import Provider

Service = Literal["postgres", "preview"]
Mode = Literal["embedded", Provider]
SERVICES: tuple[Service, ...] = ("postgres", "preview")
_WITHOUT_ENGINE: dict[Service, Mode] = {"postgres": "embedded", "preview": "process"}
_CHOICE = "modes"
_HOME_ID = "home_id"
_USED_ENGINE = "has_used_engine"
_FORMER_IDS = ("engine_id", "registered_id")
"""Names of the home's id in homes of earlier versions; the first one also says that an engine was used."""


@dataclass(frozen=True, slots=True)
class Picked:
    """The chosen mode and the reason. A settled mode is never changed silently, even if it fails today."""

    mode: Mode
    why: str
    is_settled: bool


class Modes:
    """The modes of one home, remembered, so that an engine that is down one day never shows an empty database."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._choices = Choices(home.choices)

    def pick(self, service: Service, wanted: str) -> Picked | None:
        """The requested mode (`wanted`), else the one of before; None if it depends on this machine."""
        if wanted != "auto":
            return Picked(_mode(wanted), "as asked", True)
        remembered = self.chosen(service)
        if remembered is not None:
            return Picked(remembered, "as before", True)
        if service == "postgres" and (self._home.postgres / "data").is_dir():
            return Picked("embedded", "this home has its database", True)
        return None

    def chosen(self, service: Service) -> Mode | None:
        """The mode that this home is settled on; None before its first start."""
        remembered = (self._choices.get(_CHOICE) or {}).get(service)
        return None if remembered is None else _mode(remembered)

    def settled(self) -> dict[str, str]:
        modes = {service: self.chosen(service) for service in SERVICES}
        return {service: mode for service, mode in modes.items() if mode is not None}

    def without_engine(self, service: Service) -> Mode:
        return _WITHOUT_ENGINE[service]

    def remember(self, service: Service, mode: Mode) -> None:
        self._choices.remember(_CHOICE, {**(self._choices.get(_CHOICE) or {}), service: mode})

    def home_id(self) -> str:
        """The id of this home in containers, volumes, images and the database; it stays if the home is moved."""
        for name in (_HOME_ID, *_FORMER_IDS):
            if (known := self._choices.get(name)) is not None:
                return str(known)
        known = secrets.token_hex(4)
        self._choices.remember(_HOME_ID, known)
        return known

    def remember_engine(self) -> None:
        self._choices.remember(_USED_ENGINE, True)

    def has_used_engine(self) -> bool:
        """Whether a container engine may hold something of this home."""
        return any(self._choices.get(name) is not None for name in (_USED_ENGINE, _FORMER_IDS[0]))


def _mode(name: str) -> Mode:
    modes: dict[str, Mode] = {mode: mode for mode in get_args(Mode)}
    return modes.get(name, "process")
