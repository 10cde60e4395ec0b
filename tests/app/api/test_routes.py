"""The public surface: what each request is answered, by an app in this process with a stand-in for the network."""

from __future__ import annotations

import asyncio
import io
import tempfile

import numpy as np
import PIL.Image
import pytest

from app.imaging.decode import DECODER_BYTES
from app.imaging.output import MATTE
from app.inference.backends.base import Alphas, Batch
from app.pipeline import measure
from tests.support.images import jpeg, pixels, plain, png, portrait, saved
from tests.support.networks import mean_colour
from tests.support.services import Running


async def test_form_field_gives_a_grey_png_of_the_photo_size(running: Running) -> None:
    async with running() as service:
        answer = await service.post(png(plain(77, 40, 50)))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(pixels(answer.content), np.full((40, 50), 77))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_raw_body_is_accepted_with_an_image_content_type(running: Running, kind: str) -> None:
    data = saved(plain(77), kind)
    async with running() as service:
        answer = await service.client.post(
            "/v1/matte", content=data, headers={"content-type": f"image/{kind.lower()}"}
        )
    assert answer.status_code == 200
    assert (pixels(answer.content) == 77).all()


async def test_headers_tell_model_size_and_timings(running: Running) -> None:
    async with running() as service:
        answer = await service.post(png(plain(1, 40, 50)))
    assert answer.headers["x-model"] == "stand-in@0"
    assert (answer.headers["x-width"], answer.headers["x-height"]) == ("50", "40")
    stages = [entry.split(";dur=") for entry in answer.headers["server-timing"].split(", ")]
    assert [name for name, _ in stages] == ["decode", "queue", "infer", "refine", "encode"]
    assert all(float(milliseconds) >= 0 for _, milliseconds in stages)
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("grey", "foreground", "confidence"),
    [(0, "none", "1.000"), (77, "none", "0.349"), (255, "person", "1.000")],
)
async def test_headers_and_metrics_tell_what_was_found_and_how_far_to_trust_it(
    running: Running, grey: int, foreground: str, confidence: str
) -> None:
    """The stand-in's alpha is the grey value: 77 is 0.302, so the background may expect 0.698, the foreground 0."""
    async with running() as service:
        answer = await service.post(png(plain(grey)))
        counted = await service.metric(f'matte_foreground_total{{foreground="{foreground}"}}')
        observed = await service.metric("matte_confidence_sum")
    assert answer.headers["x-foreground"] == foreground
    assert answer.headers["x-matte-confidence"] == confidence
    assert counted == 1
    assert observed == pytest.approx(float(confidence), abs=0.001)


@pytest.mark.parametrize("where", ["form", "query", "query of a raw body"])
async def test_high_quality_runs_the_network_twice(running: Running, where: str) -> None:
    data, option = png(plain(77)), {"quality": "high"}
    calls: dict[str, dict[str, object]] = {
        "form": {"files": {"image": data}, "data": option},
        "query": {"files": {"image": data}, "params": option},
        "query of a raw body": {"content": data, "params": option, "headers": {"content-type": "image/png"}},
    }
    async with running() as service:
        answer = await service.client.post("/v1/matte", **calls[where])
        pictures = await service.metric("matte_batch_size_sum")
    assert answer.status_code == 200
    assert (pixels(answer.content) == 77).all()
    assert pictures == 2


async def test_matte_has_the_size_of_the_upright_photo(running: Running) -> None:
    async with running() as service:
        answer = await service.post(jpeg(portrait(60, 80), orientation=6))
    assert pixels(answer.content).shape == (80, 60)
    assert (answer.headers["x-width"], answer.headers["x-height"]) == ("60", "80")


REFUSED = [
    ("truncated", png(portrait())[:-200], 400, "failed_to_read_image"),
    ("not an image", b"hello, world", 415, "invalid_file_type"),
    ("a PPM", saved(plain(3), "PPM"), 415, "invalid_file_type"),
    ("an empty file", b"", 400, "missing_source"),
    ("too many pixels", png(plain(3, 100, 101)), 413, "resolution_too_high"),
    ("too many bytes", png(portrait()) + b"\0" * 60_000, 413, "file_too_large"),
]


