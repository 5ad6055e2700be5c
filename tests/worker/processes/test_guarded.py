"""No guarded child outlives its starter, whichever process is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.processes.guarded import PIPE, GuardedProcess, StopPolicy, run
from mobvibe_worker.processes.surroundings import allowed_environment
from support.polling import is_running, patient, until, until_gone

# A child that ignores SIGTERM, with a grandchild that ignores it too and one in a session of its own.
STUBBORN = """
trap '' TERM
sh -c "trap '' TERM; while :; do sleep 0.05; done" &
echo $! > one
setsid sh -c "trap '' TERM; echo \\$\\$ > two; while :; do sleep 0.05; done" &
echo $$ > zero
while :; do sleep 0.05; done
"""

PARENT = """
import asyncio, sys
from pathlib import Path
from mobvibe_worker.processes.guarded import GuardedProcess, StopPolicy
async def main():
    await GuardedProcess.start(["sh", "-c", sys.argv[1]], cwd=Path.cwd(), env={"PATH": sys.argv[2]},
                               stop=StopPolicy(grace=0.2))
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def pids_of_stubborn(folder: Path) -> list[int]:
    files = [folder / name for name in ("zero", "one", "two")]
    await until(lambda: all(file.exists() and file.read_text().strip() for file in files))
    pids = [int(file.read_text()) for file in files]
    assert all(map(is_running, pids))
    return pids


async def test_killing_the_parent_leaves_no_process(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, STUBBORN, os.environ["PATH"], cwd=tmp_path
    )
    pids = await pids_of_stubborn(tmp_path)
    parent.kill()
    await parent.wait()
    await until_gone(pids)


async def test_killing_the_guard_leaves_no_process_in_the_group(tmp_path: Path) -> None:
    process = await GuardedProcess.start(
        ["sh", "-c", STUBBORN.replace("setsid ", "")],
        cwd=tmp_path,
        env=allowed_environment(),
        stop=StopPolicy(grace=0.2),
    )
    pids = await pids_of_stubborn(tmp_path)
    parent = psutil.Process(process.pid).ppid()
    os.kill(parent, signal.SIGKILL)
    assert await process.wait() == 128 + signal.SIGKILL
    await until_gone(pids)


async def test_stop_escalates_and_is_idempotent(tmp_path: Path) -> None:
    async with await GuardedProcess.start(
        ["sh", "-c", STUBBORN],
        cwd=tmp_path,
        env=allowed_environment(),
        stop=StopPolicy(grace=0.3),
    ) as process:
        pids = await pids_of_stubborn(tmp_path)
        started = time.monotonic()
        assert await process.stop() == 128 + signal.SIGKILL
        assert 0.3 <= time.monotonic() - started < patient(3)
        assert not any(map(is_running, pids))
        assert await process.stop() == 128 + signal.SIGKILL


async def test_the_process_scope_spares_the_children(tmp_path: Path) -> None:
    script = """
    trap 'wait $child; echo child ended >> log; exit 5' TERM
    sh -c "trap 'exit 9' TERM; sleep 0.4; echo child done >> log" & child=$!
    echo up > up; while :; do sleep 0.02; done
    """
    stop = StopPolicy(signal="TERM", scope="process", grace=10)
    process = await GuardedProcess.start(
        ["bash", "-c", script], cwd=tmp_path, env=allowed_environment(), stop=stop
    )
    await until((tmp_path / "up").exists)
    assert await process.stop() == 5
    assert (tmp_path / "log").read_text() == "child done\nchild ended\n"


async def test_ctrl_c_in_the_terminal_never_reaches_the_child(tmp_path: Path) -> None:
    async with await GuardedProcess.start(
        ["sleep", "60"], cwd=tmp_path, env=allowed_environment()
    ) as process:
        guard = psutil.Process(process.pid).ppid()
        assert len({os.getsid(0), os.getsid(guard), os.getsid(process.pid)}) == 3
        os.kill(guard, signal.SIGINT)
        os.kill(guard, signal.SIGHUP)
        assert await process.stop() == 128 + signal.SIGTERM


