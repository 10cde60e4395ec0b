"""HEIC, AVIF, TIFF, BMP and GIF files that are good: their pixels, and what their files say of them."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pillow_heif
import pytest

from app.errors import TooManyPixels, UnreadableImage, UnsupportedType
from app.imaging import coded_size, decode, gif_file, heif_file, tiff_file
from app.imaging.decode import KINDS, Photo
from app.imaging.heif_writer import box
from tests.support.images import Image, jpeg, png, portrait, saved
from tests.support.other_formats import avif, coded, gif, gif_picture, grid, heic, heif, plain_tiff, whole
from tests.support.unusual_images import display_p3

FILES = whole(portrait())
# These lose nothing. HEVC and AV1 as fine as they go are off by up to 20 at such hard edges.
EXACT = ("TIFF", "TIFF by LZW", "TIFF by Deflate", "BMP")
LOSSY = 30


def photo(data: bytes) -> Photo:
    return decode.decode_photo(data, max_pixels=1_000_000)


def apart(one: Image, other: Image) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("name", FILES)
def test_picture_is_the_one_that_was_written(name: str) -> None:
    expected = portrait()
    if "alpha" in name:
        share = portrait()[..., :1] / 255
        expected = portrait() * share + 255 * (1 - share)
    assert photo(FILES[name]).image.shape == portrait().shape
    off = np.abs(photo(FILES[name]).image.astype(float) - expected)
    assert off.max() == 0 if name in EXACT else off.mean() < 2


@pytest.mark.parametrize("name", FILES)
def test_pixel_limit_is_kept_to_the_pixel(name: str) -> None:
    # Padding of a coded picture does not count.
    assert decode.decode_image(FILES[name], max_pixels=60 * 80).shape == (60, 80, 3)
    for read in (decode.decode_image, decode.read_header):
        with pytest.raises(TooManyPixels):
            read(FILES[name], max_pixels=60 * 80 - 1)


@pytest.mark.parametrize("name", FILES)
def test_bytes_after_the_end_are_ignored(name: str) -> None:
    assert np.array_equal(photo(FILES[name] + b"film" * 9).image, photo(FILES[name]).image)


@pytest.mark.parametrize("name", FILES)
def test_decoding_takes_more_memory_than_the_picture(name: str) -> None:
    least = 12 if "alpha" not in name else 20
    assert decode.read_header(FILES[name], max_pixels=10_000).decoder_bytes == least
    assert decode.read_header(jpeg(portrait()), max_pixels=10_000).decoder_bytes == 0


@pytest.mark.parametrize("kind", KINDS)
def test_format_that_is_not_taken_is_refused_and_the_others_are_named(kind: str) -> None:
    files = {"JPEG": jpeg(portrait()), "PNG": png(portrait()), "WEBP": saved(portrait(), "WEBP")} | FILES
    assert decode.read_header(files[kind], max_pixels=10_000, kinds=[kind]).kind == kind
    others = [each for each in ("JPEG", "PNG", "HEIC") if each != kind]
    with pytest.raises(UnsupportedType, match=rf"must be a .*{others[0]}.* or {others[-1]} file"):
        decode.read_header(files[kind], max_pixels=10_000, kinds=others)


STORED = {
    0: lambda image: image,
    1: lambda image: np.rot90(image, -1),
    2: lambda image: image[::-1, ::-1],
    3: lambda image: np.rot90(image, 1),
}


@pytest.mark.parametrize("turns", STORED)
@pytest.mark.parametrize("mirror", [None, 0, 1])
@pytest.mark.parametrize("kind", [b"hvc1", b"av01"])
def test_rotation_and_mirror_of_the_boxes_are_applied_once(
    kind: bytes, turns: int, mirror: int | None
) -> None:
    """`irot` turns anticlockwise, `imir` then exchanges top and bottom (0) or left and right (1)."""
    upright = portrait(64, 96)
    before = {None: upright, 0: upright[::-1], 1: upright[:, ::-1]}[mirror]
    item = coded(np.ascontiguousarray(STORED[turns](before)), kind)
    boxes = [box(b"irot", bytes([turns])), *([] if mirror is None else [box(b"imir", bytes([mirror]))])]
    data = heif(
        [item._replace(properties=[*item.properties, *boxes])], brand=b"heic" if kind == b"hvc1" else b"avif"
    )
    assert apart(photo(data).image, upright) <= LOSSY


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_counts_as_programs_write_it_and_once(orientation: int) -> None:
    """libavif writes it as boxes, beside EXIF; a TIFF has it as a tag."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image = portrait(64, 96)
    shown = np.asarray(
        PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(saved(image, "PNG", exif=exif))))
    )
    for data in (avif(image, exif=exif.tobytes()), plain_tiff(image, more=[(274, 3, [orientation])])):
        assert apart(photo(data).image, shown) <= LOSSY


