"""Conversations about projects: a prompt becomes a job of a session."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from mobvibe_app.studio.commands import ReplayDemo, SubmitPrompt
from mobvibe_worker.errors import InputError, NotFound
from mobvibe_worker.jobs import (
    JobId,
    Platform,
    ProjectId,
    Prompt,
    SessionId,
    UserId,
)
from mobvibe_worker.sanitize import clean_text
from mobvibe_worker.store.projects import Project

if TYPE_CHECKING:
    from mobvibe_app.settings import AppSettings
    from mobvibe_app.studio.changes import DemoSummary
    from mobvibe_worker.store.stores import Stores

_FILLERS = frozenset(
    {*("a", "an", "the", "app", "application", "for", "of", "with", "and", "or", "to", "in", "on")}
    | {*("that", "which", "me", "my", "i", "please", "make", "build", "create", "want", "would")}
    | {*("like", "need", "simple", "new", "some", "it", "is")}
)
DEMO_TEMPLATE = "demo:"


@dataclass(frozen=True, slots=True)
class Order:
    """What the person asked for, checked."""

    prompt: Prompt
    recording: str | None = None
    changes: str | None = None
    """The recording whose app this one changes."""
    project: str | None = None
    """The slug of an existing project."""
    session_id: SessionId | None = None
    """A session of an existing project. With neither it is a new project, or the one that `changes` names."""
    sdk: int = 54
    platform: Platform | None = None
    """None: the platform on which the project was shown last; a new one is for phones."""
    budget_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of an order."""

    session_id: SessionId
    job_id: JobId
    project: Project
    after_seq: int
    """The session's last event before this order."""


def order_of(
    command: SubmitPrompt | ReplayDemo, settings: AppSettings, demos: Sequence[DemoSummary]
) -> Order:
    """Check a command and return what it asks for. Raises InputError for an unusable prompt or an unknown demo."""
    if isinstance(command, ReplayDemo):
        return _demo_order(command, settings, demos)
    prompt = Prompt(command.text)
    if not settings.has_model:
        names = ", ".join(demo.name for demo in demos)
        raise InputError(
            "Free text needs a model: ANTHROPIC_API_KEY is not set.",
            f"Set it, or replay a recorded build, no key and no cost: {names}.",
        )
    return Order(
        prompt,
        project=command.project,
        session_id=command.session_id,
        sdk=settings.sdk,
        platform=command.platform,
        budget_usd=settings.budget_usd,
    )


def _demo_order(command: ReplayDemo, settings: AppSettings, demos: Sequence[DemoSummary]) -> Order:
    for demo in demos:
        if demo.name == command.name:
            return Order(
                Prompt(demo.prompt),
                recording=demo.name,
                changes=demo.changes,
                project=command.project,
                sdk=settings.sdk,
                platform=command.platform,
            )
    known = ", ".join(demo.name for demo in demos)
    raise InputError(f"There is no demo {command.name!r}.", f"There are: {known}.")


def project_name(prompt: str) -> str:
    """A short name made of the first three significant words of the prompt."""
    words = re.findall(r"[^\W_]+", prompt.split("\n", 1)[0], re.UNICODE)
    telling = [word for word in words if word.lower() not in _FILLERS] or words or ["app"]
    return " ".join(telling[:3])[:40].capitalize()


@dataclass(frozen=True, slots=True)
class Conversations:
    """One person's sessions."""

    stores: Stores
    owner: UserId
    home_id: str | None = None
    """The home that announces where the apps built from these prompts are served."""

    async def submit(self, order: Order) -> Submitted:
        """Enqueue the order. Raises InputError for an unknown project."""
        project = await self._project(order)
        session_id = await self._session(project.id, order.prompt, order.platform)
        if self.home_id is not None:
            await self.stores.sessions.take_home(session_id, self.home_id)
        after_seq = (await self.stores.sessions.get(session_id)).last_seq
        job_id = await self.stores.queue.enqueue(
            session_id, order.prompt, recording=order.recording, budget_usd=order.budget_usd
        )
        return Submitted(session_id, job_id, project, after_seq)

    async def _session(
        self, project_id: ProjectId, prompt: str, platform: Platform | None
    ) -> SessionId:
        """The project's newest session, or a new one if it has none for the requested platform."""
        latest = await self.stores.sessions.latest_of_project(project_id)
        if latest is not None and platform is not None:
            session = await self.stores.sessions.get(latest)
            latest = latest if session.platform == platform else None
        if latest is not None:
            return latest
        return await self.stores.sessions.create(project_id, prompt, platform=platform or "mobile")

    async def _project(self, order: Order) -> Project:
        if order.session_id is not None:
            session = await self.stores.sessions.get(order.session_id)
            return await self.stores.projects.get(session.project_id)
        if order.project is not None:
            return await self._existing(order.project)
        if order.changes is not None:
            return await self._demo_project(order.changes)
        return await self.stores.projects.create(
            self.owner,
            order.recording.replace("-", " ").capitalize()
            if order.recording
            else project_name(order.prompt),
            order.sdk,
            template_id=f"{DEMO_TEMPLATE}{order.recording}" if order.recording else None,
        )

    async def _existing(self, slug: str) -> Project:
        try:
            return await self.stores.projects.by_slug(self.owner, slug)
        except NotFound:
            known = [project.slug for project in await self.stores.projects.list(self.owner)]
            there_are = f"There are: {', '.join(known[:12])}." if known else "There is none yet."
            raise InputError(
                f"There is no project {clean_text(slug, 80)!r}.",
                f"{there_are} Leave --project out to start a new one.",
            ) from None

    async def _demo_project(self, recording: str) -> Project:
        for project in await self.stores.projects.list(self.owner):
            if project.template_id == f"{DEMO_TEMPLATE}{recording}":
                return project
        raise InputError(
            f"This demo changes the app of {recording!r}, which is not built yet.",
            f"Run that first: mobvibe-tui run --demo {recording}",
        )
