"""The batcher on a loop whose clock jumps: every wait is exact and takes no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from app.errors import InferenceFailed, NotReady, OutOfMemory, QueueFull, ServiceError
from app.inference.batcher import Batcher

pytestmark = pytest.mark.filterwarnings("error")


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of sleeping, moves the loop's clock by as much."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "every task waits for ever"
        self.now += timeout
        return super().select(0)


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def in_no_time(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        runner.run(test())


class Doubling:
    """Doubles each item in `seconds`; remembers its batches and when each began."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.batches: list[list[int]] = []
        self.began: list[float] = []

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]


def batcher(
    run: Callable[[Sequence[int]], Awaitable[Sequence[int | ServiceError]]],
    *,
    max_size: int = 4,
    max_wait_s: float = 0.1,
    max_queue: int = 100,
    lanes: int = 1,
    expected: Callable[[], int] | None = None,
) -> Batcher[int, int]:
    return Batcher(
        run,
        max_size=max_size,
        max_wait_s=max_wait_s,
        max_queue=max_queue,
        lanes=lanes,
        expected=expected,
    )


def test_items_leave_in_order_and_get_their_own_output() -> None:
    async def test() -> None:
        run = Doubling()
        b = batcher(run)
        answers = await asyncio.gather(*(b.submit(item) for item in range(10)))
        assert [answer.output for answer in answers] == [2 * item for item in range(10)]
        assert run.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        await b.close(1)

    in_no_time(test)


def test_full_batch_leaves_at_once() -> None:
    async def test() -> None:
        run = Doubling()
        b = batcher(run, max_wait_s=50)
        await asyncio.gather(*(b.submit(item) for item in range(4)))
        assert run.began == [0.0]
        await b.close(1)

    in_no_time(test)


def test_an_item_that_nobody_follows_leaves_at_once() -> None:
    async def test() -> None:
        run = Doubling()
        b = batcher(run, max_wait_s=50, expected=lambda: 0)
        assert (await b.submit(1)).output == 2
        assert run.began == [0.0]
        await b.close(1)

    in_no_time(test)


def test_an_item_waits_for_those_on_the_way_and_no_longer() -> None:
    async def test() -> None:
        run = Doubling()
        coming = 2
        b = batcher(run, max_wait_s=50, expected=lambda: coming)
        first = asyncio.ensure_future(b.submit(1))
        await asyncio.sleep(3)
        coming = 1
        second = asyncio.ensure_future(b.submit(2))
        await asyncio.sleep(4)
        assert run.batches == []
        coming = 0  # It has failed on its way.
        b.notify()
        await asyncio.gather(first, second)
        assert run.batches == [[1, 2]]
        assert run.began == [pytest.approx(7)]
        await b.close(1)

    in_no_time(test)


def test_those_on_the_way_are_not_waited_for_longer_than_the_longest_wait() -> None:
    async def test() -> None:
        run = Doubling()
        b = batcher(run, max_wait_s=0.5, expected=lambda: 1)
        await b.submit(1)
        assert run.began == [pytest.approx(0.5)]
        await b.close(1)

    in_no_time(test)


def test_wait_counts_from_the_first_item_and_not_from_the_last() -> None:
    async def test() -> None:
        run = Doubling()
        b = batcher(run, max_wait_s=0.1)
        first = asyncio.ensure_future(b.submit(1))
        await asyncio.sleep(0.08)
        second = asyncio.ensure_future(b.submit(2))
        await asyncio.gather(first, second)
        assert run.batches == [[1, 2]]
        assert run.began == [pytest.approx(0.1)]
        await b.close(1)

    in_no_time(test)


def test_items_that_came_during_a_long_batch_have_waited_enough() -> None:
    async def test() -> None:
        run = Doubling(seconds=1.0)
        b = batcher(run, max_wait_s=0.1)
        first = asyncio.ensure_future(b.submit(1))
        await asyncio.sleep(0.5)
        second = await b.submit(2)
        assert run.began == [pytest.approx(0.1), pytest.approx(1.1)]
        assert second.queue_s == pytest.approx(0.6)
        assert second.run_s == pytest.approx(1.0)
        await first
        await b.close(1)

    in_no_time(test)


def test_cancelled_item_leaves_the_queue_and_never_runs() -> None:
    async def test() -> None:
        run = Doubling()
        b = batcher(run)
        leaving = asyncio.ensure_future(b.submit(1))
        staying = asyncio.ensure_future(b.submit(2))
        await asyncio.sleep(0.01)
        leaving.cancel()
        assert (await staying).output == 4
        assert run.batches == [[2]]
        assert leaving.cancelled()
        await b.close(1)

    in_no_time(test)


