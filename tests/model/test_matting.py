"""The recipe from photo to matte, with a stand-in for the network."""

import cv2
import numpy as np
import pytest

from model.contract import GEOMETRIES
from model.matting import FINE, REDUCTION, coarse, finish, reduction, views
from model.quality import Quality
from model.refine import refine

SIZE = 64
LARGE = REDUCTION * FINE * SIZE  # the shorter side from which on edges are followed at half the size


def photo(height=300, width=500):
    """A bright disc left of the middle, before a dark ground."""
    y, x = np.mgrid[0:height, 0:width]
    inside = np.hypot(x - width * 0.4, y - height / 2) < 0.3 * height
    return np.where(inside[:, :, None], 230, 20).astype(np.uint8).repeat(3, axis=2), inside


def brightness(squares):
    """A network that takes what is bright for foreground, and is unsure."""
    return [np.clip(square.mean(axis=2) / 255, 0.05, 0.9).astype(np.float32) for square in squares]


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_matte_lies_on_the_photo(geometry, quality):
    image, inside = photo()
    seen = views(image, SIZE, geometry, quality)
    matte = finish(image, seen, brightness(seen), geometry)
    assert matte.alpha.shape == inside.shape
    assert matte.alpha.dtype == np.uint8
    assert matte.foreground
    assert 0.5 < matte.confidence < 1
    assert ((matte.alpha > 127) == inside).mean() > 0.995


