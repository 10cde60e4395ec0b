"""A pair's files are measured, and each fault is named with its file."""

import cv2
import numpy as np
import PIL.Image
import pytest

from tests.training.data.test_images import exif_of
from tests.training.p3m_folders import write_data_set
from training.data.dataset import list_pairs
from training.data.findings import FindingKind
from training.inspection.pair_checks import Depth, check_pair, is_soft, looks_inverted

IMAGE = "validation/P3M-500-NP/original_image/p_00000000.jpg"
MASK = "validation/P3M-500-NP/mask/p_00000000.png"
TRIMAP = "validation/P3M-500-NP/trimap/p_00000000.png"


@pytest.fixture
def root(tmp_path):
    return write_data_set(tmp_path, train=1, validation=1)


def check(root, *, depth=Depth.ALL):
    (pair,) = list_pairs(root, "P3M-500-NP").pairs
    return check_pair(pair, "P3M-500-NP", root, depth=depth)


def found(record):
    return [(finding.kind, finding.file, finding.what) for finding in record.findings]


def only_kind(record):
    (finding,) = record.findings
    return finding.kind, finding.file


def rewrite(path, pixels):
    assert cv2.imwrite(str(path), pixels)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_sound_pair_is_measured_and_has_no_findings(root):
    record = check(root)
    assert record.findings == ()
    assert (record.size, record.orientation, record.channels, record.soft) == ((96, 72), 1, 1, True)
    assert record.foreground == pytest.approx(cv2.imread(str(root / MASK), 0).mean() / 255)


@pytest.mark.parametrize("file", [IMAGE, MASK, TRIMAP])
@pytest.mark.parametrize("damage", [truncate, lambda path: path.write_text("not a picture")])
@pytest.mark.parametrize("depth", Depth)
def test_a_damaged_file_is_unreadable_at_every_depth(root, file, damage, depth):
    damage(root / file)
    assert only_kind(check(root, depth=depth)) == (FindingKind.UNREADABLE, file)


def test_an_empty_file_is_called_so(root):
    (root / IMAGE).write_bytes(b"")
    assert found(check(root)) == [(FindingKind.UNREADABLE, IMAGE, "empty file")]


@pytest.mark.parametrize("lost", [4, 12, 14])
def test_a_png_that_lacks_only_its_last_bytes_is_unreadable(root, lost):
    data = (root / MASK).read_bytes()
    (root / MASK).write_bytes(data[:-lost])
    assert only_kind(check(root)) == (FindingKind.UNREADABLE, MASK)


def test_a_png_whose_checksum_is_wrong_is_unreadable(root):
    data = bytearray((root / MASK).read_bytes())
    data[-14] ^= 1  # the last chunk of pixels ends with its checksum, before the 12 bytes of IEND
    (root / MASK).write_bytes(data)
    assert only_kind(check(root)) == (FindingKind.UNREADABLE, MASK)


def test_headers_alone_show_sizes_and_no_values(root):
    rewrite(root / MASK, np.full((96, 70), 255, np.uint8))
    record = check(root, depth=Depth.HEADERS)
    sizes = "image 96×72, mask 96×70 (height × width)"
    assert found(record) == [(FindingKind.SIZE_MISMATCH, MASK, sizes)]
    assert record.soft is None
    assert record.foreground is None


def test_the_mask_is_judged_by_its_pixels_without_decoding_the_photo(root, monkeypatch):
    monkeypatch.setattr("training.inspection.pair_checks.read_image", None)
    rewrite(root / MASK, np.zeros((96, 72), np.uint8))
    assert only_kind(check(root, depth=Depth.MASK)) == (FindingKind.EMPTY, MASK)


@pytest.mark.parametrize("layer", [MASK, TRIMAP])
def test_a_layer_of_another_size_is_named_with_both_sizes(root, layer):
    pixels = cv2.imread(str(root / layer), cv2.IMREAD_UNCHANGED)
    rewrite(root / layer, pixels[:-1])
    name = "trimap" if layer == TRIMAP else "mask"
    sizes = f"image 96×72, {name} 95×72 (height × width)"
    assert found(check(root)) == [(FindingKind.SIZE_MISMATCH, layer, sizes)]


def test_a_mask_of_zeros_and_ones_is_a_problem(root):
    mask = cv2.imread(str(root / MASK), 0)
    rewrite(root / MASK, (mask > 127).astype(np.uint8))
    assert found(check(root)) == [(FindingKind.SCALE, MASK, "no value is above 1; multiply by 255")]


