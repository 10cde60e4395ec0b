from __future__ import annotations

import pytest

pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")

from app.distributed.quarantine import LONE_TRIES_MAX, Quarantine, run_with_quarantine
from app.distributed.records import Outcome, Photo
from app.errors import UnreadableImage

PHOTOS = [Photo("a", "a.png"), Photo("b", "b.png"), Photo("c", "c.png")]


class Worker:
    """Does PHOTOS, and remembers which."""

    def __init__(self, quarantine: Quarantine, written: frozenset[str] = frozenset()) -> None:
        self.quarantine = quarantine
        self.written = written
        self.done: list[str] = []

    async def batch(self) -> dict[str, str]:
        """Codes by id."""
        made = await run_with_quarantine(
            self.quarantine, PHOTOS, lambda _photos: set(self.written), self.do, 2
        )
        self.quarantine.finish(made)
        return {each.id: each.code for each in made}

    async def do(self, photo: Photo) -> Outcome:
        self.done.append(photo.id)
        return Outcome(photo.id)


async def test_fresh_batch_is_done_together():
    assert await Worker(Quarantine()).batch() == {"a": "", "b": "", "c": ""}


async def test_photo_that_kills_its_workers_is_given_up_alone():
    quarantine = Quarantine()
    quarantine.start_batch(["a", "b", "c"])  # A worker that died with all three in hand.
    for _ in range(LONE_TRIES_MAX):
        quarantine.start_alone("b")  # ... and those that died with this one alone.
    worker = Worker(quarantine)
    assert await worker.batch() == {"a": "", "b": "worker_lost", "c": ""}
    assert worker.done == ["a", "c"]


def test_photo_that_survives_has_all_its_chances_again():
    quarantine = Quarantine()
    for _ in range(5):
        assert quarantine.start_alone("a")
        quarantine.clear("a")
    assert all(quarantine.start_alone("a") for _ in range(LONE_TRIES_MAX))
    assert not quarantine.start_alone("a")


async def test_batch_whose_results_were_lost_on_the_way_is_not_done_again():
    quarantine = Quarantine()
    await Worker(quarantine).batch()
    worker = Worker(quarantine)
    assert await worker.batch() == {"a": "", "b": "", "c": ""}
    assert worker.done == []


async def test_photo_whose_result_is_kept_is_not_done_again():
    quarantine = Quarantine()
    quarantine.start_batch(["a", "b", "c"])
    worker = Worker(quarantine, written=frozenset({"b"}))
    assert await worker.batch() == {"a": "", "b": "", "c": ""}
    assert worker.done == ["a", "c"]


async def test_errors_are_their_own_photos_alone(caplog):
    async def do(photo: Photo) -> Outcome:
        raise {"a": UnreadableImage("no"), "b": FileNotFoundError("gone"), "c": KeyError("why")}[photo.id]

    made = await run_with_quarantine(Quarantine(), PHOTOS, lambda _photos: set(), do, 2)
    assert [(each.id, each.code) for each in made] == [
        ("a", "failed_to_read_image"),
        ("b", "storage"),
        ("c", "internal"),
    ]
    assert made[2].detail == "KeyError: 'why'"
    assert len(caplog.records) == 1