def test_tiles_are_put_together() -> None:
    image = portrait(128, 180)
    padded = np.pad(image, ((0, 0), (0, 12), (0, 0)), "edge")
    parts = [padded[top : top + 64, left : left + 64] for top in (0, 64) for left in (0, 64, 128)]
    for kind, brand in ((b"hvc1", b"heic"), (b"av01", b"avif")):
        tiles = [coded(np.ascontiguousarray(part), kind) for part in parts]
        data = heif([grid(2, 3, 180, 128), *tiles], {(b"dimg", 1): range(2, 8)}, brand=brand)
        assert apart(photo(data).image, image) <= LOSSY


def test_gain_map_and_preview_do_not_count() -> None:
    image = portrait(64, 96)
    item = coded(image)
    kind = box(b"auxC", bytes(4), b"urn:com:apple:photo:2020:aux:hdrgainmap\0")
    gain = coded(np.full((64, 64, 3), 255, np.uint8))
    gain = gain._replace(properties=[*gain.properties, kind])
    data = heif([item, gain, gain], {(b"auxl", 2): [1], (b"thmb", 3): [1]})
    assert np.array_equal(photo(data).image, photo(heif([item])).image)


@pytest.mark.parametrize("depth", [10, 12])
def test_more_bits_of_heic_and_avif_become_8(depth: int) -> None:
    levels = np.tile(np.linspace(0, 65_535, 96), (64, 1)).astype(np.uint16)
    picture = pillow_heif.from_bytes("RGB;16", (96, 64), np.dstack([levels] * 3).tobytes())
    pillow_heif.options.SAVE_HDR_TO_12_BIT = depth == 12
    try:
        file = io.BytesIO()
        picture.save(file, quality=-1, chroma=444)
    finally:
        pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    assert apart(photo(file.getvalue()).image[..., 0], np.rint(levels / 257)) <= 2


