"""A simulated phone that talks to Metro like Expo Go and knows only the URL in the QR code."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from support.polling import patient, within

BUNDLE_SECONDS = 180.0


@dataclass
class Phone:
    """Opens exp://host:port on one platform."""

    url: str
    platform: str = "ios"
    updates: list[dict[str, Any]] = field(default_factory=list)
    _socket: ClientConnection | None = None
    _reading: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """host:port of the URL."""
        return urlsplit(self.url).netloc

    async def manifest(self) -> dict[str, Any]:
        """Fetch Metro's manifest for this platform."""
        headers = {"expo-platform": self.platform, "accept": "application/expo+json"}
        async with httpx2.AsyncClient(trust_env=False, timeout=patient(60)) as client:
            answer = await client.get(f"http://{self.address}/", headers=headers)
            assert answer.status_code == 200, answer.text[:500]
            found: dict[str, Any] = answer.json()
            return found

    async def bundle(self) -> bytes:
        """Download the bundle that the manifest names."""
        url = (await self.manifest())["launchAsset"]["url"]
        async with httpx2.AsyncClient(trust_env=False, timeout=patient(BUNDLE_SECONDS)) as client:
            answer = await client.get(url)
            assert answer.status_code == 200, answer.text[:500]
            return answer.content

    async def __aenter__(self) -> Self:
        """Open the app by loading the bundle, then keep the hot-reload socket open."""
        url = (await self.manifest())["launchAsset"]["url"]
        await self.bundle()
        self._socket = await connect(f"ws://{self.address}/hot", max_size=None, proxy=None)
        await self._socket.send(json.dumps({"type": "register-entrypoints", "entryPoints": [url]}))
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._socket is not None and self._reading is not None
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._socket.close()

    async def _read(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            self.updates.append(json.loads(message))

    async def sees(self, text: str, seconds: float = 60.0) -> None:
        """Wait for a hot update that contains the text. An error update fails the test."""
        async with within(seconds):
            while True:
                errors = [update for update in self.updates if update["type"] == "error"]
                assert not errors, errors
                changed = [update for update in self.updates if update["type"] == "update"]
                if text in json.dumps(changed, ensure_ascii=False):
                    return
                await asyncio.sleep(0.05)
