"""What an inference process makes of front ends that break the rules: their connection ends, the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from app.inference.remote.frames import (
    Arriving,
    Done,
    Failed,
    FrameProtocol,
    Gather,
    Hello,
    Load,
    Loaded,
    Message,
    Pages,
    State,
    Submit,
    Unload,
)
from tests.app.inference.remote.conftest import SIDE, Host, version
from tests.support.networks import Gate
from tests.support.services import until

MakeHost = Callable[..., AbstractAsyncContextManager[Host]]


class RawFrontEnd:
    """Sends whatever it is told to."""

    def __init__(self) -> None:
        self.answers: dict[int, Message] = {}
        self.lost = False
        self.protocol = FrameProtocol(self._on_frame, self._on_lost)

    def _on_frame(self, number: int, message: Message, _array: memoryview) -> None:
        self.answers[number] = message

    def _on_lost(self) -> None:
        self.lost = True

    async def ask(self, number: int, message: Message, array: bytes = b"") -> Message:
        self.protocol.send(number, message, array)
        await until(lambda: number in self.answers or self.lost)
        return self.answers[number]


@asynccontextmanager
async def connected(host: Host, *, name: str | None = "0") -> AsyncIterator[RawFrontEnd]:
    made = RawFrontEnd()
    await asyncio.get_running_loop().create_unix_connection(lambda: made.protocol, str(host.path))
    if name is not None:
        made.protocol.send(0, Hello(name))
    try:
        yield made
    finally:
        made.protocol.end()
        await until(lambda: made.lost)


def load() -> Load:
    wanted = version()
    return Load(str(wanted.path), wanted.label, wanted.manifest.sha256)


SQUARE = bytes(SIDE * SIDE * 3)


@pytest.mark.parametrize(
    ("message", "array"),
    [
        (Submit(99, ""), SQUARE),
        (Arriving(99, 1), b""),
        (Unload(99), b""),
        (Hello("1"), b""),
        (State(""), b""),
        (Done(0, 0, 1), b""),
    ],
)
async def test_a_message_that_may_not_come_ends_the_connection(
    host: MakeHost, message: Message, array: bytes
) -> None:
    async with host() as it, connected(it) as bad, connected(it, name="1") as good:
        assert isinstance(await good.ask(1, load()), Loaded)
        bad.protocol.send(5, message, array)
        await until(lambda: bad.lost)
        assert isinstance(await good.ask(2, Gather(others=True)), Pages)


@pytest.mark.parametrize("size", [0, 1, len(SQUARE) - 1, len(SQUARE) + 1])
async def test_a_square_of_another_size_ends_the_connection(host: MakeHost, size: int) -> None:
    async with host() as it, connected(it) as bad:
        answer = await bad.ask(1, load())
        assert isinstance(answer, Loaded)
        bad.protocol.send(2, Submit(answer.model, ""), bytes(size))
        await until(lambda: bad.lost)
        await until(lambda: not it.server.models)


@pytest.mark.parametrize("name", ["", "a b", 'x"', "x" * 33])
async def test_a_name_that_is_no_label_ends_the_connection(host: MakeHost, name: str) -> None:
    async with host() as it, connected(it, name=name) as bad:
        await until(lambda: bad.lost)


async def test_who_does_not_say_hello_is_not_served(host: MakeHost) -> None:
    async with host() as it, connected(it, name=None) as bad:
        bad.protocol.send(1, load())
        await until(lambda: bad.lost)
        assert not it.loads


async def test_a_front_end_that_dies_while_its_model_loads_holds_nothing(host: MakeHost) -> None:
    async with host() as it:
        async with connected(it) as dying:
            dying.protocol.send(1, load())
            await until(lambda: bool(it.loads))
        await until(lambda: not it.server.models)
        async with connected(it) as next_one:
            assert isinstance(await next_one.ask(1, load()), Loaded)


async def test_bug_of_a_load_is_told_and_logged(host: MakeHost, caplog: pytest.LogCaptureFixture) -> None:
    async with host() as it, connected(it) as front_end:
        it.sizes = ()  # as a bug in a backend
        answer = await front_end.ask(1, load())
        assert isinstance(answer, Failed)
        assert answer.error == "LoadError"
        assert "an unexpected error" in answer.detail
    assert "Traceback" in caplog.text


async def test_a_front_end_that_does_not_answer_is_missing_on_the_page(
    host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.inference.remote.inference.COLLECT_S", 0.01)
    async with host() as it, connected(it) as asking, connected(it, name="1") as silent:
        answer = await asking.ask(1, Gather(others=True))
        assert not silent.lost
        assert isinstance(answer, Pages)
        assert answer.names == ("inference",)


async def test_on_sigterm_it_waits_for_its_front_ends(host: MakeHost, gate: Gate) -> None:
    async with host(predict=gate) as it:
        async with connected(it) as front_end:
            answer = await front_end.ask(1, load())
            assert isinstance(answer, Loaded)
            front_end.protocol.send(2, Submit(answer.model, ""), SQUARE)
            await until(gate.entered.is_set)
            it.stopping.set()
            gate.opened.set()
            await until(lambda: isinstance(front_end.answers.get(2), Done))
            assert not it.serving.done()
        await it.serving
