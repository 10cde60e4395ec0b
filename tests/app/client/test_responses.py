"""What the client reads out of a success."""

from __future__ import annotations

import dataclasses
import io
import pickle
import sys

import httpx
import numpy as np
import PIL.Image
import pytest

from app.client.errors import Unexpected
from app.client.responses import Box, read_answer, read_models, read_ready, read_timings

HEADERS = {
    "Content-Type": "image/png",
    "X-Request-Id": "abc",
    "X-Model": "portrait@3",
    "X-Width": "40",
    "X-Height": "30",
    "X-Foreground": "person",
    "X-Subjects": "2",
    "X-Matte-Confidence": "0.973",
    "Server-Timing": "decode;dur=1.5, infer;dur=20.0",
}
BOX = {
    "X-Foreground-Top": "1",
    "X-Foreground-Left": "2",
    "X-Foreground-Height": "20",
    "X-Foreground-Width": "10",
}
MODEL = {
    "name": "portrait",
    "version": "3",
    "role": "default",
    "device": "cpu",
    "runtime": "openvino",
    "precision": "float32",
    "input_size": 256,
    "sha256": "00",
    "metrics": {"P3M-500-NP/mIoU": 0.96},
    "licence": "research",
    "architecture": "U2-Net",
    "parameters": 11,
}


def response(headers: dict[str, str] | None = None, **content: object) -> httpx.Response:
    request = httpx.Request("POST", "http://matte/v1/matte")
    return httpx.Response(200, headers=headers, request=request, **content)  # type: ignore[arg-type]


def test_answer_carries_the_file_and_all_headers():
    answer = read_answer(response(HEADERS | BOX, content=b"png"))
    assert (answer.data, answer.media_type) == (b"png", "image/png")
    assert (answer.height, answer.width) == (30, 40)
    assert answer.foreground
    assert answer.confidence == 0.973
    assert (answer.model, answer.request_id) == ("portrait@3", "abc")
    assert answer.box == Box(top=1, left=2, height=20, width=10)
    assert answer.timings_ms == {"decode": 1.5, "infer": 20.0}
    assert answer.subjects == 2


def test_service_that_does_not_count_subjects_is_understood():
    without = {name: value for name, value in HEADERS.items() if name != "X-Subjects"}
    assert read_answer(response(without, content=b"png")).subjects is None


def test_answer_without_a_person_says_so():
    answer = read_answer(response(HEADERS | {"X-Foreground": "none"}, content=b"png"))
    assert not answer.foreground
    assert answer.box is None


def test_answer_is_a_value():
    answer = read_answer(response(HEADERS | BOX, content=b"png"))
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert dataclasses.asdict(answer)["box"]["top"] == 1
    assert "png'" not in repr(answer).replace("'image/png'", "")


@pytest.mark.parametrize(
    "wrong", [{"X-Width": "wide"}, {"X-Matte-Confidence": ""}, {"Server-Timing": "a;dur=1.2.3"}]
)
def test_header_that_is_no_number_is_unexpected(wrong):
    with pytest.raises(Unexpected, match="not as u2matte does"):
        read_answer(response(HEADERS | wrong))


def test_page_of_another_service_is_unexpected():
    page = response({"Content-Type": "text/html"}, text="Welcome to nginx!")
    for read in (read_answer, read_models, read_ready):
        with pytest.raises(Unexpected, match="http://matte/v1/matte answered 200"):
            read(page)


@pytest.mark.parametrize(
    ("header", "timings"),
    [
        ("", {}),
        ("decode;dur=1.5,queue;dur=0", {"decode": 1.5, "queue": 0.0}),
        ('cdn;desc="HIT, near";dur=2, miss, a;desc=b;dur=3;x=y', {"cdn": 2.0, "a": 3.0}),
    ],
)
def test_timings_are_read_beside_those_of_proxies(header, timings):
    assert read_timings(header) == timings


def test_models_are_read():
    (model,) = read_models(response(json={"models": [MODEL]}))
    assert dataclasses.asdict(model) == MODEL


@pytest.mark.parametrize("missing", sorted(MODEL))
def test_model_that_lacks_something_is_unexpected(missing):
    item = {name: value for name, value in MODEL.items() if name != missing}
    with pytest.raises(Unexpected):
        read_models(response(json={"models": [item]}))


@pytest.mark.parametrize("document", [[], {}, {"models": 3}, {"models": [MODEL | {"metrics": 1}]}])
def test_document_that_is_no_list_of_models_is_unexpected(document):
    with pytest.raises(Unexpected):
        read_models(response(json=document))


def test_only_the_service_is_ready():
    assert read_ready(response(json={"status": "ready"}))
    with pytest.raises(Unexpected):
        read_ready(response(json={"status": "up"}))


PIXELS = np.random.default_rng(2).integers(0, 256, (30, 40, 4), np.uint8)
SHAPES = {"L": PIXELS[..., 0], "RGB": PIXELS[..., :3], "RGBA": PIXELS}


@pytest.mark.parametrize(
    ("mode", "format"), [("L", "png"), ("RGB", "png"), ("RGBA", "png"), ("RGB", "webp"), ("RGBA", "webp")]
)
def test_answers_picture_is_pillows_and_its_pixels_are_an_array(mode, format):
    file = io.BytesIO()
    PIL.Image.fromarray(SHAPES[mode]).save(file, format, lossless=True, exact=True)
    kind = {"Content-Type": f"image/{format}"}
    answer = read_answer(response(HEADERS | kind, content=file.getvalue()))
    assert answer.image.mode == mode
    assert answer.image.size == (40, 30)
    assert np.array_equal(answer.array, SHAPES[mode])
    assert answer.array.dtype == np.uint8
    answer.array[0, 0] = 0  # its own


def test_zip_has_no_single_picture():
    answer = read_answer(response(HEADERS | {"Content-Type": "application/zip"}, content=b"zip"))
    for what in ("image", "array"):
        with pytest.raises(ValueError, match=r"a ZIP holds two pictures: ask for format=\"png\""):
            getattr(answer, what)


@pytest.mark.parametrize(
    ("what", "module", "package"), [("image", "PIL", "Pillow"), ("array", "numpy", "NumPy")]
)
def test_package_that_is_missing_is_named(what, module, package, monkeypatch):
    answer = read_answer(response(HEADERS, content=b"png"))
    monkeypatch.setitem(sys.modules, module, None)
    said = f"answer.{what} needs {package}, which is not installed: pip install {package.lower()}"
    with pytest.raises(ModuleNotFoundError, match=said):
        getattr(answer, what)
