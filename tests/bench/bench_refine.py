"""Edge refinement: how much nearer to the truth, and at what price.

    .venv/bin/python -m tests.bench.bench_refine [--data-root DATA] [--size 320] [--sheet OUT.png]

A perfect but coarse network is played by the true alpha, shrunk to the network's square and softened as the built-in
model's edges are. So the figures tell what refinement does, and nothing of any network.

    drawn   a head with some thousand hairs, 2048 × 2048 pixels, its alpha exact: it was drawn
    real    with --data-root: the validation photos, shown to a square so small that they are as many times larger
            than it as a photo of 4 megapixels is than the network's
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from model.matting import REDUCTION
from model.refine import refine
from model.transforms import Alpha, Image, stretch
from training.data.dataset import list_pairs
from training.data.images import read_image
from training.data.masks import read_alpha
from training.metrics import gradient_error

SIDE = 2048  # pixels of the drawn photo: 4.2 megapixels
SOFTNESS = 1.2  # pixels of the square by which a network's edge is blurred, as a standard deviation
FLAT = 24  # pixels of the square from the edge: there nothing may change


def drawn_portrait(side: int = SIDE) -> tuple[Image, Alpha]:
    """A head with loose hair before a blurred, uneven ground; alpha by drawing at twice the size."""
    draws = np.random.default_rng(3)
    double = 2 * side
    mask = np.zeros((double, double), np.uint8)
    centre = np.array([double * 0.5, double * 0.48])
    cv2.ellipse(mask, (int(centre[0]), double), (int(double * 0.36), int(double * 0.3)), 0, 0, 360, 255, -1)
    cv2.ellipse(mask, tuple(centre.astype(int)), (int(double * 0.19), int(double * 0.26)), 0, 0, 360, 255, -1)
    for _ in range(2500):
        angle = draws.uniform(-np.pi * 1.05, np.pi * 0.05)
        start = centre + double * np.array([np.cos(angle) * 0.185, np.sin(angle) * 0.25])
        steps = draws.normal(0, 0.22, 9).cumsum() + angle
        length = double * draws.uniform(0.004, 0.013)
        points = start + np.cumsum(np.stack([np.cos(steps), np.sin(steps) + 0.25], 1) * length, 0)
        line = points.astype(np.int32)[None]
        cv2.polylines(mask, line, False, 255, int(draws.integers(1, 5)), cv2.LINE_AA)
    alpha = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    ground = _noise(draws, side, 6) * 60 + np.array([150, 165, 140])
    person = _noise(draws, side, 200) * 25 + np.array([62, 42, 34])
    skin = (np.hypot(*(np.mgrid[0:side, 0:side] / side - np.array([0.5, 0.5])[:, None, None])) < 0.16)[
        :, :, None
    ]
    person = np.where(skin, person + np.array([140, 110, 90]), person)
    pixels = alpha[:, :, None] * person + (1 - alpha[:, :, None]) * ground
    noisy = pixels + draws.normal(0, 3, pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), alpha


def _noise(draws: np.random.Generator, side: int, cells: int) -> NDArray[np.float32]:
    coarse = draws.normal(0, 1, (cells, cells, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def coarse_alpha(alpha: Alpha, size: int) -> Alpha:
    """What a perfect network of `size` pixels would give, its edges softened."""
    return np.asarray(cv2.GaussianBlur(stretch(alpha, size, size), (0, 0), SOFTNESS), np.float32)


def errors(made: Alpha, truth: Alpha) -> NDArray[np.float64]:
    """MAD, MAD where the truth is half transparent, GRAD per megapixel."""
    band = (truth > 0) & (truth < 1)
    difference = np.abs(made - truth)
    return np.array(
        [difference.mean(), difference[band].mean(), gradient_error(made, truth) / truth.size * 1e6]
    )


def refined_alpha(image: Image, coarse: Alpha, size: int, reduction: int = 1) -> Alpha:
    """By the photo's own edges, or by those of the photo `reduction` times smaller."""
    high, wide = (-(-side // reduction) for side in image.shape[:2])
    refined = refine(stretch(image, high, wide), stretch(image, size, size), coarse)
    return stretch(refined, *image.shape[:2]).astype(np.float32) / np.float32(255)


def before_and_after(image: Image, truth: Alpha, size: int) -> tuple[NDArray[np.float64], float]:
    """Rows of `errors` before, after, and after at half the photo's size; the largest change far from any edge."""
    coarse = coarse_alpha(truth, size)
    plain, refined = stretch(coarse, *truth.shape), refined_alpha(image, coarse, size)
    reach = round(FLAT * max(truth.shape) / size) | 1
    edge = cv2.dilate(((plain > 0.01) & (plain < 0.99)).astype(np.uint8), np.ones((reach, reach), np.uint8))
    flat = edge == 0
    changed = float(np.abs(refined - plain)[flat].max()) if flat.any() else 0.0
    at_half = refined_alpha(image, coarse, size, REDUCTION)
    return np.stack([errors(each, truth) for each in (plain, refined, at_half)]), changed


def report(name: str, rows: NDArray[np.float64], changed: float) -> None:
    print(f"\n{name}")
    print(f"{'':18s}{'MAD':>10s}{'MAD, band':>12s}{'GRAD/MP':>10s}")
    ratios = rows[1:] / rows[0]
    labels = ("before", "after", "at half", "after ÷ before", "at half ÷ before")
    for label, row in zip(labels, (*rows, *ratios), strict=True):
        print(f"{label:18s}{row[0]:10.5f}{row[1]:12.4f}{row[2]:10.3f}")
    print(f"largest change {FLAT} pixels of the square from any edge: {changed:.6f}")


def milliseconds(image: Image, truth: Alpha, size: int, runs: int = 9) -> tuple[float, float]:
    """Medians on one core: enlarging alone, and refinement, which holds it."""
    coarse, square = coarse_alpha(truth, size), stretch(image, size, size)
    works = (lambda: stretch(coarse, *truth.shape), lambda: refine(image, square, coarse))
    times: list[list[float]] = [[], []]
    for _ in range(runs):
        for work, taken in zip(works, times, strict=True):
            started = time.process_time()
            work()
            taken.append((time.process_time() - started) * 1000)
    return statistics.median(times[0]), statistics.median(times[1])


def real_photos(data_root: Path, size: int) -> Iterator[tuple[Image, Alpha, int]]:
    """Every fifth validation photo, and the side of a square as small beside it as `size` is beside 2048 pixels."""
    for pair in list_pairs(data_root, "P3M-500-NP").pairs[::5]:
        image, alpha = read_image(pair.image), read_alpha(pair.alpha)
        yield image, alpha, round(size * max(alpha.shape) / SIDE)


def write_sheet(path: Path, image: Image, truth: Alpha, size: int) -> None:
    """Photo, truth, before and after, of the hair at the upper left, at full resolution."""
    coarse = coarse_alpha(truth, size)
    made = [truth, stretch(coarse, *truth.shape), refined_alpha(image, coarse, size)]
    box = (slice(int(SIDE * 0.16), int(SIDE * 0.40)), slice(int(SIDE * 0.24), int(SIDE * 0.48)))
    grey = [np.repeat(np.rint(alpha[box] * 255).astype(np.uint8)[:, :, None], 3, 2) for alpha in made]
    cv2.imwrite(str(path), np.hstack([image[box], *grey])[:, :, ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=320, help="side of the network's square in pixels")
    parser.add_argument("--data-root", type=Path, help="folder laid out as P3M-10k is")
    parser.add_argument("--sheet", type=Path, help="write a picture of the drawn hair, before and after")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    image, truth = drawn_portrait()
    report(f"drawn, {SIDE} x {SIDE}, square of {options.size}", *before_and_after(image, truth, options.size))
    enlarge, whole = milliseconds(image, truth, options.size)
    print(
        f"{truth.size / 1e6:.1f} MP on one core: enlarging {enlarge:.1f} ms, with refinement {whole:.1f} ms"
    )
    if options.sheet:
        write_sheet(options.sheet, image, truth, options.size)
    if options.data_root:
        found = [before_and_after(*each) for each in real_photos(options.data_root, options.size)]
        rows, changes = np.mean([rows for rows, _ in found], axis=0), [changed for _, changed in found]
        report(f"real, {len(found)} photos", rows, max(changes))


if __name__ == "__main__":
    main()
