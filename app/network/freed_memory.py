"""Memory that loading a network has used and freed goes back to the system."""

from __future__ import annotations

import ctypes
import gc


def give_memory_back() -> None:
    """Each step of loading leaves up to 200 MB of freed memory in glibc's hands, in pieces, and the next one would
    add its own. Other C libraries than glibc have no such call."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
