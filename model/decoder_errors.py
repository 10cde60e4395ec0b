"""What Pillow raises for a damaged file: the service and the training package refuse the same ones.

What its decoders of JPEG, PNG and WebP have been seen to raise, or can by their source.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from PIL.Image import DecompressionBombError

DECODER_ERRORS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    DecompressionBombError,
)
