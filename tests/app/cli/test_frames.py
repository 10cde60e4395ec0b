"""`frames` from the arguments to the last line, with stand-ins for the network."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.__main__ import cli
from app.cli import frames, processors, raw_frames
from app.cli.raw_frames import Source, Streams
from app.imaging.steady import Steadiness
from app.inference.backends.base import Alphas, Batch, Predict
from app.inference.registry import Source as ModelSource
from app.inference.registry import model_source
from app.settings import Settings
from tests.support.images import Image, pixels, png, portrait
from tests.support.networks import mean_colour
from tests.support.person_image import finds_nobody

HEIGHT, WIDTH = 90, 160
SIZE = f"{WIDTH}x{HEIGHT}"


def brightness(batch: Batch) -> Alphas:
    """A network whose alpha is the picture's own brightness, pixel by pixel."""
    return batch.mean(axis=3, dtype=np.float32) / 255


def in_two_lanes(predict: Predict, settings: Settings) -> ModelSource:
    made = model_source(settings, predict)
    return replace(made, load=lambda version: replace(made.load(version), lanes=2))


@dataclass
class Piped:
    """Runs the command on frames; `target` gets what it writes."""

    runner: CliRunner
    monkeypatch: pytest.MonkeyPatch
    target: io.BytesIO = field(default_factory=io.BytesIO)

    def __call__(
        self, data: bytes | Source, *arguments: str, predict: Predict = brightness, size: str = SIZE
    ) -> Result:
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        self.monkeypatch.setattr(raw_frames, "standard_streams", lambda _order: Streams(source, self.target))
        self.monkeypatch.setattr(processors, "model_source", partial(in_two_lanes, predict))
        return self.runner.invoke(cli, ["frames", "--size", size, *arguments])

    def made(self, channels: int = 4) -> list[Image]:
        whole = np.frombuffer(self.target.getvalue(), np.uint8)
        shape = (HEIGHT, WIDTH, channels)[: 3 if channels > 1 else 2]
        return list(whole.reshape(-1, *shape))


@pytest.fixture
def piped(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> Piped:
    monkeypatch.setenv("MATTE_LANES", "2")
    monkeypatch.setenv("MATTE_CPU_THREADS", "2")
    monkeypatch.setenv("MATTE_MAX_BATCH_SIZE", "1")
    return Piped(runner, monkeypatch)


def clip(count: int) -> list[Image]:
    """Each frame another, by a bright bar."""
    shown = []
    for number in range(count):
        frame = portrait(HEIGHT, WIDTH)
        frame[:, 7 * number % WIDTH :][:, :9] = 255 - number
        shown.append(frame)
    return shown


def raw(shown: list[Image]) -> bytes:
    return b"".join(frame.tobytes() for frame in shown)


@pytest.mark.parametrize("quality", ["standard", "high"])
@pytest.mark.parametrize(("output", "command", "channels"), [("alpha", "matte", 1), ("rgba", "cutout", 4)])
def test_frame_becomes_what_matte_and_cutout_make_of_it(piped, tmp_path, output, command, channels, quality):
    shown = clip(3)
    options = ["--quality", quality]
    assert piped(raw(shown), "--output", output, *options).exit_code == 0
    for number, (frame, made) in enumerate(zip(shown, piped.made(channels), strict=True)):
        photo, result = tmp_path / f"{number}.png", tmp_path / f"{number}-{command}.png"
        photo.write_bytes(png(frame))
        done = piped.runner.invoke(cli, [command, str(photo), "-o", str(result), *options])
        assert done.exit_code == 0, done.output
        np.testing.assert_array_equal(made, pixels(result.read_bytes()))


def test_rgba_is_the_default_and_its_speed_is_told(piped):
    result = piped(raw(clip(2)), "--fps", "30000/1001")
    assert result.exit_code == 0, result.output
    assert len(piped.made(4)) == 2
    assert result.stdout_bytes == b""
    assert "2 frames, " in result.stderr
    assert " than 29.97" in result.stderr


def test_frames_come_out_in_order_whichever_is_done_first(piped):
    later = threading.Event()
    calls = iter(range(1_000))

    def second_first(batch: Batch) -> Alphas:
        if next(calls) == 0:
            assert later.wait(30)
        else:
            later.set()
        return mean_colour(batch)

    shown = [np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8) for number in range(8)]
    assert piped(raw(shown), "--output", "alpha", predict=second_first).exit_code == 0
    assert later.is_set()
    assert [int(alpha[0, 0]) for alpha in piped.made(1)] == [10 * number for number in range(8)]