def test_a_mask_without_an_opaque_pixel_is_a_problem(root):
    mask = cv2.imread(str(root / MASK), 0)
    rewrite(root / MASK, mask // 2)
    assert found(check(root)) == [(FindingKind.FAINT, MASK, "mask's largest value is 127")]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layer", [MASK, TRIMAP])
def test_16_bits_are_no_problem(root, layer, channels):
    pixels = cv2.imread(str(root / layer), 0).astype(np.uint16) * 257
    rewrite(root / layer, np.dstack([pixels] * channels))
    assert check(root).findings == ()


def test_an_inverted_mask_is_a_problem_wherever_the_person_stands(root):
    mask = cv2.imread(str(root / MASK), 0)
    for shifted in (mask, np.roll(mask, 12, axis=1), np.flipud(mask), cv2.resize(mask, (300, 200))):
        assert not looks_inverted(shifted)
        assert looks_inverted(255 - shifted)
    rewrite(root / MASK, 255 - mask)
    assert only_kind(check(root)) == (FindingKind.INVERTED, MASK)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_mask_of_one_value_does_not_look_inverted(value):
    assert not looks_inverted(np.full((9, 7), value, np.uint8))


def test_an_empty_mask_is_a_problem(root):
    rewrite(root / MASK, np.zeros((96, 72), np.uint8))
    assert found(check(root)) == [(FindingKind.EMPTY, MASK, "every value is 0")]


def test_a_full_mask_is_a_problem(root):
    rewrite(root / MASK, np.full((96, 72), 255, np.uint8))
    record = check(root)
    assert found(record) == [(FindingKind.FULL, MASK, "every value is 255")]
    assert record.findings[0].is_problem


def test_several_equal_channels_are_counted_and_no_problem(root):
    mask = cv2.imread(str(root / MASK), 0)
    rewrite(root / MASK, cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR))
    record = check(root)
    assert record.findings == ()
    assert record.channels == 3


def test_a_cut_out_in_place_of_a_mask_is_a_problem(root):
    photo = cv2.imread(str(root / IMAGE))
    rewrite(root / MASK, cv2.cvtColor(photo, cv2.COLOR_BGR2BGRA))
    assert (FindingKind.COLOURED, MASK, "it is in colour: red, green and blue differ") in found(check(root))


def test_a_mask_with_a_palette_counts_by_its_colours(root):
    mask = PIL.Image.open(root / MASK).convert("L")
    before = check(root)
    indexed = mask.point(lambda value: 255 - value).convert("P")  # index 0 is what the palette calls white
    indexed.putpalette([255 - i // 3 for i in range(768)])
    indexed.save(root / MASK)
    after = check(root)
    assert after.findings == ()
    assert after.foreground == pytest.approx(before.foreground)


def test_a_mask_of_one_bit_is_hard_but_no_problem(root):
    PIL.Image.open(root / MASK).convert("1").save(root / MASK)
    record = check(root)
    assert record.findings == ()
    assert record.soft is False


def test_soft_takes_grey_along_half_of_height_and_width():
    levels = np.zeros(256, np.int64)
    levels[[0, 15, 240, 255]] = 1000  # JPEG's ringing does not count
    levels[128] = 83
    assert not is_soft(levels, (96, 72))
    levels[16] = 1
    assert is_soft(levels, (96, 72))


def test_a_trimap_of_other_values_is_a_problem(root):
    trimap = cv2.imread(str(root / TRIMAP), 0)
    trimap[0, :3] = 127, 1, 254
    rewrite(root / TRIMAP, trimap)
    assert found(check(root)) == [(FindingKind.ODD_TRIMAP, TRIMAP, "has 1, 127, 254")]


@pytest.mark.parametrize("depth", Depth)
def test_an_orientation_is_a_warning_and_the_upright_size_counts(root, depth):
    photo = PIL.Image.open(root / IMAGE).rotate(90, expand=True)
    photo.save(root / IMAGE, exif=exif_of(6))
    record = check(root, depth=depth)
    assert found(record) == [(FindingKind.ORIENTED, IMAGE, "orientation 6")]
    assert not record.findings[0].is_problem
    assert (record.size, record.orientation) == ((96, 72), 6)


def test_a_mask_drawn_on_the_photo_as_it_is_stored_is_told_so(root):
    photo = PIL.Image.open(root / IMAGE)
    photo.save(root / IMAGE, exif=exif_of(8))
    words = "the photo is turned upright (EXIF orientation 8), the mask is not"
    (what,) = [
        what for kind, file, what in found(check(root)) if (kind, file) == (FindingKind.SIZE_MISMATCH, MASK)
    ]
    assert what == f"image 72×96, mask 96×72 (height × width); {words}"
