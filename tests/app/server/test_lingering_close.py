"""What comes on a socket on which all has been said is thrown away, and the other side hears the last words."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from app.server import lingering_close
from app.server.lingering_close import LingeringSocket, LingeringSockets
from tests.support.services import until

LAST = b"HTTP/1.1 429 Too Many Requests\r\n\r\n"


class Ends:
    """The two ends of a connection, and who was told to be gone."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.create_connection(listener.getsockname())
            self.ours, _ = listener.accept()
        self.client.setblocking(False)
        self.gone: list[LingeringSocket] = []
        self.lingering = LingeringSockets(self.gone.append)

    async def heard(self) -> bytes:
        """Everything the client hears until the end, which is there without its closing anything."""
        pieces = []

        def ended() -> bool:
            try:
                pieces.append(self.client.recv(1000))
            except BlockingIOError:
                return False
            return pieces[-1] == b""

        await until(ended)
        return b"".join(pieces)

    async def send(self, count: int) -> None:
        left = memoryview(bytes(count))

        def sent() -> bool:
            nonlocal left
            try:
                left = left[self.client.send(left) :]
            except BlockingIOError:
                return False
            return not left

        await until(sent)


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.client.close()
    made.ours.close()


async def test_the_end_is_heard_before_all_is_sent(ends: Ends) -> None:
    await ends.send(1_000)
    ends.ours.send(LAST)
    ends.lingering.linger(ends.ours)
    assert await ends.heard() == LAST
    assert ends.gone == []


async def test_more_than_any_buffer_holds_is_thrown_away_and_counted(ends: Ends) -> None:
    socket_ = ends.lingering.linger(ends.ours)
    await ends.send(10_000_000)
    assert await ends.heard() == b""
    ends.client.close()
    await until(lambda: ends.gone == [socket_])
    assert ends.gone[0].discarded_bytes == 10_000_000
    assert ends.ours.fileno() == -1


async def test_nothing_that_is_thrown_away_is_read(ends: Ends) -> None:
    ends.lingering.linger(ends.ours)
    ends.client.send(b"secret" * 1_000)
    ends.client.close()
    await until(lambda: bool(ends.gone))
    assert b"secret" not in lingering_close._SCRAP


async def test_too_much_is_cut(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "LINGER_BYTES", 1_000_000)
    ends.lingering.linger(ends.ours)
    with pytest.raises(ConnectionError):
        await ends.send(100_000_000)
    assert len(ends.gone) == 1


async def test_who_has_gone_already_is_told_of_at_once(ends: Ends) -> None:
    ends.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.client.close()  # By a reset.
    assert ends.lingering.linger(ends.ours) is None
    assert [each.discarded_bytes for each in ends.gone] == [0]


async def test_one_that_is_cut_is_told_of_once(ends: Ends) -> None:
    socket_ = ends.lingering.linger(ends.ours)
    assert socket_
    socket_.abort()
    socket_.abort()
    assert ends.gone == [socket_]


async def test_each_of_many_closing_connections_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "_AT_ONCE", 2)
    connections, gone = [Ends() for _ in range(9)], list[LingeringSocket]()
    wait_lingering = LingeringSockets(gone.append)
    socket_ = [wait_lingering.linger(each.ours) for each in connections]
    for each in connections[1::2]:  # The others stay and keep silent.
        each.client.close()
    await until(lambda: set(gone) == set(socket_[1::2]))
    for each in connections[::2]:
        each.client.close()
    await until(lambda: len(gone) == 9)
