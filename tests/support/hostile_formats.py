"""Bad and odd HEIC, AVIF, TIFF, BMP and GIF files, by kind, as `hostile_images` has those of the other formats."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import PIL.Image

from app.errors import ClientError, TooManyPixels, UnreadableImage, UnsupportedType
from app.imaging import gif_file, heif_file, tiff_file
from app.imaging.heif_writer import box
from tests.support.hostile_images import CUTS, SIZE, Case
from tests.support.images import portrait, saved
from tests.support.other_formats import (
    Item,
    Tag,
    avif,
    bmp,
    coded,
    gif,
    gif_picture,
    grid,
    heic,
    heif,
    ispe,
    plain_tiff,
    replaced,
    tiff,
    whole,
)

FLIPS: Final = 60
TILE: Final = 64
HUGE: Final = 60_000


def _truncated() -> Iterator[Case]:
    for name, data in whole(portrait(*SIZE)).items():
        # The last byte of a GIF ends the file, not the picture.
        for cut in np.linspace(0, len(data) - 2, CUTS).astype(int):
            yield Case(f"{name} cut at {cut}", data[:cut], ClientError)


def _flipped() -> Iterator[Case]:
    random = np.random.default_rng(13)
    for name, data in whole(portrait(*SIZE)).items():
        for place in (*random.integers(0, 600, FLIPS // 2), *random.integers(0, len(data), FLIPS // 2)):
            damaged = bytearray(data)
            damaged[min(place, len(data) - 1)] ^= 1 << int(random.integers(8))
            yield Case(f"{name} flipped at {place}", bytes(damaged), None)


def tiled(
    rows: int, columns: int, width: int, height: int, *, kind: bytes = b"hvc1", **changed: int
) -> bytes:
    """A grid, of which a number may be `changed` in its box: `tiles` that it refers to, `wide` and `high`."""
    tile = coded(portrait(TILE, TILE), kind)
    size = (changed.get("wide", width), changed.get("high", height))
    count = changed.get("tiles", rows * columns)
    links = {(b"dimg", 1): range(2, 2 + count)}
    brand = b"heic" if kind == b"hvc1" else b"avif"
    return heif([grid(rows, columns, width, height, size), *[tile] * count], links, brand=brand)


def _grids() -> Iterator[Case]:
    for kind in (b"hvc1", b"av01"):
        name = kind.decode()
        yield Case(f"{name} grid", tiled(2, 3, 180, 128, kind=kind), (128, 180))
        huge = tiled(2, 3, HUGE, HUGE, kind=kind)
        yield Case(f"{name} grid of {HUGE} a side", huge, ClientError)
        lying = tiled(2, 3, 180, 128, kind=kind, wide=HUGE, high=HUGE)
        yield Case(f"{name} grid whose box says {HUGE}", lying, ClientError)
        yield Case(f"{name} grid without tiles", tiled(2, 3, 180, 128, kind=kind, tiles=0), UnreadableImage)
        yield Case(
            f"{name} grid of too few tiles", tiled(2, 3, 180, 128, kind=kind, tiles=5), UnreadableImage
        )
        yield Case(f"{name} grid that shows too little", tiled(9, 9, 90, 90, kind=kind), UnreadableImage)
        yield Case(f"{name} grid that shows a pixel", tiled(9, 9, 1, 1, kind=kind), UnreadableImage)
    many = heif_file.TILES_MAX + 1
    tile = coded(portrait(TILE, TILE))
    wide = grid(1, 200, 200 * TILE, TILE)
    yield Case("a grid of the same tile", heif([wide, tile], {(b"dimg", 1): [2] * 200}), UnreadableImage)
    large = tile._replace(data=tile.data + bytes(1_000_000))
    same = heif([grid(1, 40, 40 * TILE, TILE), large], {(b"dimg", 1): [2] * 40})
    yield Case("a grid of the same megabyte", same, UnreadableImage)
    thin = grid(1, 201, 201 * TILE, TILE)._replace(
        data=struct.pack(">BBBBII", 0, 1, 4, 200, many * TILE, TILE)
    )
    yield Case(
        "a grid of more tiles than may be", heif([thin, tile], {(b"dimg", 1): [2] * many}), ClientError
    )
    yield Case("a grid of itself", heif([grid(1, 1, 64, 64)], {(b"dimg", 1): [1]}), ClientError)
    inner = heif([grid(1, 1, 64, 64), grid(1, 1, 64, 64), tile], {(b"dimg", 1): [2], (b"dimg", 2): [3]})
    yield Case("a grid of grids", inner, UnsupportedType)


def _lying_boxes() -> Iterator[Case]:
    image = portrait(64, 128)
    for name, data in (("HEIC", heic(image)), ("AVIF", avif(image))):
        yield Case(f"{name} of {HUGE} a side", replaced(data, b"ispe", ispe(HUGE, HUGE)), UnreadableImage)
        yield Case(
            f"{name} of 2^32 a side", replaced(data, b"ispe", ispe(2**32 - 1, 2**32 - 1)), UnreadableImage
        )
        yield Case(f"{name} without a side", replaced(data, b"ispe", ispe(0, 9)), UnreadableImage)
        # Smaller than its data: a decoder would make what the data says.
        larger = heic(portrait(512, 512)) if name == "HEIC" else avif(portrait(512, 512))
        yield Case(f"{name} larger than it says", replaced(larger, b"ispe", ispe(64, 64)), UnreadableImage)
        smaller = replaced(data, b"ispe", ispe(256, 256))
        yield Case(f"{name} smaller than it says", smaller, UnreadableImage)
        for kind in (b"iloc", b"iinf", b"iprp", b"pitm", b"ispe", b"ipma", b"ipco", b"meta"):
            yield Case(f"{name} without {kind!r}", data.replace(kind, b"free", 1), UnreadableImage)
        at = data.index(b"iloc") - 4
        yield Case(f"{name} with a box of 4 GiB", data[:at] + b"\xff" * 4 + data[at + 4 :], UnreadableImage)
        yield Case(f"{name} with a box of nothing", data[:at] + b"\0\0\0\4" + data[at + 4 :], UnreadableImage)
        empty = box(b"free") * (heif_file.PARTS_MAX + 1)
        end = data.index(b"meta") - 4
        yield Case(f"{name} with empty boxes", data[:end] + empty + data[end:], UnreadableImage)
        film = data + box(b"moov", box(b"trak", bytes(99))) + bytes(50_000)
        yield Case(f"{name} and a film", film, (64, 128))
    picture = coded(image)
    for kind in (b"unci", b"jpeg", b"j2k1", b"iden", b"iovl", b"avc1", b"vvc1", b"av01", b"tmap"):
        yield Case(
            f"coded as {kind!r}", heif([Item(kind, picture.properties, picture.data)]), UnsupportedType
        )
    yield Case("an AV1 brand before HEVC", heif([picture], brand=b"avif"), UnsupportedType)
    yield Case("no primary picture", heif([picture], primary=9), UnreadableImage)
    yield Case(
        "two sizes",
        heif([picture._replace(properties=[*picture.properties, box(b"ispe", ispe(8, 8))])]),
        UnreadableImage,
    )


def _endless() -> Iterator[Case]:
    picture = coded(portrait(64, 128))
    many = 65_535
    extents = heif([picture])
    at = extents.index(b"iloc") + 4
    # One item of 65,535 pieces, each of the whole file.
    pieces = struct.pack(">IHHHHH", 0, 0x4400, 1, 1, 0, many) + struct.pack(">II", 0, len(extents)) * many
    tail = extents[extents.index(b"iinf") - 4 :]
    meta_at = extents.index(b"meta")
    body = extents[meta_at + 8 : at - 8] + box(b"iloc", pieces) + tail[: tail.index(b"mdat") - 4]
    yield Case(
        "65,535 extents",
        extents[: meta_at - 4] + box(b"meta", bytes(4), body) + tail[tail.index(b"mdat") - 4 :],
        UnreadableImage,
    )
    links = heif([picture, *[picture] * 2], {(b"auxl", 2): [1] * many})
    yield Case("65,535 references", links, UnreadableImage)
    yield Case(
        "too many properties",
        heif([picture._replace(properties=[*picture.properties, *[box(b"free")] * 240])] * 60),
        None,
    )
    units = picture._replace(data=b"\0\0\0\2\x46\1" * 20_000)
    yield Case("20,000 empty NAL units", heif([units]), UnreadableImage)
    obus = coded(portrait(64, 128), b"av01")._replace(data=b"\x12\0" * 20_000)
    yield Case("20,000 empty OBUs", heif([obus], brand=b"avif"), UnreadableImage)


def _turned() -> Iterator[Case]:
    """`irot` and `imir` turn the picture once, and EXIF's orientation never."""
    picture = coded(portrait(64, 128))
    for turns in range(4):
        item = picture._replace(properties=[*picture.properties, box(b"irot", bytes([turns]))])
        yield Case(f"{turns} quarter turns", heif([item]), (64, 128) if turns % 2 == 0 else (128, 64))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    turned = saved(portrait(64, 128), "AVIF", exif=exif.tobytes(), speed=9, max_threads=1)
    yield Case("turned AVIF", turned, (128, 64))
    clap = struct.pack(">8I", 100, 1, 50, 1, 0, 1, 0, 1)
    cropped = picture._replace(properties=[*picture.properties, box(b"clap", clap)])
    yield Case("a clean aperture", heif([cropped]), (50, 100))
    for numbers in ((0, 1), (2**31 - 1, 1), (9, 0), (1_000, 1)):
        odd = picture._replace(
            properties=[*picture.properties, box(b"clap", struct.pack(">8I", *numbers, *numbers, 0, 1, 0, 1))]
        )
        yield Case(f"an aperture of {numbers}", heif([odd]), (64, 128))


