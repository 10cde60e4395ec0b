from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.imaging.crop import (
    VISIBLE,
    Box,
    Placement,
    Region,
    foreground_box,
    limit_pixels,
    with_margins,
)
from app.values import Length, Margin, Margins, Unit

BOX = Box(100, 200, 50, 80)


def test_box_holds_every_visible_pixel_and_no_more() -> None:
    alpha = np.zeros((40, 60), np.uint8)
    alpha[7, 30], alpha[20, 12], alpha[15, 59] = 255, VISIBLE, 90
    alpha[0, 0] = VISIBLE - 1
    box = foreground_box(alpha)
    assert box == Box(7, 12, 14, 48)
    assert alpha[box.part].shape == (14, 48)


def test_box_of_the_surely_opaque_is_smaller() -> None:
    alpha = np.full((10, 10), 100, np.uint8)
    alpha[4:6, 3:9] = 250
    assert foreground_box(alpha, 200) == Box(4, 3, 2, 6)


def test_picture_without_foreground_has_no_box() -> None:
    assert foreground_box(np.full((10, 10), VISIBLE - 1, np.uint8)) is None


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("0px", BOX),
        ("0", BOX),
        ("20px", Box(80, 180, 90, 120)),
        ("10%", Box(95, 192, 60, 96)),
        ("10px 20%", Box(90, 184, 70, 112)),
        ("1px 2px 3px 4px", Box(99, 196, 54, 86)),
        ("2.5%", Box(99, 198, 52, 84)),
    ],
)
def test_margins_widen_the_box_by_pixels_or_by_its_own_sides(text, box) -> None:
    assert with_margins(BOX, Margins.parse(text), 1000, 1000) == box


def test_margins_end_at_the_picture() -> None:
    assert with_margins(BOX, Margins.parse("500px"), 160, 290) == Box(0, 0, 160, 290)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "10 px",
        "-1px",
        "51%",
        "501px",
        "1px 2px 3px",
        "1px,2px",
        "1e2px",
        "nan%",
        "\u0662px",
        "0 1",
        "00",
    ],
)
def test_margins_that_mean_nothing_are_refused(text) -> None:
    with pytest.raises(ValueError, match="margin"):
        Margins.parse(text)


def test_one_margin_may_be_made_without_text() -> None:
    assert Margin(12.4, Unit.PIXELS).pixels(7) == 12
    with pytest.raises(ValueError, match="50%"):
        Margin(60, Unit.PERCENT)


@pytest.mark.parametrize(
    ("size", "megapixels", "limited"),
    [
        ((3000, 4000), 3, (1500, 2000)),
        ((3000, 4000), 12, (3000, 4000)),
        ((300, 400), 25, (300, 400)),
        ((1, 100_000), 0.01, (1, 10_000)),
        ((100_000, 1), 0.01, (10_000, 1)),
        ((30, 40), 1e-9, (1, 1)),
    ],
)
def test_size_is_limited_in_shape_and_never_grows(size, megapixels, limited) -> None:
    assert limit_pixels(*size, megapixels) == limited


def test_limited_size_stays_below_the_limit() -> None:
    for height, width in np.random.default_rng(0).integers(500, 5000, (200, 2)).tolist():
        high, wide = limit_pixels(height, width, 0.25)
        assert high * wide <= 250_000
        assert high / wide == pytest.approx(height / width, rel=0.02)


@pytest.mark.parametrize(
    ("text", "pixels"), [("0", 0), ("25%", 50), ("12.5px", 12), ("100%", 200), ("7px", 7)]
)
def test_length_counts_pixels_or_hundredths_of_the_side(text, pixels) -> None:
    assert Length.parse(text).pixels(200) == pixels


