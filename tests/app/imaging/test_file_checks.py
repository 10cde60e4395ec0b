from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from app.errors import UnreadableImage
from app.imaging import file_checks
from tests.support.hostile_images import chunk, into_jpeg, into_png, scans, segment, webp
from tests.support.images import jpeg, png, portrait, saved

PNG_START = b"\x89PNG\r\n\x1a\n"


def jpeg_of(parts: bytes) -> bytes:
    return b"\xff\xd8" + parts + segment(0xDA, b"\x00\x3f\x00") + b"data\xff\x00data\xff\xd0data\xff\xd9"


def of_comments(count: int) -> bytes:
    return jpeg_of(segment(0xFE, b"text") * count)


def of_exif(count: int) -> bytes:
    return jpeg_of(segment(0xE1, b"Exif\0\0") * count)


def of_chunks(count: int) -> bytes:
    return PNG_START + chunk(b"teSt", b"") * count + chunk(b"IEND", b"")


# The step that finds the first scan, or IEND, is one of those allowed.
LIMITS: list[tuple[str, Callable[[int], bytes], int]] = [
    ("JPEG", of_comments, file_checks.SEGMENTS_MAX - 1),
    ("JPEG", of_exif, file_checks.EXIF_MAX),
    ("PNG", of_chunks, file_checks.CHUNKS_MAX - 1),
]


@pytest.mark.parametrize(("kind", "build", "most"), LIMITS, ids=[row[1].__name__ for row in LIMITS])
def test_as_many_parts_as_allowed_pass_and_one_more_does_not(
    kind: str, build: Callable[[int], bytes], most: int
) -> None:
    file_checks.check_parts(kind, build(most))
    with pytest.raises(UnreadableImage, match="more than"):
        file_checks.check_parts(kind, build(most + 1))


def test_scans_are_counted_to_the_scan() -> None:
    file_checks.check_scans(scans(file_checks.SCANS_MAX))
    with pytest.raises(UnreadableImage, match=f"more than {file_checks.SCANS_MAX} scans"):
        file_checks.check_scans(scans(file_checks.SCANS_MAX + 1))


def test_only_scans_of_the_picture_count() -> None:
    marks = b"\xff\xda" * 500
    file_checks.check_scans(into_jpeg(segment(0xE1, marks)) + marks)


@pytest.mark.parametrize(
    "parts",
    [
        b"",
        b"\xff\xff\xff",
        b"stray \xff\x00 bytes",
        b"\xff\x01\xff\xd0",
        segment(0xE1, b"Exif\0\0\xff\xda\xff\xd9"),
        segment(0xC4, struct.pack(">H", 0xFFDA)),
    ],
    ids=["nothing", "filled", "stray", "without length", "thumbnail", "table"],
)
def test_first_scan_is_found_behind_anything(parts: bytes) -> None:
    assert file_checks.first_scan(jpeg_of(parts)) == 2 + len(parts)