def _tiffs() -> Iterator[Case]:
    image = portrait(*SIZE)
    for order in "<>":
        yield Case(f"written by hand {order}", plain_tiff(image, order=order), SIZE)
    for orientation in range(1, 9):
        upright = SIZE if orientation < 5 else SIZE[::-1]
        yield Case(f"orientation {orientation}", plain_tiff(image, more=[(274, 3, [orientation])]), upright)

    def with_tags(name: str, expected: object, *tags: Tag) -> Case:
        return Case(name, plain_tiff(image, changed={tag[0]: tag for tag in tags}), expected)

    sides: list[Tag] = [(256, 4, [HUGE]), (257, 4, [HUGE]), (278, 4, [HUGE])]
    yield with_tags("60,000 a side", UnreadableImage, *sides)
    yield with_tags("60,000 a side, packed", TooManyPixels, *sides, (259, 3, [8]))
    yield with_tags("2^32 a side", ClientError, (256, 4, [2**32 - 1]), (257, 4, [2**32 - 1]))
    yield with_tags("no side", UnreadableImage, (256, 4, [0]))
    yield with_tags("a million strips", UnreadableImage, (273, 4, [8] * 200_000), (279, 4, [1] * 200_000))
    yield with_tags("rows of strips that are not there", UnreadableImage, (278, 4, [1]))
    yield with_tags("strips behind the end", UnreadableImage, (273, 4, [2**31]))
    yield with_tags("a strip of 4 GiB", UnreadableImage, (279, 4, [2**32 - 1]))
    yield with_tags("an empty strip", UnreadableImage, (279, 4, [0]))
    yield with_tags("rows without end", SIZE, (278, 4, [2**32 - 1]))
    yield with_tags("65,535 samples", ClientError, (277, 3, [65_535]))
    yield with_tags("64 bits", UnsupportedType, (258, 3, [64, 64, 64]))
    yield with_tags("floats", UnsupportedType, (339, 3, [3, 3, 3]))
    yield with_tags("CIELab", UnsupportedType, (262, 3, [8]))
    yield with_tags("old JPEG", UnsupportedType, (259, 3, [6]))
    yield with_tags("fax", UnsupportedType, (259, 3, [4]))
    yield with_tags("raw photo", UnsupportedType, (50_706, 1, [1, 4, 0, 0]))
    yield with_tags("preview of a raw photo", UnsupportedType, (254, 4, [1]))
    tile = [(322, 4, [16]), (323, 4, [2**30]), (324, 4, [8]), (325, 4, [100])]
    yield with_tags("a tile of 2^34 pixels", UnreadableImage, *tile)
    yield Case("a page that follows itself", plain_tiff(image, following=8), SIZE)
    yield Case("a page behind the end", plain_tiff(image, following=2**31), SIZE)
    inner = [(34_665, 4, [8]), (34_853, 4, [8]), (330, 4, [8])]
    yield Case("directories within themselves", plain_tiff(image, more=inner), SIZE)
    text: list[Tag] = [(40_000 + number, 4, [0] * 2_000) for number in range(300)]
    yield Case("long tags", plain_tiff(image, more=text), SIZE)
    count = tiff_file.TAGS_MAX + 1
    none: list[Tag] = [(40_000 + number, 3, [1]) for number in range(count)]
    yield Case("too many tags", plain_tiff(image, more=none), UnreadableImage)
    shared = bytearray(plain_tiff(image, more=[(40_000 + number, 4, [1, 2, 3]) for number in range(900)]))
    for at in range(10, 10 + 12 * 909, 12):
        if struct.unpack_from("<H", shared, at)[0] >= 40_000:
            struct.pack_into("<II", shared, at + 4, len(shared) // 4 - 1, 0)
    yield Case("900 tags that are the whole file", bytes(shared), SIZE)
    yield Case("only a head", tiff([]), UnreadableImage)
    for profile in (b"?" * 500, bytes(10)):
        yield Case("a profile that is none", saved(image, "TIFF", icc_profile=profile), SIZE)


def _packed() -> Iterator[Case]:
    """Strips that unpack to more, or to less, than their picture."""
    image = portrait(*SIZE)

    def deflated(data: bytes, name: str, expected: object) -> Case:
        start = len(tiff([(number, 4, [0]) for number in range(9)]))
        tags: list[Tag] = [
            (256, 4, [SIZE[1]]),
            (257, 4, [SIZE[0]]),
            (258, 3, [8]),
            (259, 3, [8]),
            (262, 3, [1]),
            (273, 4, [start]),
            (277, 3, [1]),
            (278, 4, [SIZE[0]]),
            (279, 4, [len(data)]),
        ]
        return Case(name, tiff(tags, data), expected)

    grey = image[..., 0].tobytes()
    yield deflated(zlib.compress(grey), "Deflate", SIZE)
    yield deflated(zlib.compress(grey + bytes(20_000_000)), "20 MB for 60 rows", None)
    yield deflated(zlib.compress(grey[:100]), "100 bytes for 60 rows", UnreadableImage)
    yield deflated(b"\x78\x9c" + b"\0\0\0\xff\xff" * 20_000, "blocks without bytes", UnreadableImage)


def _bmps() -> Iterator[Case]:
    row = bytes(SIZE[1] * 3)
    body = row * SIZE[0]
    yield Case("from the top down", bmp(SIZE[1], -SIZE[0], body=body), SIZE)
    for width, height in ((HUGE, HUGE), (HUGE, -HUGE), (9, -(2**31))):
        yield Case(f"{width} x {height}", bmp(width, height, body=body), ClientError)
    for width, height in ((0, 9), (9, 0), (-9, 9), (-(2**31), 9)):
        yield Case(f"{width} x {height}", bmp(width, height, body=body), UnreadableImage)
    yield Case("a row too few", bmp(SIZE[1], SIZE[0], body=body[:-1]), UnreadableImage)
    for coding in (1, 2):
        runs = b"\xff\0" * 200_000
        yield Case(f"runs {coding}", bmp(9_000, 9_000, 8, coding, runs, 256), UnsupportedType)
        jumps = b"\0\2\xff\xff" * 50_000
        yield Case(f"jumps {coding}", bmp(9_000, 9_000, 8, coding, jumps, 256), UnsupportedType)
    for coding in (4, 5, 99):
        yield Case(f"coding {coding}", bmp(9, 9, coding=coding, body=body), UnreadableImage)
    for depth in (0, 2, 3, 64):
        yield Case(f"{depth} bits", bmp(9, 9, depth, body=body), UnreadableImage)
    for mode in ("1", "L", "P", "RGBA"):
        yield Case(mode, saved(PIL.Image.fromarray(portrait(*SIZE)).convert(mode), "BMP"), SIZE)


def _gifs() -> Iterator[Case]:
    picture = PIL.Image.fromarray(portrait(*SIZE))
    turned = [PIL.Image.fromarray(np.roll(portrait(*SIZE), turn, 1)) for turn in (9, 18)]
    film = saved(picture, "GIF", save_all=True, append_images=turned)
    yield Case("animated", film, SIZE)
    yield Case("animation cut off", film[: len(film) * 2 // 3], SIZE)
    yield Case("interlaced", saved(picture, "GIF", interlace=1), SIZE)
    yield Case("clear", saved(picture.quantize(16), "GIF", transparency=3), SIZE)
    yield Case(f"canvas of {HUGE}", gif(HUGE, HUGE, gif_picture(4, 4)), TooManyPixels)
    yield Case("canvas of 65,535", gif(65_535, 65_535, gif_picture(4, 4)), TooManyPixels)
    yield Case("a picture larger than its canvas", gif(4, 4, gif_picture(65_535, 65_535)), TooManyPixels)
    yield Case("no canvas", gif(0, 0, gif_picture(0, 0)), UnreadableImage)
    yield Case("no picture", gif(9, 9), UnreadableImage)
    yield Case("too little data", gif(60, 60, gif_picture(60, 60)), UnreadableImage)
    comment = b"!\xfe\1a\0"
    yield Case("comments", gif(4, 4, comment * 50_000, gif_picture(4, 4)), None)
    endless = comment * (gif_file.PARTS_MAX // 2 + 1)
    yield Case("comments without end", gif(4, 4, endless, gif_picture(4, 4)), UnreadableImage)
    yield Case(
        "frames without end", gif(4, 4, gif_picture(4, 4) * (gif_file.PARTS_MAX // 2 + 1)), UnreadableImage
    )
    crumbs = b"!\xfe" + b"\1a" * (gif_file.PARTS_MAX + 1) + b"\0"
    yield Case("crumbs without end", gif(4, 4, crumbs, gif_picture(4, 4)), UnreadableImage)


KINDS: Final[dict[str, Callable[[], Iterator[Case]]]] = {
    "truncated, other formats": _truncated,
    "a bit flipped, other formats": _flipped,
    "grids": _grids,
    "boxes that lie": _lying_boxes,
    "boxes without end": _endless,
    "turned by boxes": _turned,
    "TIFF": _tiffs,
    "packed TIFF": _packed,
    "BMP": _bmps,
    "GIF": _gifs,
}
