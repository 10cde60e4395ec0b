"""One pair's files, decoded in full or by their headers: what was measured, and what is wrong with them.

In: a Pair. Out: a small PairRecord; no pixels are kept. Knows nothing of other pairs.

Pillow decodes, because it refuses the damaged files that TensorFlow refuses in training; OpenCV fills what a cut-off
JPEG lacks with grey. Neither of the three notices a JPEG that is overwritten in its middle.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from model.decoder_errors import DECODER_ERRORS
from training.dataset import Pair
from training.findings import Finding, Kind

FORMATS: Final = ("JPEG", "PNG")
OPAQUE_MIN: Final = 200  # of 255: a mask that stays below has no opaque person
# Values that neither JPEG's ringing around 0 nor around 255 reaches.
SOFT_FROM, SOFT_TO = 16, 239
TRIMAP_VALUES: Final = (0, 128, 255)
VALUES_SHOWN: Final = 6

_ORIENTATION: Final = 0x0112
_PNG_END: Final = b"IEND\xaeB`\x82"  # TensorFlow's and OpenCV's decoders insist on all of it

Note = Callable[[Kind, Path, str], None]


@dataclass(frozen=True, slots=True)
class PairRecord:
    """What is kept of a pair. None: the file could not be read, or (`foreground`, `soft`) was not decoded.

    `size` is the image's (height, width); `channels` the mask's; `foreground` the mask's mean in 0..1. A mask is
    `soft` if at least (height + width)/2 of its pixels have values of 16…239: one row of half-covered pixels along
    half a portrait's outline.
    """

    size: tuple[int, int] | None
    orientation: int
    channels: int | None
    foreground: float | None
    soft: bool | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Picture:
    """`levels` int64 `[C,256]`: pixels per value of each channel; None where not counted, or not of 8 bits."""

    size: tuple[int, int]
    channels: int
    deep: bool
    orientation: int
    levels: NDArray[np.int64] | None


def check_pair(pair: Pair, split: str, root: Path, *, decode: bool = True) -> PairRecord:
    """Read the pair's files, with `decode` to the last pixel. What is wrong with them is a finding, not an error."""
    findings: list[Finding] = []

    def note(kind: Kind, path: Path, what: str) -> None:
        findings.append(Finding(kind, split, pair.stem, path.relative_to(root).as_posix(), what))

    image = _read_or_note(pair.image, note, decode=decode, count=False)
    mask = _read_or_note(pair.alpha, note, decode=decode)
    trimap = _read_or_note(pair.trimap, note, decode=decode) if pair.trimap else None
    if image and image.orientation != 1:
        note(Kind.ORIENTED, pair.image, f"orientation {image.orientation}")
    for name, path, layer in (("mask", pair.alpha, mask), ("trimap", pair.trimap, trimap)):
        if path and layer:
            _check_layer(name, path, layer, image, note)
    if mask and mask.levels is not None:
        _check_mask(pair.alpha, mask.levels, note)
    if pair.trimap and trimap and trimap.levels is not None:
        _check_trimap(pair.trimap, trimap.levels[0], note)
    alpha = mask.levels[0] if mask and mask.levels is not None else None
    return PairRecord(
        size=image.size if image else None,
        orientation=image.orientation if image else 1,
        channels=mask.channels if mask else None,
        foreground=None if alpha is None else float(alpha @ np.arange(256) / alpha.sum() / 255),
        soft=None if alpha is None or mask is None else is_soft(alpha, mask.size),
        findings=tuple(findings),
    )


def why_unreadable(path: Path) -> str | None:
    """Why a file cannot be decoded to its end, in words; None when it can."""
    reasons: list[str] = []
    _read_or_note(path, lambda _kind, _path, what: reasons.append(what), decode=True, count=False)
    return reasons[0] if reasons else None


def is_soft(levels: NDArray[np.int64], size: tuple[int, int]) -> bool:
    """Whether a mask of `size` (height, width) with `levels` `[256]` pixels per value is soft, as PairRecord says."""
    return bool(2 * levels[SOFT_FROM : SOFT_TO + 1].sum() >= sum(size))


