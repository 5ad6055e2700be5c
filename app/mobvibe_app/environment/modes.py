"""Which way each service runs: as asked, as before, or what this machine offers; and why."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal

from mobvibe_app.supervisor.choices import Choices
from mobvibe_worker.home import Home

Service = Literal["postgres", "preview"]
Mode = Literal["docker", "embedded", "process"]
_WITHOUT: dict[Service, Mode] = {"postgres": "embedded", "preview": "process"}
_CHOICE = "modes"
_HOME_ID = "engine_id"
_REGISTERED_ID = "registered_id"


@dataclass(frozen=True, slots=True)
class Picked:
    """A mode and why it is that one. One that is `settled` is kept to, also where it does not work today."""

    mode: Mode
    why: str
    is_settled: bool


class Modes:
    """The modes of one home, remembered: an engine that is down one day never shows an empty database."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._choices = Choices(home.choices)

    def pick(self, service: Service, wanted: str) -> Picked | None:
        """The mode that was asked for (`wanted`), else the one of before; None where this machine decides."""
        if wanted != "auto":
            return Picked(self._mode(wanted), "as asked", True)
        remembered = self.chosen(service)
        if remembered is not None:
            return Picked(remembered, "as before", True)
        if service == "postgres" and (self._home.postgres / "data").is_dir():
            return Picked("embedded", "this home has its database", True)
        return None

    def chosen(self, service: Service) -> Mode | None:
        """The mode that this home keeps to; None before its first start."""
        remembered = (self._choices.get(_CHOICE) or {}).get(service)
        return None if remembered is None else self._mode(remembered)

    def without(self, service: Service) -> Mode:
        """The mode that needs no engine."""
        return _WITHOUT[service]

    def remember(self, service: Service, mode: Mode) -> None:
        """Keep to this mode from now on."""
        self._choices.remember(_CHOICE, {**(self._choices.get(_CHOICE) or {}), service: mode})

    def home_id(self) -> str:
        """What this home's containers, volumes and images are known by; it stays when the home is moved."""
        known = self._choices.get(_HOME_ID)
        if known is None:
            known = self.registered_id()
            self._choices.remember(_HOME_ID, known)
        return str(known)

    def registered_id(self) -> str:
        """The same id, for what is written into the database: asking for it says nothing of an engine."""
        known = self._choices.get(_HOME_ID) or self._choices.get(_REGISTERED_ID)
        if known is None:
            known = secrets.token_hex(4)
            self._choices.remember(_REGISTERED_ID, known)
        return str(known)

    def has_home_id(self) -> bool:
        """This home has used an engine."""
        return self._choices.get(_HOME_ID) is not None

    @staticmethod
    def _mode(name: str) -> Mode:
        return "docker" if name == "docker" else "embedded" if name == "embedded" else "process"
