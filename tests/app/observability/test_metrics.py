from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.errors import NotReady
from app.observability import metrics
from app.observability.metrics import Metrics
from tests.support.images import plain, png
from tests.support.networks import Gate
from tests.support.services import Running, until

NAMES = {
    "matte_requests",
    "matte_request_seconds",
    "matte_inflight",
    "matte_queue_depth",
    "matte_queue_wait_seconds",
    "matte_rejected",
    "matte_batch_size",
    "matte_batch_padding",
    "matte_stage_seconds",
    "matte_model_info",
    "matte_ready",
    "matte_errors",
    "matte_inflight_limit",
    "matte_cpu_queue_depth",
    "matte_cpu_wait_seconds",
    "matte_decoded_bytes",
    "matte_decoded_bytes_limit",
    "matte_loop_lag_seconds",
    "matte_photo_megapixels",
    "matte_received_bytes",
    "matte_discarded_bytes",
    "matte_sent_bytes",
    "matte_build_info",
    "process_resident_memory_bytes",
}


async def test_every_promised_metric_is_there(running: Running) -> None:
    async with running() as service:
        await service.post(png(plain(1)))
        await service.post(b"x")
        page = (await service.client.get("/metrics")).text
        stages = [
            await service.metric(f'matte_stage_seconds_count{{stage="{stage}"}}')
            for stage in ("decode", "infer", "encode")
        ]
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert families.keys() >= NAMES
    assert stages == [1, 1, 1]
    (info,) = families["matte_model_info"].samples
    assert set(info.labels) >= {"name", "version", "device", "runtime", "precision", "sha256"}


async def test_padding_is_counted(running: Running) -> None:
    async with running(max_batch_size=1) as service:
        await service.post(png(plain(1)))
        assert await service.metric("matte_batch_padding_count") == 1
        assert await service.metric("matte_batch_padding_sum") == 0


def test_two_apps_in_one_process_share_no_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.rejected.labels("x").inc()
    assert other.registry.get_sample_value("matte_rejected_total", {"reason": "x"}) is None


def test_what_labels_can_say_is_there_as_zero_before_it_happens() -> None:
    value = Metrics().registry.get_sample_value
    assert value("matte_rejected_total", {"reason": "queue_full"}) == 0
    assert value("matte_stage_seconds_count", {"stage": "compose"}) == 0
    assert value("matte_foreground_total", {"foreground": "none"}) == 0


async def test_what_is_inside_is_told_beside_its_limit(running: Running, gate: Gate) -> None:
    async with running(gate, max_queue=3, max_decoded_bytes=2_000_000) as service:
        posting = asyncio.create_task(service.post(png(plain(1, 100, 100))))
        await until(gate.entered.is_set)
        assert await service.metric("matte_inflight") == 1
        assert await service.metric("matte_inflight_limit") == 3
        assert await service.metric("matte_decoded_bytes") == 30_000
        assert await service.metric("matte_decoded_bytes_limit") == 2_000_000
        gate.opened.set()
        await posting
        assert await service.metric("matte_inflight") == 0
        assert await service.metric("matte_decoded_bytes") == 0


async def test_sizes_and_waits_of_a_photo_are_counted(running: Running) -> None:
    photo = png(plain(1, 100, 100))
    async with running() as service:
        answer = await service.post(photo)
        assert await service.metric("matte_photo_megapixels_sum") == 0.01
        assert await service.metric("matte_cpu_wait_seconds_count") == 3  # header, prepare, finish
        assert await service.metric('matte_received_bytes_total{route="/v1/matte"}') > len(photo)
        assert await service.metric('matte_sent_bytes_total{route="/v1/matte"}') == len(answer.content)


async def test_errors_are_counted_by_code_and_named_in_the_log(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as service:
        with caplog.at_level("INFO", "app.access"):
            await service.post(b"x")
            await service.client.get("/nowhere")
            await service.client.post("/v1.0/removebg", files={"image_file": b"x"})
        assert await service.metric('matte_errors_total{code="invalid_file_type"}') == 2
        assert await service.metric('matte_errors_total{code="not_found"}') == 1
    assert [vars(record)["error"] for record in caplog.records] == [
        "invalid_file_type",
        "not_found",
        "invalid_file_type",
    ]


async def test_readiness_is_told_as_it_is_at_the_scrape(running: Running) -> None:
    async with running() as service:
        assert await service.metric("matte_ready") == 1
        service.app.state.pipeline.drain()
        assert await service.metric("matte_ready") == 0


def test_a_service_that_is_still_loading_is_not_ready() -> None:
    made = Metrics()

    def check() -> None:
        raise NotReady("loading")

    made.watch_ready(check)
    assert made.registry.get_sample_value("matte_ready") == 0


async def test_the_event_loop_is_listened_to_while_the_app_runs(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "LAG_PROBE_S", 0.0)
    async with running() as service:
        lag = service.app.state.metrics.registry.get_sample_value
        await until(lambda: lag("matte_loop_lag_seconds_count") > 0)
