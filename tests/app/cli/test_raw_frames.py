"""Raw frames in and out of pipes."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import numpy as np
import pytest

from app.cli import raw_frames
from app.cli.frame_options import FramesOptions
from app.cli.photo_options import PhotoOptions
from app.cli.raw_frames import FramesStopped, read_frame, standard_streams, write_frame

ORDER = FramesOptions(height=2, width=3, options=PhotoOptions("cutout"))
FRAME = bytes(range(18))


class Dribble(io.BytesIO):
    """Takes and gives five bytes at a time, as a pipe may."""

    def readinto(self, buffer: memoryview) -> int:
        return super().readinto(buffer[:5])

    def write(self, data: memoryview) -> int:
        return super().write(data[:5])


class Broken(io.BytesIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self._error = OSError(number, os.strerror(number))

    def readinto(self, buffer: memoryview) -> int:
        raise self._error

    def write(self, data: memoryview) -> int:
        raise self._error


def test_frames_are_whole_however_a_pipe_cuts_them() -> None:
    source, target = Dribble(FRAME + FRAME[::-1]), Dribble()
    first, second = read_frame(source, ORDER, 1), read_frame(source, ORDER, 2)
    assert first is not None
    assert second is not None
    assert first.shape == (2, 3, 3)
    assert first[0, 1].tolist() == [3, 4, 5]
    assert read_frame(source, ORDER, 3) is None
    for frame in (first, second):
        write_frame(target, frame)
    assert target.getvalue() == FRAME + FRAME[::-1]


def test_frame_with_gaps_in_memory_is_written_as_it_looks() -> None:
    target = io.BytesIO()
    write_frame(target, np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2])
    assert target.getvalue() == bytes([0, 2, 4, 6, 8, 10])


@pytest.mark.parametrize("there", [1, 17])
def test_input_that_ends_within_a_frame_says_what_is_missing_and_why(there: int) -> None:
    with pytest.raises(FramesStopped) as caught:
        read_frame(Dribble(FRAME[:there]), ORDER, 7)
    said = str(caught.value)
    assert f"within frame 7: {18 - there} of its 18 bytes are missing" in said
    assert "not 3x2 in rgb24: see --size, and ffmpeg's -pix_fmt" in said


def test_reader_that_is_gone_is_told_from_a_full_disk() -> None:
    with pytest.raises(BrokenPipeError):
        write_frame(Broken(errno.EPIPE), np.zeros((2, 3), np.uint8))
    with pytest.raises(FramesStopped, match="standard output cannot be written: No space left"):
        write_frame(Broken(errno.ENOSPC), np.zeros((2, 3), np.uint8))
    with pytest.raises(FramesStopped, match="standard input cannot be read: Is a directory"):
        read_frame(Broken(errno.EISDIR), ORDER, 1)


@pytest.mark.parametrize(
    ("terminal", "said"),
    [
        (
            0,
            "-f rawvideo -pix_fmt rgb24 - | u2matte frames --size 3x2 | ffmpeg -f rawvideo -pix_fmt rgba -s 3x2 -i -",
        ),
        (
            1,
            "raw frames are not written to a terminal; send them on: … | ffmpeg -f rawvideo -pix_fmt rgba -s 3x2",
        ),
    ],
)
def test_terminal_gets_a_sentence_with_the_line_to_type(
    monkeypatch: pytest.MonkeyPatch, terminal: int, said: str
) -> None:
    monkeypatch.setattr(raw_frames.os, "isatty", lambda descriptor: descriptor == terminal)
    with pytest.raises(FramesStopped) as caught:
        standard_streams(ORDER)
    assert said in str(caught.value)


PROGRAM = """
import os, sys
from app.cli.frame_options import FramesOptions
from app.cli.photo_options import PhotoOptions
from app.cli.raw_frames import read_frame, standard_streams, write_frame

order = FramesOptions(height=2, width=3, options=PhotoOptions("cutout"))
streams = standard_streams(order)
print("printed", flush=True)
os.write(1, b"written by a C library")
write_frame(streams.target, read_frame(streams.source, order, 1))
"""


def test_nothing_but_frames_goes_to_standard_output() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, input=FRAME, capture_output=True, check=False, timeout=60)
    assert done.stdout == FRAME
    assert done.stderr == b"printed\nwritten by a C library"


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_closed_descriptor_is_said(closed: str) -> None:
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "standard input or output is closed" in done.stderr
