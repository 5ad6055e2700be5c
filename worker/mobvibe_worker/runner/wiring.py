"""Builds a worker from its settings: the one place in the engine that knows every concrete class."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from mobvibe_worker.agent.model import Model
from mobvibe_worker.agent.recorded_model import RecordedModel
from mobvibe_worker.agent.recordings import find_recording
from mobvibe_worker.errors import InputError
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import Job
from mobvibe_worker.runner.attempt import AttemptRunner
from mobvibe_worker.runner.retention import Retention, RetentionTimings
from mobvibe_worker.runner.running_job import WorkerTimings
from mobvibe_worker.runner.staging import Toolchains
from mobvibe_worker.runner.tally import Tally
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.sanitize import Redactor
from mobvibe_worker.settings import WorkerSettings
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.stores import Stores
from mobvibe_worker.toolchain.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Chooses the model of a job: its recording, or Claude with the person's key."""

    settings: WorkerSettings

    def __call__(self, job: Job) -> Model:
        """Raises InputError for an unknown recording or a missing key."""
        if job.recording is not None:
            return RecordedModel(find_recording(job.recording), pace=self.settings.demo_pace)
        if not self.settings.has_model:
            raise InputError(
                "This worker has no model: ANTHROPIC_API_KEY is not set.",
                "Set it, or replay a recorded build: `mobvibe-tui demo` lists them.",
            )
        from mobvibe_worker.agent.claude_model import ClaudeModel

        key = self.settings.anthropic_api_key
        return ClaudeModel(
            api_key=key.get_secret_value() if key else None,
            base_url=self.settings.anthropic_base_url,
            model=self.settings.model,
            effort=self.settings.effort,
        )


def build_worker(
    settings: WorkerSettings,
    stores: Stores,
    listener: Listener,
    secrets: tuple[str, ...] = (),
    sandbox: Sandbox | None = None,
) -> Worker:
    """Build a worker on the stores of a pool; `secrets` are masked beside the settings' own. `Worker.run` starts it.

    The checks' commands run in the `sandbox` if it opens, else as processes of this machine.
    """
    home, tally = Home(settings.home), Tally()
    redact = Redactor((*settings.secrets(), *secrets))
    run_attempt = AttemptRunner(
        home=home,
        stores=stores,
        toolchains=Toolchains(home, sandbox),
        model_for=ModelChoice(settings),
        redact=redact,
        budget_usd=settings.budget_usd,
        on_spent=tally.spend,
    )
    timings = WorkerTimings(
        lease=settings.lease_seconds,
        poll=settings.poll_interval_ms / 1000,
        concurrency=settings.concurrency,
        recordings_only=not settings.has_model,
    )
    return Worker(stores, listener, run_attempt, timings, redact, tally=tally)


def build_retention(settings: WorkerSettings, stores: Stores) -> Retention:
    """Build what runs beside a worker: expiry and retention, as the settings say."""
    timings = RetentionTimings(
        events=_age(settings.keep_events_days), jobs=_age(settings.keep_jobs_days)
    )
    return Retention(stores.retention, timings)


def _age(days: float) -> timedelta | None:
    return timedelta(days=days) if days else None
