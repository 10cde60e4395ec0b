"""The editor of a cut-out, as a person uses it: points are pixels of the picture."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page, expect

from tests.app.web.page_driver import downloaded, pick

Point = tuple[float, float]

PATIENCE_MS = 15_000
CORE = 0.5
"""The brush's own: share of its radius at full strength."""


@dataclass(frozen=True)
class Easel:
    page: Page

    @staticmethod
    def opened(page: Page) -> Easel:
        """Of the photo that is shown; it is ready to be painted on."""
        page.get_by_role("button", name="Edit the cut-out").click()
        easel = Easel(page)
        easel.wait()
        return easel

    @property
    def surface(self) -> Locator:
        return self.page.locator("#surface")

    def wait(self) -> None:
        """Until the picture of the selected photo lies on the easel."""
        self.settle()
        expect(self.page.locator("#editor[aria-busy=false]")).to_be_visible()
        self.surface.evaluate("surface => surface.scrollIntoView({block: 'center'})")
        self.settle()

    def settle(self) -> None:
        """Until what was asked for has been drawn."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def take(self, brush: str) -> None:
        pick(self.page, "Brush", brush)

    def frame(self) -> tuple[float, float, float]:
        """Where the picture's upper left is on the screen, and CSS pixels per pixel of it."""
        self.settle()
        sheet = """sheet => {
          const surface = document.getElementById('surface').getBoundingClientRect();
          const [left, top, width] = ['left', 'top', 'width'].map((side) => parseFloat(sheet.style[side]));
          return [surface.left + left, surface.top + top, width];
        }"""
        left, top, width = self.page.locator("#sheet").evaluate(sheet)
        return left, top, width / self.width

    @property
    def width(self) -> int:
        return int(self.page.evaluate("document.getElementById('after').width"))

    @property
    def radius(self) -> float:
        """Of the brush, in pixels of the picture."""
        return float(self.page.locator("#brush-size").input_value()) / 2 / self.frame()[2]

    def on_screen(self, point: Point) -> Point:
        left, top, scale = self.frame()
        return left + point[0] * scale, top + point[1] * scale

    def stroke(self, start: Point, end: Point, *, points: int = 12) -> None:
        self.surface.scroll_into_view_if_needed()
        start, end = self.on_screen(start), self.on_screen(end)
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=points)
        self.page.mouse.up()


def matte(page: Page) -> NDArray[np.uint8]:
    """The alpha as it is saved."""
    pick(page, "Download as", "Matte")
    return np.array(PIL.Image.open(io.BytesIO(downloaded(page, "Download")[1])))


def until(page: Page, condition: str) -> None:
    """Wait for a JavaScript expression to hold. Playwright's own way would have the page evaluate a text, which the
    page's content policy forbids."""
    page.evaluate(f"""new Promise((met, late) => {{
      setTimeout(() => late(new Error('never met within {PATIENCE_MS} ms')), {PATIENCE_MS});
      const look = () => ({condition} ? met() : requestAnimationFrame(look));
      look();
    }})""")


def to_the_path(shape: tuple[int, ...], start: Point, end: Point) -> NDArray[np.float64]:
    """The distance of every pixel's middle from the line between two points."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    distance: NDArray[np.float64] = np.hypot(x - start[0] - along * dx, y - start[1] - along * dy)
    return distance


def strength(distance: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """How much of the brush lies so far from its path, 0 to 1."""
    rest = np.clip((radius - distance) / (radius * (1 - CORE)), 0, 1)
    soft: NDArray[np.float64] = rest * rest * (3 - 2 * rest)
    return soft
