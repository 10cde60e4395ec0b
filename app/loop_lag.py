"""How late the event loop is: every request's way leads through its one thread, and whoever holds it holds all up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

EVERY_S: Final = 0.25


async def watch(
    tell: Callable[[float], None],
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Ask to be woken every quarter of a second, and `tell` by how many seconds that was late. Does not end."""
    while True:
        due = clock() + EVERY_S
        await sleep(EVERY_S)
        tell(max(0.0, clock() - due))


@asynccontextmanager
async def watched(tell: Callable[[float], None]) -> AsyncIterator[None]:
    """`watch` for as long as the context lasts."""
    task = asyncio.create_task(watch(tell), name="loop lag")
    try:
        yield
    finally:
        task.cancel()
