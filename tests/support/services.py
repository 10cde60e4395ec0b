"""The service in this process: its app, a client to it, and waiting for what its event loop does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from app.inference.backends.base import Alphas, Batch
from app.main import create_app
from app.settings import Settings
from tests.support.networks import mean_colour


@dataclass(frozen=True)
class Service:
    """A running app and a client to it."""

    app: FastAPI
    client: httpx.AsyncClient

    async def post(self, data: bytes, **options: object) -> httpx.Response:
        return await self.client.post("/v1/matte", files={"image": data}, **options)  # type: ignore[arg-type]

    async def metric(self, name: str) -> float:
        """The value of one sample, by its name and labels as /metrics prints them."""
        page = (await self.client.get("/metrics")).text
        lines = (line.rsplit(" ", 1) for line in page.splitlines())
        return next((float(line[1]) for line in lines if line[0] == name), 0.0)


Running = Callable[..., AbstractAsyncContextManager[Service]]


@asynccontextmanager
async def run_service(
    predict: Callable[[Batch], Alphas] = mean_colour, **chosen: object
) -> AsyncIterator[Service]:
    """`chosen` are settings. It is ready when the context is entered."""
    app = create_app(Settings(**chosen), predict)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        await app.state.loading
        yield Service(app, client)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds; at most 10 s."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
