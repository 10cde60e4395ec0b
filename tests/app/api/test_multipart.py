"""Multipart forms as HTTP libraries write them: what is a file in them, and what is a text."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import PIL.Image
import pytest
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException

from app.api import rembg, removebg
from app.api.multipart import Form
from tests.support.images import jpeg, png, saved
from tests.support.person_image import finds_standing, standing
from tests.support.services import Running

PHOTOS = {"PNG": png(standing()), "JPEG": jpeg(standing()), "WebP": saved(standing(), "WEBP")}
TEXT_MAX = 1_000


def form(*parts: tuple[str, bytes]) -> bytes:
    """Of parts by their heads."""
    return b"".join(b"--b\r\n%b\r\n\r\n%b\r\n" % (head.encode(), body) for head, body in parts) + b"--b--\r\n"


def named(rest: str, *more: str, name: str = "image") -> str:
    return "\r\n".join((f'Content-Disposition: form-data; name="{name}"{rest}', *more))


async def read(body: bytes, piece: int = 1 << 20, **limits: int) -> list[tuple[str, bytes | str]]:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), piece):
            yield body[at : at + piece]

    headers = Headers({"content-type": "multipart/form-data; boundary=b"})
    bounds = {"max_files": 4, "max_fields": 8, "max_part_size": TEXT_MAX, **limits}
    made = await Form(headers, pieces(), **bounds).parse()  # type: ignore[arg-type]
    items = made.multi_items()
    try:
        return [(name, await each.read() if isinstance(each, UploadFile) else each) for name, each in items]
    finally:
        await made.close()


NAMES = {
    "file name": named('; filename="me.jpg"'),
    "empty file name": named('; filename=""'),
    "RFC 8187": named("; filename*=UTF-8''%e2%82%ac%20me.jpg"),
    "RFC 8187 in capitals": named("; FILENAME*=utf-8'en'me.jpg"),
    "RFC 8187, no such charset": named("; filename*=nope''me%ff.jpg"),
    "RFC 8187, beside a plain one": named("; filename=\"me.jpg\"; filename*=UTF-8''me.jpg"),
    "RFC 2231": named('; filename*0="me"; filename*1=".jpg"'),
    "quoted by mistake": named('; filename*="me.jpg"'),
    "no quotes": "Content-Disposition: form-data; name=image; filename=me.jpg",
    "name by RFC 8187": "Content-Disposition: form-data; name*=UTF-8''im%61ge; filename=me.jpg",
}


@pytest.mark.parametrize("kind", NAMES)
async def test_part_with_a_file_name_is_a_file(kind: str) -> None:
    assert await read(form((NAMES[kind], b"words"))) == [("image", b"words")]


NAMELESS = {
    "type of a picture": named("", "Content-Type: image/jpeg"),
    "type in capitals": named("", "CONTENT-TYPE:  Image/PNG; x=y"),
    "any type": named("", "Content-Type: application/octet-stream"),
    "text's type": named("", "Content-Type: text/plain"),
    "no type": named(""),
}


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("kind", NAMELESS)
async def test_picture_without_a_file_name_is_a_file(kind: str, photo: str) -> None:
    data = PHOTOS[photo] + b"\0" * 2 * TEXT_MAX
    for piece in (1, 7, 100, 1 << 20):
        assert await read(form((NAMELESS[kind], data), (named("", name="format"), b"png")), piece) == [
            ("image", data),
            ("format", "png"),
        ]


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "ICO", "AVIF"])
async def test_picture_of_another_format_is_a_file_too(kind: str) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(standing()).save(buffer, kind)
    ((_, data),) = await read(form((named(""), buffer.getvalue())), max_part_size=1_000_000)
    assert data == buffer.getvalue()


TEXTS = [
    "",
    "a",
    "high",
    "white",
    "grün",
    "#fff",
    "10% 20px",
    "zwei\r\nZeilen\twhole",
    "データ",
    "x" * TEXT_MAX,
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:8])
@pytest.mark.parametrize(
    "head", ["", "Content-Type: text/plain; charset=utf-8", "Content-Type: application/json"]
)
async def test_text_stays_a_text(head: str, text: str) -> None:
    part = named("", *([head] if head else []))
    for piece in (1, 7, 1 << 20):
        assert await read(form((part, text.encode())), piece) == [("image", text)]


async def test_star_in_a_quoted_name_means_nothing() -> None:
    odd = 'Content-Disposition: form-data; name="a; filename*=b"'
    assert await read(form((odd, b"words"))) == [("a; filename*=b", "words")]


async def test_text_that_is_too_long_is_told_how_photos_are_sent() -> None:
    for piece in (100, 1 << 20):
        with pytest.raises(MultiPartException) as caught:
            await read(form((named(""), b"x" * (TEXT_MAX + 1))), piece)
        assert "'image'" in caught.value.message
        assert "filename" in caught.value.message
        assert "image/*" in caught.value.message


async def test_files_without_a_name_count_as_files() -> None:
    files = [(named(""), PHOTOS["PNG"])] * 5
    assert len(await read(form(*files), max_files=5, max_fields=1)) == 5
    with pytest.raises(MultiPartException, match="Too many files"):
        await read(form(*files))
    typed = [(named("", "Content-Type: image/png"), b"x")] * 4
    assert len(await read(form(*typed, *[(named(""), b"x")] * 8))) == 12
    with pytest.raises(MultiPartException, match="Too many fields"):
        await read(form(*[(named(""), b"x")] * 9))


@pytest.mark.parametrize(
    "rest",
    [
        "; filename*=x; filename*0=y; filename*1=z",
        "; filename*1=x; filename*=y",
        "; filename*" + "9" * 900 + "=x",
        ";*=;=;**",
        "; filename*0*=%ff; filename*1=\x7f",
        "; name*0=a; name*=b",
        "; filename*=UTF-8''%",
        "; filename*='''''",
    ],
)
async def test_odd_names_are_read_or_refused(rest: str) -> None:
    try:
        ((name, _),) = await read(form((named(rest), b"words")))
        assert name == "image"
    except MultiPartException:
        pass


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v1/matte", "image"), ("/v1/cutout", "image"), (removebg.PATH, "image_file"), (rembg.PATH, "file")],
)
async def test_every_route_takes_photos_without_plain_file_names(
    running: Running, path: str, name: str
) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    heads = [
        named("", name=name),
        named("", "Content-Type: image/png", name=name),
        named("; filename*=UTF-8''a", name=name),
    ]
    async with running(finds_standing) as service:
        for head in heads:
            for photo in PHOTOS.values():
                answer = await service.client.post(path, content=form((head, photo)), headers=headers)
                assert answer.status_code == 200, answer.text


async def test_background_without_a_file_name_is_taken(running: Running) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    for path, photo, background in (
        ("/v1/cutout", "image", "background"),
        (removebg.PATH, "image_file", "bg_image_file"),
    ):
        body = form((named("", name=photo), PHOTOS["PNG"]), (named("", name=background), PHOTOS["JPEG"]))
        async with running(finds_standing) as service:
            answer = await service.client.post(path, content=body, headers=headers)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("multipart/form-data", form((named(""), b"x")), "names no boundary"),
        ("multipart/form-data; boundary=b", b"x", "not a form in parts"),
        ("multipart/form-data; boundary=b", form(("Content-Disposition: form-data", b"x")), "has no name"),
        ("multipart/form-data; boundary=b", form((named(""), b"x"))[:-4], "before its closing boundary"),
    ],
)
async def test_what_is_wrong_with_a_form_is_said_so_that_it_can_be_put_right(
    kind: str, body: bytes, told: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield body

    with pytest.raises(MultiPartException) as caught:
        await Form(Headers({"content-type": kind}), pieces()).parse()
    assert told in caught.value.message
