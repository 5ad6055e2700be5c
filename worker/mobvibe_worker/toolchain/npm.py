"""Runs npm with a time limit and without package scripts, and turns its failures into one sentence."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from mobvibe_worker.errors import ServiceError
from mobvibe_worker.processes.guarded import PIPE, GuardedProcess, StopPolicy
from mobvibe_worker.processes.surroundings import allowed_environment
from mobvibe_worker.sanitize import clean_text
from mobvibe_worker.toolchain.node import Node

_BOUNDED = (
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=3000",
    "--fetch-timeout=30000",
)
_QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--no-progress")
# The person's own npm settings, proxies and certificates, without which npm does not work in company networks.
_PASSED = re.compile(
    r"npm_config_.*|https?_proxy|no_proxy|all_proxy|node_extra_ca_certs|ssl_cert_(file|dir)",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"npm http (?:fetch GET 200|cache) (\S+)")
_CODE = re.compile(r"npm (?:error|ERR!) code (\S+)")
_OFFLINE = re.compile(
    "ENOTFOUND|ENOTCACHED|EAI_AGAIN|ENETWORK|ENETUNREACH|EHOSTUNREACH|ECONN(REFUSED|RESET)"
    "|E(SOCKET)?TIMEDOUT|ERR_SOCKET_TIMEOUT|ERR_INVALID_URL|FETCH_ERROR|E5[0-9][0-9]"
)
_LACKING = re.compile(
    r"No matching version found for (\S+?)\.?$|'(\S+?)' (?:is not in this registry|could not be found)"
)
_CERTIFICATES = re.compile(
    "SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|CERT_HAS_EXPIRED"
    "|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT_LOCALLY"
)
_TAIL_LINES = 40

OnAnswer = Callable[[int, int], None]


def npm_environment(node: Node) -> dict[str, str]:
    """npm's whole environment: the allow-list, proxies, certificates and the person's own npm settings."""
    passed = {name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)}
    return allowed_environment(passed | {"PATH": node.path_with_node()})


async def run_npm(
    node: Node,
    arguments: Sequence[str],
    *,
    cwd: Path,
    time_limit: float,
    on_answer: OnAnswer = lambda looked_up, fetched: None,
) -> str:
    """Run npm until it ends; returns its last lines of output.

    `on_answer` receives how many packages were looked up and fetched so far.
    Raises ServiceError if it fails or takes longer than `time_limit` seconds.
    """
    argv = (*node.npm_argv, *arguments, *_QUIET, *_BOUNDED, "--loglevel=http")
    process = await GuardedProcess.start(
        argv, cwd=cwd, env=npm_environment(node), stdout=PIPE, stop=StopPolicy(grace=2.0)
    )
    lines: deque[str] = deque(maxlen=_TAIL_LINES)
    started = time.monotonic()
    async with process:
        try:
            async with asyncio.timeout(time_limit):
                await _read_lines(process, lines, on_answer)
                code = await process.wait()
        except TimeoutError:
            raise ServiceError(
                f"npm did not finish within {time_limit:.0f} s.",
                "Check the network and npm's registry setting, then try again.",
            ) from None
    if code:
        raise _failure(lines, time.monotonic() - started)
    return "\n".join(lines)


async def _read_lines(process: GuardedProcess, lines: deque[str], on_answer: OnAnswer) -> None:
    assert process.stdout is not None
    looked_up: set[str] = set()
    fetched: set[str] = set()
    async for raw in process.stdout:
        line = clean_text(raw.decode(errors="replace").rstrip())
        if match := _ANSWER.search(line):
            (fetched if match[1].endswith(".tgz") else looked_up).add(match[1])
            on_answer(len(looked_up), len(fetched))
        else:
            lines.append(line)


def _failure(lines: Sequence[str], seconds: float) -> ServiceError:
    codes = [match[1] for line in lines if (match := _CODE.search(line))]
    code = codes[-1] if codes else ""
    last = next((line for line in reversed(lines) if " error " in line and "code" not in line), "")
    if _OFFLINE.fullmatch(code):
        return ServiceError(
            f"npm's registry does not answer ({code}, after {seconds:.0f} s).",
            "Connect to the network or set npm's proxy, then try again. It is needed once per Expo SDK.",
        )
    if _CERTIFICATES.fullmatch(code):
        return ServiceError(
            f"npm does not trust the registry's certificate ({code}).",
            "Set NODE_EXTRA_CA_CERTS or npm's cafile to your network's certificates, then try again.",
        )
    if code == "ENOSPC":
        return ServiceError("The disk is full.", "Free 1 GB, or choose another home with --home.")
    if code in {"E404", "ETARGET"}:
        named = [match[1] or match[2] for line in lines if (match := _LACKING.search(line))]
        return ServiceError(
            f"npm's registry lacks {named[0][:100] if named else 'a pinned package'} ({code}).",
            "If npm uses a mirror, let it follow the public registry, then try again.",
        )
    detail = last.removeprefix("npm error ").strip() or "it gave no reason"
    return ServiceError(f"npm failed: {detail[:300]}", "Run `mobvibe-tui doctor`, then try again.")
