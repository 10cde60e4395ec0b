from __future__ import annotations

import numpy as np
import pytest

from app.errors import InvalidOption, RegionEmpty, RegionOutside
from app.imaging.crop import Box, Placement, Region
from app.imaging.output import CUTOUT, MATTE, Channels, Output
from app.imaging.render import Rendered, render
from app.imaging.tiles import Strips
from app.values import Ground, Margins
from tests.support.images import Image
from tests.support.person_image import BEHIND, BOX, PERSON, SIDE, alpha_of_standing, standing

GREEN = (0, 200, 0)
BESIDE = ~alpha_of_standing().astype(bool)


def rendered(output: Output, picture: Image | None = None) -> Image:
    return whole(render(standing(), alpha_of_standing(), output, picture))


def whole(done: Rendered) -> Image:
    return done.pixels.whole() if isinstance(done.pixels, Strips) else done.pixels


def test_cutout_is_the_person_with_alpha_and_nothing_of_the_background() -> None:
    done = render(standing(), alpha_of_standing(), CUTOUT)
    assert done.person == BOX
    pixels = whole(done)
    assert np.array_equal(pixels[..., 3], alpha_of_standing())
    assert (pixels[BOX.part][..., :3] == PERSON).all()
    assert (pixels[..., 2] < BEHIND[2] - 100).all()


def test_matte_is_the_alpha_and_where_the_person_is() -> None:
    done = render(standing(), alpha_of_standing(), MATTE)
    assert done.person == BOX
    assert np.array_equal(whole(done), alpha_of_standing())


def test_colour_lies_under_the_person_without_an_alpha_channel() -> None:
    pixels = rendered(Output(background=Ground(GREEN)))
    assert pixels.shape == (SIDE, SIDE, 3)
    assert (pixels[BESIDE] == GREEN).all()
    assert (pixels[~BESIDE] == PERSON).all()


def test_half_transparent_colour_is_the_alpha_beside_the_person() -> None:
    pixels = rendered(Output(background=Ground(GREEN, 100)))
    assert (pixels[BESIDE] == (*GREEN, 100)).all()
    assert (pixels[~BESIDE] == (*PERSON, 255)).all()


def test_colour_that_cannot_be_seen_is_no_background() -> None:
    assert np.array_equal(rendered(Output(background=Ground(GREEN, 0))), rendered(CUTOUT))


def test_half_transparent_person_is_mixed_with_the_colour() -> None:
    alpha = alpha_of_standing() // 2
    pixels = render(standing(), alpha, Output(background=Ground((0, 0, 0)))).pixels
    middle = pixels[20, 36].astype(float)
    # The photo's own colour is both layers' there; half of it is left on black.
    assert middle == pytest.approx(np.array(PERSON) * 127 / 255, abs=3)


def test_picture_lies_under_the_person_at_the_photos_size() -> None:
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = GREEN
    pixels = rendered(Output(background=b"as it was sent"), picture)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert (pixels[BESIDE] == GREEN).all()
    assert (pixels[~BESIDE] == PERSON).all()


def test_blur_shows_the_photos_background_without_the_person_in_it() -> None:
    stripes = standing()
    stripes[BESIDE] = np.where(np.arange(SIDE)[:, None] % 2, 255, 0).repeat(SIDE, 1)[BESIDE][:, None]
    pixels = render(stripes, alpha_of_standing(), Output(blur=100)).pixels
    assert (pixels[~BESIDE] == PERSON).all()
    grey = pixels[BESIDE].astype(int)
    assert np.abs(grey - 127).max() < 30, "stripes are washed out"
    assert np.ptp(grey, axis=1).max() <= 1, "no colour of the person glows"


def test_shadow_is_black_beside_the_person_and_as_strong_as_was_asked() -> None:
    below = BOX.top + BOX.height, BOX.left + BOX.width // 2
    darkness = [int(rendered(Output(shadow=strength))[below][3]) for strength in (1, 50, 100)]
    assert 0 <= darkness[0] < darkness[1] < darkness[2]
    assert darkness[1] == pytest.approx(darkness[2] / 2, abs=2)
    assert (rendered(Output(shadow=100))[below][:3] == 0).all()
    assert (rendered(Output(shadow=100))[~BESIDE] == (*PERSON, 255)).all()


