"""What embedded Postgres cannot use is left unchanged, and the error says what to do next."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mobvibe_app.settings import AppSettings
from mobvibe_app.status import ServiceStatus
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_app.wiring import build_environment
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.home import Home
from support.polling import patient
from support.postgres.embedded import CLIENT, start


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("PG_VERSION=17", "was created by Postgres 17"),
        ("PG_VERSION", "is not a complete Postgres cluster"),
        ("global/pg_control", "is not a complete Postgres cluster"),
    ],
)
async def test_an_unusable_cluster_is_refused_and_left_unchanged(
    home: Home, change: str, message: str
) -> None:
    name, _, content = change.partition("=")
    file = home.postgres / "data" / name
    file.unlink()
    if content:
        file.write_text(content)
    before = sorted((home.postgres / "data").rglob("*"))
    statuses: list[ServiceStatus] = []
    environment = build_environment(
        AppSettings(home=home.root, postgres="embedded"), statuses.append
    )
    with pytest.raises(ServiceError, match=message) as caught:
        await environment.start()
    await environment.close()
    assert "move" in caught.value.remedy
    failed = [status for status in statuses if status.state == "failed"]
    assert [status.remedy for status in failed] == [caught.value.remedy]
    assert sorted((home.postgres / "data").rglob("*")) == before


async def test_a_taken_port_is_refused_if_fixed_and_replaced_if_remembered(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        Choices(home.choices).remember_port("postgres", taken)
        async with await Supervisor.connect(home) as supervisor:
            with pytest.raises(ServiceError) as caught:
                await start(home, supervisor, port=taken)
            assert f"Port {taken}" in caught.value.message
            assert f"(pid {os.getpid()})" in caught.value.message
            address = await start(home, supervisor)
            assert address.port != taken
            assert Choices(home.choices).ports()["postgres"] == address.port


async def test_a_server_that_cannot_start_is_reported_with_the_reason(home: Home) -> None:
    (home.postgres / "data" / "postgresql.conf").write_text("shared_buffers = nonsense\n")
    async with await Supervisor.connect(home) as supervisor:
        with pytest.raises(ServiceError, match="shared_buffers") as caught:
            await start(home, supervisor)
    assert str(home.logs / "postgres.log") in caught.value.remedy


async def test_a_lost_or_wrong_password_is_reported(home: Home) -> None:
    file = home.secrets / "postgres-password"
    file.write_text("wrong\n")
    async with await Supervisor.connect(home) as supervisor:
        with pytest.raises(ServiceError, match="rejects the password"):
            await start(home, supervisor)
    file.unlink()
    async with await Supervisor.connect(home) as supervisor:
        with pytest.raises(ServiceError, match=r"password, .* is missing"):
            await start(home, supervisor)
    assert not file.exists()


@pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="only root needs namespaces"
)
def test_a_machine_without_user_namespaces_is_reported(tmp_path: Path) -> None:
    """Runs in a namespace that allows no further ones, like Docker's default seccomp profile."""
    inside = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    finished = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "sh", "-c", inside, "sh"),
            *(sys.executable, "-c", CLIENT, str(tmp_path / "home"), "select 1"),
        ],
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )
    assert "this machine does not allow user namespaces" in finished.stderr


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a small disk")
def test_a_full_disk_is_reported_before_anything_is_created(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=50m none {disk} && exec "$@"'
    finished = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"),
            *(sys.executable, "-c", CLIENT, str(disk / "home"), "select 1"),
        ],
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )
    assert "Postgres needs 200 MB" in finished.stderr
