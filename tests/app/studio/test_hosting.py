"""The host continues if the starter cannot be prepared, and reports why."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobvibe_app.settings import load_settings
from mobvibe_app.studio.changes import Change, ServiceChanged, TroubleChanged
from mobvibe_app.studio.hosting import Hosting
from mobvibe_app.wiring import build_environment
from mobvibe_worker.home import Home


@pytest.mark.expo
async def test_a_blocked_starter_is_reported(tmp_path: Path) -> None:
    settings = load_settings({"home": str(tmp_path / "home")})
    (Home(settings.home).sdk(settings.sdk).root / ".install.lock").mkdir(parents=True)
    environment = build_environment(settings)
    seen: list[Change] = []
    await Hosting(environment, seen.append)._warm()
    await environment.close()
    (trouble,) = [change for change in seen if isinstance(change, TroubleChanged)]
    assert trouble.message is not None and trouble.remedy
    failed = [each.status for each in seen if isinstance(each, ServiceChanged)]
    assert [(each.name, each.state) for each in failed] == [("starter", "failed")]
