"""What is to be made of a video's frames, as it is typed. Knows no pixels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import typer

from app.cli.photo_options import PhotoOptions

# Of more digits no frame fits into memory.
_SIZE: Final = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", re.IGNORECASE)
_RATE: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,9}|/[0-9]{1,6})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesOptions:
    """Frames of `height` x `width`. `fps`: frames a second that the speed is compared with."""

    height: int
    width: int
    options: PhotoOptions
    fps: Fraction | None = None
    steady: bool = False

    @classmethod
    def read(
        cls,
        size: str,
        output: Literal["rgba", "alpha"],
        typed: Mapping[str, str | bool],
        *,
        fps: str | None,
        steady: bool,
    ) -> FramesOptions:
        """From what was typed. Ends the process where that means nothing."""
        if (found := _SIZE.fullmatch(size)) is None:
            raise typer.BadParameter(f"--size is WIDTHxHEIGHT, such as 1280x720; {size!r} was sent.")
        options = PhotoOptions.read("cutout" if output == "rgba" else "matte", typed)
        rate = None if fps is None else _rate(fps)
        return cls(height=int(found[2]), width=int(found[1]), options=options, fps=rate, steady=steady)

    @property
    def size(self) -> str:
        """As it is typed."""
        return f"{self.width}x{self.height}"

    @property
    def pixel_format(self) -> str:
        """Of the frames that are written, by ffmpeg's name."""
        return "rgba" if self.options.output == "cutout" else "gray"


def _rate(text: str) -> Fraction:
    """A whole number, a decimal one or a fraction, as ffmpeg and ffprobe write rates."""
    try:
        rate = Fraction(text) if _RATE.fullmatch(text) else Fraction(0)
    except ZeroDivisionError:
        rate = Fraction(0)
    if rate <= 0:
        raise typer.BadParameter(f"--fps is a rate above 0, such as 25 or 30000/1001; {text!r} was sent.")
    return rate