def test_high_quality_is_the_mean_with_the_mirror_image():
    image, _ = photo()
    whole, mirrored = views(image, SIZE, "stretch", Quality.HIGH)
    np.testing.assert_array_equal(mirrored, whole[:, ::-1])
    right = np.zeros((SIZE, SIZE), np.float32)
    right[:, SIZE // 2 :] = 1
    matte = finish(image, [whole, mirrored], [right, right], "stretch", refined=False)
    assert set(np.unique(matte.alpha)) <= {127, 128}


def test_an_empty_answer_is_nobody():
    image, _ = photo()
    seen = views(image, SIZE, "limited")
    matte = finish(image, seen, [np.zeros((SIZE, SIZE), np.float32)], "limited")
    assert not matte.foreground
    assert matte.confidence == 1
    assert matte.alpha.max() == 0


def test_bars_are_neither_foreground_nor_doubt():
    """What the network says of the bars beside the photo is not asked."""
    image, _ = photo(100, 250)
    alpha = np.full((SIZE, SIZE), 0.5, np.float32)
    alpha[SIZE // 2 - 13 : SIZE // 2 + 13] = 0
    matte = finish(image, views(image, SIZE, "letterbox"), [alpha], "letterbox")
    assert not matte.foreground
    assert matte.confidence == 1


def large_photo():
    """Smooth enough to lose nothing at half its size, in both axes just at the limit of a reduction."""
    y, x = np.mgrid[0:LARGE, 0 : LARGE + 2].astype(np.float32)
    edge = 1 / (1 + np.exp((np.hypot(x - LARGE / 2, y - LARGE / 2) - 0.3 * LARGE) / 15))
    return np.rint(20 + 210 * edge).astype(np.uint8)[:, :, None].repeat(3, axis=2)


@pytest.mark.parametrize(
    ("height", "width", "quality", "expected"),
    [
        (LARGE, LARGE, Quality.STANDARD, 2),
        (LARGE - 1, 20 * SIZE, Quality.STANDARD, 1),
        (20 * SIZE, LARGE - 1, Quality.STANDARD, 1),
        (40 * SIZE, 40 * SIZE, Quality.STANDARD, 2),
        (40 * SIZE, 40 * SIZE, Quality.HIGH, 1),
    ],
)
def test_edges_of_large_photos_are_followed_at_half_their_size(height, width, quality, expected):
    assert reduction(height, width, SIZE, quality) == expected


def test_a_photo_that_comes_reduced_gets_the_matte_of_the_whole():
    image = large_photo()
    seen = views(image, SIZE, "limited")
    whole = finish(image, seen, brightness(seen), "limited")
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    reduced = finish(half, seen, brightness(seen), "limited", photo_size=image.shape[:2])
    np.testing.assert_array_equal(reduced.alpha, whole.alpha)
    assert reduced.confidence == whole.confidence


def test_following_at_half_the_size_is_within_two_levels_where_the_photo_is_smooth():
    image = large_photo()
    seen = views(image, SIZE, "limited")
    alphas = brightness(seen)
    at_half = finish(image, seen, alphas, "limited").alpha.astype(int)
    in_full = refine(image, seen[0], alphas[0]).astype(int)
    assert np.abs(at_half - in_full).max() <= 2


def test_a_reduced_photo_lies_in_the_square_where_the_whole_one_does():
    """Half of 2757 is rounded up: by its own shape it would lie a pixel of the square off."""
    whole, half = np.full((2048, 2757, 3), 255, np.uint8), np.full((1024, 1379, 3), 255, np.uint8)
    (as_whole,) = views(whole, 256, "limited")
    (as_half,) = views(half, 256, "limited", photo_size=whole.shape[:2])
    (by_itself,) = views(half, 256, "limited")
    np.testing.assert_array_equal(as_half, as_whole)
    assert not np.array_equal(by_itself, as_whole)


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize("turned", [False, True])
def test_people_in_a_very_long_row_are_seen_one_by_one(quality, turned):
    """Stretched to the square, each of the eight would be six times narrower."""
    image = np.concatenate([photo(300, 225)[0]] * 8, axis=1)
    inside = np.concatenate([photo(300, 225)[1]] * 8, axis=1)
    if turned:
        image, inside = np.ascontiguousarray(image.transpose(1, 0, 2)), inside.T
    seen = views(image, SIZE, "stretch", quality)
    assert len(seen) == 5 * (1 if quality is Quality.STANDARD else 2)
    matte = finish(image, seen, brightness(seen), "stretch")
    assert matte.alpha.shape == inside.shape
    assert ((matte.alpha > 127) == inside).mean() > 0.995


def test_tiles_of_a_photo_that_was_decoded_at_half_its_size_are_those_of_the_photo():
    image = np.concatenate([photo(300, 225)[0]] * 8, axis=1)
    half = cv2.resize(image, (900, 150), interpolation=cv2.INTER_AREA)
    whole_seen = views(image, SIZE, "stretch")
    half_seen = views(half, SIZE, "stretch", photo_size=(300, 1800))
    assert len(half_seen) == len(whole_seen)
    assert np.abs(np.stack(half_seen).astype(int) - np.stack(whole_seen)).mean() < 3
    matte = finish(half, half_seen, brightness(half_seen), "stretch", photo_size=(300, 1800))
    assert matte.alpha.shape == (300, 1800)


def test_one_person_in_a_row_is_somebody():
    image = np.zeros((300, 1800, 3), np.uint8)
    seen = views(image, SIZE, "stretch")
    alphas = [np.zeros((SIZE, SIZE), np.float32) for _ in seen]
    assert not finish(image, seen, alphas, "stretch").foreground
    alphas[2] = np.ones((SIZE, SIZE), np.float32)
    assert finish(image, seen, alphas, "stretch").foreground


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize(("height", "width"), [(300, 1800), (1800, 300), (300, 751), (300, 750), (300, 400)])
def test_coarse_matte_is_the_small_one_of_the_same_tiles(quality, height, width):
    """Also where the small size's rounded sides would be cut into other tiles."""
    image = cv2.resize(photo()[0], (width, height))
    seen = views(image, SIZE, "stretch", quality)
    whole = finish(image, seen, brightness(seen), "stretch", refined=False).alpha
    small = coarse(brightness(seen), "stretch", (height, width), (height // 10, width // 10))
    expected = cv2.resize(whole, (width // 10, height // 10), interpolation=cv2.INTER_AREA)
    assert small.shape == expected.shape
    assert np.abs(small.astype(int) - expected).mean() < 3


def two_people(height=300, width=500):
    """A large disc and a small one; of each its pixels."""
    y, x = np.mgrid[0:height, 0:width]
    large = np.hypot(x - width * 0.3, y - height * 0.5) < 0.3 * height
    small = np.hypot(x - width * 0.8, y - height * 0.6) < 0.2 * height
    return np.where((large | small)[:, :, None], 230, 20).astype(np.uint8).repeat(3, axis=2), large, small


def without_doubt(squares):
    """A network that takes what is bright for foreground, and knows that the rest is none."""
    return [np.clip((square.mean(axis=2) - 20) / 210, 0, 1).astype(np.float32) for square in squares]


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_main_subject_alone_is_as_it_is_among_the_others(geometry, quality, refined):
    image, large, small = two_people()
    seen = views(image, SIZE, geometry, quality)
    alphas = without_doubt(seen)
    everybody = finish(image, seen, alphas, geometry, refined=refined)
    main = finish(image, seen, alphas, geometry, refined=refined, only_main=True)
    assert everybody.subjects == main.subjects == 2
    assert (everybody.alpha[small] > 127).mean() > 0.97
    assert main.alpha[:, 330:].max() == 0
    np.testing.assert_array_equal(main.alpha[:, :270], everybody.alpha[:, :270])
    assert large[:, :270].sum() == large.sum()


def test_confidence_is_that_of_the_main_subject():
    """The other one is all doubt, of which nothing is left."""
    image, _, _ = two_people()
    seen = views(image, SIZE, "stretch")
    (alpha,) = without_doubt(seen)
    alone = alpha.copy()
    alone[:, SIZE * 3 // 5 :] = 0
    alpha[:, SIZE * 3 // 5 :] *= 0.6
    main = finish(image, seen, [alpha], "stretch", only_main=True)
    assert main.subjects == 2
    assert main.confidence == pytest.approx(finish(image, seen, [alone], "stretch").confidence, abs=1e-6)
    assert main.confidence > finish(image, seen, [alpha], "stretch").confidence + 0.03


@pytest.mark.parametrize("turned", [False, True])
def test_main_subject_of_a_very_long_photo_is_the_largest_of_all_tiles(turned):
    image, inside = photo(300, 225)
    row = np.concatenate([image] * 8, axis=1)
    row[40:120, 700:820] = 230  # The fourth is larger.
    inside = np.zeros((300, 1800), bool)
    inside[:, 675:900] = row[:, 675:900, 0] > 128
    if turned:
        row, inside = np.ascontiguousarray(row.transpose(1, 0, 2)), inside.T
    seen = views(row, SIZE, "stretch")
    matte = finish(row, seen, without_doubt(seen), "stretch", only_main=True)
    assert matte.subjects == 8
    assert ((matte.alpha > 127) == inside).mean() > 0.995


def test_confidence_in_a_very_long_photo_is_that_of_the_tiles_that_hold_the_main_subject():
    """Of the next tile the network sees only the rim, and doubts it."""
    image = np.zeros((300, 1800, 3), np.uint8)
    seen = views(image, SIZE, "stretch")
    alphas = [np.zeros((SIZE, SIZE), np.float32) for _ in seen]
    alphas[0][20:40, 10:20] = 1
    alphas[2][10:60, 20:50] = 1
    alphas[3][10:60, :4] = 0.45
    everybody = finish(image, seen, alphas, "stretch")
    main = finish(image, seen, alphas, "stretch", only_main=True)
    assert main.subjects == everybody.subjects == 2
    assert everybody.confidence < 0.95
    assert main.confidence > 0.99


def test_a_photo_that_comes_reduced_keeps_the_same_main_subject():
    image, _, _ = two_people(8 * SIZE, 8 * SIZE)
    seen = views(image, SIZE, "limited")
    whole = finish(image, seen, without_doubt(seen), "limited", only_main=True)
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    reduced = finish(half, seen, without_doubt(seen), "limited", only_main=True, photo_size=image.shape[:2])
    np.testing.assert_array_equal(reduced.alpha, whole.alpha)


@pytest.mark.parametrize("only_main", [False, True])
def test_where_nobody_is_there_are_no_subjects(only_main):
    """Also if there are specks: what is too little for a person is none."""
    image, _ = photo()
    seen = views(image, SIZE, "stretch")
    alpha = np.zeros((SIZE, SIZE), np.float32)
    alpha[3:5, 3:5] = 1
    matte = finish(image, seen, [alpha], "stretch", only_main=only_main)
    assert (matte.foreground, matte.subjects) == (False, 0)
