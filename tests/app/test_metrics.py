from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from app.metrics import Metrics
from tests.conftest import Running
from tests.portraits import plain, png

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
    assert set(info.labels) == {"name", "version", "device", "precision", "sha256"}


async def test_padding_is_counted(running: Running) -> None:
    async with running(max_batch_size=1) as service:
        await service.post(png(plain(1)))
        assert await service.metric("matte_batch_padding_count") == 1
        assert await service.metric("matte_batch_padding_sum") == 0


def test_two_apps_in_one_process_share_no_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.rejected.labels("x").inc()
    assert other.registry.get_sample_value("matte_rejected_total", {"reason": "x"}) is None
