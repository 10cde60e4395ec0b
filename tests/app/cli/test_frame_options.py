"""What is typed of a video's frames."""

from __future__ import annotations

from fractions import Fraction

import pytest
import typer

from app.cli.frame_options import FramesOptions
from app.cli.photo_options import PhotoOptions


def read(size: str = "1280x720", fps: str | None = None) -> FramesOptions:
    return FramesOptions.read(size, "rgba", {"quality": "high"}, fps=fps, steady=True)


def test_width_comes_first() -> None:
    order = read("1280X720")
    assert (order.height, order.width, order.size) == (720, 1280, "1280x720")
    assert order.options == PhotoOptions("cutout", {"quality": "high"})
    assert order.steady


def test_frames_are_called_as_ffmpeg_calls_them() -> None:
    assert read().pixel_format == "rgba"
    assert FramesOptions.read("2x2", "alpha", {}, fps=None, steady=False).pixel_format == "gray"


@pytest.mark.parametrize(
    "size", ["", "1280", "1280x", "x720", "0x720", "1280x0", "-1x5", "1280*720", "1.5x2", "1280x720x3", "٣x٣"]
)
def test_size_that_is_none_is_said_with_what_was_typed(size: str) -> None:
    with pytest.raises(typer.BadParameter, match="--size is WIDTHxHEIGHT, such as 1280x720; ") as caught:
        read(size)
    assert repr(size) in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "rate"),
    [("25", Fraction(25)), ("29.97", Fraction(2997, 100)), ("30000/1001", Fraction(30000, 1001))],
)
def test_rates_are_written_as_ffprobe_writes_them(typed: str, rate: Fraction) -> None:
    assert read(fps=typed).fps == rate


@pytest.mark.parametrize("typed", ["", "0", "0/1", "25/0", "-25", "nan", "1e3", "25fps"])
def test_rate_that_is_none_is_said(typed: str) -> None:
    with pytest.raises(typer.BadParameter, match="--fps is a rate above 0"):
        read(fps=typed)
