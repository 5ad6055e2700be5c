"""Commands on a staged folder as local processes."""

from __future__ import annotations

from pathlib import Path

from mobvibe_worker.home import Home
from mobvibe_worker.toolchain.local_commands import LocalCommands
from mobvibe_worker.toolchain.node import find_node
from mobvibe_worker.toolchain.sdks import sdk
from support.polling import within

BUSY = """
process.on('SIGTERM', () => console.log('asked to stop, and goes on'));
console.log('busy');
setInterval(() => {}, 1000);
"""


async def test_what_serves_ends_at_once_however_busy_it_is(tmp_path: Path) -> None:
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
        assert await process.stdout.read() == b"", "it was not asked"
