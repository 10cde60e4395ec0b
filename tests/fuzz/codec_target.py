"""Any bytes come in; nothing goes out, or an exception that says what `app.imaging.decode` did wrong.

Wrong is everything but the picture in the size that its header gives, or a refusal that is a ClientError.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from app.errors import ClientError
from app.imaging import decode
from model.transforms import Image

MAX_PIXELS: Final = (
    1_000_000  # so that no run takes long and a picture that is larger than its header says shows
)

Outcome = tuple[int, int] | type[ClientError]


def check(data: bytes) -> Outcome:
    """The upright (height, width) of the picture, or why there is none. Raises AssertionError, or what the codec let
    through."""
    promised = _promised(data)
    whole = _decoded(data, 1)
    if isinstance(promised, type):
        assert whole is promised, f"{promised} by its header, decoded as {whole}"
        return promised
    half = _decoded(data, 2)
    if isinstance(whole, type) or isinstance(half, type):
        assert whole is half, f"{whole} at its size, {half} at half of it"
        return whole
    (image, size), (small, small_size) = whole, half
    assert size == small_size
    assert size[0] * size[1] == promised
    assert image.shape == (*size, 3)
    assert small.shape in (image.shape, (-(-size[0] // 2), -(-size[1] // 2), 3))
    assert image.dtype == small.dtype == np.uint8
    return size


def check_again(data: bytes) -> Outcome:
    """`check`, and that a second time gives the same: what a file lacks is not filled with what lay in memory."""
    outcome = check(data)
    if not isinstance(outcome, type):
        first, second = _decoded(data, 1), _decoded(data, 1)
        assert not isinstance(first, type)
        assert not isinstance(second, type)
        assert np.array_equal(first[0], second[0]), "two decodings differ"
    return outcome


def _promised(data: bytes) -> int | type[ClientError]:
    try:
        return decode.read_header(data, max_pixels=MAX_PIXELS).pixels
    except ClientError as error:
        return type(error)


def _decoded(data: bytes, reduction: int) -> tuple[Image, tuple[int, int]] | type[ClientError]:
    try:
        photo = decode.decode_photo(data, max_pixels=MAX_PIXELS, reduction=lambda _height, _width: reduction)
        return photo.image, photo.size
    except ClientError as error:
        return type(error)
