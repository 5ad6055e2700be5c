"""The worker's settings, from flags, the environment, config.toml and defaults, in this order."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import platformdirs
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


def default_home() -> Path:
    return Path(platformdirs.user_data_dir("mobvibe", appauthor=False))


class WorkerSettings(BaseSettings):
    """Settings of the engine, from MOBVIBE_* and from names that other programs use too."""

    model_config = SettingsConfigDict(
        env_prefix="MOBVIBE_", extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    home: Path = Field(default_factory=default_home)
    """The folder of all state."""
    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "MOBVIBE_DATABASE_URL")
    )
    """The Postgres to use; without it the app starts one."""
    direct_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DIRECT_URL", "MOBVIBE_DIRECT_URL")
    )
    """The same database without a transaction pooler, for migrations and LISTEN."""
    slow_query_ms: float = Field(default=250.0, ge=0)
    """Statements that take longer are logged as slow."""
    anthropic_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
    )
    """The person's key."""
    anthropic_base_url: str | None = Field(default=None, validation_alias="ANTHROPIC_BASE_URL")
    """The URL of a server that speaks the Messages API, without /v1."""
    model: str = "claude-sonnet-5-5"
    """The model that writes the app."""
    effort: Literal["low", "medium", "high", "xhigh", "max"] = "medium"
    """How much the model thinks."""
    budget_usd: Decimal = Field(default=Decimal("5.00"), gt=0)
    """The most that one job may cost, in US dollars."""
    checks: Literal["auto", "docker", "process"] = "auto"
    """Whether checks run in containers without a network: as previews do (auto), always (docker), never (process)."""
    concurrency: int = Field(default=1, ge=1, le=32)
    """How many jobs run at once."""
    poll_interval_ms: int = Field(
        default=10_000,
        ge=50,
        validation_alias=AliasChoices("POLL_INTERVAL_MS", "MOBVIBE_POLL_INTERVAL_MS"),
    )
    """How often the queue is read without a notification."""
    monitor_interval_ms: int = Field(
        default=60_000,
        ge=100,
        validation_alias=AliasChoices("MONITOR_INTERVAL_MS", "MOBVIBE_MONITOR_INTERVAL_MS"),
    )
    """How often the headless worker prints the state of the queue."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """The port of the headless worker's metrics for Prometheus; off by default."""
    metrics_host: str = "127.0.0.1"
    """The address of the metrics; by default only this machine can read them."""
    drain_seconds: float = Field(default=600.0, ge=0.0)
    """How long a headless worker that was asked to stop waits for its jobs before it hands them back."""
    keep_events_days: float = Field(default=90.0, ge=0.0, le=36_500.0)
    """How many days events are kept after their session expired; 0 keeps them forever."""
    keep_jobs_days: float = Field(default=365.0, ge=0.0, le=36_500.0)
    """How many days ended jobs are kept with their turns; 0 keeps them forever."""
    lease_seconds: float = Field(default=20.0, ge=0.5)
    """How long a claim is valid without renewal."""
    demo_pace: float = Field(default=1.0, ge=0.0)
    """How slowly recordings replay: 1 like a model, 0 at once."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the config.toml of the home that these two name."""
        given = {**env_settings(), **init_settings()}
        home = Path(str(given.get("home") or default_home()))
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, home / "config.toml"),
        )

    @property
    def has_model(self) -> bool:
        """Whether a key or a server is set."""
        return bool(self.anthropic_api_key and self.anthropic_api_key.get_secret_value()) or bool(
            self.anthropic_base_url
        )

    def session_url(self, dsn: str) -> str:
        """The address for long-lived connections: DIRECT_URL if DATABASE_URL is set too, else `dsn`."""
        if self.database_url is None or self.direct_url is None:
            return dsn
        return self.direct_url.get_secret_value()

    def secrets(self) -> tuple[str, ...]:
        """Every value that must not reach a file, an event or a log."""
        held = (self.anthropic_api_key, self.database_url, self.direct_url)
        values = [secret.get_secret_value() for secret in held if secret]
        urls = [
            secret.get_secret_value() for secret in (self.database_url, self.direct_url) if secret
        ]
        return tuple(dict.fromkeys([*values, *filter(None, map(_password, urls))]))


def _password(url: str) -> str | None:
    try:
        password = urlsplit(url).password
    except ValueError:
        return None
    return None if password is None else unquote(password)
