"""What campaigns have found to be worth keeping goes through their targets again, without Atheris."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app import values
from app.errors import ClientError, TooManyPixels, UnreadableImage
from app.imaging import decode
from tests.fuzz import codec_target, request_target, seeds
from tests.fuzz.seeds import CORPUS, FORM, fewest, multipart, written
from tests.support.images import jpeg, png, portrait

# pytest puts its own filters over the one that `app.imaging.decode` sets.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")
CORPUS_MAX = 300_000


def inputs(name: str) -> Iterator[tuple[Path, bytes]]:
    for path in sorted((CORPUS / name).iterdir()):
        yield path, path.read_bytes()


def test_every_photo_gives_its_picture_or_a_refusal_twice_the_same() -> None:
    outcomes = {codec_target.check_again(data) for _, data in inputs("codec")}
    assert {UnreadableImage, TooManyPixels} <= outcomes
    assert any(isinstance(outcome, tuple) for outcome in outcomes)


def test_every_request_is_answered_or_refused() -> None:
    answers = [request_target.check(data) for _, data in inputs("requests")]
    for path in request_target.PATHS:
        assert {answer[path] for answer in answers} >= {200, 400}


def test_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) <= CORPUS_MAX


def test_target_notices_what_the_codec_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        raise KeyError

    monkeypatch.setattr(decode, "_to_rgb", broken)
    assert codec_target.check(png(portrait())) is UnreadableImage  # a KeyError is what decoders raise
    monkeypatch.setattr(decode, "DECODER_ERRORS", ())
    with pytest.raises(KeyError):
        codec_target.check(png(portrait()))


def test_target_notices_a_picture_of_another_size_or_of_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    sizes = {"smaller": (59, 80, 3), "grey": (60, 80)}
    for shape in sizes.values():
        monkeypatch.setattr(decode, "_plain_jpeg", lambda *_, shape=shape: np.zeros(shape, np.uint8))
        with pytest.raises(AssertionError):
            codec_target.check(jpeg(portrait()))
    monkeypatch.setattr(decode, "_plain_jpeg", lambda *_: random.integers(0, 256, (60, 80, 3), np.uint8))
    with pytest.raises(AssertionError, match="differ"):
        codec_target.check_again(jpeg(portrait()))


def test_target_notices_what_an_option_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    request = written(FORM, b"", multipart({"image": b"photo", "blur": "5"}))
    assert request_target.check(request)["/v1/cutout"] == 200
    monkeypatch.setattr(values, "_WHOLE", None)
    with pytest.raises(AttributeError):
        request_target.check(request)


def test_fewest_keeps_the_smallest_of_those_that_do_the_same() -> None:
    def check(data: bytes) -> type[ClientError] | tuple[int, int]:
        return codec_target.check(data)

    small, large = (png(portrait(side, side)) for side in (4, 9))
    kept = fewest(check, [large, small, small, b"GIF89a"], seeds.TRACED["codec"])
    assert kept == [b"GIF89a", small]