def test_loop_survives_when_the_only_item_leaves() -> None:
    async def test() -> None:
        run = Doubling()
        b = batcher(run, max_wait_s=0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(b.submit(1), 0.1)  # the very moment at which its batch would leave
        assert (await b.submit(2)).output == 4
        assert b.alive
        await b.close(1)

    in_no_time(test)


def test_item_cancelled_while_its_batch_runs_does_not_harm_the_others() -> None:
    async def test() -> None:
        b = batcher(Doubling())
        leaving = asyncio.ensure_future(b.submit(1))
        staying = asyncio.ensure_future(b.submit(2))
        await asyncio.sleep(0.5)
        leaving.cancel()
        assert (await staying).output == 4
        await b.close(1)

    in_no_time(test)


def test_failed_batch_tells_each_waiter_and_the_next_is_served() -> None:
    async def test() -> None:
        b = batcher(Doubling())
        failed = await asyncio.gather(b.submit(13), b.submit(1), return_exceptions=True)
        assert all(isinstance(error, InferenceFailed) for error in failed)
        assert failed[0] is not failed[1]
        assert (await b.submit(2)).output == 4
        await b.close(1)

    in_no_time(test)


def test_wrong_number_of_outputs_is_a_failed_batch() -> None:
    async def test() -> None:
        async def one_short(items: Sequence[int]) -> list[int]:
            return list(items[1:])

        b = batcher(one_short)
        failed = await asyncio.gather(b.submit(1), b.submit(2), return_exceptions=True)
        assert [type(error) for error in failed] == [InferenceFailed, InferenceFailed]
        await b.close(1)

    in_no_time(test)


def test_error_that_the_batch_is_raised_with_is_told_as_such_to_each_waiter() -> None:
    async def test() -> None:
        async def short(_items: Sequence[int]) -> list[int]:
            raise OutOfMemory("too short")

        b = batcher(short)
        failed = await asyncio.gather(b.submit(1), b.submit(2), return_exceptions=True)
        assert [type(error) for error in failed] == [OutOfMemory, OutOfMemory]
        assert [str(error) for error in failed] == ["too short", "too short"]
        assert failed[0] is not failed[1]
        assert b.alive
        await b.close(1)

    in_no_time(test)


def test_error_in_the_place_of_an_output_is_that_items_alone() -> None:
    async def test() -> None:
        async def one_bad(items: Sequence[int]) -> list[int | ServiceError]:
            return [InferenceFailed("bad") if item == 2 else item for item in items]

        b = batcher(one_bad)
        first, bad, last = await asyncio.gather(
            *(b.submit(item) for item in (1, 2, 3)), return_exceptions=True
        )
        assert isinstance(bad, InferenceFailed)
        assert [first.output, last.output] == [1, 3]  # type: ignore[union-attr]
        await b.close(1)

    in_no_time(test)


def test_full_queue_refuses() -> None:
    async def test() -> None:
        b = batcher(Doubling(), max_size=1, max_queue=2)
        inside = [asyncio.ensure_future(b.submit(item)) for item in (1, 2)]
        await asyncio.sleep(0)
        assert b.depth == 2
        with pytest.raises(QueueFull):
            await b.submit(3)
        await asyncio.gather(*inside)
        assert b.depth == 0
        await b.close(1)

    in_no_time(test)


def test_flush_starts_a_waiting_batch() -> None:
    async def test() -> None:
        b = batcher(Doubling(seconds=1), max_wait_s=50)
        inside = asyncio.ensure_future(b.submit(1))
        await asyncio.sleep(2)
        b.flush()
        assert (await inside).queue_s == pytest.approx(2)
        await b.close(1)
        b.flush()

    in_no_time(test)


def test_close_serves_what_waits_without_waiting_for_company() -> None:
    async def test() -> None:
        run = Doubling()
        b = batcher(run, max_wait_s=50)
        inside = [asyncio.ensure_future(b.submit(item)) for item in range(6)]
        await asyncio.sleep(0)
        await b.close(10)
        assert [(await item).output for item in inside] == [0, 2, 4, 6, 8, 10]
        assert not b.alive
        with pytest.raises(NotReady):
            await b.submit(7)
        assert asyncio.get_running_loop().time() == pytest.approx(2.0)

    in_no_time(test)


def test_close_fails_what_is_left_at_its_deadline() -> None:
    async def test() -> None:
        b = batcher(Doubling(seconds=100), max_size=1)
        inside = [asyncio.ensure_future(b.submit(item)) for item in range(2)]
        await asyncio.sleep(1)
        await b.close(3)
        results = await asyncio.gather(*inside, return_exceptions=True)
        assert [type(error) for error in results] == [NotReady, NotReady]
        assert asyncio.get_running_loop().time() == pytest.approx(4.0)

    in_no_time(test)


def test_as_many_batches_run_at_once_as_there_are_lanes() -> None:
    async def test() -> None:
        run = Doubling(seconds=1)
        b = batcher(run, max_size=2, lanes=2)
        answers = await asyncio.gather(*(b.submit(item) for item in range(7)))
        assert [answer.output for answer in answers] == [2 * item for item in range(7)]
        assert run.batches == [[0, 1], [2, 3], [4, 5], [6]]
        assert run.began == [0.0, 0.0, 1.0, 1.0]
        await b.close(1)

    in_no_time(test)


def test_a_slow_batch_does_not_hold_up_the_other_lane() -> None:
    async def test() -> None:
        async def run(items: Sequence[int]) -> list[int]:
            await asyncio.sleep(items[0])
            return list(items)

        b = batcher(run, max_size=1, lanes=2)
        slow = asyncio.ensure_future(b.submit(100))
        quick = [await b.submit(1) for _ in range(3)]
        assert [answer.output for answer in quick] == [1, 1, 1]
        assert asyncio.get_running_loop().time() == pytest.approx(3.0)
        assert not slow.done()
        await b.close(200)
        assert (await slow).output == 100

    in_no_time(test)


@pytest.mark.parametrize("lanes", [1, 3])
def test_dead_loop_is_visible_and_strands_nobody(lanes: int) -> None:
    class Fatal(BaseException):
        pass

    async def test() -> None:
        async def die(_items: Sequence[int]) -> list[int]:
            raise Fatal

        b = batcher(die, max_size=1, lanes=lanes)
        results = await asyncio.gather(b.submit(1), b.submit(2), return_exceptions=True)
        assert [type(error) for error in results] == [NotReady, NotReady]
        assert not b.alive
        with pytest.raises(NotReady):
            await b.submit(3)
        await b.close(1)

    in_no_time(test)