@pytest.mark.parametrize("output", ["alpha", "rgba"])
def test_steady_averages_the_frames_in_their_order(piped, output):
    draws = np.random.default_rng(1)
    shown = [
        np.full((HEIGHT, WIDTH, 3), 128, np.uint8) + draws.integers(0, 3, (HEIGHT, WIDTH, 3), np.uint8)
    ] * 12
    calls = iter(range(1_000))

    def trembling(batch: Batch) -> Alphas:
        return np.full(batch.shape[:3], (100 + 40 * (next(calls) % 2)) / 255, np.float32)

    result = piped(raw(shown), "--output", output, "--steady", predict=trembling)
    assert result.exit_code == 0, result.output
    alphas = [
        made if output == "alpha" else made[..., 3] for made in piped.made(1 if output == "alpha" else 4)
    ]
    changes = [abs(int(b[5, 5]) - int(a[5, 5])) for a, b in pairwise(alphas)]
    assert max(changes[5:]) < 40 / 3


def test_steady_takes_each_frame_with_its_own_alpha(piped):
    shown = clip(12)
    assert piped(raw(shown), "--output", "alpha").exit_code == 0
    plain = piped.made(1)
    piped.target = io.BytesIO()
    assert piped(raw(shown), "--output", "alpha", "--steady").exit_code == 0
    steadiness = Steadiness()
    for frame, alpha, made in zip(shown, plain, piped.made(1), strict=True):
        np.testing.assert_array_equal(made, steadiness.steady(frame, alpha))


class Counting(io.BytesIO):
    """A source that knows how many frames were begun; `ahead` is told when it is that many."""

    def __init__(self, data: bytes, enough: int) -> None:
        super().__init__(data)
        self.begun = 0
        self.most_ahead = 0
        self.written = 0
        self.ahead = threading.Event()
        self._enough = enough

    def readinto(self, buffer: memoryview) -> int:
        self.begun += 1
        self.most_ahead = max(self.most_ahead, self.begun - self.written)
        if self.begun == self._enough:
            self.ahead.set()
        return super().readinto(buffer)


@pytest.mark.parametrize(("bytes_allowed", "in_hand"), [("160000000", 6), ("1000000", 6), ("1000000", 1)])
def test_no_more_is_read_than_is_worth_having_in_hand(piped, bytes_allowed, in_hand):
    # 6 = 2 lanes, each with one frame and one to follow, and 2 threads; a frame of 90 x 160 is 115,200 bytes in hand.
    piped.monkeypatch.setenv("MATTE_MAX_DECODED_BYTES", bytes_allowed)
    size = SIZE if in_hand > 1 else "400x400"
    width, height = map(int, size.split("x"))
    # One more is read already, and waits until one is written.
    source = Counting(bytes(3 * height * width * 40), in_hand + 1)

    class Slow(io.BytesIO):
        def write(self, data: memoryview) -> int:
            assert source.ahead.wait(30)
            source.written += 1
            return super().write(data)

    piped.target = Slow()
    result = piped(source, "--output", "rgba", predict=mean_colour, size=size)
    assert result.exit_code == 0, result.output
    assert source.written == 40
    assert (
        source.most_ahead <= in_hand + 2
    )  # the one that is being written has left the hand, but is not counted yet


def test_input_that_ends_within_a_frame_fails_after_all_whole_ones(piped):
    shown = clip(3)
    result = piped(raw(shown)[:-1_000], "--output", "alpha")
    assert result.exit_code == 1
    assert "within frame 3: 1,000 of its 43,200 bytes are missing" in result.stderr
    assert len(piped.made(1)) == 2
    assert result.stdout_bytes == b""


def test_no_frame_at_all_is_an_error_and_loads_no_model(piped):
    result = piped(b"")
    assert result.exit_code == 1
    assert result.stderr == "no frame came from standard input\n"


