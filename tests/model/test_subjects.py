"""Regions of drawn alphas: what counts as a subject, which is the main one, and what goes with it."""

import numpy as np
import pytest

from model.subjects import AREA, BRIDGED, NEAR, SUBJECT_SHARE, find_subjects, map_size

SIDE = 192
SOFT = 3  # pixels over which a drawn edge goes from 0 to 1


def disc(x, y, radius, level=1.0, size=(SIDE, SIDE)):
    """Alpha uint8 of a disc with a soft edge."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    inside = np.clip((radius - np.hypot(columns - x, rows - y)) / SOFT + 0.5, 0, 1)
    return np.rint(inside * level * 255).astype(np.uint8)


def box(left, top, width, height, size=(SIDE, SIDE)):
    alpha = np.zeros(size, np.uint8)
    alpha[top : top + height, left : left + width] = 255
    return alpha


def together(*alphas):
    return np.maximum.reduce(alphas)


def kept(*alphas):
    """Of each alpha of a picture that holds all of them, whether the main subject's share keeps it: all, none or
    some of it."""
    share = find_subjects(together(*alphas)).share_of_main()
    if share is None:
        return ["all"] * len(alphas)
    shares = [set(np.unique(share[alpha > 0]).tolist()) for alpha in alphas]
    return ["all" if each == {255} else "none" if each == {0} else "some" for each in shares]


def test_nobody_is_no_subject_and_nothing_is_taken_away():
    for alpha in (np.zeros((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), 60, np.uint8)):
        found = find_subjects(alpha)
        assert found.count == 0
        assert found.share_of_main() is None


@pytest.mark.parametrize("alpha", [disc(96, 96, 50), np.full((SIDE, SIDE), 255, np.uint8), box(96, 96, 1, 1)])
def test_single_subject_is_left_as_it_is(alpha):
    found = find_subjects(alpha)
    assert found.count == 1
    assert found.share_of_main() is None


def test_largest_stays_with_its_soft_edge_and_of_the_others_nothing():
    assert kept(disc(50, 110, 30), disc(130, 60, 40), disc(150, 160, 15)) == ["none", "all", "none"]
    assert find_subjects(together(disc(50, 110, 30), disc(130, 60, 40), disc(150, 160, 15))).count == 3


def test_size_is_mass_and_not_area():
    """A large faint region has less alpha than a small solid one."""
    faint, solid = disc(60, 96, 45, level=0.5), disc(150, 96, 35)
    assert (faint > 0).sum() > (solid > 0).sum()
    assert kept(faint, solid) == ["none", "all"]


def squares(ratio):
    """One at the border, and one in the middle with `ratio` of its mass."""
    return box(2, 2, 50, 50), box(71, 71, round(50 * ratio), 50)


def test_of_two_as_large_the_one_nearest_the_middle_stays():
    assert kept(*squares(0.96)) == ["none", "all"]
    assert kept(*squares(0.92)) == ["all", "none"]


def test_middle_is_that_of_the_photo_whatever_its_shape():
    size = map_size(300, 1800)
    first, second = box(60, 20, 30, 50, size), box(size[1] // 2 - 40, 20, 30, 50, size)
    assert kept(first, second) == ["none", "all"]


@pytest.mark.parametrize(("share", "count"), [(SUBJECT_SHARE * 0.8, 1), (SUBJECT_SHARE * 1.2, 2)])
def test_specks_do_not_count(share, count):
    assert find_subjects(together(box(0, 0, 100, 100), box(160, 10, 20, round(500 * share)))).count == count


@pytest.mark.parametrize("upright", [False, True])
def test_gap_as_narrow_as_a_belt_does_not_cut_a_person_in_two(upright):
    gap = int(BRIDGED * SIDE)
    body, legs = box(60, 10, 60, 80), box(60, 90 + gap, 60, 60)
    if upright:
        body, legs = body.T, legs.T
    assert find_subjects(together(body, legs)).count == 1
    assert kept(body, legs) == ["all", "all"]


def test_people_with_a_wider_gap_between_them_are_two():
    gap = round(2 * BRIDGED * SIDE)
    assert kept(box(20, 30, 70, 120), box(90 + gap, 40, 60, 110)) == ["all", "none"]


def test_people_who_touch_are_one():
    assert find_subjects(together(disc(60, 96, 40), disc(125, 96, 30))).count == 1


def test_hand_or_strand_of_hair_apart_from_the_body_stays_with_it():
    gap = int(NEAR * SIDE)
    body, other = box(30, 40, 60, 120), box(150, 40, 40, 150)
    assert kept(body, box(90 + gap, 60, 12, 12)) == ["all", "all"]
    assert kept(body, other, box(90 + gap, 60, 12, 12)) == ["all", "none", "all"]
    assert kept(body, box(90 + 3 * gap, 60, 12, 12)) == ["all", "none"]


def test_hand_that_is_nearer_to_another_goes_with_him():
    body, other, hand = box(20, 30, 70, 150), box(112, 40, 70, 100), box(99, 60, 8, 8)
    assert kept(body, hand) == ["all", "all"]
    assert kept(body, other, hand) == ["all", "none", "none"]


def test_doubt_beyond_the_regions_goes_with_who_is_nearer():
    """What is below INSIDE: soft skirts, fine hair."""
    body, other = box(20, 40, 60, 120), box(130, 40, 50, 120)
    skirt, skirt_of_other = box(80, 40, 15, 120) // 4, box(115, 40, 15, 120) // 4
    assert kept(body, other, skirt, skirt_of_other) == ["all", "none", "all", "none"]


def test_share_goes_over_softly_between_the_two():
    share = find_subjects(together(box(20, 40, 70, 120), box(100, 50, 60, 100))).share_of_main()
    across = share[96].astype(int)
    assert (across[20:90] == 255).all()
    assert (across[100:160] == 0).all()
    assert (np.diff(across) <= 0).all()
    assert np.count_nonzero((across > 0) & (across < 255)) >= 2
    assert np.abs(np.diff(across)).max() < 128


@pytest.mark.parametrize("turn", [np.fliplr, np.flipud, np.transpose])
def test_turned_picture_has_the_turned_share(turn):
    alpha = together(disc(50, 110, 30), disc(130, 60, 40), disc(150, 160, 15), box(100, 110, 5, 5))
    share = find_subjects(alpha).share_of_main()
    turned = find_subjects(np.ascontiguousarray(turn(alpha))).share_of_main()
    np.testing.assert_array_equal(turned, turn(share))


@pytest.mark.parametrize("seed", range(20))
def test_every_region_stays_whole_or_goes_whole(seed):
    random = np.random.default_rng(seed)
    alpha = together(*(disc(*random.integers(0, SIDE, 2), random.integers(2, 40)) for _ in range(8)))
    found = find_subjects(alpha)
    share = found.share_of_main()
    assert 1 <= found.count <= 8
    if share is None:
        assert found.count == 1
        return
    solid = alpha >= 96
    for label in range(1, found.labels.max() + 1):
        assert len(np.unique(share[solid & (found.labels == label)])) == 1
    assert (share[solid & (found.labels == found.main)] == 255).all()
    assert (share[solid] == 0).any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4000, 3000), (300, 6000), (6000, 300), (1, 10**6)])
def test_map_has_the_photos_shape_and_is_as_large_for_every_photo(height, width):
    high, wide = map_size(height, width)
    assert high >= 1
    assert wide >= 1
    if min(height, width) > 1:
        assert high / wide == pytest.approx(height / width, rel=0.02)
    assert high * wide <= 1.05 * AREA
    assert find_subjects(np.full((high, wide), 255, np.uint8)).count == 1