@pytest.mark.parametrize("compression", [1, 5, 8, 32_946])
def test_16_bits_of_tiff_become_8(compression: int) -> None:
    wide = portrait().astype(np.uint16) * 257
    done, data = cv2.imencode(".tiff", wide[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    assert done
    assert np.array_equal(photo(data.tobytes()).image, portrait())
    grey = np.linspace(0, 65_535, 60 * 80).reshape(60, 80).astype(np.uint16)
    assert apart(photo(saved(PIL.Image.fromarray(grey), "TIFF")).image[..., 0], np.rint(grey / 257)) == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_pixels_of_tiff_become_rgb_as_in_png(mode: str) -> None:
    picture = PIL.Image.fromarray(portrait()).convert(mode)
    expected = np.asarray(picture.convert("RGB"))
    for compression in (None, "tiff_lzw"):
        assert apart(photo(saved(picture, "TIFF", compression=compression)).image, expected) == 0


def test_bmp_from_the_top_down_is_upright() -> None:
    data = bytearray(saved(portrait(), "BMP"))
    struct.pack_into("<i", data, 22, -60)
    assert np.array_equal(photo(bytes(data)).image, portrait()[::-1])


def film(kind: str) -> bytes:
    pictures = [PIL.Image.fromarray(np.roll(portrait(), 20 * turn, 1)) for turn in range(3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    return saved(pictures[0], kind, save_all=True, append_images=pictures[1:], **options)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_first_picture_is_taken_and_all_are_counted(kind: str) -> None:
    taken = photo(film(kind))
    assert taken.frames == 3
    assert np.abs(taken.image.astype(int) - portrait()).mean() < 2  # a GIF has 256 colours
    assert photo(FILES.get(kind, png(portrait()))).frames == 1


def test_density_is_read() -> None:
    exif = PIL.Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 300.0, 150.0, 2
    exif[0x0112] = 6
    files = {
        "JPEG": saved(portrait(), "JPEG", dpi=(300, 150)),
        "PNG": saved(portrait(), "PNG", dpi=(300, 150)),
        "TIFF": saved(portrait(), "TIFF", dpi=(300, 150)),
        "BMP": saved(portrait(), "BMP", dpi=(300, 150)),
    }
    for name, data in files.items():
        assert photo(data).density == pytest.approx((300, 150), abs=0.1), name
    assert photo(avif(portrait(), exif=exif.tobytes())).density == pytest.approx((150, 300))
    # A picture that is turned has its dots turned.
    assert photo(saved(portrait(), "WEBP", exif=exif)).density == pytest.approx((150, 300))
    assert photo(png(portrait())).density is None
    assert photo(jpeg(portrait())).density is None


def test_profile_is_read_from_each_file_that_can_hold_one() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        assert photo(saved(portrait(), kind, icc_profile=display_p3())).profile == display_p3(), kind
    file = io.BytesIO()
    pillow_heif.from_pillow(PIL.Image.fromarray(portrait())).save(file, icc_profile=display_p3())
    assert photo(file.getvalue()).profile == display_p3()


def test_decoder_sees_the_picture_alone() -> None:
    secret = b"the beach at home"
    exif = PIL.Image.Exif()
    exif[0x010E] = secret.decode()
    files = [
        (heif_file, heic(portrait(), exif=exif.tobytes())),
        (heif_file, avif(portrait(), exif=exif.tobytes())),
        (gif_file, gif(4, 4, b"!\xfe" + bytes([len(secret)]) + secret + b"\0", gif_picture(4, 4))),
    ]
    for module, data in files:
        assert secret in data
        assert secret not in module.read(data).data
    tags = PIL.Image.open(
        io.BytesIO(tiff_file.read(saved(portrait(), "TIFF", exif=exif, dpi=(9, 9))).data)
    ).tag_v2
    assert not {0x010E, 282, 34_665} & set(tags)


def test_second_page_and_film_are_not_in_what_the_decoder_sees() -> None:
    assert getattr(PIL.Image.open(io.BytesIO(tiff_file.read(film("TIFF")).data)), "n_frames", 1) == 1
    assert getattr(PIL.Image.open(io.BytesIO(gif_file.read(film("GIF")).data)), "n_frames", 1) == 1


@pytest.mark.parametrize("kind", [b"hvc1", b"av01"])
def test_size_in_the_coded_data_is_read(kind: bytes) -> None:
    read = coded_size.of_hevc if kind == b"hvc1" else coded_size.of_av1
    name = b"hvcC" if kind == b"hvc1" else b"av1C"
    for height, width in ((64, 96), (300, 400), (1_080, 96), (64, 1_920)):
        item = coded(portrait(height, width), kind)
        (configuration,) = [each[8:] for each in item.properties if each[4:8] == name]
        sizes = set(read(configuration, item.data))
        assert sizes
        for wide, high in sizes:
            assert 0 <= wide - width < 64
            assert 0 <= high - height < 64


@pytest.mark.parametrize("place", ["configuration", "data"])
def test_coded_picture_that_is_larger_than_its_box_is_refused_before_it_is_decoded(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever its parameter sets are: a decoder would make what they say."""
    small, large = coded(portrait(64, 64)), coded(portrait(512, 512))
    box_of = {each[4:8]: each for each in large.properties}
    properties = [
        box_of[b"hvcC"] if place == "configuration" and each[4:8] == b"hvcC" else each
        for each in small.properties
    ]
    configuration = box_of[b"hvcC"][8:]
    at = configuration.index(b"\x42\x01")
    (length,) = struct.unpack_from(">H", configuration, at - 2)
    unit = struct.pack(">I", length) + configuration[at : at + length]
    data = unit + small.data if place == "data" else small.data
    monkeypatch.setattr(pillow_heif, "open_heif", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UnreadableImage):
        photo(heif([small._replace(properties=properties, data=data)]))