@pytest.mark.parametrize(
    ("data", "status", "code"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
async def test_bad_upload_is_refused(running: Running, data: bytes, status: int, code: str) -> None:
    async with running(max_pixels=10_000, max_upload_bytes=50_000) as service:
        answer = await service.post(data)
        assert answer.status_code == status
        body = answer.json()
        assert [sorted(error) for error in body["errors"]] == [["code", "detail", "title"]]
        assert body["errors"][0]["code"] == code
        assert body["request_id"] == answer.headers["x-request-id"]
        assert (await service.post(png(plain(9)))).status_code == 200


async def test_request_without_anything_is_a_missing_source(running: Running) -> None:
    async with running() as service:
        answer = await service.client.post("/v1/matte")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "missing_source"


FORM_OF_B = {"content-type": "multipart/form-data; boundary=b"}
FORMS = [
    ("other field", {"files": {"photo": png(plain(1))}}, 400, "missing_source"),
    ("option that is not there", {"files": {"image": b"x"}, "data": {"size": "4k"}}, 422, "unknown_option"),
    ("empty form", {"content": b"--b--\r\n", "headers": FORM_OF_B}, 400, "missing_source"),
    ("text instead of a file", {"files": {"image": (None, "hello")}}, 400, "missing_source"),
    ("URL", {"data": {"image_url": "http://x/y.jpg"}, "files": {"a": b""}}, 400, "missing_source"),
    ("two images", {"files": [("image", b"x"), ("image", b"y")]}, 400, "multiple_sources"),
    ("too many files", {"files": [("image", b"x")] * 5}, 400, "invalid_form"),
    (
        "no boundary",
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        400,
        "invalid_form",
    ),
    (
        "broken form",
        {"content": b"nonsense", "headers": FORM_OF_B},
        400,
        "invalid_form",
    ),
    (
        "binary stream",
        {"content": b"x", "headers": {"content-type": "application/octet-stream"}},
        415,
        "invalid_file_type",
    ),
    (
        "quality that is not there",
        {"files": {"image": b"x"}, "data": {"quality": "best"}},
        422,
        "invalid_quality",
    ),
    (
        "quality in the query that the form overrules",
        {"files": {"image": b"x"}, "data": {"quality": "high"}, "params": {"quality": "best"}},
        422,
        "invalid_quality",
    ),
    ("quality as a file", {"files": {"image": b"x", "quality": b"high"}}, 422, "invalid_option"),
    ("query option", {"files": {"image": b"x"}, "params": {"size": "4k"}}, 422, "unknown_option"),
]


@pytest.mark.parametrize(
    ("request_", "status", "code"), [row[1:] for row in FORMS], ids=[r[0] for r in FORMS]
)
async def test_bad_form_is_refused(
    running: Running, request_: dict[str, object], status: int, code: str
) -> None:
    async with running() as service:
        answer = await service.client.post("/v1/matte", **request_)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)


async def test_photo_is_never_written_to_disk(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a photo went to disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    noise = np.random.default_rng(1).integers(0, 256, (900, 1200, 3), np.uint8)
    data = png(noise)
    assert len(data) > 2_000_000  # Starlette's own limit for memory is 1 MiB.
    async with running() as service:
        assert (await service.post(data)).status_code == 200


async def test_32_concurrent_posts_share_batches_and_each_gets_its_own_matte(running: Running) -> None:
    files = [png(plain(8 * index)) for index in range(32)]
    files[13] = files[13][:-20]
    async with running(max_batch_size=8, batch_wait_ms=100) as service:
        answers = await asyncio.gather(*(service.post(data) for data in files))
        batches = await service.metric("matte_batch_size_count")
        pictures = await service.metric("matte_batch_size_sum")
    assert answers[13].status_code == 400
    for index, answer in enumerate(answers):
        if index != 13:
            assert (pixels(answer.content) == 8 * index).all(), index
    assert pictures == 31
    assert pictures / batches > 2


async def test_failed_batch_is_a_500_for_its_waiters_and_the_next_is_served(running: Running) -> None:
    def fails_on_white(batch: Batch) -> Alphas:
        alphas = mean_colour(batch)
        return np.where(alphas == 1, np.nan, alphas)

    async with running(fails_on_white) as service:
        bad = await service.post(png(plain(255)))
        good = await service.post(png(plain(100)))
    assert bad.status_code == 500
    assert bad.json()["errors"][0]["code"] == "internal"
    assert good.status_code == 200


async def test_models_lists_the_model_in_service(running: Running) -> None:
    async with running() as service:
        (model,) = (await service.client.get("/v1/models")).json()["models"]
    assert (model["name"], model["version"], model["input_size"]) == ("stand-in", "0", 64)
    names = (
        "name version role device runtime precision input_size sha256 metrics licence architecture parameters"
    )
    assert set(model) == set(names.split())


async def test_health_and_readiness_are_green(running: Running) -> None:
    async with running() as service:
        assert (await service.client.get("/healthz")).json() == {"status": "ok"}
        assert (await service.client.get("/readyz")).json() == {"status": "ready"}


async def test_root_leads_somewhere(running: Running) -> None:
    async with running() as service:
        links = (await service.client.get("/")).json()["links"]
        assert (await service.client.get(links["docs"])).status_code == 200
        assert (await service.client.get(links["models"])).status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v1/matte", 405)])
async def test_unknown_route_and_method_have_the_same_error_shape(
    running: Running, method: str, path: str, status: int
) -> None:
    async with running() as service:
        answer = await service.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_openapi_describes_both_uploads_and_every_status(running: Running) -> None:
    async with running() as service:
        matte = (await service.client.get("/openapi.json")).json()["paths"]["/v1/matte"]["post"]
    assert {"multipart/form-data", "image/jpeg"} <= set(matte["requestBody"]["content"])
    expected = {"200", "400", "401", "408", "413", "415", "422", "429", "503", "504"}
    assert expected <= set(matte["responses"])
    assert list(matte["responses"]["200"]["content"]) == ["image/png"]


async def test_metadata_of_the_photo_is_not_in_the_matte(running: Running) -> None:
    import PIL.Image

    exif = PIL.Image.Exif()
    exif[0x010E] = "a secret place"
    async with running() as service:
        answer = await service.post(saved(plain(5), "JPEG", exif=exif, comment=b"a secret place"))
    assert b"secret" not in answer.content
    assert not PIL.Image.open(io.BytesIO(answer.content)).info


async def test_service_takes_the_formats_that_it_is_set_to(running: Running) -> None:
    async with running(formats=("jpeg", "tiff")) as service:
        assert (await service.post(saved(plain(3), "TIFF"))).status_code == 200
        refused = await service.post(png(plain(3)))
        under = await service.client.post(
            "/v1/cutout", files={"image": saved(plain(3), "JPEG"), "background": png(plain(3))}
        )
    for answer, whose in ((refused, ""), (under, "Background: ")):
        assert answer.status_code == 415
        (error,) = answer.json()["errors"]
        assert error["code"] == "invalid_file_type"
        assert error["detail"] == f"{whose}The image must be a JPEG or TIFF file."


@pytest.mark.parametrize("route", ["/v1/matte", "/v1/cutout"])
async def test_number_of_pictures_in_the_file_is_told_where_there_are_several(
    running: Running, route: str
) -> None:
    pictures = [PIL.Image.fromarray(plain(value)) for value in (3, 90)]
    async with running() as service:
        one = await service.client.post(route, files={"image": saved(pictures[0], "GIF")})
        two = await service.client.post(
            route, files={"image": saved(pictures[0], "GIF", save_all=True, append_images=pictures[1:])}
        )
    assert "x-frames" not in one.headers
    assert two.headers["x-frames"] == "2"


def test_photos_of_large_decoders_take_more_of_the_budget() -> None:
    measured = [measure(saved(plain(3), kind), MATTE, max_pixels=10_000) for kind in ("JPEG", "BMP")]
    assert [each.bytes // each.pixels for each in measured] == [3, DECODER_BYTES[False]]
