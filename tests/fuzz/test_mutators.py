from __future__ import annotations

import zlib

import PIL.Image
import pytest

from app.errors import ClientError
from tests.fuzz import codec_target
from tests.fuzz.mutators import cross, mutate
from tests.fuzz.photo_parts import join, split
from tests.support import hostile_images
from tests.support.images import jpeg, png, portrait, saved

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")
FILES = hostile_images.whole() | {
    "with EXIF": jpeg(portrait(), orientation=6),
    "animated": saved(portrait(), "WEBP", save_all=True, append_images=[PIL.Image.new("RGB", (80, 60))]),
}
LIMIT = 20_000


def flipped(data: bytes, limit: int) -> bytes:
    """As libFuzzer changes bytes, only always in the same way."""
    return (bytes((*data[:-1], data[-1] ^ 0x55)) if data else b"\x01")[:limit]


@pytest.mark.parametrize("name", FILES)
def test_file_put_together_from_its_parts_is_the_same(name: str) -> None:
    data = FILES[name]
    for tail in (b"", b"after its end"):
        parts = split(data + tail)
        assert parts
        assert len(max(parts, key=lambda part: len(part.body)).body) < len(data)
        assert join(data[:4], parts) == data + tail


def test_bytes_of_no_format_have_no_parts() -> None:
    assert split(b"GIF89a") is None
    assert mutate(b"GIF89a", 9, 1, flipped) == flipped(b"GIF89a", 9)


@pytest.mark.parametrize("name", FILES)
def test_mutation_goes_by_its_seed_and_keeps_to_the_limit(name: str) -> None:
    data = FILES[name]
    made = [mutate(data, LIMIT, seed, flipped) for seed in range(200)]
    assert made == [mutate(data, LIMIT, seed, flipped) for seed in range(200)]
    assert len({*made}) > 50
    assert max(map(len, [mutate(data, 300, seed, flipped) for seed in range(50)])) <= 300


def test_most_changed_pngs_have_right_checksums() -> None:
    changed = [mutate(FILES["png"], LIMIT, seed, flipped) for seed in range(200)]
    assert sum(map(checksums_are_right, changed)) > 150


def checksums_are_right(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            return False
        at = end + 4
    return True


@pytest.mark.parametrize("name", FILES)
def test_mutations_come_past_the_header_and_to_both_outcomes(name: str) -> None:
    outcomes = [codec_target.check(mutate(FILES[name], LIMIT, seed, flipped)) for seed in range(150)]
    assert any(isinstance(outcome, tuple) for outcome in outcomes)
    assert any(isinstance(outcome, type) and issubclass(outcome, ClientError) for outcome in outcomes)


def test_crossing_takes_parts_of_both() -> None:
    one, other = png(portrait(9, 9)), hostile_images.into_png(hostile_images.chunk(b"tEXt", b"key\0words"))
    crossed = [cross(one, other, LIMIT, seed) for seed in range(100)]
    assert any(b"words" in data and data[:33] == one[:33] for data in crossed)
    assert all(data[:8] == one[:8] for data in crossed)
    assert cross(one, b"GIF89a", LIMIT, 3) == cross(one, b"GIF89a", LIMIT, 3)
