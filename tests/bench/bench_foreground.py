"""The person's own colours: how much of the old background they still hold, and what cut-outs cost.

    .venv/bin/python -m tests.bench.bench_foreground [--sheet OUT.png] [--runs 15]

Drawn heads of 4.2 megapixels whose layers are known, each laid on one ground, saved as JPEG, its foreground estimated
and laid on other grounds. By the exact matte the figures tell what the estimate does; by the served one, which is the
exact matte as a perfect network of 256 pixels gives it and refinement finishes it, what it does in use.

    before      the photo's own colours
    published   blur fusion as its paper has it: two passes over the whole photo, windows of 90 and 6 pixels
    after       app.imaging.foreground
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.compose import compose_rgba, lay_over, lay_under, resize_cutout
from app.imaging.crop import foreground_box
from app.imaging.foreground import GRID, NARROW, WIDE, estimate_foreground, mean_around
from app.imaging.render import blurred, cast_shadow, cover
from app.imaging.tiles import tiles_of
from model.transforms import Alpha8, Image, stretch, to_8_bits
from tests.bench.bench_refine import SIDE, coarse_alpha, drawn_portrait, refined_alpha
from tests.support.images import jpeg, pixels

Colours = NDArray[np.float32]

NETWORK: Final = 256  # pixels of the square that the served matte comes from
SENSOR_NOISE: Final = 2  # levels
NEW_GROUNDS: Final = ((255, 255, 255), (0, 0, 0), (230, 40, 160), (40, 90, 220))
DARK, BLOND = (62, 42, 34), (190, 150, 90)
# Hair, the ground's mean, how uneven it is, and in how many pieces.
PHOTOS: Final = {
    "dark hair, soft ground": (DARK, (150, 165, 140), 60, 6),
    "blond hair, green screen": (BLOND, (60, 190, 70), 12, 8),
    "dark hair, motley ground": (DARK, (110, 120, 150), 70, 40),
    "blond hair, dark room": (BLOND, (25, 25, 35), 15, 8),
    "dark hair, white wall": (DARK, (245, 245, 245), 2, 8),
}


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo, both its layers, and its mattes: the exact one, and as it would be served."""

    image: Image
    foreground: Colours
    ground: Colours
    exact: Alpha8
    served: Alpha8


