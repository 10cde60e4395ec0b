from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from app.inference import predictor
from app.inference.backends.base import LoadError
from app.main import create_app
from app.middleware import admission, auth
from app.settings import Settings
from model.contract import ContractError
from tests.support.images import pixels, plain, png
from tests.support.services import Running, until


async def test_service_is_alive_but_not_ready_while_the_model_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = threading.Event()

    def load(*_: object, **__: object) -> None:
        loaded.wait(30)
        raise LoadError("enough seen")

    monkeypatch.setattr(predictor, "load", load)
    app = create_app(Settings())
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        assert (await client.get("/healthz")).status_code == 200
        for path in ("/readyz", "/v1/models"):
            assert (await client.get(path)).status_code == 503
        refused = await client.post("/v1/matte", files={"image": png(plain(1))})
        assert refused.status_code == 503
        assert refused.json()["errors"][0]["code"] == "not_ready"
        assert int(refused.headers["retry-after"]) >= 1
        loaded.set()


async def test_model_that_cannot_load_is_reported(tmp_path: Path) -> None:
    app = create_app(Settings(model_dir=tmp_path / "none"))
    called = threading.Event()
    app.state.on_load_failure = called.set
    async with app.router.lifespan_context(app):
        await until(called.is_set)
    assert isinstance(app.state.load_failure, ContractError)
    assert "no such model directory" in str(app.state.load_failure)


async def test_unexpected_load_error_is_reported_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def load(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(predictor, "load", load)
    app = create_app(Settings())
    called = threading.Event()
    app.state.on_load_failure = called.set
    async with app.router.lifespan_context(app):
        await until(called.is_set)
    assert "Traceback" in caplog.text


async def test_draining_service_is_not_ready_and_takes_nothing_new(running: Running) -> None:
    async with running() as service:
        service.app.state.pipeline.drain()
        assert (await service.client.get("/healthz")).status_code == 200
        assert (await service.client.get("/readyz")).status_code == 503
        assert (await service.post(png(plain(1)))).status_code == 503


async def test_dead_batch_loop_turns_readiness_red(running: Running) -> None:
    async with running() as service:
        task = service.app.state.pipeline.models.default._batcher._task
        task.cancel()
        await until(task.done)
        assert (await service.client.get("/readyz")).status_code == 503
        assert (await service.post(png(plain(1)))).status_code == 503


async def test_real_model_is_served(running: Running, tiny_artifact: Path) -> None:
    app = create_app(Settings(model_dir=tiny_artifact, max_batch_size=2))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        await app.state.loading
        answer = await client.post("/v1/matte", files={"image": png(plain(200, 50, 70))})
        page = (await client.get("/metrics")).text
    assert answer.headers["x-model"] == "tiny@1"
    matte = pixels(answer.content)
    assert matte.shape == (50, 70)
    # bfloat16, where the CPU has it, may move an alpha by two steps; more is refused at load.
    assert abs(int(matte.mean()) - 200) <= 2
    assert 'matte_model_info{device="' in page
    assert 'name="tiny"' in page


def test_every_route_that_takes_a_body_is_guarded_and_keyed() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    posts = {path for path, methods in paths.items() if "post" in methods}
    assert posts == admission.GUARDED
    assert all(path.startswith(auth.KEYED) for path in posts)
