"""`bench queue`: measures ours beside the installed peers, in interleaved rounds on one server."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from mobvibe_app.bench.contender import Contender
from mobvibe_app.bench.figures import OURS, Figures
from mobvibe_app.bench.ours import OwnQueue, own_queue
from mobvibe_app.bench.queue_scenarios import (
    FULL,
    QUICK,
    Scale,
    time_claim_behind_deferred,
    time_enqueueing,
    time_pickup,
    time_stats,
    time_working,
)
from mobvibe_app.bench.server import bench_database, bench_server

OnLine = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Field:
    """All queues that are measured beside each other."""

    own: OwnQueue
    with_history: OwnQueue
    peers: tuple[Contender, ...]

    @property
    def all(self) -> tuple[Contender, ...]:
        return (self.own, *self.peers)


async def bench_queue(server_url: str | None, *, is_quick: bool, on_line: OnLine) -> Figures:
    """Measure everything. A quick run measures only ours, with tiny counts. Raises ServiceError, StoreError."""
    scale = QUICK if is_quick else FULL
    figures = Figures()
    async with (
        bench_server(server_url) as server,
        _field(server, scale, with_peers=not is_quick, on_line=on_line) as field,
    ):
        for number in range(scale.rounds):
            on_line(f"round {number + 1} of {scale.rounds}")
            await _round(field, scale, figures, on_line)
    return figures


async def _round(field: Field, scale: Scale, figures: Figures, on_line: OnLine) -> None:
    on_line("  enqueueing")
    for queue in field.all:
        await time_enqueueing(queue, scale, figures)
    for slots in scale.slots:
        on_line(f"  pick-up with {slots} slot(s)")
        for queue in field.all:
            await time_pickup(queue, slots, scale, figures)
        aged = f"{OURS}, {scale.history:,} done"
        await time_pickup(field.with_history, slots, scale, figures, system=aged)
        on_line(f"  working with {slots} slot(s)")
        for queue in field.all:
            await time_working(queue, slots, scale, figures)
    on_line("  claims and counts")
    await time_claim_behind_deferred(field.own, scale, figures)
    await time_stats(field.with_history, scale, figures)


@asynccontextmanager
async def _field(
    server: str, scale: Scale, *, with_peers: bool, on_line: OnLine
) -> AsyncIterator[Field]:
    async with AsyncExitStack() as stack:

        async def opened(
            make: Callable[[str], AbstractAsyncContextManager[Contender]],
        ) -> Contender:
            dsn = await stack.enter_async_context(bench_database(server))
            return await stack.enter_async_context(make(dsn))

        peers = []
        for name, make in _peers(on_line) if with_peers else ():
            on_line(f"preparing {name}")
            peers.append(await opened(make))
        on_line(f"preparing ours, and {scale.history:,} finished jobs")
        own_dsn = await stack.enter_async_context(bench_database(server))
        own = await stack.enter_async_context(own_queue(own_dsn, scale.projects))
        aged_dsn = await stack.enter_async_context(bench_database(server))
        aged = await stack.enter_async_context(
            own_queue(aged_dsn, scale.projects, history=scale.history)
        )
        yield Field(own, aged, tuple(peers))


def _peers(
    on_line: OnLine,
) -> list[tuple[str, Callable[[str], AbstractAsyncContextManager[Contender]]]]:
    """The peers that are installed. Reports the others as missing."""
    found: list[tuple[str, Callable[[str], AbstractAsyncContextManager[Contender]]]] = []
    missing = []
    if importlib.util.find_spec("pgqueuer"):
        from mobvibe_app.bench.peer_pgqueuer import pgqueuer_queue

        found.append(("pgqueuer", pgqueuer_queue))
    else:
        missing.append("pgqueuer")
    if importlib.util.find_spec("procrastinate") and importlib.util.find_spec("psycopg"):
        from mobvibe_app.bench.peer_procrastinate import procrastinate_queue

        found.append(("procrastinate", procrastinate_queue))
    else:
        missing.append("procrastinate")
    for name in missing:
        on_line(f"{name} is not installed, so it is left out; pip install 'mobvibe-tui[bench]'")
    return found