@pytest.mark.parametrize(
    ("size", "said"),
    [("10000x10000", "--size 10000x10000 is more than MATTE_MAX_PIXELS allows: 65,000,000 pixels")],
)
def test_size_beyond_the_limit_is_said_before_anything_is_read(piped, size, said):
    class Unread(io.BytesIO):
        def readinto(self, _buffer: memoryview) -> int:
            raise AssertionError

    result = piped(Unread(), size=size)
    assert (result.exit_code, result.stderr) == (1, said + "\n")


@pytest.mark.parametrize("size", ["1280", "0x720"])
def test_size_that_is_none_is_a_usage_error(piped, size):
    result = piped(b"", size=size)
    assert result.exit_code == 2
    assert "--size is WIDTHxHEIGHT" in result.output


class Stopping(io.BytesIO):
    """Does something instead of the second frame's write."""

    def __init__(self, instead: Callable[[], None]) -> None:
        super().__init__()
        self._instead = instead
        self.whole = 0

    def write(self, data: memoryview) -> int:
        if self.whole == 1:
            self._instead()
        self.whole += 1
        return super().write(data)


def test_reader_that_stops_ends_it_quietly_with_141(piped):
    def gone() -> None:
        raise BrokenPipeError

    piped.target = Stopping(gone)
    result = piped(raw(clip(9)))
    assert result.exit_code == 141
    assert "Error" not in result.output
    assert "Broken" not in result.output
    assert len(piped.made()) == 1


def test_interruption_tells_how_many_were_written_and_ends_with_130(piped):
    piped.target = Stopping(lambda: os.kill(os.getpid(), signal.SIGINT))
    result = piped(raw(clip(200)))
    assert result.exit_code == 130
    assert "interrupted; " in result.stderr
    assert "frames written" in result.stderr or "1 frame written" in result.stderr
    assert "Traceback" not in result.output


def test_frame_that_the_network_fails_at_is_named_after_all_before_it(piped):
    calls = iter(range(1_000))

    def fails_at_the_third(batch: Batch) -> Alphas:
        alphas = mean_colour(batch).copy()
        alphas[batch[:, 0, 0, 0] == 30] = np.nan
        next(calls)
        return alphas

    shown = [np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8) for number in range(1, 9)]
    result = piped(raw(shown), "--output", "alpha", predict=fails_at_the_third)
    assert result.exit_code == 1
    assert "frame 3: the model gave numbers that are not finite" in result.stderr
    assert [int(alpha[0, 0]) for alpha in piped.made(1)] == [10, 20]


def test_frames_without_a_person_are_counted(piped):
    result = piped(raw(clip(2)), predict=finds_nobody)
    assert result.exit_code == 0
    assert "nobody was found in 2 of 2 frames" in result.stderr


def test_pace_is_compared_with_the_videos_own():
    assert frames.pace(1, 0.0, Fraction(25)) == "1 frame, 0.0 frames/s"
    assert frames.pace(50, 4, None) == "50 frames, 12.5 frames/s"
    assert frames.pace(50, 4, Fraction(25)) == "50 frames, 12.5 frames/s, 2.00 times slower than 25"
    assert frames.pace(100, 2, Fraction(25)) == "100 frames, 50.0 frames/s, 2.00 times faster than 25"


@pytest.mark.slow
def test_program_works_in_a_pipe_and_stops_with_its_reader(tiny_artifact: Path) -> None:
    command = [sys.executable, "-m", "app", "frames", "--size", SIZE, "--output", "alpha"]
    environment = {**os.environ, "MATTE_MODEL_DIR": str(tiny_artifact), "MATTE_PRECISION": "float32"}
    shown = [np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8) for number in range(1, 20)]
    done = subprocess.run(
        command, input=raw(shown), capture_output=True, env=environment, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) == HEIGHT * WIDTH * len(shown)
    alphas = np.frombuffer(done.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH)
    assert np.abs(alphas - np.stack(shown)[..., 0].astype(int)).max() <= 1
    assert b"19 frames, " in done.stderr

    # The sender stays open and silent: nobody may wait for it once the reader is gone.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        running.stdin.write(raw(shown[:1]))
        running.stdin.flush()
        assert running.wait(120) == 141
        assert b"Traceback" not in running.stderr.read()
