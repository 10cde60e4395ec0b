"""No file, however bad, gets anything but its own picture or its own refusal, and none harms the one after it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import ClientError, UnreadableImage
from app.imaging import decode
from tests.support import damaged_images, hostile_formats, hostile_images, other_formats, unusual_images
from tests.support.hostile_images import Case
from tests.support.images import pixels, plain, png, portrait
from tests.support.services import Running

KINDS = hostile_images.KINDS | unusual_images.KINDS | damaged_images.KINDS | hostile_formats.KINDS
MAX_PIXELS = 200_000  # so that whatever unfolds to more is either refused or an error
GOOD = hostile_images.whole() | other_formats.whole(portrait(*hostile_images.SIZE))
# One bad file in so many is followed by a good one, of each format in turn.
STRIDE = 7
# pytest puts its own filters over the one that `app.imaging.decode` sets; a test below holds that one.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")


def outcome(data: bytes) -> tuple[int, int] | type[ClientError]:
    """The decoded picture's size, which has to be the one that the header gave before; or why there is none."""
    try:
        promised = decode.read_header(data, max_pixels=MAX_PIXELS).pixels
    except ClientError as error:
        with pytest.raises(type(error)):
            decode.decode_image(data, max_pixels=MAX_PIXELS)
        return type(error)
    try:
        image = decode.decode_image(data, max_pixels=MAX_PIXELS)
    except ClientError as error:
        return type(error)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.shape[0] * image.shape[1] == promised
    return image.shape[0], image.shape[1]


def fits(found: tuple[int, int] | type[ClientError], case: Case) -> bool:
    if case.expected is None:
        return True
    if isinstance(case.expected, type):
        return isinstance(found, type) and issubclass(found, case.expected)
    return found == case.expected


def sample(kind: str, count: int) -> Iterator[Case]:
    """`count` of a kind, from all over it."""
    cases = list(KINDS[kind]())
    return itertools.islice(cases, 0, None, -(-len(cases) // count))


@pytest.mark.parametrize("kind", KINDS)
def test_file_gives_its_picture_or_its_refusal(kind: str) -> None:
    wrong = [(case.name, found) for case in KINDS[kind]() if not fits(found := outcome(case.data), case)]
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
def test_good_file_is_decoded_alike_after_a_bad_one(kind: str) -> None:
    before = {name: decode.decode_image(data, max_pixels=MAX_PIXELS) for name, data in GOOD.items()}
    for case, name in zip(itertools.islice(KINDS[kind](), 0, None, STRIDE), itertools.cycle(GOOD)):
        outcome(case.data)
        after = decode.decode_image(GOOD[name], max_pixels=MAX_PIXELS)
        assert np.array_equal(after, before[name]), (case.name, name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", ["/v1/matte", "/v1/cutout"])
async def test_service_answers_every_file_and_the_next_one(running: Running, kind: str, route: str) -> None:
    async with running(max_pixels=MAX_PIXELS) as service:
        for case in sample(kind, 25):
            answer = await service.client.post(route, files={"image": case.data})
            if answer.status_code == 200:
                assert not isinstance(case.expected, type), case.name
                assert case.expected in (None, pixels(answer.content).shape[:2]), case.name
                continue
            assert answer.status_code in (400, 413, 415), (case.name, answer.text)
            assert not isinstance(case.expected, tuple), (case.name, answer.text)
            (error,) = answer.json()["errors"]
            codes = {"failed_to_read_image", "resolution_too_high", "invalid_file_type", "missing_source"}
            assert error["code"] in codes, case.name
        answer = await service.post(png(plain(77, 40, 50)))
    assert np.array_equal(pixels(answer.content), np.full((40, 50), 77))


@pytest.mark.parametrize("name", ["baseline", "restarting"])
@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_picture_of_a_damaged_jpeg_is_right_down_to_the_damage(place: float, name: str) -> None:
    """And below it nothing that lay in memory: it is the same after another one."""
    data = damaged_images.files()[name]
    whole = decode.decode_image(data, max_pixels=MAX_PIXELS)
    damaged = damaged_images.overwritten(data, int(len(data) * place), "zeros")
    first = decode.decode_image(damaged, max_pixels=MAX_PIXELS)
    decode.decode_image(GOOD["jpeg"], max_pixels=MAX_PIXELS)
    assert np.array_equal(decode.decode_image(damaged, max_pixels=MAX_PIXELS), first)
    # Rows take about as many bytes each: a tenth is left for how far they are from that.
    rows = int(whole.shape[0] * (place - 0.1))
    assert np.array_equal(first[:rows], whole[:rows])
    assert not np.array_equal(first, whole)


def test_one_wrong_bit_in_the_pixels_of_a_png_is_noticed() -> None:
    """Pillow by itself would draw some of these: it does not look at their checksums."""
    data = bytearray(GOOD["png"])
    start = data.index(b"IDAT") + 4
    for place in range(start, len(data) - 16, 97):
        data[place] ^= 1
        assert outcome(bytes(data)) is UnreadableImage
        data[place] ^= 1


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize(
    ("called", "of_type"), [("a.png", "image/png"), ("b.jpg", "image/jpeg"), ("c", "text/html")]
)
async def test_magic_counts_and_not_what_the_file_is_called(
    running: Running, name: str, called: str, of_type: str
) -> None:
    async with running() as service:
        answer = await service.client.post("/v1/matte", files={"image": (called, GOOD[name], of_type)})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert pixels(answer.content).shape == hostile_images.SIZE


def test_pillow_does_not_fill_the_log_with_warnings() -> None:
    """In a process of its own, where every warning is an error and no test's filter is set."""
    lines = (
        "from app.imaging import decode",
        "from tests.support import hostile_images",
        "for case in hostile_images.KINDS['broken EXIF']():",
        "    if isinstance(case.expected, tuple):",
        "        decode.decode_image(case.data, max_pixels=10_000)",
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file, up to four times cut into: bytes left out, doubled, overwritten, or taken from another file."""
    data = GOOD[draw(st.sampled_from(sorted(GOOD)))]
    for _ in range(draw(st.integers(1, 4))):
        first, last = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        piece = data[first:last]
        other = GOOD[draw(st.sampled_from(sorted(GOOD)))]
        start = draw(st.integers(0, len(other)))
        put = draw(st.sampled_from((b"", piece * 2, other[start : start + len(piece)], None)))
        data = data[:first] + (draw(st.binary(max_size=16)) if put is None else put) + data[last:]
    return data


@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=damaged())
def test_spliced_file_gives_a_picture_or_a_refusal(data: bytes) -> None:
    outcome(data)
    after = decode.decode_image(GOOD["jpeg"], max_pixels=MAX_PIXELS)
    assert after.shape == portrait(*hostile_images.SIZE).shape