def _check_layer(name: str, path: Path, layer: _Picture, image: _Picture | None, note: Note) -> None:
    if layer.deep:
        note(Kind.DEEP, path, f"16 bits per channel in the {name}")
    if image and image.size != layer.size:
        sizes = f"image {_shown(image.size)}, {name} {_shown(layer.size)} (height × width)"
        note(Kind.SIZE_MISMATCH, path, sizes)


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _check_mask(path: Path, levels: NDArray[np.int64], note: Note) -> None:
    if len(levels) >= 3 and not (levels[1:3] == levels[0]).all():
        note(Kind.COLOURED, path, "red, green and blue differ")
    used = np.flatnonzero(levels[0])
    if used[-1] == 0:
        note(Kind.EMPTY, path, "every value is 0")
    elif used[-1] < OPAQUE_MIN:
        note(Kind.FAINT, path, f"mask's largest value is {used[-1]}")
    elif used[0] == 255:
        note(Kind.FULL, path, "every value is 255")


def _check_trimap(path: Path, levels: NDArray[np.int64], note: Note) -> None:
    odd = sorted(set(np.flatnonzero(levels).tolist()) - set(TRIMAP_VALUES))
    if odd:
        shown = ", ".join(str(value) for value in odd[:VALUES_SHOWN])
        note(Kind.ODD_TRIMAP, path, f"has {shown}{' …' if len(odd) > VALUES_SHOWN else ''}")


def _read_or_note(path: Path, note: Note, *, decode: bool, count: bool = True) -> _Picture | None:
    try:
        return _decoded(path, count=count) if decode else _header_of(path)
    except FileNotFoundError:
        note(Kind.UNREADABLE, path, "no such file")
    except PIL.UnidentifiedImageError:
        note(Kind.UNREADABLE, path, "neither a JPEG nor a PNG" if path.stat().st_size else "empty file")
    except DECODER_ERRORS as error:
        # An OSError's own text would repeat the path.
        note(Kind.UNREADABLE, path, getattr(error, "strerror", None) or str(error) or type(error).__name__)
    return None


def _header_of(path: Path) -> _Picture:
    with PIL.Image.open(path, formats=FORMATS) as opened:
        return _described(opened)


def _decoded(path: Path, *, count: bool) -> _Picture:
    data = path.read_bytes()
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        opened.verify()  # a PNG's checksums, which decoding does not look at
        if opened.format == "PNG" and _PNG_END not in data:
            raise EOFError("truncated after the last pixel")
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        header = _described(opened)
        opened.load()
        return dataclasses.replace(header, levels=_levels(opened)) if count and not header.deep else header


def _described(opened: PIL.Image.Image) -> _Picture:
    return _Picture(
        size=(opened.height, opened.width),
        channels=3 if opened.mode == "P" else len(opened.getbands()),
        deep=_is_deep(opened),
        orientation=_orientation(opened),
        levels=None,
    )


def _is_deep(opened: PIL.Image.Image) -> bool:
    """Before decoding: Pillow makes 8 bits of 16-bit colour, and only the tile's raw mode tells."""
    return opened.format == "PNG" and any("16" in str(tile[3]) for tile in getattr(opened, "tile", ()))


def _levels(opened: PIL.Image.Image) -> NDArray[np.int64]:
    """int64 `[C,256]`. A palette's indices are no alphas, and one bit per pixel means 0 and 255."""
    plain = {"P": "RGB", "1": "L"}.get(opened.mode, opened.mode)
    counts = opened.convert(plain).histogram() if plain != opened.mode else opened.histogram()
    return np.array(counts, np.int64).reshape(-1, 256)


def _orientation(opened: PIL.Image.Image) -> int:
    # Asked for EXIF that a PNG has not in its head, Pillow would decode the whole picture.
    if "exif" not in opened.info:
        return 1
    try:
        return int(opened.getexif().get(_ORIENTATION, 1))
    except DECODER_ERRORS:
        return 1  # a photo with a broken EXIF block is still a photo