@pytest.mark.parametrize(
    "data", [b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe0\xff\xff"]
)
def test_without_a_scan_it_is_the_end(data: bytes) -> None:
    assert file_checks.first_scan(data) == len(data)


def test_end_before_the_first_scan_is_none() -> None:
    data = jpeg_of(segment(0xE1, b"\xff\xd9"))
    assert file_checks.is_whole("JPEG", data)
    assert not file_checks.is_whole("JPEG", data[:-2])


@pytest.mark.parametrize("kind", [b"IHDR", b"tRNS", b"IDAT", b"IEND"])
def test_wrong_checksum_of_a_chunk_that_makes_the_picture_is_noticed(kind: bytes) -> None:
    data = bytearray(into_png(chunk(b"tEXt", b"a\0b") + chunk(b"tRNS", b"\0\1\0\2\0\3")))
    assert file_checks.is_whole("PNG", bytes(data))
    data[data.index(b"tEXt") + 4] ^= 1
    assert file_checks.is_whole("PNG", bytes(data))
    at = data.index(kind)
    data[at + 4 + int.from_bytes(data[at - 4 : at])] ^= 1
    assert not file_checks.is_whole("PNG", bytes(data))


def test_png_ends_with_its_own_end_and_not_with_one_inside_a_chunk() -> None:
    end = chunk(b"IEND", b"")
    data = into_png(chunk(b"tEXt", end))
    assert file_checks.is_whole("PNG", data + b"more")
    assert not file_checks.is_whole("PNG", data[:-1])
    assert not file_checks.is_whole("PNG", data[: data.rindex(end)])


def test_png_keeps_what_makes_its_picture_and_gives_its_exif() -> None:
    bare = into_png(chunk(b"tRNS", b"\0\1\0\2\0\3"))
    for at_end in (False, True):
        extra = (
            chunk(b"zTXt", b"k\0\0x")
            + chunk(b"eXIf", b"II*\0")
            + chunk(b"eXIf", b"MM\0*")
            + chunk(b"iCCP", b"")
        )
        data = bare[:-12] + extra + bare[-12:] if at_end else bare[:33] + extra + bare[33:]
        assert file_checks.png_picture(data + b"more") == (bare, b"II*\0")
    assert file_checks.png_picture(bare) == (bare, None)


def test_exif_whose_checksum_is_wrong_is_none() -> None:
    data = bytearray(into_png(chunk(b"eXIf", b"II*\0")))
    data[data.index(b"II*")] ^= 1
    assert file_checks.png_picture(bytes(data))[1] is None


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_png_that_is_cut_off_stays_cut_off(cut: int) -> None:
    data = into_png(b"")[:-cut] if cut else into_png(b"")
    assert file_checks.png_picture(data) == (data, None)


def test_size_of_a_png_is_what_its_last_header_before_the_pixels_says() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 9, 8, 2, 0, 0, 0))
    assert file_checks.png_size(into_png(b"")) == (80, 60)
    assert file_checks.png_size(into_png(header)) == (7, 9)
    assert file_checks.png_size(into_png(header, at_end=True)) == (80, 60)
    for data in (PNG_START, PNG_START + chunk(b"IDAT", b"") + header, PNG_START + header[:14]):
        with pytest.raises((ValueError, struct.error)):
            file_checks.png_size(data)


PHOTOS = {
    "JPEG": jpeg(portrait()),
    "progressive": jpeg(portrait(), progressive=True),
    "PNG": png(portrait()),
    "WebP": saved(portrait(), "WEBP"),
    "odd WebP": webp((b"VP8L", b"\x2f\x00\x00\x00\x00")),
}


@pytest.mark.parametrize("first", PHOTOS)
@pytest.mark.parametrize("second", PHOTOS)
def test_picture_behind_a_picture_is_noticed(first: str, second: str) -> None:
    for between in (b"", b"\n", bytes(100)):
        assert file_checks.is_followed(PHOTOS[first] + between + PHOTOS[second])


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("more", [b"", b"\0\0", b"film" * 99, b"\0\0\x18ftypmp42" + bytes(99), b"%PDF-1.7"])
def test_what_is_no_picture_is_none(name: str, more: bytes) -> None:
    assert not file_checks.is_followed(PHOTOS[name] + more)
    assert not file_checks.is_followed(PHOTOS[name][:-5] + more)


@pytest.mark.parametrize(
    "said",
    [
        segment(0xE2, b"MPF\0II*\0" + bytes(40)),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<Container:Directory>"),
    ],
    ids=["multi-picture format", "directory in XMP"],
)
def test_pictures_that_a_jpeg_says_it_brings_are_part_of_it(said: bytes) -> None:
    """The gain map of a phone's HDR photo, for example."""
    assert not file_checks.is_followed(into_jpeg(said) + jpeg(portrait()))


def test_thumbnail_within_a_picture_is_part_of_it() -> None:
    assert not file_checks.is_followed(into_jpeg(segment(0xE1, b"Exif\0\0" + jpeg(portrait(9, 12)))))
    assert not file_checks.is_followed(into_png(chunk(b"tEXt", b"a\0" + png(portrait(9, 12)))))


@pytest.mark.parametrize("data", [b"", b"GIF89a" + jpeg(portrait()), b"\xff\xd8\xff"])
def test_without_a_first_picture_there_is_no_second(data: bytes) -> None:
    assert not file_checks.is_followed(data)


def test_second_picture_is_looked_for_in_a_bounded_time() -> None:
    assert not file_checks.is_followed(into_jpeg(segment(0xFE, b"") * 100_000))
    assert not file_checks.is_followed(scans(5_000) + jpeg(portrait()))
    assert not file_checks.is_followed(into_png(chunk(b"teSt", b"") * 100_000) + png(portrait()))
