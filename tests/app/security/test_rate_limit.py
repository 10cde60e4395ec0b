from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.security.rate_limit import RATE_MAX, RateLimiter

S = 1_000_000_000  # nanoseconds
START = 5_000_000 * S  # a machine that has run for two months


def test_a_minutes_worth_may_come_at_once_and_one_more_has_to_wait() -> None:
    rates = RateLimiter()
    shares = [rates.take("a", 6, START) for _ in range(7)]
    assert [share.remaining for share in shares] == [5, 4, 3, 2, 1, 0, 0]
    assert [share.wait_s for share in shares] == [None] * 6 + [10]
    assert shares[0].full_in_s == 10
    assert shares[-1].full_in_s == 60


@pytest.mark.parametrize("rate", [1, 2, 7, 13, 59, 60, 61, 1_000, 999_983, RATE_MAX])
def test_who_waits_as_long_as_it_was_told_is_let_in(rate: int) -> None:
    rates, now = RateLimiter(), START
    rates.take("a", 1, now)  # A minute's worth is gone, at any rate.
    assert rates.take("a", rate, now).wait_s is not None
    for _ in range(5):
        while (share := rates.take("a", rate, now)).wait_s is None:
            pass
        now += share.wait_s * S
        assert rates.take("a", rate, now).wait_s is None


def test_wait_is_rounded_up_to_whole_seconds_and_never_too_short() -> None:
    rates = RateLimiter()
    for _ in range(7):
        rates.take("a", 7, START)  # one each 8.57 s
    assert rates.take("a", 7, START).wait_s == 9
    assert rates.take("a", 7, START + 8 * S).wait_s == 1
    assert rates.take("a", 7, START + 9 * S).wait_s is None


def test_tokens_come_back_evenly_and_no_more_of_them_than_there_were() -> None:
    rates = RateLimiter()
    for _ in range(60):
        rates.take("a", 60, START)
    assert rates.take("a", 60, START + 10 * S).remaining == 9
    assert rates.take("a", 60, START + 1_000 * S).remaining == 59


def test_who_is_refused_pays_nothing() -> None:
    rates = RateLimiter()
    shares = [rates.take("a", 1, START + step) for step in range(100)]
    assert [share.wait_s for share in shares[1:]] == [60] * 99
    assert rates.take("a", 1, START + 60 * S).wait_s is None


def test_in_the_long_run_a_client_gets_its_rate() -> None:
    rates = RateLimiter()
    times = range(START, START + 3_600 * S, S // 3)
    admitted = sum(rates.take("a", 12, now).wait_s is None for now in times)
    assert admitted == 12 + 12 * 60 - 1  # the bucket, and an hour's worth but for the last one's moment


def test_each_client_has_a_bucket_of_its_own() -> None:
    rates = RateLimiter()
    assert rates.take("a", 1, START).wait_s is None
    assert rates.take("b", 1, START).wait_s is None
    assert rates.take("a", 1, START).wait_s == 60


def test_a_lower_rate_holds_at_once() -> None:
    rates = RateLimiter()
    for _ in range(50):
        rates.take("a", 100, START)
    assert rates.take("a", 2, START).remaining == 0
    assert rates.take("a", 2, START).wait_s == 30


def test_full_buckets_are_forgotten() -> None:
    rates = RateLimiter()
    for number in range(1_000):
        rates.take(str(number), 60, START + number)
    assert len(rates) == 1_000
    rates.take("last", 60, START + 3 * S)
    assert len(rates) == 1


def test_so_many_clients_are_remembered_and_the_fullest_buckets_are_forgotten() -> None:
    rates = RateLimiter(most_clients=3)
    for client in "abcda":  # a has taken two
        rates.take(client, 5, START)
    rates.take("c", 5, START + 1)
    assert len(rates) == 4  # too many are noticed a second later
    assert rates.take("a", 5, START + 2 * S).remaining == 2
    assert len(rates) <= 3
    assert rates.take("b", 5, START + 2 * S).remaining == 4


def test_strangers_cannot_make_the_limiter_forget_who_has_nothing_left() -> None:
    rates = RateLimiter(most_clients=10)
    for _ in range(5):
        rates.take("a", 5, START)
    for number in range(100):
        rates.take(f"stranger {number}", 5, START + number * S // 10)
    assert rates.take("a", 5, START + 10 * S).wait_s == 2


def test_processes_share_the_buckets_of_a_file_and_none_is_counted_twice(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from app.security.rate_limit import RateLimiter
rates = RateLimiter(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.readline()
print(sum(rates.take("a", 1_000, int(sys.argv[2])).wait_s is None for _ in range(600)))
"""
    command = [sys.executable, "-c", program, str(tmp_path / "rates"), str(START)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [each.stdout and each.stdout.readline() for each in running] == ["open\n"] * 3
    allowed = [int(each.communicate("go\n")[0]) for each in running]
    assert sum(allowed) == 1_000
    assert RateLimiter(tmp_path / "rates").take("a", 1_000, START).wait_s == 1


def test_killed_process_leaves_a_file_that_the_others_use(tmp_path: Path) -> None:
    file = tmp_path / "rates"
    program = f"""
import os, signal
from pathlib import Path
from app.security.rate_limit import RateLimiter
rates = RateLimiter(Path({str(file)!r}))
for _ in range(3):
    rates.take("a", 4, {START})
rates._buckets.execute("BEGIN IMMEDIATE")
rates._buckets.execute("DELETE FROM buckets")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    rates = RateLimiter(file)
    assert [rates.take("a", 4, START).wait_s for _ in range(2)] == [None, 15]


def test_file_that_fails_lets_photos_in_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rates = RateLimiter(tmp_path / "rates")
    other = RateLimiter(tmp_path / "rates")
    other._buckets.execute("BEGIN IMMEDIATE")  # as by a process that was stopped
    assert rates.take("a", 1, START).wait_s is None
    assert "the rate limit does not hold now: database is locked" in caplog.text
    assert rates.take("a", 1, START).wait_s is None
    other._buckets.execute("ROLLBACK")
    assert [rates.take("a", 1, START).wait_s for _ in range(2)] == [None, 60]
