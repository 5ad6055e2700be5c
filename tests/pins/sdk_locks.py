"""Rewrites the npm lock file of every Expo SDK. Run `make locks` after a change to sdks.toml."""

from __future__ import annotations

import asyncio
import tempfile
import tomllib
from pathlib import Path

from mobvibe_worker.toolchain import sdks
from mobvibe_worker.toolchain.node import find_node
from mobvibe_worker.toolchain.npm import run_npm
from mobvibe_worker.toolchain.template import extract_template, starter_tree

_LOCK_SECONDS = 600.0


async def lock(version: int, folder: Path) -> bytes:
    """The lock file of one SDK, for releases up to the date in sdks.toml, without download addresses."""
    sdk = sdks.sdk(version)
    node = find_node(sdk.minimum_node)
    await run_npm(node, ("pack", sdk.template), cwd=folder, time_limit=_LOCK_SECONDS)
    (tarball,) = folder.glob("*.tgz")
    starter = starter_tree(extract_template(tarball), sdk)
    (folder / "package.json").write_bytes(starter["package.json"])
    table = tomllib.loads(Path(sdks.__file__).with_name("sdks.toml").read_text(encoding="utf-8"))
    wanted = ("--package-lock-only", "--omit-lockfile-registry-resolved")
    await run_npm(
        node,
        ("install", *wanted, f"--before={table['as_of'].isoformat()}"),
        cwd=folder,
        time_limit=_LOCK_SECONDS,
    )
    return (folder / "package-lock.json").read_bytes()


def main() -> None:
    locks = Path(sdks.__file__).with_name("locks")
    for version in sdks.sdk_versions():
        with tempfile.TemporaryDirectory() as folder:
            content = asyncio.run(lock(version, Path(folder)))
        (locks / f"sdk-{version}.json").write_bytes(content)
        print(f"sdk-{version}.json: {sdks.sdk(version).count_packages()} packages")


if __name__ == "__main__":
    main()
