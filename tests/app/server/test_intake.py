from __future__ import annotations

import asyncio

from app.server.protocol import Buffers, Intake


class Wire(asyncio.Transport):
    """A transport whose protocol can be set."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Taken(asyncio.Protocol):
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class House:
    """An intake with what is around it."""

    def __init__(self) -> None:
        self.wire, self.taken = Wire(), Taken()
        self.intake = Intake(self.wire, self.taken, Buffers())

    def receive(self, data: bytes) -> None:
        self.intake.get_buffer(-1)[: len(data)] = data
        self.intake.buffer_updated(len(data))


def test_pieces_are_the_takers_own() -> None:
    house = House()
    assert house.wire.protocol is house.intake
    house.receive(b"first")
    house.receive(b"second")
    assert house.taken.pieces == [b"first", b"second"]


def test_little_is_read_of_a_head_and_much_of_a_body() -> None:
    house = House()
    head = len(house.intake.get_buffer(-1))
    house.intake.expect_body()
    assert len(house.intake.get_buffer(-1)) > 8 * head
    house.intake.expect_head()
    assert len(house.intake.get_buffer(-1)) == head


def test_taker_hears_of_the_end() -> None:
    house = House()
    house.intake.connection_lost(error := ConnectionResetError())
    assert house.taken.lost == [error]
