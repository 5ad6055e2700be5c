"""A lock between processes is held by one at a time, and freed if its holder is killed or cancelled."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from mobvibe_worker.processes.locks import held
from support.polling import within

HOLDER = """
import asyncio, sys
from pathlib import Path
from mobvibe_worker.processes.locks import held

async def main():
    async with held(Path(sys.argv[1])):
        print("held", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_tasks_take_turns(tmp_path: Path) -> None:
    inside: list[int] = []
    waits: list[int] = []

    async def enter(number: int) -> None:
        async with held(tmp_path / "lock", lambda: waits.append(number)):
            inside.append(number)
            assert len(inside) == 1
            await asyncio.sleep(0.05)
            inside.remove(number)

    await asyncio.gather(*map(enter, range(4)))
    assert len(waits) == len(set(waits)) == 3


async def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(lock)), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    try:
        with pytest.raises(TimeoutError):
            async with within(0.2), held(lock):
                raise AssertionError("the lock was held twice")
    finally:
        holder.kill()
        await holder.wait()
    async with within(10), held(lock):
        pass
