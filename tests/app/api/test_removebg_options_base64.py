from __future__ import annotations

import base64

import pytest

from app.api.removebg_options import decode

DATA = bytes(range(256)) * 2 + b"\xfb\xff\xfe\xff\xff"
PLAIN = base64.b64encode(DATA).decode()
URL_SAFE = base64.urlsafe_b64encode(DATA).decode()
SPELLINGS = {
    "plain": PLAIN,
    "without padding": PLAIN.rstrip("="),
    "URL-safe": URL_SAFE,
    "URL-safe without padding": URL_SAFE.rstrip("="),
    "lines of 76": base64.encodebytes(DATA).decode(),
    "lines of 76, CRLF": base64.encodebytes(DATA).decode().replace("\n", "\r\n"),
    "indented lines": "\n".join(f"  {PLAIN[at : at + 60]}  " for at in range(0, len(PLAIN), 60)),
    "data URL": f" data:image/png;base64,{PLAIN}\r\n",
    "data URL with a space": f"data:image/png;base64, {PLAIN}",
}
WRONG = {
    "": "is empty",
    " = ": "is empty",
    "data:image/png;base64,": "is empty",
    PLAIN.replace("+", " "): "write + as %2B",
    PLAIN.replace("+", "%2B"): "percent-encoded twice",
    PLAIN + PLAIN: "after its padding",
    "AAAAA": "cut off or is not base64: no base64 text has 5 characters",
    "AA*A": "character 3 is '*'",
    "\u00fcA==": "character 1 is '\u00fc'",
    "\u0661AAA": "character 1 is",
    "AA\0A": "character 3 is '\\x00'",
    "no base64!": "spaces",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_base64_is_read_in_all_its_spellings(spelling: str) -> None:
    assert decode(SPELLINGS[spelling]) == DATA


@pytest.mark.parametrize("length", [1, 2, 3, 4, 517])
def test_padding_may_be_missing_for_any_length(length: int) -> None:
    assert decode(base64.urlsafe_b64encode(DATA[-length:]).decode().rstrip("=")) == DATA[-length:]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:12])
def test_what_is_wrong_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z].*\.$") as caught:
        decode(text)
    assert WRONG[text] in str(caught.value)
    assert len(str(caught.value)) < 150


def test_letter_is_shown_where_it_is_in_a_long_text() -> None:
    with pytest.raises(ValueError, match=r"character 1,000,001 is '!'"):
        decode("A" * 1_000_000 + "!AAA")