def drawn_photo(
    alpha: Alpha8, hair: tuple[int, ...], mean: tuple[int, ...], spread: int, cells: int
) -> Photo:
    draws = np.random.default_rng(5)
    side = len(alpha)
    y, x = np.mgrid[0:side, 0:side] / side
    foreground = _uneven(draws, side, hair, 18, 200) + _uneven(draws, side, (0, 0, 0), 10, side // 2)
    cloth = ((y - 1) / 0.29) ** 2 + ((x - 0.5) / 0.35) ** 2 < 1
    foreground[cloth] = _uneven(draws, side, (40, 60, 130), 12, 60)[cloth]
    skin = np.hypot(y - 0.5, x - 0.5) < 0.16
    foreground[skin] = _uneven(draws, side, (205, 160, 135), 12, 30)[skin]
    foreground, ground = (
        np.clip(foreground, 0, 255),
        np.clip(_uneven(draws, side, mean, spread, cells), 0, 255),
    )
    noise = draws.normal(0, SENSOR_NOISE, foreground.shape)
    taken = np.clip(_mixed(foreground, alpha, ground) + noise, 0, 255).astype(np.uint8)
    image = pixels(jpeg(taken))
    truth = alpha.astype(np.float32) / np.float32(255)
    served = to_8_bits(refined_alpha(image, coarse_alpha(truth, NETWORK), NETWORK))
    return Photo(image, foreground, ground, alpha, served)


def _uneven(
    draws: np.random.Generator, side: int, mean: tuple[int, ...], spread: float, cells: int
) -> Colours:
    coarse = draws.normal(mean, spread, (cells, cells, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def _mixed(foreground: Colours, alpha: Alpha8, ground: Colours) -> Colours:
    share = alpha[..., None].astype(np.float32) / np.float32(255)
    return share * foreground + (1 - share) * ground


def published(image: Image, alpha: Alpha8) -> Image:
    """Forte 2021, the two passes of the paper."""
    photo, share = image.astype(np.float32), alpha[..., None].astype(np.float32) / np.float32(255)
    foreground = background = photo
    for side in (90, 6):
        blur = partial(cv2.blur, ksize=(side, side))
        mean = blur(share)[..., None]
        near = blur(foreground * share) / (mean + 1e-5)
        background = blur(background * (1 - share)) / (1 - mean + 1e-5)
        foreground = np.clip(near + share * (photo - share * near - (1 - share) * background), 0, 255)
    return np.rint(foreground).astype(np.uint8)


ESTIMATES: Final[dict[str, Callable[[Image, Alpha8], Image]]] = {
    "before": lambda image, alpha: image,
    "published": published,
    "after": estimate_foreground,
}


def errors(photo: Photo, alpha: Alpha8, made: Image) -> tuple[float, float]:
    """Where `alpha` is half transparent: mean absolute error of the new pictures in levels, their matte taken as it
    is; and the share of the old ground still in them, of what the photo's own colours bring along."""
    hair = cv2.dilate(((photo.exact > 0) & (photo.exact < 255)).view(np.uint8), np.ones((31, 31))) > 0
    band = (alpha > 0) & (alpha < 255) & hair
    share, exact = (each[band][:, None].astype(np.float32) / 255 for each in (alpha, photo.exact))
    wrong = share * (made[band] - photo.foreground[band])
    brought = share * (1 - exact) * (photo.ground[band] - photo.foreground[band])
    # Both pictures have the same (1 - alpha) B, whatever the new ground B is.
    return float(np.abs(wrong).mean()), float((wrong * brought).sum() / (brought * brought).sum())


def report(photos: dict[str, Photo]) -> None:
    for matte in ("exact", "served"):
        print(f"\nby the {matte} matte{'error, levels':>32s}{'old ground left':>33s}")
        print(f"{'':26s}" + "".join(f"{name:>11s}" for name in (*ESTIMATES, *ESTIMATES)))
        rows = []
        for name, photo in photos.items():
            alpha: Alpha8 = getattr(photo, matte)
            found = [errors(photo, alpha, estimate(photo.image, alpha)) for estimate in ESTIMATES.values()]
            rows.append([*(error for error, _ in found), *(left for _, left in found)])
            _print_row(name, rows[-1])
        _print_row("mean", np.mean(rows, axis=0))


def _print_row(name: str, row: list[float] | NDArray[np.float64]) -> None:
    count = len(ESTIMATES)
    print(
        f"{name:26s}"
        + "".join(f"{x:11.2f}" for x in row[:count])
        + "".join(f"{x:11.1%}" for x in row[count:])
    )


def cpu_ms(work: Callable[[], object], runs: int) -> float:
    """Median CPU time of a call."""
    times = []
    work()
    for _ in range(runs):
        started = time.process_time()
        work()
        times.append((time.process_time() - started) * 1000)
    return statistics.median(times)


def mean_layers(samples: Image, share: Alpha8) -> None:
    for layer in (share, 255 - share):
        mean_around(
            samples, layer, lambda plane: cv2.blur(plane, (WIDE, WIDE)) + cv2.blur(plane, (NARROW, NARROW))
        )


def stages(photo: Photo, side: int) -> dict[str, Callable[[], object]]:
    """What makes a cut-out of `side` x `side` pixels, each alone."""
    image, alpha = stretch(photo.image, side, side), stretch(photo.served, side, side)
    foreground = estimate_foreground(image, alpha)
    cutout, shadow = compose_rgba(foreground, alpha), cast_shadow(alpha, 60)
    picture = stretch(image, 1500, 2000)
    return {
        "foreground's colours": partial(estimate_foreground, image, alpha),
        "  of these: find the edge": partial(tiles_of, alpha, 256, 64),
        "  of these: mean colours": partial(
            mean_layers, stretch(image, GRID, GRID), stretch(alpha, GRID, GRID)
        ),
        "compose RGBA": partial(compose_rgba, foreground, alpha),
        "lay over a colour": partial(lay_over, foreground, alpha, (255, 255, 255)),
        "lay over a picture": partial(lay_over, foreground, alpha, image),
        "cover with 2000 x 1500": partial(cover, picture, side, side),
        "blur the background by 1": partial(blurred, image, alpha, 1),
        "blur the background by 50": partial(blurred, image, alpha, 50),
        "cast a shadow": partial(cast_shadow, alpha, 60),
        "lay the shadow under": partial(lay_under, foreground, alpha, (0, 0, 0), shadow),
        "the foreground's box": partial(foreground_box, alpha),
        "RGBA to half the pixels": partial(resize_cutout, cutout, round(side * 0.707), round(side * 0.707)),
        "for comparison: copy the photo": image.copy,
    }


def report_times(photo: Photo, runs: int) -> None:
    sides = (1000, SIDE, 3464)
    columns = [{name: cpu_ms(work, runs) for name, work in stages(photo, side).items()} for side in sides]
    band = float(np.mean((photo.served > 0) & (photo.served < 255)))
    print(f"\nCPU ms on one core, {band:.0%} of the pixels half transparent")
    print(f"{'':34s}" + "".join(f"{side * side / 1e6:7.1f} MP" for side in sides))
    for name in columns[0]:
        print(f"{name:34s}" + "".join(f"{column[name]:10.2f}" for column in columns))
    print(
        f"{'for comparison: published':34s}{'':10s}{cpu_ms(partial(published, photo.image, photo.served), 3):10.2f}"
    )


def write_sheet(path: Path, photos: dict[str, Photo]) -> None:
    """A row per photo and matte: the photo, on a new ground before, published, after, as it should be, and the
    estimated colours themselves."""
    box = (slice(int(SIDE * 0.17), int(SIDE * 0.34)), slice(int(SIDE * 0.26), int(SIDE * 0.43)))
    rows = []
    for photo in photos.values():
        new = NEW_GROUNDS[0] if photo.ground.mean() < 128 else NEW_GROUNDS[2]
        for alpha in (photo.exact, photo.served):
            made = [estimate(photo.image, alpha) for estimate in ESTIMATES.values()]
            truth = np.rint(photo.foreground).astype(np.uint8)
            laid = [lay_over(colours, alpha, new) for colours in (*made, truth)]
            rows.append(np.hstack([each[box] for each in (photo.image, *laid, made[-1])]))
    cv2.imwrite(str(path), np.vstack(rows)[:, :, ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sheet", type=Path, help="write a picture of the hair, before and after")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    alpha = to_8_bits(drawn_portrait()[1])
    photos = {name: drawn_photo(alpha, *kind) for name, kind in PHOTOS.items()}
    report(photos)
    report_times(next(iter(photos.values())), options.runs)
    if options.sheet:
        write_sheet(options.sheet, photos)


if __name__ == "__main__":
    main()
