"""A home's previews continue under a new supervisor."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from mobvibe_app.settings import AppSettings
from mobvibe_app.wiring import build_environment
from support.expo import ExpoSdk
from support.expo import expo_sdk as expo_sdk


@pytest.mark.expo
async def test_previews_use_the_new_supervisor_after_the_old_one_was_lost(
    expo_sdk: ExpoSdk,
) -> None:
    elsewhere = SecretStr("postgresql://someone@127.0.0.1:1/nothing")
    home = expo_sdk.home.root
    environment = build_environment(
        AppSettings(home=home, preview="process", database_url=elsewhere)
    )
    try:
        version = expo_sdk.sdk.version
        before = await environment.previews.of_sdk(version)
        assert await environment.previews.of_sdk(version) is before
        await (await environment.supervisor()).shutdown()
        await environment.start()
        after = await environment.previews.of_sdk(version)
        assert await after.events("app") is None
    finally:
        await environment.close()
