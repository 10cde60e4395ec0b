"""A mask is read in whichever way it was saved, where that can mean one matte only; the rest is refused by name."""

import re

import cv2
import numpy as np
import PIL.Image
import pytest

from tests.training.data.test_images import STORED, exif_of
from tests.training.p3m_folders import draw_portrait
from training.data.findings import FindingKind
from training.data.images import ImageError
from training.data.masks import read_alpha, read_alpha_bytes, read_portrait, read_prediction, read_trimap

PHOTO, MATTE = draw_portrait(np.random.default_rng(2))
GREY = PIL.Image.fromarray(MATTE)
COLOURS = PIL.Image.fromarray(PHOTO).split()
WHITE, BLACK = (PIL.Image.new("L", GREY.size, value) for value in (255, 0))
HARD = PIL.Image.fromarray(np.where(MATTE > 127, 255, 0).astype(np.uint8))
OTHER = PIL.Image.fromarray(255 - MATTE)


def merged(mode, *layers):
    return PIL.Image.merge(mode, layers)


def ramp(*, reverse):
    """A palette whose index is not its grey."""
    picture = PIL.Image.fromarray(255 - MATTE if reverse else MATTE).convert("P")
    levels = [255 - i if reverse else i for i in range(256)]
    picture.putpalette([level for grey in levels for level in (grey, grey, grey)])
    return picture


def two_colours(first, second):
    picture = PIL.Image.fromarray((MATTE > 127).astype(np.uint8)).convert("P")
    picture.putpalette([*first, *second])
    return picture


SOFT, SHARP = MATTE, np.asarray(HARD)

# name: (picture, suffix, options, what it means)
CLEAR = {
    "grey": (GREY, ".png", {}, SOFT),
    "grey bmp": (GREY, ".bmp", {}, SOFT),
    "grey tiff": (GREY, ".tif", {}, SOFT),
    "compressed tiff": (GREY, ".tiff", {"compression": "tiff_lzw"}, SOFT),
    "colour tiff": (merged("RGB", GREY, GREY, GREY), ".tif", {"compression": "tiff_adobe_deflate"}, SOFT),
    "lossless webp": (merged("RGB", GREY, GREY, GREY), ".webp", {"lossless": True}, SOFT),
    "grey throughout": (merged("RGB", GREY, GREY, GREY), ".png", {}, SOFT),
    "16 bits": (PIL.Image.fromarray(MATTE.astype(np.uint16) * 257), ".png", {}, SOFT),
    "16 bits tiff": (PIL.Image.fromarray(MATTE.astype(np.uint16) * 257), ".tif", {}, SOFT),
    "1 bit": (HARD.convert("1"), ".png", {}, SHARP),
    "1 bit bmp": (HARD.convert("1"), ".bmp", {}, SHARP),
    "1 bit tiff": (HARD.convert("1"), ".tif", {"compression": "group4"}, SHARP),
    "palette": (ramp(reverse=False), ".png", {}, SOFT),
    "reversed palette": (ramp(reverse=True), ".png", {}, SOFT),
    "black and white palette": (two_colours((0, 0, 0), (255, 255, 255)), ".png", {}, SHARP),
    "grey, opaque": (merged("LA", GREY, WHITE), ".png", {}, SOFT),
    "grey threefold, opaque": (merged("RGBA", GREY, GREY, GREY, WHITE), ".png", {}, SOFT),
    "white with alpha": (merged("LA", WHITE, GREY), ".png", {}, SOFT),
    "black with alpha": (merged("LA", BLACK, GREY), ".png", {}, SOFT),
    "white threefold with alpha": (merged("RGBA", WHITE, WHITE, WHITE, GREY), ".png", {}, SOFT),
    "red with alpha": (merged("RGBA", WHITE, BLACK, BLACK, GREY), ".png", {}, SOFT),
    "alpha webp": (merged("RGBA", WHITE, WHITE, WHITE, GREY), ".webp", {"lossless": True}, SOFT),
    "alpha tiff": (merged("RGBA", WHITE, WHITE, WHITE, GREY), ".tif", {}, SOFT),
    "white where it is seen": (
        merged("LA", PIL.Image.fromarray(np.where(MATTE > 0, 255, 0).astype(np.uint8)), GREY),
        ".png",
        {},
        SOFT,
    ),
    "the same twice": (merged("LA", GREY, GREY), ".png", {}, SOFT),
    "the same four times": (merged("RGBA", GREY, GREY, GREY, GREY), ".png", {}, SOFT),
    "black called transparent": (GREY, ".png", {"transparency": 0}, SOFT),
    "wholly white": (WHITE, ".png", {}, np.full_like(MATTE, 255)),
    "wholly white, opaque": (
        merged("RGBA", WHITE, WHITE, WHITE, WHITE),
        ".png",
        {},
        np.full_like(MATTE, 255),
    ),
    "wholly black": (BLACK, ".png", {}, np.zeros_like(MATTE)),
}