async def test_the_child_has_default_signals_an_empty_stdin_and_only_the_given_environment(
    tmp_path: Path,
) -> None:
    code = (
        "import os, signal, sys; print(sorted(os.environ), repr(sys.stdin.read()), os.listdir('/proc/self/fd'),"
        "[signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)])"
    )
    finished = await run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        env={"LC_ALL": "C"},
        time_limit=patient(20),
    )
    assert finished.exit_code == 0
    assert finished.output.startswith("['LC_ALL'] '' ['0', '1', '2', '3'] ")
    assert finished.output.count("SIG_DFL") == 2


async def test_run_keeps_the_start_and_the_end_of_long_output(tmp_path: Path) -> None:
    finished = await run(
        ["sh", "-c", "echo first; yes | head -c 3000000; echo last; exit 3"],
        cwd=tmp_path,
        env=allowed_environment(),
        time_limit=patient(20),
        output_limit=1_000,
    )
    assert (finished.exit_code, finished.timed_out) == (3, False)
    assert finished.output.startswith("first\n") and finished.output.endswith("last\n")
    assert "bytes cut]" in finished.output and len(finished.output) < 1_100


async def test_run_ends_all_processes_at_the_time_limit(tmp_path: Path) -> None:
    started = time.monotonic()
    finished = await run(
        ["sh", "-c", f"echo before; {STUBBORN}"],
        cwd=tmp_path,
        env=allowed_environment(),
        time_limit=patient(1),
        stop=StopPolicy(grace=0.1),
    )
    assert finished.timed_out and finished.output == "before\n"
    assert time.monotonic() - started < patient(5)
    pids = [int((tmp_path / name).read_text()) for name in ("zero", "one", "two")]
    assert not any(map(is_running, pids))


async def test_run_ends_all_processes_if_cancelled(tmp_path: Path) -> None:
    task = asyncio.create_task(
        run(
            ["sh", "-c", STUBBORN],
            cwd=tmp_path,
            env=allowed_environment(),
            time_limit=patient(60),
            stop=StopPolicy(grace=0.1),
        )
    )
    pids = await pids_of_stubborn(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(map(is_running, pids))


async def test_run_ends_the_process_if_cancelled_while_it_starts_it(tmp_path: Path) -> None:
    others = psutil.Process().children()
    task = asyncio.create_task(
        run(["sleep", "61"], cwd=tmp_path, env=allowed_environment(), time_limit=patient(60))
    )
    for _ in range(50):
        await asyncio.sleep(0)
    (guard,) = set(psutil.Process().children()).difference(others)
    _wait_for_child(guard)
    (child,) = guard.children()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_running(child.pid) and not is_running(guard.pid)


def _wait_for_child(guard: psutil.Process) -> None:
    """Wait until the guard has started `sleep`. It blocks the event loop, so that no task can notice it."""
    while [child.name() for child in guard.children()] != ["sleep"]:
        time.sleep(0.001)


async def test_a_missing_program_or_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="no-such-program could not be started: No such file"):
        await GuardedProcess.start(["no-such-program"], cwd=tmp_path, env={}, stdout=PIPE)
    with pytest.raises(ServiceError, match=r"the folder .* does not exist"):
        await run(["true"], cwd=tmp_path / "gone", env={}, time_limit=patient(5))


async def test_a_log_file_is_private_and_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    for word in ("one", "two"):
        process = await GuardedProcess.start(
            ["sh", "-c", f"echo {word} >&2"], cwd=tmp_path, env=allowed_environment(), stdout=log
        )
        assert await process.wait() == 0
    assert log.read_text() == "one\ntwo\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_secrets_of_our_environment_reach_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@h/d")
    seen = allowed_environment({"EXPO_OFFLINE": "1"})
    assert "secret" not in repr(seen) and seen["EXPO_OFFLINE"] == "1" and "PATH" in seen
