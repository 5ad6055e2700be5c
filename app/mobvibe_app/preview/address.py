"""The address of a running preview: the URL in its QR code, and which app opens it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mobvibe_worker.jobs import Platform, SessionId
from mobvibe_worker.toolchain.sdks import Sdk

Provider = Literal["process", "docker"]
_BROWSERS = "Opens in any browser of this network."


@dataclass(frozen=True, slots=True)
class PreviewAddress:
    """Where a project is served. `url` is what the QR code holds; `expo_go` says in words what opens it."""

    session_id: SessionId
    url: str
    sdk: int
    expo_go: str
    metro_url: str
    provider: Provider = "process"
    slug: str = ""
    """The project's."""
    platform: Platform = "mobile"


def preview_address(
    session_id: SessionId,
    slug: str,
    *,
    address: str,
    port: int,
    sdk: Sdk,
    provider: Provider,
    platform: Platform,
) -> PreviewAddress:
    """The address of a project's preview, for phones or for browsers. `address` is this machine's for others."""
    metro_url, is_web = f"http://{address}:{port}", platform == "web"
    return PreviewAddress(
        session_id=session_id,
        url=metro_url if is_web else f"exp://{address}:{port}",
        sdk=sdk.version,
        expo_go=_BROWSERS if is_web else sdk.expo_go,
        metro_url=metro_url,
        provider=provider,
        slug=slug,
        platform=platform,
    )
