"""Colour profiles: an ICC profile and pixels come in, pixels in sRGB or in another profile go out. Knows no format.

A photo keeps its own numbers and, in the answer, its profile, as long as that is one of RGB and not sRGB's; the
network is shown sRGB. Grey and CMYK become sRGB: no answer could carry their profiles. A broken profile counts as
none, and whoever has none has sRGB, as in browsers.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageCms

from app.values import Colour
from model.decoder_errors import DECODER_ERRORS
from model.transforms import BAR_COLOUR, Image

PROFILE_MAX: Final = 8 << 20  # bytes; those of printing presses have up to 3 MB
KEPT_MAX: Final = 16 << 10  # bytes of a profile whose transform is kept
_HEAD: Final = 132  # bytes up to and with the number of tags
_TAGS_MAX: Final = 100
_CLASSES: Final = frozenset({b"mntr", b"scnr", b"prtr", b"spac"})
MODES: Final = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
"""The Pillow mode of each space of profiles that is taken."""
Levels = NDArray[np.float64]
STRIP: Final = 1 << 18  # pixels at once: Pillow's copies of them stay small

# sRGB's red, green and blue as they stand in profiles, seen in the light of D50; and how far others' rounding is off.
_PRIMARIES: Final = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
_PRIMARY_OFF: Final = 0.0015
_CURVES: Final = (b"rTRC", b"gTRC", b"bTRC")
# Levels at which a curve is compared with sRGB's, and by how much it may differ: half a level of 255 at its steepest.
_LEVELS: Final = np.array([0.02, 0.1, 0.25, 0.5, 0.75, 0.9])
_CURVE_OFF: Final = 0.002


def usable(profile: bytes | None, mode: str) -> bytes | None:
    """The profile of a photo whose pixels Pillow calls `mode`; None where there is none, where it is sRGB's or for
    another mode, or where it is broken: then the photo is one of sRGB."""
    if not profile or not is_profile(profile) or MODES[profile[16:20]] != mode:
        return None
    if mode == "RGB" and is_srgb(profile):
        return None
    try:
        _transform(profile, None, mode)
    except DECODER_ERRORS:
        return None
    return profile


def is_profile(profile: bytes) -> bool:
    """Whether it begins as one, and is not larger than PROFILE_MAX."""
    return (
        _HEAD <= len(profile) <= PROFILE_MAX
        and _HEAD <= int.from_bytes(profile[:4]) <= len(profile)
        and profile[36:40] == b"acsp"
        and profile[12:16] in _CLASSES
        and profile[16:20] in MODES
    )


def unpacked(body: bytes) -> bytes | None:
    """The profile of a PNG's iCCP chunk; None where it is broken. Nothing is unpacked beyond what its own head says,
    and nothing of what has no such head."""
    name_end = body.find(b"\0", 0, 80)
    if name_end < 0 or body[name_end + 1 : name_end + 2] != b"\0":
        return None
    inflater = zlib.decompressobj()
    try:
        head = inflater.decompress(body[name_end + 2 :], _HEAD)
        size = int.from_bytes(head[:4])
        if head[36:40] != b"acsp" or not _HEAD <= size <= PROFILE_MAX:
            return None
        return (
            head + inflater.decompress(inflater.unconsumed_tail, size - len(head)) if size > _HEAD else head
        )
    except zlib.error:
        return None


def to_rgb(picture: PIL.Image.Image, profile: bytes) -> PIL.Image.Image:
    """A grey or CMYK picture in sRGB, by its own `usable` profile."""
    return _transform(profile, None, picture.mode).apply(picture)


def converted(image: Image, profile: bytes | None, target: bytes | None = None) -> Image:
    """RGB uint8 `[H,W,3]` from one `usable` profile of RGB to another; None stands for sRGB."""
    if profile == target:
        return image
    transform = _transform(profile, target, "RGB")
    result = np.empty_like(image)
    rows = max(1, STRIP // max(1, image.shape[1]))
    for top in range(0, len(image), rows):
        strip = PIL.Image.fromarray(np.ascontiguousarray(image[top : top + rows]))
        transform.apply_in_place(strip)
        result[top : top + rows] = np.asarray(strip)
    return result


def colour_in(colour: Colour, profile: bytes | None) -> Colour:
    """A colour of sRGB, in `profile`."""
    if profile is None:
        return colour
    red, green, blue = converted(np.array([[colour]], np.uint8), None, profile)[0, 0].tolist()
    return red, green, blue


def as_seen(square: Image, profile: bytes | None) -> Image:
    """What the network is shown of a photo in `profile`: sRGB, where the bars beside the photo stay as they are."""
    if profile is None:
        return square
    bars = (square == BAR_COLOUR).all(axis=-1, keepdims=True)
    return np.where(bars, square, converted(square, profile))


def is_srgb(profile: bytes) -> bool:
    """By the primaries and the curves of its matrix."""
    try:
        tags = _tags(profile)
        if any(tag.startswith((b"A2B", b"D2B")) for tag in tags):
            return False
        for name, expected in _PRIMARIES.items():
            seen = [each / 65_536 for each in struct.unpack_from(">3i", tags[name], 8)]
            if max(abs(one - other) for one, other in zip(seen, expected, strict=True)) > _PRIMARY_OFF:
                return False
        return all(_is_srgb_curve(curve) for curve in {tags[name] for name in _CURVES})
    except (KeyError, struct.error, ValueError):
        return False


def _tags(profile: bytes) -> Mapping[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > _TAGS_MAX:
        raise ValueError("too many tags")
    found = {}
    for at in range(_HEAD, _HEAD + 12 * count, 12):
        name, start, length = struct.unpack_from(">4sII", profile, at)
        found[name] = profile[start : start + length]
    return found


def _is_srgb_curve(curve: bytes) -> bool:
    return bool(np.abs(_curve(curve)(_LEVELS) - _srgb_curve(_LEVELS)).max() <= _CURVE_OFF)


def _srgb_curve(levels: Levels) -> Levels:
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def _curve(tag: bytes) -> Callable[[Levels], Levels]:
    """From levels to light, by ICC.1:2022 §10.6 and §10.18. Raises ValueError for a kind that is not sRGB's."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        table = np.frombuffer(tag, ">u2", count, 12) / 65_535
        if count < 2:
            raise ValueError("a plain gamma")
        return lambda levels: np.interp(levels, np.linspace(0, 1, count), table)
    if tag[:4] == b"para" and tag[8:10] == b"\0\3":
        power, a, b, c, d = (each / 65_536 for each in struct.unpack_from(">5i", tag, 12))
        return lambda levels: np.where(levels >= d, np.maximum(a * levels + b, 0) ** power, c * levels)
    raise ValueError("another kind of curve")


def _transform(profile: bytes | None, target: bytes | None, mode: str) -> ImageCms.ImageCmsTransform:
    """From pixels of `mode` to RGB, None for sRGB: in relative colorimetry, black to black. Raises DECODER_ERRORS."""
    small = max(len(profile or b""), len(target or b"")) <= KEPT_MAX
    return (_kept if small else _made)(profile, target, mode)


def _made(profile: bytes | None, target: bytes | None, mode: str) -> ImageCms.ImageCmsTransform:
    source, into = (
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB") if each is None else io.BytesIO(each))
        for each in (profile, target)
    )
    # Not by `buildTransform`, which turns each error into one of its own kind.
    return ImageCms.ImageCmsTransform(
        source,
        into,
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


# One takes 7 ms to make, and all phones of a kind write the same profile.
_kept: Final = lru_cache(maxsize=16)(_made)
