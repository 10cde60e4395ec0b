"""Base64 as clients write it comes in, bytes go out, or what is wrong with it. Knows no route and no picture."""

from __future__ import annotations

import base64
import re
from typing import Final

_OTHER: Final = re.compile(r"[^A-Za-z0-9+/]")
_URL_SAFE: Final = str.maketrans("-_", "+/")
_WRONG: Final = {
    " ": "holds spaces. A form reads + as a space: write + as %2B.",
    "%": "holds per cent signs: it was percent-encoded twice. Encode it once.",
    "=": "goes on after its padding (=). Send one base64 text.",
}


def decode(text: str) -> bytes:
    """`text` may be a data: URL, have lines, be of the URL-safe alphabet, and lack its padding.

    Raises ValueError with what is wrong, as the end of a sentence that the text begins.
    """
    # What begins a data: URL is left out, and so are line ends, which encoders set.
    letters = "".join(line.strip() for line in text.rpartition(",")[2].splitlines()).rstrip("=")
    if "-" in letters or "_" in letters:
        letters = letters.translate(_URL_SAFE)
    try:
        data = base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except ValueError:  # binascii.Error is one; letters that are not ASCII raise another
        raise ValueError(_fault(letters)) from None
    if not data:
        raise ValueError("is empty.")
    return data


def _fault(letters: str) -> str:
    other = _OTHER.search(letters)
    if other is None:
        return f"is cut off or is not base64: no base64 text has {len(letters):,} characters."
    return _WRONG.get(other[0], f"is not base64: its character {other.start() + 1:,} is {other[0]!r}.")