@pytest.mark.parametrize("text", ["", "5", "%", "-1px", "1 px", "1e2%", "nan%", "\u0661%", "100000px"])
def test_length_that_means_nothing_is_refused(text) -> None:
    with pytest.raises(ValueError, match="length"):
        Length.parse(text)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("0% 0% 100% 100%", Box(0, 0, 60, 80)),
        ("0 0 100% 100%", Box(0, 0, 60, 80)),
        ("10px 20px 50% 50%", Box(20, 10, 10, 30)),
        ("79px 59px 80px 60px", Box(59, 79, 1, 1)),
    ],
)
def test_region_lies_between_two_corners(text, box) -> None:
    assert Region.parse(text).box(60, 80) == box


@pytest.mark.parametrize("text", ["", "0 0 1px", "0 0 1px 1px 1px", "0,0,1px,1px", "a b c d"])
def test_region_of_other_than_two_corners_is_refused(text) -> None:
    with pytest.raises(ValueError, match=r"region|length"):
        Region.parse(text)


@pytest.mark.parametrize("text", ["50% 0 50% 100%", "60% 0 40% 100%", "0 10px 80px 10px", "0 0 0.1% 100%"])
def test_region_without_area_is_refused(text) -> None:
    with pytest.raises(ValueError, match="no area"):
        Region.parse(text).box(60, 80)


@pytest.mark.parametrize("text", ["0 0 81px 60px", "0 0 80px 61px", "0 0 101% 100%", "200% 0 300% 100%"])
def test_region_outside_of_the_photo_is_another_error(text) -> None:
    with pytest.raises(IndexError, match="80 x 60 pixels"):
        Region.parse(text).box(60, 80)


@pytest.mark.parametrize(
    ("placement", "box"),
    [
        (Placement(), Box(10, 20, 20, 40)),
        (Placement(left=0, top=100), Box(80, 0, 20, 40)),
        (Placement(left=50, top=10), Box(8, 30, 20, 40)),
        (Placement(100, 50, 50), Box(25, 0, 50, 100)),
        (Placement(50, 50, 50), Box(38, 25, 25, 50)),
        # Where no place is asked for, the middle stays, as far as the picture's edge lets it.
        (Placement(20), Box(15, 30, 10, 20)),
        (Placement(100), Box(0, 0, 50, 100)),
    ],
)
def test_placement_scales_to_what_fits_and_shares_out_the_space(placement, box) -> None:
    assert placement.box(Box(10, 20, 20, 40), 100, 100) == box


def test_placed_person_keeps_a_pixel_and_stays_inside() -> None:
    line = Box(0, 3, 200, 1)
    assert Placement(10, 100, 100).box(line, 200, 300) == Box(180, 299, 20, 1)
    assert Placement(10).box(Box(0, 0, 1, 1), 1, 1) == Box(0, 0, 1, 1)


SIDES = st.integers(1, 5_000)
PERCENT = st.floats(0, 100)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Box, int, int]:
    """A box somewhere in a picture, and the picture's height and width."""
    height, width = draw(SIDES), draw(SIDES)
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    high, wide = draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
    return Box(top, left, high, wide), height, width


def within(box: Box, height: int, width: int) -> bool:
    return 0 <= box.top < box.top + box.height <= height and 0 <= box.left < box.left + box.width <= width


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(
    boxes(),
    st.lists(st.builds(Margin, st.floats(0, 50), st.sampled_from(Unit)), min_size=4, max_size=4),
    st.builds(Placement, st.none() | st.floats(10, 100), st.none() | PERCENT, st.none() | PERCENT),
    st.floats(1e-9, 1e5),
)
def test_nothing_leaves_the_picture(
    placed: tuple[Box, int, int], sides: list[Margin], placement: Placement, megapixels: float
) -> None:
    person, height, width = placed
    assert within(with_margins(person, Margins(*sides), height, width), height, width)
    assert within(placement.box(person, height, width), height, width)
    high, wide = limit_pixels(height, width, megapixels)
    assert 1 <= high <= height
    assert 1 <= wide <= width
    assert high * wide <= max(1, megapixels * 1e6)
