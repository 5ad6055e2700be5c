"""What the program can be told beyond the worker's settings: flag > environment > config.toml > default."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from mobvibe_worker.errors import InputError
from mobvibe_worker.settings import WorkerSettings


class AppSettings(WorkerSettings):
    """Settings of the environment and the screens."""

    model_config = SettingsConfigDict(
        env_prefix="MOBVIBE_", extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    postgres: Literal["auto", "docker", "embedded"] = "auto"
    """Where Postgres comes from where DATABASE_URL names none."""
    postgres_image: str = "postgres:18"
    """The image of Postgres in a container: the official one, or another with its environment contract."""
    preview: Literal["auto", "docker", "process"] = "auto"
    """How previews run."""
    expo_base_image: str = "node:24-bookworm-slim"
    """What the Expo image is built on: any image with Node and npm."""
    ca_bundle: Path | None = Field(
        default=None, validation_alias=AliasChoices("MOBVIBE_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    )
    """Certificates that the build of the Expo image trusts, PEM."""
    sdk: Literal[54, 57] = 54
    """The Expo SDK of new projects."""
    view_as: str | None = None
    """The email of the person through whose row-level security the dashboard reads."""
    host: str | None = None
    """The address that phones reach this machine at; found by itself where it is not set."""
    postgres_port: int | None = Field(default=None, ge=1, le=65535)
    """A fixed port for embedded Postgres."""
    preview_port: int | None = Field(default=None, ge=1, le=65535)
    """A fixed port for the preview."""
    preview_idle_minutes: float = Field(default=30.0, ge=0)
    """A preview that no phone used for so long is stopped, and started again on demand; 0 never stops one."""


def load_settings(flags: dict[str, Any]) -> AppSettings:
    """The settings of this run. Raises InputError that names the setting, never its value."""
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
        raise InputError(
            f"config.toml cannot be read: {error}.", "Mend it or move it away."
        ) from None
