"""Calls every compiled function on arrays with memory that may not be touched, right `before` or `behind` them.

Ends with SIGSEGV if anything else is read or written. A program of its own, so that only it does.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np

from model import kernels
from tests.model.test_kernels import SHAPES, scene

PAGE = mmap.PAGESIZE
_kept = []


def guarded(shape, dtype=np.float64):
    """As numpy.empty gives it."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    pages = -(-count // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (start, start + (pages + 1) * PAGE):
        if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    _kept.append(memory)
    offset = PAGE if sys.argv[1] == "before" else (pages + 1) * PAGE - count
    return np.frombuffer(memory, dtype, int(np.prod(shape)), offset).reshape(shape)


def copied(array):
    copy = guarded(array.shape, array.dtype)
    copy[...] = array
    return copy


def main() -> None:
    assert kernels.COMPILED
    own, np.empty = np.empty, guarded
    for size, part in SHAPES:
        image, square, alpha = (copied(each) for each in scene(size, part))
        undecided = copied((alpha > 0.02) & (alpha < 0.98))
        coefficients = kernels.COMPILED.fit_to_colour(square, alpha, undecided, 1e-4)
        kernels.COMPILED.follow_colour(image, coefficients, undecided, guarded(size, np.uint8))
        for cell in (1, 2, 3, 8):
            tile = 8 * cell
            shown = copied(np.full(size, 77, np.uint8))
            kinds = copied((np.arange(-(-size[1] // tile)) % 4)[::-1].astype(np.uint8))
            samples = copied(np.full((-(-size[0] // cell) + 2, -(-size[1] // cell) + 2, 4), 9, np.uint8))
            for top in range(0, size[0], tile):
                rows = slice(top, min(top + tile, size[0]))
                into = guarded((rows.stop - rows.start, size[1], 4), np.uint8)
                for _ in range(4):
                    kinds[:] = (kinds + 1) % 4
                    kernels.COMPILED.cut_out(image, shown, rows, kinds, samples, samples, cell, tile, into)
    np.empty = own


if __name__ == "__main__":
    main()
