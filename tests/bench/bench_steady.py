"""Steadiness between the frames of a video: how much alpha flickers, and how far it is from the truth.

    .venv/bin/python -m tests.bench.bench_steady [--model DIR] [--noise 4] [--sheet OUT.png]

A drawn head with loose hair before an uneven ground that stands still, 1280 × 720 pixels, with a camera's noise in
every frame. The head rests, sways from side to side at up to 9 pixels a frame while the shoulders stay, and rests
again. Its true alpha is known. Each frame goes through the model as `frames` does it, without and with `--steady`.

    flicker   mean change of alpha from one frame to the next, in levels of 255, where the true one does not change
    edge      the same, where the true alpha is half transparent or within EDGE pixels of that
    MAD       mean difference from the true alpha, in levels
    trail     mean alpha in levels where the head was within the last TRAIL frames and no longer is: a smear
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.steady import Steadiness
from app.inference import predictor
from app.settings import BUILT_IN_MODEL
from model import matting
from model.transforms import Alpha8, Image, to_8_bits
from tests.bench.bench_foreground import DARK, drawn_photo
from tests.bench.bench_refine import drawn_portrait

HEIGHT, WIDTH = 720, 1280
REST, SWAY = 20, 80  # frames
REACH: Final = 110.0  # pixels to either side
NECK: Final = (0.64, 0.8)  # from where to where it bends, of the height
EDGE: Final = 8
TRAIL: Final = 10
NAMES: Final = ("flicker", "edge", "MAD", "trail")

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scene:
    """A person float32 `[H,W,3]` with alpha `[H,W]` in levels, in the middle of the frame, and the ground behind."""

    person: Values
    alpha: Values
    ground: Values


def drawn_scene() -> Scene:
    alpha = to_8_bits(drawn_portrait()[1])
    drawn = drawn_photo(alpha, DARK, (150, 165, 140), 60, 6)
    size = (HEIGHT, HEIGHT)
    aside = (WIDTH - HEIGHT) // 2
    person, share = (
        cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (drawn.foreground, alpha)
    )
    person = cv2.copyMakeBorder(person, 0, 0, aside, aside, cv2.BORDER_REPLICATE)
    share = cv2.copyMakeBorder(share, 0, 0, aside, aside, cv2.BORDER_CONSTANT)
    ground = cv2.resize(drawn.ground, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return Scene(person.astype(np.float32), share.astype(np.float32), ground.astype(np.float32))


def places() -> list[float]:
    """Where the head is in each frame, in pixels beside the middle."""
    swaying = [REACH * np.sin(2 * np.pi * i / SWAY) for i in range(1, SWAY)]
    return [*[0.0] * REST, *swaying, *[0.0] * REST]


def frame_at(scene: Scene, place: float, noise: float, draws: np.random.Generator) -> tuple[Image, Values]:
    """A frame and its true alpha, in levels. The head is at `place`, the shoulders stay where they are."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    chin, shoulders = (share * HEIGHT for share in NECK)
    moves = np.clip((shoulders - rows) / (shoulders - chin), 0, 1)
    seen = (columns - np.float32(place) * moves, rows)
    person = cv2.remap(scene.person, *seen, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.remap(scene.alpha, *seen, cv2.INTER_LINEAR)
    share = alpha[..., None] / 255
    taken = share * person + (1 - share) * scene.ground + draws.normal(0, noise, scene.ground.shape)
    return np.clip(np.rint(taken), 0, 255).astype(np.uint8), np.asarray(alpha, np.float32)


def matte(network: predictor.Predictor, image: Image) -> Alpha8:
    manifest = network.manifest
    views = matting.views(image, manifest.input_size, manifest.geometry)
    alphas = list(network.predict(np.stack(views)))
    return matting.finish(image, views, alphas, manifest.geometry, sharpness=manifest.sharpness).alpha


class Figures:
    """Of one kind of alpha, frame by frame."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []
        self._before: Values | None = None
        self._past: list[Values] = []

    def add(self, made: Alpha8, truth: Values) -> None:
        alpha = made.astype(np.float32)
        row = [np.nan, np.nan, float(np.abs(alpha - truth).mean()), np.nan]
        if self._before is not None:
            change, same = np.abs(alpha - self._before), np.abs(truth - self._past[-1]) < 0.5
            row[0] = float(change[same].mean())
            row[1] = float(change[same & _near_edge(truth)].mean())
            left = (np.max(self._past, axis=0) > 128) & (truth < 5)
            row[3] = float(alpha[left].mean()) if left.any() else np.nan
        self.rows.append(row)
        self._before, self._past = alpha, [*self._past, truth][-TRAIL:]

    def mean(self, frames: slice) -> NDArray[np.float64]:
        chosen = np.array(self.rows)[frames]
        return np.array([np.nanmean(c) if np.isfinite(c).any() else np.nan for c in chosen.T])


def _near_edge(truth: Values) -> NDArray[np.bool_]:
    half = ((truth > 2) & (truth < 253)).astype(np.uint8)
    return np.asarray(cv2.dilate(half, np.ones((2 * EDGE + 1, 2 * EDGE + 1), np.uint8)), np.bool_)


def report(plain: Figures, steady: Figures) -> None:
    print(f"{'':24s}" + "".join(f"{name:>10s}" for name in NAMES))
    parts = {
        "at rest": slice(1, REST),
        "moving": slice(REST, REST + SWAY - 1),
        "at rest again": slice(REST + SWAY - 1, None),
        "all": slice(1, None),
    }
    for part, frames in parts.items():
        before, after = plain.mean(frames), steady.mean(frames)
        with np.errstate(invalid="ignore"):
            ratio = after / before
        for name, row, digits in (
            (part, before, 3),
            ("  --steady", after, 3),
            ("  ratio", ratio, 2),
        ):
            print(f"{name:24s}" + "".join(f"{value:10.{digits}f}" for value in row))


def frames(scene: Scene, noise: float) -> Iterator[tuple[Image, Values]]:
    draws = np.random.default_rng(7)
    for place in places():
        yield frame_at(scene, place, noise, draws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    parser.add_argument("--noise", type=float, default=4.0, help="the camera's, in levels")
    parser.add_argument(
        "--sheet", type=Path, help="write some frames: picture, alpha without and with --steady"
    )
    options = parser.parse_args()
    cv2.setNumThreads(1)
    network = predictor.load(options.model, device="cpu", precision="auto", max_batch_size=1)
    steadiness, plain, steady = Steadiness(), Figures(), Figures()
    taken, sheet = 0.0, []
    for number, (image, truth) in enumerate(frames(drawn_scene(), options.noise)):
        alpha = matte(network, image)
        started = time.process_time()
        steadied = steadiness.steady(image, alpha)
        taken += time.process_time() - started
        plain.add(alpha, truth)
        steady.add(steadied, truth)
        if number % 20 == 15:
            grey = [np.repeat(each[..., None], 3, 2) for each in (alpha, steadied)]
            sheet.append(np.hstack([image, *grey])[::3, ::3])
    print(f"{WIDTH} x {HEIGHT}, noise of {options.noise:g} levels, {network.precision}")
    report(plain, steady)
    print(f"CPU time of --steady: {taken / len(plain.rows) * 1000:.1f} ms a frame")
    if options.sheet:
        cv2.imwrite(str(options.sheet), np.vstack(sheet)[:, :, ::-1])


if __name__ == "__main__":
    main()
