from __future__ import annotations

import logging

import pytest

from tests.support.images import plain, png
from tests.support.services import Running

PHOTO = png(plain(50))


@pytest.mark.parametrize("given", ["abc-123", "A.b_c", "x" * 64])
async def test_sane_request_id_is_kept(running: Running, given: str) -> None:
    async with running() as service:
        answer = await service.client.get("/healthz", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "<script>", "a\tb"])
async def test_other_request_id_is_replaced(running: Running, given: str) -> None:
    async with running() as service:
        answer = await service.client.get("/healthz", headers={"X-Request-Id": given})
    assert len(answer.headers["x-request-id"]) == 32


async def test_log_line_has_the_facts_and_neither_key_nor_name(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(api_keys="topsecret") as service:
        with caplog.at_level(logging.INFO, "app.access"):
            await service.client.post(
                "/v1/matte", files={"image": ("my-wife.png", PHOTO)}, headers={"X-Api-Key": "topsecret"}
            )
    (record,) = caplog.records
    facts = vars(record)
    assert (facts["method"], facts["route"], facts["status"]) == ("POST", "/v1/matte", 200)
    assert facts["bytes_in"] > len(PHOTO)
    assert facts["bytes_out"] > 60
    assert "topsecret" not in str(facts)
    assert "my-wife" not in str(facts)


async def test_made_up_paths_share_one_label(running: Running) -> None:
    async with running() as service:
        for path in ("/wp-admin", "/v1/matte/x", "/v2/matte"):
            await service.client.get(path)
        await service.client.get("/v1/matte")
        assert await service.metric('matte_requests_total{route="unmatched",status="404"}') == 3
        assert await service.metric('matte_requests_total{route="/v1/matte",status="405"}') == 1


async def test_unexpected_error_is_a_500_that_tells_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as service:
        monkeypatch.setattr(service.app.state.pipeline, "run", None)
        answer = await service.post(PHOTO)
    assert answer.status_code == 500
    assert answer.json()["errors"][0]["code"] == "internal"
    assert "NoneType" not in answer.text
    assert "NoneType" in caplog.text
