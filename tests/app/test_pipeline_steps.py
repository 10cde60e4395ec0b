from __future__ import annotations

import numpy as np
import pytest

from app.errors import TooManyPixels, UnreadableImage, UnsupportedType
from app.imaging.crop import Placement
from app.imaging.output import CUTOUT, MATTE, Channels, Output
from app.inference.registry import STAND_IN
from app.observability import timing
from app.pipeline import Finished, Measured, finish, measure, prepare
from model.quality import Quality
from tests.support.images import jpeg, pixels, plain, png, portrait
from tests.support.person_image import BOX, SIDE, alpha_of_standing, finds_nobody, finds_standing, standing


def done(output: Output, predict=finds_standing) -> Finished:
    prepared = prepare(png(standing()), output, SIDE, "stretch", max_pixels=10_000)
    return finish(prepared, list(predict(np.stack(prepared.views))), output, STAND_IN)


def test_prepared_photo_is_upright_and_in_its_square() -> None:
    data = jpeg(portrait(60, 80), orientation=6)
    prepared = prepare(data, MATTE, 32, "limited", max_pixels=10_000)
    assert prepared.image.shape == (80, 60, 3)
    assert [view.shape for view in prepared.views] == [(32, 32, 3)]
    high = Output(channels=Channels.ALPHA, quality=Quality.HIGH)
    assert len(prepare(data, high, 32, "limited", max_pixels=10_000).views) == 2


def test_background_is_upright_and_counted_too() -> None:
    output = Output(background=jpeg(portrait(60, 80), orientation=6))
    data = png(plain(1, 10, 20))
    prepared = prepare(data, output, 32, "limited", max_pixels=5_000)
    assert prepared.picture is not None
    assert prepared.picture.shape == (80, 60, 3)
    assert measure(data, output, max_pixels=5_000) == Measured(5_000, 50_000)
    assert measure(data, CUTOUT, max_pixels=5_000) == Measured(200, 800)


@pytest.mark.parametrize(
    ("background", "problem"),
    [
        (b"no picture", UnsupportedType),
        (png(plain(1, 80, 80)), TooManyPixels),
        (png(portrait())[:-9], UnreadableImage),
    ],
)
def test_errors_of_the_background_name_it(background: bytes, problem: type[Exception]) -> None:
    data, output = png(plain(1, 10, 20)), Output(background=background)
    with pytest.raises(problem, match=r"^Background: The "):
        prepare(data, output, 32, "limited", max_pixels=5_000)


@pytest.mark.parametrize("output", [MATTE, CUTOUT], ids=["matte", "cutout"])
def test_finished_file_knows_where_the_person_is_and_what_it_took(output: Output) -> None:
    with timing.collect() as stages:
        finished = done(output)
    assert (finished.height, finished.width, finished.media_type) == (SIDE, SIDE, "image/png")
    assert (finished.person, finished.found, finished.confidence) == (BOX, "person", 1)
    assert [each.name for each in stages] == [
        "decode",
        "refine",
        *([] if output == MATTE else ["compose"]),
        "encode",
    ]
    alpha = pixels(finished.data)
    assert np.array_equal(alpha if output == MATTE else alpha[..., 3], alpha_of_standing())


@pytest.mark.parametrize(
    "output",
    [MATTE, CUTOUT, Output(crop=True), Output(placement=Placement(100, 0, 0))],
    ids=["matte", "cutout", "crop", "placement"],
)
def test_where_nobody_is_found_a_speck_is_not_taken_for_a_person(output: Output) -> None:
    finished = done(output, finds_nobody)
    assert (finished.person, finished.found) == (None, "none")
    alpha = pixels(finished.data)
    assert alpha.shape[:2] == (SIDE, SIDE)
    assert (alpha[5:7, 5:7].reshape(4, -1)[:, -1] == 255).all(), "it is shown all the same"
