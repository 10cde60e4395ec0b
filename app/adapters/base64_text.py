"""Base64 as clients write it comes in, bytes go out, or what is wrong with it. Knows no route and no picture."""

from __future__ import annotations

import base64
import re
from typing import Final

_OTHER: Final = re.compile(r"[^A-Za-z0-9+/]")
_URL_SAFE: Final = str.maketrans("-_", "+/")
_WRONG: Final = {
    " ": "holds spaces: in a form, a + that is not written as %2B is read as a space.",
    "%": "holds per cent signs: it has been percent-encoded once more than it is read.",
    "=": "goes on behind its padding: more than one base64 text is in it.",
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
        return f"is cut off: no base64 has {len(letters):,} letters."
    return _WRONG.get(other[0], f"is no base64: at {other.start() + 1:,} there is {other[0]!r}.")