@pytest.mark.parametrize("name", CLEAR)
def test_a_mask_that_can_mean_one_matte_only_is_read(tmp_path, name):
    picture, suffix, options, expected = CLEAR[name]
    path = tmp_path / f"x{suffix}"
    picture.save(path, **options)
    matte = read_alpha_bytes(path)
    assert matte.dtype == np.uint8
    np.testing.assert_array_equal(matte, expected)
    np.testing.assert_allclose(read_alpha(path), expected.astype(np.float32) / 255)
    np.testing.assert_array_equal(read_prediction(path), expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_become_8_also_of_several_channels(tmp_path, channels, suffix):
    deep = np.repeat(MATTE.astype(np.uint16)[:, :, None] * 257, channels, axis=2)
    if channels == 4:
        deep[:, :, 3] = 65535
    deep[0, 0] = [200, 200, 200, 65535][:channels]  # to the nearest
    assert cv2.imwrite(str(tmp_path / f"x{suffix}"), deep)
    expected = MATTE.copy()
    expected[0, 0] = 1
    np.testing.assert_array_equal(read_alpha_bytes(tmp_path / f"x{suffix}"), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_what_lossy_compression_leaves_of_equal_channels_is_grey(tmp_path, suffix):
    merged("RGB", GREY, GREY, GREY).save(tmp_path / f"x{suffix}", quality=90)
    assert np.abs(read_alpha_bytes(tmp_path / f"x{suffix}").astype(int) - MATTE).max() < 40


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_a_mask_is_as_upright_as_its_photo(tmp_path, orientation, suffix):
    stored = PIL.Image.fromarray(np.ascontiguousarray(STORED[orientation](MATTE)))
    options = {"lossless": True} if suffix == ".webp" else {}
    stored.save(tmp_path / f"x{suffix}", exif=exif_of(orientation), **options)
    np.testing.assert_array_equal(read_alpha_bytes(tmp_path / f"x{suffix}"), MATTE)


ZEROS_AND_ONES = PIL.Image.fromarray((MATTE > 127).astype(np.uint8))
# name: (picture, options, kind, words)
REFUSED = {
    "photo": (PIL.Image.fromarray(PHOTO), {}, FindingKind.COLOURED, "red, green and blue differ"),
    "opaque photo": (merged("RGBA", *COLOURS, WHITE), {}, FindingKind.COLOURED, "red, green and blue differ"),
    "cut-out": (merged("RGBA", *COLOURS, GREY), {}, FindingKind.COLOURED, "a cut-out in colour"),
    "coloured palette": (
        two_colours((0, 0, 0), (128, 0, 0)),
        {},
        FindingKind.COLOURED,
        "red, green and blue differ",
    ),
    "red alone": (merged("RGB", GREY, BLACK, BLACK), {}, FindingKind.COLOURED, "red, green and blue differ"),
    "grey cut-out": (merged("LA", COLOURS[0], GREY), {}, FindingKind.UNCLEAR, "two different mattes"),
    "two mattes": (merged("LA", OTHER, GREY), {}, FindingKind.UNCLEAR, "two different mattes"),
    "white but transparent": (
        merged("LA", WHITE, BLACK),
        {},
        FindingKind.UNCLEAR,
        "transparent and of one colour",
    ),
    "0 and 1": (ZEROS_AND_ONES, {}, FindingKind.SCALE, "no value is above 1; multiply by 255"),
    "0 and 1 in a palette": (two_colours((0, 0, 0), (1, 1, 1)), {}, FindingKind.SCALE, "no value is above 1"),
    "0 and 1, opaque": (merged("LA", ZEROS_AND_ONES, WHITE), {}, FindingKind.SCALE, "no value is above 1"),
    "8 bits in 16": (
        PIL.Image.fromarray(MATTE.astype(np.uint16)),
        {},
        FindingKind.SCALE,
        "16 bits, but no value is above 255",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mask_that_can_mean_more_is_refused_by_file_and_reason(tmp_path, name):
    picture, options, kind, words = REFUSED[name]
    path = tmp_path / "x.png"
    picture.save(path, **options)
    with pytest.raises(ImageError, match=rf"^{re.escape(str(path))}: .*{re.escape(words)}") as raised:
        read_alpha_bytes(path)
    assert raised.value.kind is kind


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused(tmp_path, mode):
    GREY.convert(mode).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match="32 bits per value; save it with 8 or 16"):
        read_alpha_bytes(tmp_path / "x.tif")


@pytest.mark.parametrize("name", ["cut-out", "grey cut-out"])
def test_of_a_tools_cut_out_the_alpha_channel_is_the_matte(tmp_path, name):
    REFUSED[name][0].save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_prediction(tmp_path / "x.png"), MATTE)


def test_a_tools_matte_may_be_as_faint_as_it_likes(tmp_path):
    ZEROS_AND_ONES.save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_prediction(tmp_path / "x.png"), np.asarray(ZEROS_AND_ONES))


def test_a_trimap_keeps_its_values(tmp_path):
    trimap = np.array([[0, 128, 255, 1]], np.uint8)
    PIL.Image.fromarray(trimap).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_trimap(tmp_path / "x.png"), trimap)


def test_a_pair_of_two_sizes_is_refused_and_an_orientation_is_told(tmp_path):
    PIL.Image.fromarray(PHOTO).save(tmp_path / "x.jpg")
    GREY.save(tmp_path / "x.png")
    image, alpha = read_portrait(tmp_path / "x.jpg", tmp_path / "x.png")
    assert image.shape == (*alpha.shape, 3)
    PIL.Image.fromarray(PHOTO).save(tmp_path / "x.jpg", exif=exif_of(6))
    with pytest.raises(ImageError, match=r"x\.png: image 72×96, mask 96×72 \(height × width\)") as raised:
        read_portrait(tmp_path / "x.jpg", tmp_path / "x.png")
    assert raised.value.kind is FindingKind.SIZE_MISMATCH
