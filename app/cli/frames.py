"""A video's frames through the model of this process, from standard input to standard output, in order.

    read (a thread)  ->  matte (`Pipeline`)  ->  steady, in order  ->  cut out  ->  write (a thread)

No more frames are read than are worth having in hand and fit into MATTE_MAX_DECODED_BYTES: who reads slowly is waited
for. Knows no file format.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from app.cli import exit, raw_frames
from app.cli.frame_options import FramesOptions
from app.cli.processors import LocalModel, ProcessingStopped
from app.cli.raw_frames import FramesStopped, Streams
from app.errors import ServiceError
from app.imaging.decode import SIDE_MAX
from app.imaging.foreground import cut_out
from app.imaging.steady import Steadiness
from model.transforms import Image

# Of a pixel while its frame is in hand: its colours, its alpha, and the cut-out.
BYTES_PER_PIXEL: Final = {"matte": 3 + 1, "cutout": 3 + 1 + 4}


@dataclass(slots=True)
class Summary:
    """Frames that were written, and those of them with nobody in it."""

    written: int = 0
    empty: int = 0


def run(order: FramesOptions) -> None:
    """Do all frames, and exit with 0 only if there was one, and the input ended after a whole one."""
    console, summary = Console(stderr=True), Summary()
    try:
        streams = raw_frames.standard_streams(order)
        asyncio.run(_Run(order, streams, LocalModel(console), console, summary).all())
    except (FramesStopped, ProcessingStopped) as error:
        _end(str(error), 1)
    except BrokenPipeError:
        exit.leave(exit.READER_GONE)
    except KeyboardInterrupt:
        _end(f"interrupted; {counted(summary.written)} written", exit.INTERRUPTED)
    if summary.empty:
        console.print(f"nobody was found in {summary.empty} of {counted(summary.written)}")


def _end(message: str, code: int) -> NoReturn:
    """Without waiting for the thread that reads: who sends may be silent for long."""
    typer.echo(message, err=True)
    exit.leave(code)


@dataclass(frozen=True, slots=True)
class _Made:
    """A finished frame, and whether anybody is in it."""

    pixels: Image
    foreground: bool


class _Run:
    """`all`, once."""

    def __init__(
        self, order: FramesOptions, streams: Streams, model: LocalModel, console: Console, summary: Summary
    ) -> None:
        self._order = order
        self._streams = streams
        self._model = model
        self._console = console
        self._summary = summary
        self._quality = order.options.values.quality
        self._steadiness = Steadiness() if order.steady else None
        self._reader = ThreadPoolExecutor(1, "read")
        self._writer = ThreadPoolExecutor(1, "write")
        # Frames in order, as tasks; None is the end.
        self._frames: asyncio.Queue[asyncio.Task[_Made] | None] = asyncio.Queue()
        self._in_hand: set[asyncio.Task[_Made]] = set()

    async def all(self) -> None:
        """Raises FramesStopped or ProcessingStopped, and BrokenPipeError where nobody reads on."""
        try:
            self._check_size()
            first = await self._read(1)
            if first is None:
                raise FramesStopped("no frame came from standard input")
            await self._model.start()
            self._room = asyncio.Semaphore(self._most_in_hand)
            await self._through(first)
        finally:
            await self._model.pipeline.close()
            self._reader.shutdown(wait=False)
            self._writer.shutdown(wait=False)

    def _check_size(self) -> None:
        order, most = self._order, self._model.settings.max_pixels
        if order.height * order.width > most:
            raise FramesStopped(f"--size {order.size} is more than MATTE_MAX_PIXELS allows: {most:,} pixels")
        if max(order.height, order.width) > SIDE_MAX:
            raise FramesStopped(f"--size {order.size}: the longest side is {SIDE_MAX:,} pixels")

    async def _through(self, first: Image) -> None:
        reading = asyncio.create_task(self._read_all(first))
        try:
            with _progress(self._order, self._console) as progress:
                shown = progress.add_task("", total=None)
                while (frame := await self._frames.get()) is not None:
                    await self._write(frame)
                    progress.advance(shown)
            await reading  # raises what ended the input early, now that all frames before it are written
        finally:
            for each in (reading, *self._in_hand):
                each.cancel()
            await asyncio.gather(reading, *self._in_hand, return_exceptions=True)

    async def _read_all(self, first: Image) -> None:
        """Each frame gets a task as soon as there is room for it."""
        image: Image | None = first
        number, turn = 1, asyncio.Event()
        turn.set()
        try:
            while image is not None:
                await self._room.acquire()
                next_turn = asyncio.Event()
                frame = asyncio.create_task(self._one(image, turn, next_turn))
                self._in_hand.add(frame)
                self._frames.put_nowait(frame)
                number, turn = number + 1, next_turn
                image = await self._read(number)
        finally:
            self._frames.put_nowait(None)

    async def _one(self, image: Image, turn: asyncio.Event, next_turn: asyncio.Event) -> _Made:
        """A frame's pixels. What needs the frames in order is done between `turn` and `next_turn`."""
        pipeline, options = self._model.pipeline, self._order.options
        matte = await pipeline.matte(image, self._quality)
        alpha = matte.alpha
        if self._steadiness is not None:
            await turn.wait()
            alpha = await pipeline.on_cpu(partial(self._steadiness.steady, image, alpha))
            next_turn.set()
        if options.output == "matte":
            return _Made(alpha, matte.foreground)
        pixels = await pipeline.on_cpu(lambda: cut_out(image, alpha).whole())
        return _Made(pixels, matte.foreground)

    async def _read(self, number: int) -> Image | None:
        work = partial(raw_frames.read_frame, self._streams.source, self._order, number)
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)

    async def _write(self, frame: asyncio.Task[_Made]) -> None:
        try:
            made = await frame
        except ServiceError as error:
            raise FramesStopped(f"frame {self._summary.written + 1}: {error.detail}") from None
        work = partial(raw_frames.write_frame, self._streams.target, made.pixels)
        await asyncio.get_running_loop().run_in_executor(self._writer, work)
        self._in_hand.remove(frame)
        self._room.release()
        self._summary.written += 1
        self._summary.empty += not made.foreground

    @property
    def _most_in_hand(self) -> int:
        order, model = self._order, self._model
        each = order.height * order.width * BYTES_PER_PIXEL[order.options.output]
        return max(1, min(model.pipeline.photos_at_once, model.settings.max_decoded_bytes // each))


class _Pace(ProgressColumn):
    def __init__(self, fps: Fraction | None) -> None:
        super().__init__()
        self._fps = fps

    def render(self, task: Task) -> Text:
        return Text(pace(int(task.completed), task.elapsed or 0.0, self._fps))


def _progress(order: FramesOptions, console: Console) -> Progress:
    """One line: how many frames, how fast. There is no bar, since nobody knows how many will come."""
    return Progress(TextColumn(order.options.doing), _Pace(order.fps), console=console)


def pace(frames: int, seconds: float, fps: Fraction | None) -> str:
    """How many frames in how many seconds, and how that compares with `fps`."""
    said = f"{counted(frames)}, {frames / seconds if seconds else 0:.1f} frames/s"
    if fps is None or not frames or not seconds:
        return said
    times = frames / seconds / float(fps)
    faster = f"{times:.2f} times faster" if times >= 1 else f"{1 / times:.2f} times slower"
    return f"{said}, {faster} than {float(fps):g}"


def counted(frames: int) -> str:
    """In words."""
    return "1 frame" if frames == 1 else f"{frames} frames"