@pytest.mark.parametrize("picture", [None, np.full((5, 5, 3), 255, np.uint8)], ids=["colour", "picture"])
def test_shadow_darkens_what_is_under_the_person(picture: Image | None) -> None:
    ground = Ground((255, 255, 255)) if picture is None else b"as it was sent"
    pixels = rendered(Output(background=ground, shadow=80), picture)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels[BOX.top + BOX.height, BOX.left + BOX.width // 2].max() < 200
    assert (pixels[0, 0] > 250).all()


def test_crop_shows_the_person_alone() -> None:
    done = render(standing(), alpha_of_standing(), Output(crop=True))
    assert whole(done).shape == (BOX.height, BOX.width, 4)
    assert (whole(done) == (*PERSON, 255)).all()
    assert done.person == Box(0, 0, BOX.height, BOX.width)


def test_margins_stand_around_the_person_up_to_the_photos_edge() -> None:
    done = render(standing(), alpha_of_standing(), Output(margin=Margins.parse("50px 25% 2px 5px")))
    assert whole(done).shape == (8 + 32 + 2, 5 + 40 + 8, 4)
    assert done.person == Box(8, 5, 32, 40)
    assert (whole(done)[done.person.part] == (*PERSON, 255)).all()


def test_crop_without_anybody_is_the_whole_photo() -> None:
    done = render(standing(), np.zeros((SIDE, SIDE), np.uint8), Output(crop=True))
    assert done.person is None
    assert whole(done).shape == (SIDE, SIDE, 4)
    assert not whole(done)[..., 3].any()


@pytest.mark.parametrize("crop", [False, True])
def test_size_limits_the_answer_as_it_is_cropped(crop: bool) -> None:
    done = render(standing(), alpha_of_standing(), Output(size=0.0005, crop=crop))
    height, width = whole(done).shape[:2]
    assert 400 < height * width <= 500
    assert height / width == pytest.approx(BOX.height / BOX.width if crop else 1, rel=0.1)
    assert done.person is not None
    assert (whole(done)[done.person.part][2:-2, 2:-2] == (*PERSON, 255)).all()


def test_size_never_makes_the_answer_larger_and_leaves_a_pixel() -> None:
    assert rendered(Output(size=50)).shape == (SIDE, SIDE, 4)
    assert rendered(Output(size=1e-9)).shape == (1, 1, 4)


@pytest.mark.parametrize("channels", Channels)
def test_outside_of_the_region_nothing_is_the_person(channels: Channels) -> None:
    done = render(
        standing(), alpha_of_standing(), Output(channels=channels, region=Region.parse("0 0 36px 100%"))
    )
    alpha = whole(done) if channels is Channels.ALPHA else whole(done)[..., 3]
    assert np.array_equal(alpha[:, :36], alpha_of_standing()[:, :36])
    assert not alpha[:, 36:].any()
    assert done.person == Box(8, 16, 32, 20)


@pytest.mark.parametrize(
    ("region", "problem"),
    [
        ("0 0 10px 100%", RegionEmpty),
        ("0 0 65px 100%", RegionOutside),
        ("0 0 100% 101%", RegionOutside),
        ("50% 0 50% 100%", InvalidOption),
    ],
)
def test_region_with_nobody_in_it_or_none_at_all_is_refused(region: str, problem: type[Exception]) -> None:
    with pytest.raises(problem, match=r"^[A-Z].*\.$"):
        rendered(Output(region=Region.parse(region)))


@pytest.mark.parametrize(
    ("placement", "box"),
    [
        (Placement(None, 0, 0), Box(0, 0, 32, 40)),
        (Placement(None, 100, 50), Box(16, 24, 32, 40)),
        (Placement(100, 50, 50), Box(6, 0, 51, 64)),
        (Placement(50, 100, 100), Box(38, 32, 26, 32)),
        (Placement(50), Box(11, 20, 26, 32)),
    ],
)
@pytest.mark.parametrize("channels", Channels)
def test_person_is_placed_and_nobody_is_left_behind(
    placement: Placement, box: Box, channels: Channels
) -> None:
    done = render(standing(), alpha_of_standing(), Output(channels=channels, placement=placement))
    alpha = whole(done) if channels is Channels.ALPHA else whole(done)[..., 3]
    inside = np.zeros((SIDE, SIDE), bool)
    inside[box.part] = True
    assert done.person == box
    assert (alpha[inside] == 255).all()
    assert not alpha[~inside].any()
    if channels is Channels.RGBA:
        assert (whole(done)[inside] == (*PERSON, 255)).all()


def test_placed_person_stands_before_the_background_with_his_shadow() -> None:
    ground = Ground((255, 255, 255))
    pixels = rendered(Output(placement=Placement(50, 50, 0), background=ground, shadow=50))
    assert (pixels[:26, 16:48] == PERSON).all()
    assert pixels[26, 32].max() < 250
    assert (pixels[60] > 250).all()


def test_nobody_is_placed_nowhere() -> None:
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    assert render(standing(), alpha, Output(placement=Placement(50, 0, 0))).person is None


OUTPUTS = {
    "cutout": CUTOUT,
    "alpha": Output(channels=Channels.ALPHA, crop=True),
    "blur": Output(blur=100),
    "shadow": Output(background=Ground(GREEN, 30), shadow=100),
    "picture": Output(background=b"as it was sent"),
    "crop": Output(margin=Margins.parse("50%"), size=1e-5),
    "placement": Output(placement=Placement(10, 100, 0)),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1), (1, 900), (700, 2), (65, 63)])
@pytest.mark.parametrize("level", [0, 3, 255, None], ids=["nobody", "a trace", "everywhere", "noise"])
def test_strangest_photos_are_rendered(output: Output, size: tuple[int, int], level: int | None) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*size, 3), np.uint8)
    alpha = random.integers(0, 256, size, np.uint8) if level is None else np.full(size, level, np.uint8)
    before = image.copy(), alpha.copy()
    picture = np.zeros((2, 3, 3), np.uint8) if output.background == b"as it was sent" else None
    done = render(image, alpha, output, picture)
    assert whole(done).dtype == np.uint8
    if not output.crop:
        assert whole(done).shape[:2] == size
    assert (done.person is None) == (level in (0, 3))
    assert np.array_equal(image, before[0])
    assert np.array_equal(alpha, before[1])
