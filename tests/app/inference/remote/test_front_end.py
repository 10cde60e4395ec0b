"""Front ends and an inference process: squares go there, alphas and errors come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import numpy as np
import pytest

from app.errors import InferenceFailed, NotReady, OutOfMemory, QueueFull
from app.inference.backends.base import Alphas, Batch, LoadError
from app.inference.remote.front_end import InferenceProcesses
from app.inference.servable import Servable, gather
from app.settings import Settings
from model.matting import VIEWS_MAX
from tests.app.inference.remote.conftest import SIDE, Host, version
from tests.support.networks import Gate
from tests.support.services import until

SOON_S = 5  # half of the time that a batch would wait for the photos
MakeHost = Callable[..., AbstractAsyncContextManager[Host]]


def grey(value: int) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), value, np.uint8)


async def alphas(servable: Servable, *values: int) -> list[np.ndarray]:
    return [each.output for each in await gather(servable.submit_squares([grey(v) for v in values]))]


async def test_alphas_are_bit_for_bit_those_of_the_network(host: MakeHost) -> None:
    square = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)

    def network(batch: Batch) -> Alphas:
        return (batch.astype(np.float32).mean(axis=3) / 255).astype(np.float32)

    async with host(predict=network) as it, it.front_end() as front_end:
        servable = await it.open(front_end)
        (batched,) = await gather(servable.submit_squares([square]))
        assert np.array_equal(batched.output, network(square[None])[0])
        assert batched.output.dtype == np.float32
        assert batched.size == 1
        assert batched.run_s > 0
        assert batched.queue_s >= 0


async def test_squares_of_two_front_ends_share_a_batch_and_each_gets_its_own(
    host: MakeHost, gate: Gate
) -> None:
    async with host(predict=gate) as it, it.front_end("0") as one, it.front_end("1") as two:
        first, second = await it.open(one), await it.open(two)
        assert it.loads == ["a@1"]  # once for both
        running = asyncio.create_task(alphas(first, 1))
        await until(gate.entered.is_set)
        waiting = [asyncio.create_task(alphas(each, value)) for each, value in ((first, 51), (second, 102))]
        await until(lambda: sum(each.depth for each in it.server.models) == 2)
        gate.opened.set()
        assert [float(found[0][0, 0]) for found in await asyncio.gather(*waiting)] == pytest.approx(
            [0.2, 0.4]
        )
        await running
        assert gate.sizes == [1, 2]


async def test_a_batch_waits_for_photos_that_another_front_end_decodes(host: MakeHost) -> None:
    settings = Settings(batch_wait_ms=10_000)
    async with host(settings=settings) as it, it.front_end("0") as one, it.front_end("1") as two:
        first, second = await it.open(one), await it.open(two)
        with second.arriving():
            await until(lambda: it.server.models[0]._arriving == 1)
            waiting = asyncio.create_task(alphas(first, 1))
            await until(lambda: it.server.models[0].depth == 1)
        async with asyncio.timeout(SOON_S):
            await waiting  # The photo has come to nothing: no further square is expected.


async def test_what_a_front_end_was_decoding_when_it_died_is_not_waited_for(host: MakeHost) -> None:
    async with host(settings=Settings(batch_wait_ms=10_000)) as it, it.front_end("0") as one:
        first = await it.open(one)
        async with it.front_end("1") as two:
            second = await it.open(two)
            second.expect(1)
            await until(lambda: it.server.models[0]._arriving == 1)
        await until(lambda: it.server.models[0]._arriving == 0)
        async with asyncio.timeout(SOON_S):
            await alphas(first, 1)


async def test_after_a_flush_batches_do_not_wait_for_this_front_end(host: MakeHost) -> None:
    async with host(settings=Settings(batch_wait_ms=10_000)) as it, it.front_end() as front_end:
        servable = await it.open(front_end)
        with servable.arriving():
            await until(lambda: it.server.models[0]._arriving == 1)
            servable.flush()
            async with asyncio.timeout(SOON_S):
                await alphas(servable, 1)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(MemoryError(), OutOfMemory), (ZeroDivisionError("a bug"), InferenceFailed)],
)
async def test_errors_of_a_batch_are_the_same_as_in_one_process(
    host: MakeHost, raised: Exception, expected: type[Exception]
) -> None:
    def network(_batch: Batch) -> Alphas:
        raise raised

    async with host(predict=network) as it, it.front_end() as front_end:
        servable = await it.open(front_end)
        with pytest.raises(expected) as found:
            await alphas(servable, 1)
        assert type(found.value) is expected
        assert "a bug" not in str(found.value)


async def test_alpha_that_is_not_finite_fails_only_its_own_square(host: MakeHost, gate: Gate) -> None:
    def network(batch: Batch) -> Alphas:
        found = gate(batch)
        found[batch[:, 0, 0, 0] == 66] = np.nan
        return found

    async with host(predict=network) as it, it.front_end() as front_end:
        servable = await it.open(front_end)
        first = asyncio.create_task(alphas(servable, 1))
        await until(gate.entered.is_set)
        good, bad = (asyncio.create_task(alphas(servable, value)) for value in (51, 66))
        await until(lambda: it.server.models[0].depth == 2)
        gate.opened.set()
        await first
        with pytest.raises(InferenceFailed, match="not finite"):
            await bad
        assert float((await good)[0][0, 0]) == pytest.approx(0.2)
        assert gate.sizes == [1, 2]


async def test_cancelled_square_leaves_the_queue(host: MakeHost, gate: Gate) -> None:
    async with host(predict=gate) as it, it.front_end() as front_end:
        servable = await it.open(front_end)
        running = asyncio.create_task(alphas(servable, 1))
        await until(gate.entered.is_set)
        waiting = asyncio.create_task(alphas(servable, 2))
        await until(lambda: it.server.models[0].depth == 1)
        waiting.cancel()
        await until(lambda: it.server.models[0].depth == 0)
        gate.opened.set()
        await running
        assert gate.sizes == [1]
        assert front_end.links[0].squares == 0


async def test_full_queue_refuses_in_the_front_end(host: MakeHost, gate: Gate) -> None:
    async with host(predict=gate, settings=Settings(max_queue=1)) as it, it.front_end() as front_end:
        servable = await it.open(front_end)
        waiting = asyncio.create_task(alphas(servable, *range(VIEWS_MAX)))
        await until(gate.entered.is_set)
        with pytest.raises(QueueFull):
            await alphas(servable, 1)
        gate.opened.set()
        assert len(await waiting) == VIEWS_MAX


async def test_the_inference_process_has_room_for_what_all_front_ends_may_send(
    host: MakeHost, gate: Gate
) -> None:
    async with (
        host(predict=gate, settings=Settings(max_queue=1), front_ends=2) as it,
        it.front_end("0") as one,
        it.front_end("1") as two,
    ):
        waiting = [asyncio.create_task(alphas(await it.open(each), *range(VIEWS_MAX))) for each in (one, two)]
        await until(lambda: one.links[0].squares + two.links[0].squares == 2 * VIEWS_MAX)
        gate.opened.set()
        assert [len(each) for each in await asyncio.gather(*waiting)] == [VIEWS_MAX, VIEWS_MAX]


async def test_models_are_closed_when_the_last_front_end_gives_them_up(host: MakeHost) -> None:
    async with host() as it, it.front_end("0") as one, it.front_end("1") as two:
        first, second = await it.open(one), await it.open(two)
        await first.unload()
        await alphas(second, 1)
        assert not first.alive
        with pytest.raises(NotReady):
            await alphas(first, 1)
        (model,) = it.server.models
        await second.unload()
        await until(lambda: not model.alive)
        assert not it.server.models
        assert it.loads == ["a@1"]


async def test_models_of_a_front_end_that_dies_are_closed(host: MakeHost) -> None:
    async with host() as it:
        async with it.front_end() as front_end:
            await it.open(front_end)
            (model,) = it.server.models
        await until(lambda: not model.alive)


async def test_versions_are_exchanged_without_a_lost_square(host: MakeHost) -> None:
    async with host() as it, it.front_end() as front_end:
        old = await it.open(front_end, "a@1")
        with old.in_use():
            new = await it.open(front_end, "a@2")
            retiring = asyncio.create_task(old.unload())
            await alphas(old, 1)
        await retiring
        await alphas(new, 1)
        assert it.loads == ["a@1", "a@2"]
        await until(lambda: [each.manifest.label for each in it.server.models] == ["a@2"])


async def test_model_that_cannot_be_loaded_is_refused_with_the_reason_and_tried_anew(host: MakeHost) -> None:
    async with host(broken={"a@1"}) as it, it.front_end("0") as one, it.front_end("1") as two:
        for each in (one, two):
            with pytest.raises(LoadError, match="it is broken"):
                await it.open(each)
        it.broken.clear()
        assert (await it.open(one)).alive


async def test_a_reason_of_any_length_is_told(host: MakeHost) -> None:
    async with host(broken={"a@1"}, more="\0" * 1_000_000) as it, it.front_end() as front_end:
        async with asyncio.timeout(SOON_S):
            with pytest.raises(LoadError, match="it is broken"):
                await it.open(front_end)


async def test_model_whose_files_have_changed_is_refused(host: MakeHost) -> None:
    async with host(other_content=True) as it, it.front_end() as front_end:
        with pytest.raises(LoadError, match="has changed"):
            await it.open(front_end)


async def test_when_the_process_dies_squares_get_503_and_the_next_one_serves(
    host: MakeHost, gate: Gate
) -> None:
    async with host(predict=gate) as it, it.front_end() as front_end:
        servable = await it.open(front_end)
        waiting = asyncio.create_task(alphas(servable, 1))
        await until(gate.entered.is_set)
        await it.kill()
        with pytest.raises(NotReady, match="ended before this picture was done"):
            await waiting
        assert "does not answer" in servable.fault
        with pytest.raises(NotReady):
            await alphas(servable, 1)
        gate.opened.set()
        it.start()
        async with asyncio.timeout(10):
            while not servable.alive:
                await asyncio.sleep(0.01)
        await alphas(servable, 1)
        assert it.loads == ["a@1", "a@1"]


async def test_a_load_outlives_the_process_that_had_begun_it(host: MakeHost, gate: Gate) -> None:
    async with host(load_gate=gate) as it, it.front_end() as front_end:
        opening = asyncio.create_task(it.open(front_end))
        await until(gate.entered.is_set)
        await it.kill()
        gate.opened.set()
        it.start()
        async with asyncio.timeout(10):
            servable = await opening
        await alphas(servable, 1)
        assert it.loads == ["a@1", "a@1"]


async def test_while_a_batch_hangs_the_front_end_is_not_ready_and_late_squares_are_given_up(
    host: MakeHost, gate: Gate
) -> None:
    settings = Settings(stuck_after_ms=100)
    async with host(predict=gate, settings=settings) as it, it.front_end(stuck_after_s=0.0) as front_end:
        servable = await it.open(front_end)
        waiting = asyncio.create_task(alphas(servable, 1))
        await until(gate.entered.is_set)
        it.stuck = "A batch has been running for 30 s."
        with pytest.raises(NotReady, match=r"for 30 s\. This picture has waited for too long"):
            await waiting
        assert servable.fault == "A batch has been running for 30 s. No new photos are taken meanwhile."
        it.stuck = ""
        gate.opened.set()
        async with asyncio.timeout(10):
            while not servable.alive:
                await asyncio.sleep(0.01)


async def test_a_silent_process_is_left(host: MakeHost, monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    monkeypatch.setattr("app.inference.remote.link.SILENT_S", 0.05)
    monkeypatch.setattr("app.inference.remote.inference.TELL_EVERY_S", 60.0)
    async with host(predict=gate) as it, it.front_end(stuck_after_s=0.01) as front_end:
        servable = await it.open(front_end)
        with pytest.raises(NotReady, match="ended before"):
            await alphas(servable, 1)
        gate.opened.set()


async def test_squares_go_to_the_process_with_the_fewest(host: MakeHost) -> None:
    async with host() as it, it.front_end() as one, it.front_end() as two:
        links = [each.links[0] for each in (one, two)]
        both = InferenceProcesses(list, "0", links)
        servable = await both.open(version(), it.device(), it.threads)
        assert servable.model.lanes == 2
        links[0].squares += 5  # as if it were busy
        before = [link.squares for link in links]
        sent = asyncio.gather(*servable.submit_squares([grey(1)] * 3))
        await until(lambda: links[1].squares == 3)
        assert links[0].squares == before[0]
        await sent


async def test_with_several_processes_one_that_dies_is_left_out(host: MakeHost) -> None:
    async with host() as it, it.front_end() as one, it.front_end() as two:
        links = [each.links[0] for each in (one, two)]
        servable = await InferenceProcesses(list, "0", links).open(version(), it.device(), it.threads)
        await links[0].close()
        assert servable.alive
        await alphas(servable, 1, 2, 3)


async def test_metrics_of_all_processes_are_one_page(host: MakeHost) -> None:
    async with host() as it, it.front_end("0") as one, it.front_end("1") as two:
        await it.open(one)
        await it.open(two)
        page = (await one.joined_page(b"# HELP a b\n# TYPE a gauge\na 7.0\n")).decode()
        assert [line for line in page.splitlines() if not line.startswith("#")] == [
            'a{worker="0"} 7.0',
            'a{worker="1"} 1.0',
            'a{worker="inference"} 1.0',
            'c{worker="1",k="1"} 2.0',
        ]
        await it.kill()
        await until(lambda: not one.links[0].connected)
        page = (await one.joined_page(b"# HELP a b\n# TYPE a gauge\na 7.0\n")).decode()
        assert page.splitlines()[-1] == 'a{worker="0"} 7.0'


async def test_closing_gives_waiting_squares_503(host: MakeHost, gate: Gate) -> None:
    async with host(predict=gate) as it, it.front_end() as front_end:
        servable = await it.open(front_end)
        waiting = asyncio.create_task(alphas(servable, 1))
        await until(gate.entered.is_set)
        await servable.close()
        with pytest.raises(NotReady, match="shut down"):
            await waiting
        gate.opened.set()
