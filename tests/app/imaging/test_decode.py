from __future__ import annotations

import contextlib
import io
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from app.errors import ClientError, TooManyPixels, UnreadableImage, UnsupportedType
from app.imaging import decode as codec
from app.imaging import png_writer
from tests.support.hostile_images import chunk
from tests.support.images import Image, jpeg, pixels, png, portrait, saved
from tests.support.unusual_images import display_p3

# JPEG at quality 95 moves values at the sharp edges of these pictures by up to 21 steps; a wrong turn by over 100.
JPEG_STEPS = 30

# How a camera stores the upright picture for each EXIF orientation: the inverse of what a viewer has to do.
STORED: dict[int, Callable[[Image], Image]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, 1),
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: np.rot90(image, -1),
}


# How Pillow writes each format with the least loss.
FINE: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
}


def decode(data: bytes, max_pixels: int = 1_000_000) -> Image:
    return codec.decode_image(data, max_pixels=max_pixels)


def apart(one: Image, other: Image) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


def test_png_is_decoded_exactly() -> None:
    image = portrait()
    assert np.array_equal(decode(png(image)), image)


def test_webp_is_decoded_exactly_when_lossless() -> None:
    image = portrait()
    assert np.array_equal(decode(saved(image, "WEBP", lossless=True)), image)


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(orientation: int) -> None:
    stored = np.ascontiguousarray(STORED[orientation](portrait()))
    assert apart(decode(jpeg(stored, orientation=orientation)), portrait()) <= JPEG_STEPS


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_orientation_is_applied_in_other_formats_too(kind: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = np.ascontiguousarray(np.rot90(portrait()))
    assert np.array_equal(decode(saved(stored, kind, exif=exif, **options)), portrait())


def turned() -> tuple[Image, bytes]:
    """A picture stored sideways, and the EXIF block that says so, as a PNG holds it."""
    given = PIL.Image.Exif()
    given[0x0112] = 6
    return np.ascontiguousarray(np.rot90(portrait())), given.tobytes().removeprefix(b"Exif\0\0")


def with_chunk(data: bytes, kind: bytes, body: bytes, *, at_end: bool = False) -> bytes:
    at = len(data) - 12 if at_end else 33
    return data[:at] + chunk(kind, body) + data[at:]


@pytest.mark.parametrize("at_end", [False, True])
def test_exif_of_a_png_counts_before_its_pixels_and_behind_them(at_end: bool) -> None:
    stored, exif = turned()
    assert np.array_equal(decode(with_chunk(png(stored), b"eXIf", exif, at_end=at_end)), portrait())


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
RAW = "\nexif\n      30\n" + turned()[1].hex()
WITHOUT_EXIF = {
    "XMP in a JPEG": saved(portrait(), "JPEG", quality=95, subsampling=0, xmp=XMP),
    "XMP in a WebP": saved(portrait(), "WEBP", lossless=True, xmp=XMP),
    "XMP in a PNG": with_chunk(png(portrait()), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "XMP behind a PNG's pixels": with_chunk(
        png(portrait()), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP, at_end=True
    ),
    "EXIF in a PNG's text": with_chunk(png(portrait()), b"tEXt", b"Raw profile type exif\0" + RAW.encode()),
    "text called EXIF": with_chunk(png(portrait()), b"tEXt", b"exif\0Exif\0\0" + turned()[1]),
}


@pytest.mark.parametrize("name", WITHOUT_EXIF)
def test_orientation_that_exif_does_not_say_is_none(name: str) -> None:
    """Browsers show these as they are stored."""
    assert apart(decode(WITHOUT_EXIF[name]), portrait()) <= JPEG_STEPS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_without_an_orientation_does_not_let_xmp_say_one(kind: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x010F] = "A camera"
    data = saved(portrait(), kind, exif=exif, xmp=XMP, **FINE[kind])
    if kind == "PNG":
        data = with_chunk(data, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    assert apart(decode(data), portrait()) <= JPEG_STEPS


@pytest.mark.parametrize("orientation", [0, 9, 4711])
def test_orientation_out_of_range_means_upright(orientation: int) -> None:
    assert apart(decode(jpeg(portrait(), orientation=orientation)), portrait()) <= JPEG_STEPS


def test_broken_exif_does_not_cost_the_photo() -> None:
    data = jpeg(portrait(), orientation=6)
    start = data.index(b"Exif\0\0") + 6
    assert decode(data[:start] + b"\xff" * 8 + data[start + 8 :]).shape == portrait().shape


def test_grey_becomes_three_equal_channels() -> None:
    grey = portrait()[..., 1]
    assert np.array_equal(decode(saved(grey, "PNG")), np.dstack([grey] * 3))


def test_one_bit_becomes_black_and_white() -> None:
    mask = portrait()[..., 0] > 100
    assert np.array_equal(decode(saved(PIL.Image.fromarray(mask), "PNG"))[..., 2], mask * np.uint8(255))


def test_sixteen_bit_grey_is_scaled_and_not_cut_off() -> None:
    grey = np.linspace(0, 65_535, 60 * 80).reshape(60, 80).astype(np.uint16)
    expected = np.rint(grey / 257)
    # 65,535 / 255 = 257: a step of the 8-bit picture is 257 of the 16-bit one, rounded to the nearest.
    assert apart(decode(saved(PIL.Image.fromarray(grey), "PNG"))[..., 0], expected) == 0


def test_sixteen_bit_colour_is_scaled() -> None:
    colour = portrait().astype(np.uint16) * 257
    done, data = cv2.imencode(".png", colour[..., ::-1])
    assert done
    assert np.array_equal(decode(data.tobytes()), portrait())


def test_palette_becomes_rgb() -> None:
    picture = PIL.Image.fromarray(portrait()).quantize(64)
    assert np.array_equal(decode(saved(picture, "PNG")), np.array(picture.convert("RGB")))


def test_transparent_palette_entry_becomes_white() -> None:
    picture = PIL.Image.fromarray(portrait()).quantize(64)
    entry = picture.getpixel((0, 0))
    decoded = decode(saved(picture, "PNG", transparency=entry))
    clear = np.array(picture) == entry
    assert (decoded[clear] == 255).all()
    assert np.array_equal(decoded[~clear], np.array(picture.convert("RGB"))[~clear])


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_laid_over_white(kind: str) -> None:
    alpha = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = saved(np.dstack((portrait(), alpha)), kind, **options)
    share = alpha[..., None] / 255
    expected = portrait() * share + 255 * (1 - share)
    # One step: the blend is in integers, here in floats.
    assert apart(decode(data), expected) <= 1


def test_grey_with_alpha_is_laid_over_white() -> None:
    grey, alpha = portrait()[..., 1], portrait()[..., 0]
    data = saved(PIL.Image.merge("LA", [PIL.Image.fromarray(grey), PIL.Image.fromarray(alpha)]), "PNG")
    expected = 255 + (grey.astype(float) - 255) * (alpha / 255)
    assert apart(decode(data)[..., 0], expected) <= 1  # rounding


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_colour_profile_is_not_applied_and_values_stay_as_they_are(
    kind: str, options: dict[str, bool]
) -> None:
    """A photo of a wide gamut is taken for one of sRGB, and its answer says nothing else: colours come out paler."""
    data = saved(portrait(), kind, icc_profile=display_p3(), **options)
    assert b"ICCP" in data.upper()
    assert np.array_equal(decode(data), portrait())


LARGE = 1_100_000  # bytes: more than the 1 MiB to which Pillow unpacks


def with_texts(*, zip: bool, international: bool, at_end: bool) -> bytes:
    texts = PngInfo()
    add = texts.add_itxt if international else texts.add_text
    add("workflow", "x" * LARGE, zip=zip)
    data = saved(portrait(), "PNG", pnginfo=texts)
    first, last = data.index(b"IDAT") - 4, len(data) - 12
    return data[:33] + data[first:last] + data[33:first] + data[last:] if at_end else data


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("international", [False, True])
@pytest.mark.parametrize("zip", [False, True])
def test_large_text_does_not_cost_the_photo(zip: bool, international: bool, at_end: bool) -> None:
    data = with_texts(zip=zip, international=international, at_end=at_end)
    assert np.array_equal(decode(data), portrait())
    assert codec.read_header(data, max_pixels=10_000).pixels == 60 * 80


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_large_colour_profile_and_xmp_do_not_cost_the_photo(kind: str) -> None:
    options = FINE[kind].copy()
    if kind != "JPEG":  # which takes 64 KiB of XMP in a segment
        options["xmp"] = b"x" * LARGE
    data = saved(portrait(), kind, icc_profile=bytes(LARGE), **options)
    assert apart(decode(data), portrait()) <= (JPEG_STEPS if kind == "JPEG" else 0)


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    ("kind", "head"), [(b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")]
)
def test_what_a_png_carries_beside_its_picture_is_not_unpacked(
    kind: bytes, head: bytes, at_end: bool
) -> None:
    bomb = zlib.compress(bytes(100_000_000), 9)
    data = with_chunk(png(portrait()), kind, head + bomb, at_end=at_end)
    tracemalloc.start()
    try:
        codec.read_header(data, max_pixels=10_000)
        decode(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The picture and some copies of it have 14 kB each; a third of the bomb's 100 kB of file would show.
    assert peak < 1_000_000


def test_animated_png_gives_its_picture_whatever_its_other_frames_are() -> None:
    first, second = PIL.Image.fromarray(portrait()), PIL.Image.new("RGB", (80, 60))
    data = saved(first, "PNG", save_all=True, append_images=[second])
    assert np.array_equal(decode(data), portrait())
    frame = data.rindex(b"fcTL")
    body = bytes(4) + struct.pack(">II", 60_000, 60_000) + bytes(14)
    assert np.array_equal(decode(data[: frame - 4] + chunk(b"fcTL", body) + data[frame + 34 :]), portrait())


def test_cmyk_jpeg_becomes_rgb() -> None:
    data = saved(PIL.Image.fromarray(portrait()).convert("CMYK"), "JPEG", quality=95, subsampling=0)
    assert apart(decode(data), portrait()) <= JPEG_STEPS


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_decoded_as_pillow_decodes_it(progressive: bool) -> None:
    image = PIL.Image.fromarray(portrait(61, 83))
    data = saved(image, "JPEG", quality=80, subsampling=2, progressive=progressive)
    assert np.array_equal(codec.decode_image(data, max_pixels=10_000), pixels(data))


def test_jpeg_with_stray_bytes_before_its_end_is_still_a_photo() -> None:
    data = jpeg(portrait())
    strayed = data[:-2] + b"\x00\x01\x02" + data[-2:]
    assert np.array_equal(
        codec.decode_image(strayed, max_pixels=10_000), codec.decode_image(data, max_pixels=10_000)
    )


def test_animation_gives_its_first_picture() -> None:
    first, second = PIL.Image.fromarray(portrait()), PIL.Image.new("RGB", (80, 60))
    data = saved(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert np.array_equal(decode(data), portrait())


def test_very_long_picture_is_fine() -> None:
    assert decode(png(portrait(1, 70_000))).shape == (1, 70_000, 3)


@pytest.mark.parametrize(
    "data", [b"", b"GIF88a" + b"\0" * 50, b"BM" + b"\0" * 50, b"<svg/>", b"%PDF-1.7", b"II+\0" + b"\0" * 50]
)
def test_other_formats_are_refused_by_their_magic(data: bytes) -> None:
    with pytest.raises(UnsupportedType):
        decode(data)


FILES = {
    "jpeg": jpeg(portrait()),
    "progressive": jpeg(portrait(), progressive=True),
    "png": png(portrait()),
    "lossless webp": saved(portrait(), "WEBP", lossless=True),
    "lossy webp": saved(portrait(), "WEBP"),
    "webp with alpha": saved(np.dstack((portrait(), portrait()[..., 0])), "WEBP"),
}


@pytest.mark.parametrize("name", FILES)
def test_pixel_limit_is_kept_to_the_pixel(name: str) -> None:
    assert decode(FILES[name], 60 * 80).shape == (60, 80, 3)
    with pytest.raises(TooManyPixels):
        decode(FILES[name], 60 * 80 - 1)


def test_pixel_limit_is_checked_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    empty = struct.pack(">I", 0)
    rest = empty + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(TooManyPixels, match="60000 x 60000"):
        decode(data + rest)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8, 0.95])
def test_truncated_file_is_refused(name: str, share: float) -> None:
    data = FILES[name]
    with pytest.raises(UnreadableImage):
        decode(data[: max(12, int(len(data) * share))])


@pytest.mark.parametrize("name", FILES)
def test_loss_of_the_last_few_bytes_is_noticed(name: str) -> None:
    data = FILES[name]
    for length in range(len(data) - 40, len(data)):
        with pytest.raises(UnreadableImage):
            decode(data[:length])


@pytest.mark.parametrize("name", FILES)
def test_bytes_after_the_end_are_ignored(name: str) -> None:
    assert np.array_equal(decode(FILES[name] + b"\xff\xdafilm" * 9), decode(FILES[name]))


def test_end_of_a_thumbnail_is_not_the_end_of_the_photo() -> None:
    exif = b"Exif\0\0" + jpeg(portrait(9, 12))
    data = jpeg(portrait())
    whole = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert np.array_equal(decode(whole), decode(data))
    with pytest.raises(UnreadableImage):
        decode(whole[:-2])


@pytest.mark.filterwarnings("ignore")  # Pillow warns of oddities that it lives with.
@pytest.mark.parametrize("name", FILES)
def test_damaged_bytes_give_a_picture_or_a_client_error(name: str) -> None:
    random = np.random.default_rng(7)
    for _ in range(200):
        damaged = bytearray(FILES[name])
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = random.integers(256)
        with contextlib.suppress(ClientError):
            assert decode(bytes(damaged)).dtype == np.uint8


# The last ones take several strips, of many rows each and of a single one.
@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 300), (300, 1), (37, 53), (37, 53, 3), (37, 53, 4), (700, 400, 4), (3, 140_000, 4)],
)
def test_png_reads_back_in_pillow_and_opencv(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    data = png_writer.encode_png(image)
    assert np.array_equal(pixels(data), image)
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    order = [0, 1, 2, 3][: image.shape[2]] if image.ndim == 3 else None
    if order is not None:
        order[:3] = [2, 1, 0]
        seen = seen[..., order]
    assert np.array_equal(seen, image)


def test_png_is_strictly_valid_and_holds_nothing_but_pixels() -> None:
    data = png_writer.encode_png(portrait()[..., 0])
    PIL.Image.open(io.BytesIO(data)).verify()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    kinds, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        assert checksum == zlib.crc32(kind + body)
        kinds.append(kind)
        at += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


def test_png_without_isal_is_made_by_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    compressor, crc32 = png_writer.choose_deflate()
    monkeypatch.setattr(png_writer, "_compressor", compressor)
    monkeypatch.setattr(png_writer, "crc32", crc32)
    assert np.array_equal(pixels(png_writer.encode_png(portrait())), portrait())


def test_png_of_a_strided_view_is_right() -> None:
    view = portrait()[::2, ::3]
    assert np.array_equal(pixels(png_writer.encode_png(view)), view)


def halved(data: bytes, limit: int = 1_000_000) -> tuple[Image, tuple[int, int]]:
    photo = codec.decode_photo(data, max_pixels=limit, reduction=lambda height, width: 2)
    return photo.image, photo.size


@pytest.mark.parametrize("size", [(60, 80), (61, 81), (1, 1), (64, 41)])
def test_jpeg_comes_at_half_its_size_with_its_own(size: tuple[int, int]) -> None:
    image = portrait(*size)
    half, own = halved(jpeg(image))
    assert own == size
    assert half.shape[:2] == (-(-size[0] // 2), -(-size[1] // 2))
    averaged = cv2.resize(image, half.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(half.astype(int) - averaged).mean() < 4


@pytest.mark.parametrize("orientation", STORED)
def test_half_a_jpeg_is_upright_too(orientation: int) -> None:
    image = portrait(60, 80)
    half, own = halved(jpeg(np.ascontiguousarray(STORED[orientation](image)), orientation=orientation))
    assert own == (60, 80)
    assert np.abs(half.astype(int) - cv2.resize(image, (40, 30), interpolation=cv2.INTER_AREA)).mean() < 4


def test_reduction_is_asked_for_the_upright_size() -> None:
    asked: list[tuple[int, int]] = []

    def reduction(height: int, width: int) -> int:
        asked.append((height, width))
        return 1

    codec.decode_photo(jpeg(portrait(60, 80), orientation=6), max_pixels=10_000, reduction=reduction)
    assert asked == [(80, 60)]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_formats_come_whole(kind: str) -> None:
    whole, own = halved(saved(portrait(60, 80), kind))
    assert whole.shape == (60, 80, 3)
    assert own == (60, 80)


def test_damaged_jpeg_is_no_better_at_half_its_size() -> None:
    with pytest.raises(UnreadableImage):
        halved(jpeg(portrait(200, 200))[:-300])
