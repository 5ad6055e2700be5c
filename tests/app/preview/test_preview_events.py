"""A real Metro's log reports phones, builds and the app's console, and a hostile log does no harm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from mobvibe_app.preview.events import new_mark, parse_event, printed_lines
from mobvibe_app.preview.facts import Asked, Broken, ConsoleLine, PreviewFacts, apply
from mobvibe_app.preview.log import PreviewLog
from mobvibe_app.preview.providers.process import ProcessPreview
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.workspace.publish import ServedFolder
from support.expo import ExpoSdk
from support.expo import expo_sdk as expo_sdk
from support.phone import Phone
from support.polling import within

HOST = "127.0.0.1"


@pytest.fixture
async def previews(expo_sdk: ExpoSdk) -> AsyncIterator[ProcessPreview]:
    supervisor = await Supervisor.connect(expo_sdk.home)
    yield ProcessPreview(expo_sdk.home, supervisor, expo_sdk.node, expo_sdk.sdk)
    await supervisor.shutdown()
    await supervisor.close()


class Watched:
    """A preview's facts, read from its log."""

    def __init__(self, log: PreviewLog) -> None:
        self.log = log
        self.facts = PreviewFacts()

    async def until(self, what: str, seconds: float = 60.0) -> PreviewFacts:
        """Read the log until this expression about `facts` is true."""
        async with within(seconds):
            while not eval(what, {"facts": self.facts}):
                self.facts = apply(self.facts, self.log.read())
                await asyncio.sleep(0.02)
        return self.facts


def watched_folders(pid: int) -> int:
    """The number of folders that a process and its children watch."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    infos = [info for one in family for info in Path(f"/proc/{one.pid}/fdinfo").iterdir()]
    return sum(info.read_text().count("inotify wd") for info in infos)


@pytest.mark.expo
@pytest.mark.timeout(600)
async def test_a_phone_is_followed_from_its_first_request_until_it_disconnects(
    previews: ProcessPreview, expo_sdk: ExpoSdk
) -> None:
    folder = ServedFolder(expo_sdk.folder.served("seen"))
    files = expo_sdk.starter.files("seen", "seen")
    folder.publish(files)
    served = await previews.start("seen", address=HOST)
    log = await previews.events("seen")
    assert log is not None
    watched = Watched(log)
    # Publishing requests single files from Metro, and a start requests a manifest; neither counts as a phone.
    await asyncio.to_thread(folder.publish, {**files, "more.ts": b"export const more = 1;\n"})
    watched.facts = apply(watched.facts, log.read())
    assert watched.facts == PreviewFacts()

    async with Phone(f"exp://{HOST}:{served.port}") as phone:
        facts = await watched.until("facts.phones")
        assert facts.manifest_at and facts.bundle_asked_at and facts.bundled_at
        assert facts.manifest_at <= facts.bundle_asked_at <= facts.bundled_at
        assert facts.address == HOST and facts.broken is None
        # Metro watches the project, not the thousands of folders of its packages.
        assert 0 < watched_folders(served.pid) < 100
        hot = phone._socket
        assert hot is not None
        for data in (["it", "works"], ["\x1b]0;owned\x07two\nlines"]):
            await hot.send(json.dumps({"type": "log", "level": "error", "data": data}))
        facts = await watched.until("facts.line_count >= 2")
        assert [(line.level, line.text) for line in facts.lines] == [
            ("error", "it works"),
            ("error", "two\nlines"),
        ]
        (folder.root / "App.tsx").write_text("export default function App( {")
        facts = await watched.until("facts.broken")
        assert facts.broken is not None and "App.tsx" in facts.broken.message
        assert facts.phones
    facts = await watched.until("not facts.phones")
    (folder.root / "App.tsx").write_bytes(files["App.tsx"])
    assert len(await Phone(f"exp://{HOST}:{served.port}", "android").bundle()) > 1_000_000
    facts = await watched.until("facts.broken is None")
    printed = previews.log("seen").read_text()
    assert '"is":"asked"' in printed and '"is":"asked"' not in "".join(printed_lines(printed))
    usage = await previews.usage("seen")
    assert usage is not None and usage.memory_bytes > 50_000_000
    await previews.stop("seen")
    assert await previews.usage("seen") is None and await previews.events("seen") is None


def test_only_marked_lines_of_a_known_shape_are_events() -> None:
    mark = "@cafe "
    good = json.dumps({"at": 1.0, "is": "asked", "what": "page", "platform": "web", "from": "::1"})
    assert parse_event(mark + good, mark) == Asked(1.0, "page", "web", "::1")
    assert printed_lines(f"{new_mark()}{good}\n{good}") == [good]
    for line in (good, f"@other {good}", f"{mark}[]", f"{mark}null", f'{mark}{{"is":"asked"}}'):
        assert parse_event(line, mark) is None
    endless = '{"at": 1, "is": "building", "done": 1e999, "total": 2}'
    for line in (endless, "[" * 60_000):
        assert parse_event(mark + line, mark) is None
    console = {"at": 2, "is": "said", "level": "\x1b[2J", "text": "a\x1b[31mb\u202ec" + "x" * 9_000}
    event = parse_event(mark + json.dumps(console), mark)
    assert isinstance(event, ConsoleLine) and event.level == "log"
    assert event.text.startswith("abcx") and len(event.text) < 5_000
    broken = {"at": 3, "is": "broken", "platform": "", "message": "m", "file": "f", "line": "9"}
    assert parse_event(mark + json.dumps(broken), mark) == Broken(3.0, "", "m", "f", None)


def test_a_log_is_read_in_whole_lines_from_an_offset_and_after_a_rotation(tmp_path: Path) -> None:
    path, mark = tmp_path / "log", "@m "
    line = '@m {"at": %d, "is": "went", "number": %d}\n'
    path.write_text(line % (1, 1))
    log = PreviewLog(path, mark, path.stat().st_size)
    assert log.read() == []
    whole = line % (2, 2)
    with path.open("a") as writing:
        writing.write("noise\n" + whole[:10])
        writing.flush()
        assert log.read() == []
        writing.write(whole[10:])
    assert [event.at for event in log.read()] == [2.0]
    path.write_text(line % (3, 3))
    assert [event.at for event in log.read()] == [3.0]
    path.unlink()
    assert log.read() == []
