"""DOCKER_HOST or a Docker context selects the engine, and an error names one that cannot be reached."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.failures import EngineUnavailable

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("banana", "DOCKER_HOST (banana) is not the address"),
        ("tcp://[::1", "is not the address"),
        ("unix:///nowhere/docker.sock", "No Docker engine answers at unix:///nowhere/docker.sock"),
        ("tcp://127.0.0.1:1", "No Docker engine answers at"),
    ],
)
def test_the_error_names_a_wrong_docker_host(
    host: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(EngineUnavailable) as refused:
        DockerEngine.connect()
    assert why in refused.value.message
    assert "--postgres embedded --preview process" in refused.value.remedy


def test_a_socket_without_permission_is_refused_with_what_to_do(engine: DockerEngine) -> None:
    if os.geteuid() != 0 or not engine.address.startswith("unix:"):
        pytest.skip("needs root and an engine on a socket")
    os.seteuid(65534)
    try:
        with pytest.raises(EngineUnavailable, match="refuses this user") as refused:
            DockerEngine.connect()
    finally:
        os.seteuid(0)
    assert "group docker" in refused.value.remedy


def test_a_context_selects_the_engine_and_an_unknown_one_is_named(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    address = os.environ["DOCKER_HOST"]
    monkeypatch.delenv("DOCKER_HOST")
    # The SDK looks for contexts beside docker's own settings, which `docker context use` makes.
    (tmp_path / "config.json").write_text("{}")
    create = ("docker", "context", "create", "ours", "--docker", f"host={address}")
    subprocess.run(create, check=True, capture_output=True)
    monkeypatch.setenv("DOCKER_CONTEXT", "ours")
    DockerEngine.connect().close()
    monkeypatch.delenv("DOCKER_CONTEXT")
    subprocess.run(("docker", "context", "use", "ours"), check=True, capture_output=True)
    found = DockerEngine.connect()
    assert found.address == address and "Docker Engine" in found.version()
    found.close()
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")
    with pytest.raises(EngineUnavailable, match="Docker's context elsewhere cannot be used"):
        DockerEngine.connect()
