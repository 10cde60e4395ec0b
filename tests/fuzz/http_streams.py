"""A random generator comes in, what comes on a connection goes out: sound and unsound requests in a row.

Bodies look like requests, and of ten heads nine are sound, or else nothing would be read behind the first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

HIDDEN: Final = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"

_METHODS: Final = ("GET", "POST", "POST", "POST", "PUT", "HEAD", "OPTIONS", "DELETE")
_TARGETS: Final = ("/a", "/b?x=1", "/v1/matte", "http://host/c?y", "http://host", "*")
_FIELDS: Final = (
    "X-A: b",
    "X-A:b",
    "X-Empty:",
    "Connection: keep-alive",
    "Connection: Upgrade",
    "Connection: Upgrade, HTTP2-Settings",
    "Connection: keep-alive, Upgrade",
    "Upgrade: h2c",
    "Upgrade: websocket",
    "Upgrade: TLS/1.0",
    "Upgrade: no-such/9, h2c",
    "upgrade:h2c",
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Expect: 100-continue",
    "Expect: 200-ok",
    "Trailer: X-T",
    "TE: trailers",
)
_WISHES: Final = (
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    ("Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    ("Upgrade: TLS/1.0", "connection: UPGRADE"),
    ("Upgrade: foo/2, bar", "Connection: x, upgrade ,y"),
)
_CONTENTS: Final = (
    b"",
    b"hello",
    HIDDEN,
    HIDDEN + HIDDEN,
    b"0\r\n\r\n" + HIDDEN,
    b"5\r\nhello\r\n",
    HIDDEN[:-2],
)

# What is wrong, or not all readers take for the same; each takes the place of what is sound.
_ODD_METHODS: Final = ("CONNECT", "post", "NONE", "")
_ODD_TARGETS: Final = ("host:443", "/a b", "/\x7f", "")
_ODD_VERSIONS: Final = (
    "HTTP/1.0",
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/2.0",
    "HTTP/1.2",
    "http/1.1",
    "HTTP/1.1 ",
    "",
)
_ODD_ENDS: Final = ("\n", "\r", "\r\r\n")
_ODD_FIELDS: Final = (
    " folded",
    "\tfolded",
    "X-A: b\r\n folded",
    "X-A : b",
    "X A: b",
    ": b",
    "no colon",
    "X-A: a\0b",
    "X-A: a\rb",
    "X-A: a\x7fb",
    "X-A: \xff",
    "Content-Length: 0",
    "Content-Length : 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding : chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "Connection: close",
    "connection: UPGRADE,close",
)
_ODD_LENGTHS: Final = (
    "0{}",
    "+{}",
    "-{}",
    "{}, {}",
    "{} {}",
    "0x{}",
    "{}.0",
    "",
    "1{}",
    "{},",
    "\t{}\t",
    "{}\x0b",
)
_ODD_CODINGS: Final = (
    "Chunked",
    " chunked ",
    "gzip, chunked",
    "chunked, gzip",
    "chunked, chunked",
    "chunked,",
    ",chunked",
    "identity",
    "xchunked",
    "chunked;q=1",
    '"chunked"',
    "\x0bchunked",
    "",
)
_ODD_SIZES: Final = ("0x{:x}", "-{:x}", "{:x} ", "f{:x}", "{:x}g", "", "{:x}\t", "10000000000000000{:x}")
_ODD_EXTENSIONS: Final = (" ", ";\n", ";a\r=b", ";a\n", " ;a", ";\0", ",")
_ODD_TRAILERS: Final = (
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: upgrade\r\nUpgrade: h2c\r\n",
    "X-T: y\n",
    "X-T : y\r\n",
    " folded\r\n",
)


def stream(rng: random.Random) -> bytes:
    """One to four requests in a row."""
    return b"".join(_Request(rng, odd=rng.random() < 0.3).written() for _ in range(rng.randint(1, 4)))


def in_pieces(data: bytes, rng: random.Random) -> list[bytes]:
    """`data`, cut anywhere; every third time between all bytes."""
    if rng.randrange(3) == 0:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(1, 8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class _Request:
    """`odd`: there is something wrong about it, most times."""

    def __init__(self, rng: random.Random, *, odd: bool) -> None:
        self._rng = rng
        self._odd = odd

    def written(self) -> bytes:
        told, body = self._body()
        fields = ["Host: x", *told, *self._rng.choices(_FIELDS, k=self._rng.randint(0, 2))]
        if self._rng.random() < 0.4:
            fields += self._rng.choice(_WISHES)
        if self._one_of((), ("field",)):
            fields.append(self._rng.choice(_ODD_FIELDS))
        self._rng.shuffle(fields)
        method = self._one_of(_METHODS, _ODD_METHODS)
        target = self._one_of(_TARGETS, _ODD_TARGETS)
        version = self._one_of(("HTTP/1.1",), _ODD_VERSIONS)
        line = " ".join(word for word in (method, target, version) if word)
        return "".join(each + self._end() for each in (line, *fields, "")).encode("latin-1") + body

    def _one_of(self, sound: Sequence[str], odd: Sequence[str]) -> str:
        """Of the odd ones a few times in each odd request; "" where there is none."""
        chosen = odd if self._odd and self._rng.random() < 0.08 else sound
        return self._rng.choice(chosen) if chosen else ""

    def _end(self) -> str:
        return self._rng.choice(_ODD_ENDS) if self._odd and self._rng.random() < 0.01 else "\r\n"

    def _body(self) -> tuple[list[str], bytes]:
        """The fields that tell of it, not always rightly, and the body as it is sent."""
        content = self._rng.choice(_CONTENTS)
        length = "Content-Length: " + self._one_of(("{}",), _ODD_LENGTHS).format(*[len(content)] * 2)
        coding = "Transfer-Encoding: " + self._one_of(("chunked",), _ODD_CODINGS)
        match self._rng.choice(("none", "length", "chunks")):
            case "none":
                return [], b""
            case "length":
                return [length, *([length] if self._one_of((), ("twice",)) else [])], content
        return [coding, *([length] if self._one_of((), ("both",)) else [])], self._chunked(content)

    def _chunked(self, content: bytes) -> bytes:
        made = b""
        while content:
            size = self._rng.randint(1, len(content))
            written = self._one_of(("{:x}", "{:x}", "{:X}", "0{:x}"), _ODD_SIZES).format(size)
            made += f"{written}{self._extension()}{self._end()}".encode("latin-1")
            made += content[:size] + self._end().encode()
            content = content[size:]
        trailer = self._one_of(("", "", "X-T: y\r\n"), _ODD_TRAILERS)
        return made + f"0{self._extension()}{self._end()}{trailer}{self._end()}".encode("latin-1")

    def _extension(self) -> str:
        return self._one_of(("", "", ";a", ";a=b", ';a="b"'), _ODD_EXTENSIONS)
