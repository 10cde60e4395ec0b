from __future__ import annotations

import asyncio

import pytest

from app import intake
from app.intake import Buffers, Intake


class Wire(asyncio.Transport):
    """A transport that only notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.asked.append("set_protocol")

    def resume_reading(self) -> None:
        self.asked.append("resume_reading")

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.asked.append("write_eof")

    def abort(self) -> None:
        self.asked.append("abort")


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
        self.wire, self.taken, self.discarded = Wire(), Taken(), list[int]()
        self.intake = Intake(self.wire, self.taken, buffers=Buffers(), discarded=self.discarded.append)

    def receive(self, data: bytes) -> None:
        self.intake.get_buffer(-1)[: len(data)] = data
        self.intake.buffer_updated(len(data))


def test_pieces_are_the_takers_own() -> None:
    house = House()
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


def test_what_comes_after_the_answer_is_counted_and_not_handed_on() -> None:
    house = House()
    house.intake.linger()
    for _ in range(3):
        house.receive(b"x" * 1_000)
    assert house.discarded == []
    error = ConnectionResetError()
    house.intake.connection_lost(error)
    assert (house.taken.pieces, house.taken.lost, house.discarded) == ([], [error], [3_000])


def test_other_side_is_told_the_end_and_read_on() -> None:
    house = House()
    house.intake.linger()
    assert house.wire.asked == ["set_protocol", "resume_reading", "write_eof"]


def test_too_much_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "LINGER_BYTES", 1_000)
    house = House()
    house.intake.linger()
    house.receive(b"x" * 1_000)
    assert "abort" not in house.wire.asked
    house.receive(b"x")
    assert house.wire.asked[-1] == "abort"
