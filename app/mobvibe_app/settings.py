"""The app's settings beyond the worker's, from flags, the environment, config.toml and defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from mobvibe_worker.errors import InputError
from mobvibe_worker.jobs import Provider
from mobvibe_worker.settings import WorkerSettings


class AppSettings(WorkerSettings):
    """Settings of the environment and the front ends."""

    model_config = SettingsConfigDict(
        env_prefix="MOBVIBE_", extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    postgres: Literal["auto", "docker", "embedded"] = "auto"
    """How Postgres runs if there is no DATABASE_URL."""
    postgres_image: str = "postgres:18"
    """The image of Postgres in a container: the official one, or one that takes the same variables."""
    preview: Literal["auto", Provider] = "auto"
    """How previews run."""
    expo_base_image: str = "node:24-bookworm-slim"
    """The base of the Expo image: any image with Node and npm."""
    ca_bundle: Path | None = Field(
        default=None, validation_alias=AliasChoices("MOBVIBE_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    )
    """Certificates (PEM) that the build of the Expo image trusts."""
    sdk: Literal[54, 57] = 54
    """The Expo SDK of new projects."""
    view_as: str | None = None
    """The email of the person whose row-level security the dashboard uses."""
    host: str | None = None
    """The address at which phones reach this machine; detected if it is not set."""
    postgres_port: int | None = Field(default=None, ge=1, le=65535)
    """A fixed port for embedded Postgres."""
    preview_port: int | None = Field(default=None, ge=1, le=65535)
    """A fixed port for the preview."""
    preview_idle_minutes: float = Field(default=30.0, ge=0)
    """A preview without a phone is stopped after this time and restarted on demand; 0 never stops one."""


def load_settings(flags: dict[str, Any]) -> AppSettings:
    """The settings of this run. Raises InputError, which names the setting but not its value."""
    given = {name: value for name, value in flags.items() if value is not None}
    postgres = given.get("postgres")
    if isinstance(postgres, str) and "://" in postgres:
        given["database_url"] = SecretStr(given.pop("postgres"))
    if "home" in given:
        given["home"] = Path(given["home"]).expanduser().absolute()
    try:
        return AppSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        also = " A postgresql:// URL works too." if name == "postgres" else ""
        raise InputError(
            f"The setting {name} cannot be used: {first['msg']}.{also}",
            "It comes from a flag, the environment or config.toml; see mobvibe-tui --help.",
        ) from None
    except ValueError as error:  # config.toml is not TOML
        raise InputError(f"config.toml cannot be read: {error}.", "Fix it or remove it.") from None
