"""`python -m tests.fuzz.seeds [folder of finds …]`: writes the corpus anew, as few and as small files as do.

It is made from the files that the tests draw, from requests written below and from what campaigns have found. Of
these a file stays if it makes a line follow another one, or an answer come out, that no smaller one did.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from tests.fuzz import codec_target, request_target
from tests.support import hostile_formats, hostile_images, unusual_images
from tests.support.images import jpeg, png, portrait

CORPUS: Final = Path(__file__).parent / "corpus"
LARGEST: Final = 8_000  # bytes of a file that is kept
# Of these kinds there are hundreds that differ in a byte.
MANY: Final = {
    "truncated": 41,
    "a bit flipped": 29,
    "tiny": 11,
    "truncated, other formats": 37,
    "a bit flipped, other formats": 13,
}
TRACED: Final = {
    "codec": (
        *("/app/imaging/decode.py", "/app/imaging/file_checks.py", "_file.py", "/app/imaging/coded_size.py"),
        *("/app/imaging/colour.py", "ImagePlugin.py", "/PIL/ImageFile.py"),
    ),
    "requests": ("/app/", "formparsers.py", "/python_multipart/"),
}
FORM: Final = b"multipart/form-data; boundary=b"
# Each with some values that are right and some that are nearly so.
OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "quality": ("standard", "high", "best"),
    "model": ("none", "none@0"),
    "subject": ("all", "main", "largest"),
    "format": ("png", "jpg", "webp", "avif", "zip", "auto", "gif"),
    "color": ("keep", "srgb", "p3"),
    "background": ("white", "#1e90ff", "#0f08", "rgb(1,2,3)"),
    "blur": ("1", "100", "0", "101"),
    "crop": ("true", "0", "yes"),
    "margin": ("10%", "20px 5%", "1px 2px 3px 4px", "51%", "0 0 0"),
    "size": ("full", "0.0005", "4", "preview", "4k", "0"),
    "shadow": ("50", "-1"),
    "type": ("person", "car"),
    "type_level": ("latest", "3"),
    "roi": ("0 0 100% 100%", "10px 5px 30px 25px", "0 0 1px 1px", "0 0 999px 999px", "5 5"),
    "crop_margin": ("10px", "501px"),
    "scale": ("50%", "original", "9%"),
    "position": ("center", "10% 90%", "101%"),
    "channels": ("alpha", "rgba", "rgb"),
    "add_shadow": ("true", "maybe"),
    "shadow_type": ("drop", "none", "car"),
    "shadow_opacity": ("30", "200"),
    "semitransparency": ("true",),
    "bg_color": ("red", "81d4fa77", "no colour"),
    "om": ("true", "?"),
    "bgc": ("1,2,3,4", "1,2,3", "255,255,255,0", "256,0,0"),
    "image_url": ("https://example.com/a.jpg",),
    "no_such": ("1",),
}


def photos() -> Iterator[bytes]:
    """All odd and bad files that are small."""
    for kind, cases in (hostile_images.KINDS | unusual_images.KINDS | hostile_formats.KINDS).items():
        for index, case in enumerate(cases()):
            if len(case.data) <= LARGEST and index % MANY.get(kind, 1) == 0:
                yield case.data
    for height, width in ((1, 1), (2, 3), (9, 17)):
        small = portrait(height, width)
        yield from (png(small), jpeg(small), jpeg(small, progressive=True, orientation=6))


def requests() -> Iterator[bytes]:
    """Each option with each of its values, in every kind of body."""
    encoded = b64encode(b"photo").decode()
    for name, values in OPTIONS.items():
        for value in values:
            for field in ("image", "image_file", "file"):
                yield written(FORM, b"", multipart({field: b"photo", name: value}))
            texts = {name: value, "image_file_b64": encoded}
            yield written(b"application/json", b"", json.dumps(texts).encode())
            pairs = "&".join(f"{key}={each}".replace("+", "%2B") for key, each in texts.items())
            yield written(b"application/x-www-form-urlencoded", b"", pairs.encode())
            yield written(b"image/png", f"{name}={value}".encode(), b"photo")
    yield written(FORM, b"", multipart({"image": b"photo", "background": b"photo"}))
    yield written(FORM, b"", multipart({"image_file": b"photo", "bg_image_file": b"photo", "format": "jpg"}))
    placed = {"crop": True, "scale": "40%", "position": "10% 90%", "shadow_opacity": 5.0, "size": None}
    yield written(b"application/json", b"", json.dumps({"image_file_b64": encoded, **placed}).encode())
    for body in (b"", b"[", b"{}", b'{"a": {}}', b"--b--", b"--b\r\n\r\n", b"\xff"):
        for kind in (FORM, b"multipart/form-data", b"application/json", b"text/plain", b""):
            yield written(kind, b"", body)


def multipart(fields: dict[str, str | bytes]) -> bytes:
    """The body of a form; bytes are files."""
    parts = []
    for name, value in fields.items():
        file = b'; filename="f"' if isinstance(value, bytes) else b""
        content = value if isinstance(value, bytes) else value.encode()
        head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + file
        parts.append(b"--b\r\n" + head + b"\r\n\r\n" + content + b"\r\n")
    return b"".join(parts) + b"--b--\r\n"


def written(kind: bytes, query: bytes, body: bytes) -> bytes:
    """As `request_target` reads it."""
    return kind + b"\n" + query + b"\n" + body


def features(check: Callable[[bytes], object], data: bytes, files: tuple[str, ...]) -> set[object]:
    """Which line follows which one in code from these files, and what comes out."""
    found: set[object] = set()
    known: dict[CodeType, bool] = {}

    def lines(frame: FrameType, event: str, _value: Any) -> Any:
        if event == "line":
            found.add((frame.f_code, last.get(frame), frame.f_lineno))
            last[frame] = frame.f_lineno
        return lines

    def calls(frame: FrameType, _event: str, _value: Any) -> Any:
        code = frame.f_code
        if code not in known:
            known[code] = any(each in code.co_filename for each in files)
        return lines if known[code] else None

    last: dict[FrameType, int] = {}
    sys.settrace(calls)
    try:
        outcome = check(data)
    finally:
        sys.settrace(None)
    found.add(str(outcome) if isinstance(outcome, type | dict) else "picture")
    return found


def fewest(check: Callable[[bytes], object], inputs: Iterable[bytes], files: tuple[str, ...]) -> list[bytes]:
    """From the smallest on, each that adds something."""
    seen: set[object] = set()
    kept = []
    for data in sorted({*inputs}, key=lambda data: (len(data), data)):
        new = features(check, data, files) - seen
        if new and len(data) <= LARGEST:
            seen |= new
            kept.append(data)
    return kept


def main(finds: list[Path]) -> None:
    """Writes `corpus/codec`, `corpus/requests` and the dictionary of the latter."""
    logging.disable()
    for name, check, made in (
        ("codec", codec_target.check, photos()),
        ("requests", request_target.check, requests()),
    ):
        folders = [CORPUS / name, *(folder / name for folder in finds)]
        old = [path.read_bytes() for folder in folders if folder.is_dir() for path in folder.iterdir()]
        kept = fewest(check, [*made, *old], TRACED[name])
        shutil.rmtree(CORPUS / name, ignore_errors=True)
        (CORPUS / name).mkdir(parents=True)
        for data in kept:
            (CORPUS / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        print(f"{name}: {len(kept)} files, {sum(map(len, kept))} bytes")
    words = sorted({*OPTIONS, *(value for values in OPTIONS.values() for value in values)})
    (CORPUS / "requests.dict").write_text(
        "".join(f"{json.dumps(word)}\n" for word in words), encoding="ascii"
    )


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
