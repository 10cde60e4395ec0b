"""Photos of every kind become the same upright pixels, and files that cannot be read are named."""

import io
import pickle
import re

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from training.data.findings import FindingKind
from training.data.images import MASK_FORMATS, PHOTO_FORMATS, ImageError, read_header, read_image

RNG = np.random.default_rng(4)
UPRIGHT = cv2.resize(RNG.integers(0, 256, (5, 4, 3), np.uint8), (40, 56), interpolation=cv2.INTER_CUBIC)
ORIENTATION = 0x0112
# From upright to stored pixels, for EXIF's orientations.
STORED = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}


def exif_of(orientation):
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def save(path, pixels, **options):
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(path, **options)
    return path


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_photo_is_read_as_a_viewer_shows_it(tmp_path, suffix, orientation):
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    path = save(tmp_path / f"x{suffix}", STORED[orientation](UPRIGHT), exif=exif_of(orientation), **options)
    image = read_image(path)
    viewed = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(path)))
    np.testing.assert_array_equal(image, viewed)
    # JPEG is a few levels off.
    assert np.abs(image.astype(int) - UPRIGHT).max() <= (12 if suffix == ".jpg" else 0)
    measures = read_header(path, PHOTO_FORMATS)
    assert (measures.size, measures.orientation, measures.channels) == ((56, 40), orientation, 3)


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>'
)


def test_an_orientation_in_xmp_alone_turns_nothing(tmp_path):
    path = save(tmp_path / "x.jpg", UPRIGHT, xmp=XMP, quality=100, subsampling=0)
    with PIL.Image.open(path) as opened:
        assert opened.getexif()[ORIENTATION] == 3  # so Pillow would turn it
    assert np.abs(read_image(path).astype(int) - UPRIGHT).max() <= 12
    assert read_header(path, PHOTO_FORMATS).orientation == 1


@pytest.mark.parametrize("exif", [b"Exif\0\0MM", b"rubbish", exif_of(0).tobytes(), exif_of(9).tobytes()])
def test_a_photo_with_broken_exif_is_still_a_photo(tmp_path, exif):
    path = save(tmp_path / "x.webp", UPRIGHT, exif=exif, lossless=True)
    np.testing.assert_array_equal(read_image(path), UPRIGHT)


def as_png(kind):
    """A picture of this kind as PNG, and the RGB that it is."""
    rgb, grey = PIL.Image.fromarray(UPRIGHT), PIL.Image.fromarray(UPRIGHT[:, :, 0])
    threefold = np.repeat(UPRIGHT[:, :, :1], 3, axis=2)
    deep = UPRIGHT.astype(np.uint16) * 257
    clear = PIL.Image.merge("RGBA", [*rgb.split(), PIL.Image.new("L", rgb.size, 0)])
    pictures = {
        "grey": (grey, threefold),
        "16-bit grey": (PIL.Image.fromarray(deep[:, :, 0]), threefold),
        "palette": (rgb.quantize(16), np.asarray(rgb.quantize(16).convert("RGB"))),
        "one bit": (grey.convert("1"), np.asarray(grey.convert("1").convert("RGB"))),
        "transparent": (clear, np.full_like(UPRIGHT, 255)),
    }
    if kind == "16-bit colour":
        return cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes(), UPRIGHT
    picture, expected = pictures[kind]
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue(), expected


@pytest.mark.parametrize(
    "kind", ["grey", "16-bit grey", "16-bit colour", "palette", "one bit", "transparent"]
)
def test_every_kind_of_picture_becomes_rgb_of_8_bits(tmp_path, kind):
    data, expected = as_png(kind)
    (tmp_path / "x.png").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), expected)


def test_a_cmyk_jpeg_is_read(tmp_path):
    PIL.Image.fromarray(UPRIGHT).convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    assert read_image(tmp_path / "x.jpg").shape == UPRIGHT.shape


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("left", [0.5, 0.95])
def test_a_file_cut_off_is_refused_by_its_name_also_without_decoding(tmp_path, suffix, left):
    path = save(tmp_path / f"x{suffix}", RNG.integers(0, 256, (90, 80, 3), np.uint8))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])
    for read in (read_image, lambda path: read_header(path, PHOTO_FORMATS)):
        with pytest.raises(ImageError, match=rf"^{re.escape(str(path))}: ") as raised:
            read(path)
        assert raised.value.kind is FindingKind.UNREADABLE


def test_bytes_behind_the_end_of_a_photo_do_no_harm(tmp_path):
    """Phones append a film."""
    path = save(tmp_path / "x.jpg", UPRIGHT)
    expected = read_image(path)
    path.write_bytes(path.read_bytes() + b"film" * 5000)
    np.testing.assert_array_equal(read_image(path), expected)
    assert read_header(path, PHOTO_FORMATS).size == (56, 40)


def test_what_is_no_photo_is_named_with_the_reason(tmp_path):
    for name, content, reason in (
        ("none.png", None, "no such file"),
        ("empty.png", b"", "empty file"),
        ("text.png", b"not a picture", "not a picture in a format that is read here"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ImageError) as raised:
            read_image(path)
        assert str(raised.value) == f"{path}: {reason}"
    tiff = save(tmp_path / "x.tif", UPRIGHT)
    with pytest.raises(ImageError, match="not a picture in a format that is read here"):
        read_image(tiff)
    assert read_header(tiff, MASK_FORMATS).size == (56, 40)


def test_an_error_goes_whole_from_one_process_to_another(tmp_path):
    with pytest.raises(ImageError) as raised:
        read_image(tmp_path / "none.png")
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.kind, again.path) == (
        str(raised.value),
        FindingKind.UNREADABLE,
        tmp_path / "none.png",
    )
