"""Who is refused on the doorstep, and who is let in."""

from __future__ import annotations

import asyncio
import errno
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from app import door
from app.door import Door, scope_of
from tests.conftest import until

CLIENT = ("10.0.0.7", 4711)
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\n\r\n"
POST = b"POST /v1/matte?x=1 HTTP/1.1\r\nHost: x\r\nX-Request-ID: Mine\r\nContent-Length: 3\r\n\r\nabc"


def test_scope_is_what_the_head_says() -> None:
    scope = scope_of(POST, ("fe80::1", 4711, 0, 2))
    assert scope == {
        "type": "http",
        "method": "POST",
        "path": "/v1/matte",
        "headers": [(b"host", b"x"), (b"x-request-id", b"Mine"), (b"content-length", b"3")],
        "client": ("fe80::1", 4711),
    }


def test_path_is_as_uvicorn_has_it() -> None:
    scope = scope_of(b"POST /v1/%6Datte HTTP/1.1\r\nHost: x\r\n\r\n", CLIENT)
    assert scope
    assert scope["path"] == "/v1/matte"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST /v1/matte HTTP/1.1\r\nHost: x\r\n",
        b"POST /v1/mat",
        b"no HTTP at all\r\n\r\n",
        b"POST /v1/matte HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST //:x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"POST /v1/matt\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_no_whole_head_is_for_others_to_judge(data: bytes) -> None:
    assert scope_of(data, CLIENT) is None


class Listener:
    """One that has these outside."""

    def __init__(self, *outside: Any) -> None:
        self.outside = list(outside)

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def listen(self, backlog: int) -> None:
        assert backlog > 100

    def accept(self) -> Any:
        if not self.outside:
            raise BlockingIOError
        if isinstance(first := self.outside.pop(0), OSError):
            raise first
        return first, CLIENT


class Guest:
    """A socket on which this has come."""

    def __init__(self, said: bytes | None) -> None:
        self.said = said

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def recv(self, most: int, flags: int) -> bytes:
        assert flags == socket.MSG_PEEK
        if self.said is None:
            raise BlockingIOError
        return self.said[:most]


class House:
    """One where whoever says POST is refused, as long as there is no room."""

    def __init__(self, *, room: bool = False, turnstile: bool = True) -> None:
        self.room, self.full = room, False
        self.turnstile = self if turnstile else None
        self.seen: list[tuple[Guest, bytes]] = []

    def may_refuse(self, scope: Any) -> bool:
        assert scope == {"client": CLIENT}
        return not self.room

    def refusal(self, scope: Any) -> bytes | None:
        return REFUSAL if scope["method"] == "POST" else None

    def see_off(self, sock: Guest, last: bytes) -> None:
        self.seen.append((sock, last))


class Loop:
    """One that only notes what is asked of it."""

    def __init__(self) -> None:
        self.reads = False
        self.later: list[Any] = []
        self.entered: list[Guest] = []

    def add_reader(self, _listener: Listener, _look: Any) -> None:
        self.reads = True

    def remove_reader(self, _listener: Listener) -> None:
        assert self.reads
        self.reads = False

    def call_later(self, seconds: float, work: Any) -> Any:
        self.later.append((seconds, work))
        return SimpleNamespace(cancel=self.later.clear)

    async def connect_accepted_socket(self, connection: Any, sock: Guest) -> None:
        assert connection is asyncio.Protocol
        self.entered.append(sock)

    def create_task(self, work: Any) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)


class Doorway:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, house: House, *outside: Any) -> None:
        self.loop, self.house, self.listener = Loop(), house, Listener(*outside)
        with monkeypatch.context() as patch:
            patch.setattr(door.asyncio, "get_running_loop", lambda: self.loop)
            self.door = Door(self.listener, house, asyncio.Protocol)  # type: ignore[arg-type]

    async def look(self) -> list[Guest]:
        """Who is let in when somebody is outside."""
        assert self.loop.reads
        self.door._look()
        await until(lambda: not self.door._entering)
        entered, self.loop.entered = self.loop.entered, []
        return entered


async def test_many_are_refused_together_and_then_there_is_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    guests = [Guest(POST) for _ in range(5)]
    doorway = Doorway(monkeypatch, House(), *guests)
    assert await doorway.look() == []
    assert doorway.house.seen == [(each, REFUSAL) for each in guests]
    assert not doorway.loop.reads
    ((_, work),) = doorway.loop.later
    work()
    assert doorway.loop.reads


async def test_one_is_let_in_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    guests = [Guest(POST) for _ in range(3)]
    doorway = Doorway(monkeypatch, House(room=True), *guests)
    for each in guests:
        assert await doorway.look() == [each]
    assert doorway.house.seen == []


@pytest.mark.parametrize(
    "said", [None, b"", b"POST /v1/mat", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\nno HTTP"]
)
async def test_who_has_not_asked_for_a_place_is_let_in(
    monkeypatch: pytest.MonkeyPatch, said: bytes | None
) -> None:
    guest = Guest(said)
    assert await Doorway(monkeypatch, House(), guest).look() == [guest]


async def test_where_more_than_an_address_decides_all_are_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(POST)
    assert await Doorway(monkeypatch, House(turnstile=False), guest).look() == [guest]


async def test_house_that_is_full_of_connections_decides_itself_who_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doorway = Doorway(monkeypatch, House(), guest := Guest(POST))
    doorway.house.full = True
    assert await doorway.look() == [guest]


async def test_where_another_process_was_faster_there_is_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    doorway = Doorway(monkeypatch, House())
    assert await doorway.look() == []
    assert doorway.loop.reads
    assert doorway.loop.later == []


async def test_crowd_does_not_keep_the_loop_from_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    doorway = Doorway(monkeypatch, House(), *(Guest(POST) for _ in range(door._AT_ONCE + 1)))
    await doorway.look()
    assert len(doorway.house.seen) == door._AT_ONCE


async def test_who_has_left_before_the_door_opens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    doorway = Doorway(monkeypatch, House(room=True), ConnectionAbortedError(), guest := Guest(POST))
    assert await doorway.look() == []
    assert await doorway.look() == [guest]


async def test_where_no_descriptor_is_left_it_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = OSError(errno.EMFILE, "Too many open files")
    doorway = Doorway(monkeypatch, House(room=True), error, guest := Guest(POST))
    assert await doorway.look() == []
    assert "no connection can be taken: Too many open files" in caplog.text
    assert not doorway.loop.reads
    ((seconds, work),) = doorway.loop.later
    assert seconds >= 0.05
    work()
    assert await doorway.look() == [guest]


async def test_lack_of_descriptors_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = OSError(errno.EMFILE, "Too many open files")
    doorway = Doorway(monkeypatch, House(room=True), error, error, Guest(POST), error)
    for told in (1, 1, 1, 2):
        await doorway.look()
        while doorway.loop.later:
            doorway.loop.later.pop()[1]()
        assert len(caplog.records) == told


@pytest.mark.parametrize("pausing", [False, True])
async def test_closed_door_stays_closed(monkeypatch: pytest.MonkeyPatch, pausing: bool) -> None:
    doorway = Doorway(monkeypatch, House(), *([Guest(POST)] if pausing else []))
    if pausing:
        await doorway.look()
    doorway.door.close()
    assert not doorway.loop.reads
    assert doorway.loop.later == []
