"""The size that a coded picture gives itself: HEVC's and AV1's sequence headers come in, (width, height) goes out.

A HEIF file says in its boxes how large a picture is, and the picture's own data says it again. Decoders allocate what
the latter says, so both are read. Knows no boxes and no decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_HEVC_SPS: Final = 33
_AV1_SEQUENCE: Final = 1
UNITS_MAX: Final = 10_000  # NAL units or OBUs of one picture, which has one for each of its slices
_EXP_GOLOMB_MAX: Final = 32


@dataclass(slots=True)
class _Bits:
    """Big-endian bits of `data`. Raises EOFError behind its end."""

    data: bytes
    at: int = 0

    def take(self, count: int) -> int:
        end = self.at + count
        if end > 8 * len(self.data):
            raise EOFError
        first, last = self.at // 8, -(-end // 8)
        value = int.from_bytes(self.data[first:last]) >> (8 * last - end)
        self.at = end
        return value & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _EXP_GOLOMB_MAX:
                raise ValueError("no Exp-Golomb number")
        return (1 << zeros) - 1 + self.take(zeros)


def of_hevc(configuration: bytes, picture: bytes) -> Iterator[tuple[int, int]]:
    """All sizes in the parameter sets of an `hvcC` box's body and of the picture's own NAL units.

    Raises ValueError, IndexError or EOFError for what is neither.
    """
    length_size = (configuration[21] & 3) + 1
    at = 23
    for _ in range(configuration[22]):
        count = int.from_bytes(configuration[at + 1 : at + 3])
        at += 3
        for _ in range(count):
            end = at + 2 + int.from_bytes(configuration[at : at + 2])
            yield from _of_nal(configuration[at + 2 : end])
            at = end
            if at > len(configuration):
                raise EOFError
    at = 0
    for _ in range(UNITS_MAX):
        if at >= len(picture):
            return
        start = at + length_size
        at = start + int.from_bytes(picture[at:start])
        if at > len(picture):
            raise EOFError
        yield from _of_nal(picture[start : min(at, start + 256)])
    raise ValueError("too many NAL units")


def _of_nal(unit: bytes) -> Iterator[tuple[int, int]]:
    """Of a sequence parameter set of the base layer, ITU-T H.265 §7.3.2.2."""
    if len(unit) < 2 or (unit[0] >> 1 & 63) != _HEVC_SPS or unit[0] & 1 or unit[1] >> 3:
        return
    bits = _Bits(unit[2:258].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 96)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.exp_golomb()
    if bits.exp_golomb() == 3:
        bits.take(1)
    yield bits.exp_golomb(), bits.exp_golomb()


def of_av1(configuration: bytes, picture: bytes) -> Iterator[tuple[int, int]]:
    """All sizes in the sequence headers of an `av1C` box's body and of the picture's own OBUs.

    Raises ValueError, IndexError or EOFError for what is neither.
    """
    for data in (configuration[4:], picture):
        at = 0
        for _ in range(UNITS_MAX):
            if at >= len(data):
                break
            kind, start, at = _obu(data, at)
            if at > len(data):
                raise EOFError
            if kind == _AV1_SEQUENCE:
                yield _of_sequence(_Bits(data[start:at][:256]))
        else:
            raise ValueError("too many OBUs")


def _obu(data: bytes, at: int) -> tuple[int, int, int]:
    """(type, start of the body, end) of the open bitstream unit that begins `at`."""
    head = data[at]
    at += 2 if head & 4 else 1
    if not head & 2:
        return head >> 3 & 15, at, len(data)
    size = 0
    for place in range(8):
        byte = data[at]
        at += 1
        size |= (byte & 127) << (7 * place)
        if byte < 128:
            break
    return head >> 3 & 15, at, at + size


def _of_sequence(bits: _Bits) -> tuple[int, int]:
    """AV1 Bitstream & Decoding Process Specification, §5.5.1."""
    bits.take(3 + 1)
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        _pass_operating_points(bits)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(wide) + 1, bits.take(high) + 1


def _pass_operating_points(bits: _Bits) -> None:
    delay_length = 0
    if bits.take(1):  # timing_info_present_flag
        bits.take(64)
        if bits.take(1):
            bits.exp_golomb()  # uvlc, which is coded alike
        if bits.take(1):  # decoder_model_info_present_flag
            delay_length = bits.take(5) + 1
            bits.take(32 + 5 + 5)
    display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_length and bits.take(1):
            bits.take(2 * delay_length + 1)
        if display_delay and bits.take(1):
            bits.take(4)
