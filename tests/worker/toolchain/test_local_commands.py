"""Commands on a staged folder run as local processes."""

from __future__ import annotations

from pathlib import Path

from mobvibe_worker.home import Home
from mobvibe_worker.toolchain.local_commands import LocalCommands
from mobvibe_worker.toolchain.node import find_node
from mobvibe_worker.toolchain.sdks import sdk
from support.polling import within

BUSY = """
process.on('SIGTERM', () => console.log('ignores SIGTERM'));
console.log('busy');
setInterval(() => {}, 1000);
"""


async def test_a_busy_server_is_killed_at_once(tmp_path: Path) -> None:
    """A cancelled job does not wait until Expo's dev server has finished compiling."""
    wanted = sdk(54)
    home = Home(tmp_path / "home")
    home.prepare()
    folder = home.sdk(54)
    folder.cache.mkdir(parents=True)
    project = tmp_path / "project"
    project.mkdir()
    (project / "busy.cjs").write_text(BUSY)
    commands = LocalCommands(project, folder, find_node(wanted.minimum_node))
    async with within(30):
        process = await commands.serve(("node", project / "busy.cjs"))
        assert process.stdout is not None
        assert await process.stdout.readline() == b"busy\n"
        assert await process.stop() == 137
        assert await process.stdout.read() == b"", "it gets no SIGTERM"
