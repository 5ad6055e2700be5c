"""A home's previews, whichever supervisor runs them."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from mobvibe_app.settings import AppSettings
from mobvibe_app.wiring import build_environment
from support.expo import ExpoSdk
from support.expo import expo_sdk as expo_sdk


@pytest.mark.expo
async def test_previews_run_under_the_supervisor_that_follows_a_lost_one(expo_sdk: ExpoSdk) -> None:
    elsewhere = SecretStr("postgresql://somebody@127.0.0.1:1/nothing")
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
