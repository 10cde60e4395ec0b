"""One portrait and its alpha, varied: crop, turn, mirror, a second person, new background, colour, camera, bars.

In: image uint8 `[H,W,3]`, alpha uint8 `[H,W,1]`, perhaps a background and a second portrait of any size, and a
stateless key. Out: image float32 `[S,S,3]` in 0..255 and alpha float32 `[S,S,1]` in 0..1. Every random number comes
from the key: the same key gives the same pixels. The picture is stretched to a square, sometimes between bars, as
the served geometry (`model.transforms`) does to long ones.

Geometry comes first, then the composition with other pictures, then what changes colours alone, then the bars.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import tensorflow as tf

from model.transforms import BAR_COLOUR
from training.config import AugmentConfig

INSET_MAX: Final = 0.12  # a "whole" picture still loses up to this share of each side
# Log of the aspect ratio's change in a crop, to either side. Portraits are upright mostly; a landscape photo
# stretched to the square shows people 1.8 times narrower than one of 3:4 does, so crops must reach that far.
ASPECT_SPREAD: Final = 0.6
# A person cut out and set anew: size and shape within these, standing on the lower edge, and sideways so far
# that up to this share of the square's side is lost over the edge.
PLACED_SIZE: Final = (0.5, 1.0)
PLACED_ASPECT_SPREAD: Final = 0.25
PLACED_OVERHANG: Final = 0.3
ROTATION_MAX: Final = math.radians(12)
# Share of the square's side that is left between the bars, at the least: a photo of 2:1 that is not stretched.
LETTERBOX_MIN: Final = 0.5

# Blur fusion (Forte 2021) uses a wide and a narrow window; here as shares of the square's side.
FUSION_RADII: Final = (0.15, 0.02)
NARROW_RADIUS: Final = 6  # pixels; means over wider windows are taken at a smaller scale

JPEG_QUALITY: Final = (35, 95)
NOISE_MAX: Final = 0.04  # standard deviation, of 1
BLUR_SIGMA: Final = (0.4, 1.6)  # pixels at the network's size


def augment(
    image: tf.Tensor,
    alpha: tf.Tensor,
    key: tf.Tensor,
    settings: AugmentConfig,
    *,
    size: int,
    background: Callable[[], tf.Tensor] | None = None,
    companion: Callable[[], tuple[tf.Tensor, tf.Tensor]] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """See the module. `background` loads a picture, uint8 `[h,w,3]`, and `companion` a second portrait with its
    alpha, uint8 `[h,w,3]` and `[h,w,1]`, each only when it is drawn; None: never."""
    rng = StatelessRng(key)
    pixels = _to_square(tf.concat([image, alpha], axis=2), rng, settings, size)
    pixels = _mirror(_rotate(pixels, rng, settings.rotate_share), rng)
    pixels = tf.ensure_shape(pixels, [size, size, 4])
    colour, matte = pixels[:, :, :3], pixels[:, :, 3:]
    if companion is not None:
        colour, matte = _add_person(colour, matte, companion, rng, settings)
    if background is not None:
        colour, matte = _replace_background(colour, matte, background, rng, settings)
    colour = jitter_colour(colour, rng, settings)
    colour = degrade(colour, rng, settings)
    colour, matte = tf.clip_by_value(colour, 0, 1) * 255, tf.clip_by_value(matte, 0, 1)
    colour, matte = _letterbox(colour, matte, rng, settings.letterbox_share, size)
    return tf.ensure_shape(colour, [size, size, 3]), tf.ensure_shape(matte, [size, size, 1])


def _to_square(pixels: tf.Tensor, rng: StatelessRng, settings: AugmentConfig, size: int) -> tf.Tensor:
    """A window of `[H,W,4]` uint8, stretched to `[size,size,4]` float32 in 0..1."""
    shape = tf.cast(tf.shape(pixels)[:2], tf.float32)
    inset = _inset_window(rng)
    crop = _crop_window(pixels[:, :, 3], rng, settings)
    window = tf.where(rng.chance(settings.crop_share), crop, inset)
    corners = tf.cast(tf.round(window * tf.concat([shape, shape], 0)), tf.int32)
    top, left = corners[0], corners[1]
    bottom, right = tf.maximum(corners[2], top + 1), tf.maximum(corners[3], left + 1)
    cut = tf.cast(pixels[top:bottom, left:right], tf.float32) / 255
    return tf.image.resize(cut, [size, size], method="bilinear", antialias=True)


def _inset_window(rng: StatelessRng) -> tf.Tensor:
    """Nearly the whole picture: (top, left, bottom, right) in 0..1."""
    low = tf.random.stateless_uniform([2], rng.seed(), 0, INSET_MAX)
    high = 1 - tf.random.stateless_uniform([2], rng.seed(), 0, INSET_MAX)
    return tf.concat([low, high], 0)


def _crop_window(alpha: tf.Tensor, rng: StatelessRng, settings: AugmentConfig) -> tf.Tensor:
    """A part of the picture, half of them centred on the transition between person and background."""
    area = rng.uniform(settings.crop_area_min, 1.0)
    aspect = tf.exp(rng.uniform(-ASPECT_SPREAD, ASPECT_SPREAD))
    sides = tf.clip_by_value(tf.sqrt(area) * tf.stack([aspect, 1 / aspect]), 0.05, 1.0)
    anywhere = tf.random.stateless_uniform([2], rng.seed())
    centre = tf.where(rng.chance(0.5), _transition_point(alpha, rng, anywhere), anywhere)
    corner = tf.clip_by_value(centre - sides / 2, 0.0, 1 - sides)
    return tf.concat([corner, corner + sides], 0)


def _transition_point(alpha: tf.Tensor, rng: StatelessRng, otherwise: tf.Tensor) -> tf.Tensor:
    """A random half-transparent point (y, x) in 0..1; `otherwise` where there is none."""
    coarse = alpha[::4, ::4]
    points = tf.where((coarse > 12) & (coarse < 243))
    count = tf.shape(points)[0]
    pick = tf.cast(rng.uniform() * tf.cast(count, tf.float32), tf.int32)
    shape = tf.cast(tf.shape(coarse), tf.float32)
    return tf.cond(
        count > 0,
        lambda: tf.cast(points[tf.minimum(pick, count - 1)], tf.float32) / shape,
        lambda: otherwise,
    )


def _rotate(pixels: tf.Tensor, rng: StatelessRng, share: float) -> tf.Tensor:
    """A small turn about the centre; what comes in over the border is mirrored."""
    angle = rng.uniform(-ROTATION_MAX, ROTATION_MAX)
    cos, sin = tf.cos(angle), tf.sin(angle)
    middle = (tf.cast(tf.shape(pixels)[0], tf.float32) - 1) / 2
    shift = tf.stack([middle - cos * middle + sin * middle, middle - sin * middle - cos * middle])
    transform = tf.stack([cos, -sin, shift[0], sin, cos, shift[1], 0.0, 0.0])

    return tf.cond(rng.chance(share), lambda: _warp(pixels, transform, "REFLECT"), lambda: pixels)


def _warp(pixels: tf.Tensor, transform: tf.Tensor, fill_mode: str) -> tf.Tensor:
    """`[S,S,C]` bilinear through a projective transform `[8]` from output to input coordinates."""
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[None],
        transforms=transform[None],
        output_shape=tf.shape(pixels)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill_mode,
    )[0]
    return tf.ensure_shape(warped, pixels.shape)


def _mirror(pixels: tf.Tensor, rng: StatelessRng) -> tf.Tensor:
    return tf.cond(rng.chance(0.5), lambda: pixels[:, ::-1], lambda: pixels)


def _add_person(
    colour: tf.Tensor,
    alpha: tf.Tensor,
    companion: Callable[[], tuple[tf.Tensor, tf.Tensor]],
    rng: StatelessRng,
    settings: AugmentConfig,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A second person in front of the picture: both are foreground then."""
    seed, size = rng.seed(), colour.shape[0]

    def joined() -> tuple[tf.Tensor, tf.Tensor]:
        companion_rng = StatelessRng(seed)
        pixels = _mirror(
            _to_square(tf.concat(companion(), axis=2), companion_rng, settings, size), companion_rng
        )
        pixels = tf.ensure_shape(pixels, [size, size, 4])
        over, cover = _cut_and_place(pixels[:, :, :3], pixels[:, :, 3:], companion_rng)
        return cover * over + (1 - cover) * colour, cover + (1 - cover) * alpha

    return tf.cond(rng.chance(settings.companion_share), joined, lambda: (colour, alpha))


def _cut_and_place(colour: tf.Tensor, alpha: tf.Tensor, rng: StatelessRng) -> tuple[tf.Tensor, tf.Tensor]:
    """The foreground's colour and alpha, scaled and set down elsewhere on the lower edge; alpha 0 around it."""
    cut = tf.concat([estimate_foreground(colour, alpha), alpha], axis=2)
    scale = rng.uniform(*PLACED_SIZE)
    aspect = tf.exp(rng.uniform(-PLACED_ASPECT_SPREAD, PLACED_ASPECT_SPREAD))
    high, wide = tf.minimum(scale * aspect, 1.0), tf.minimum(scale / aspect, 1.0)
    side = tf.cast(tf.shape(colour)[0], tf.float32)
    top = side * (1 - high)
    left = side * (-PLACED_OVERHANG + rng.uniform() * (1 - wide + 2 * PLACED_OVERHANG))
    transform = tf.stack([1 / wide, 0.0, -left / wide, 0.0, 1 / high, -top / high, 0.0, 0.0])
    placed = _warp(cut, transform, "CONSTANT")
    return placed[:, :, :3], placed[:, :, 3:]


def _replace_background(
    colour: tf.Tensor,
    alpha: tf.Tensor,
    background: Callable[[], tf.Tensor],
    rng: StatelessRng,
    settings: AugmentConfig,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The foreground over another background, in its place or set anew; or, rarely, that background alone with
    an empty matte."""
    seed, place_seed = rng.seed(), rng.seed()
    empty, placed = rng.chance(settings.empty_share), rng.chance(settings.place_share)

    def replaced() -> tuple[tf.Tensor, tf.Tensor]:
        behind = _background_square(background(), seed, tf.shape(colour)[0])
        over, cover = tf.cond(
            placed,
            lambda: _cut_and_place(colour, alpha, StatelessRng(place_seed)),
            lambda: (estimate_foreground(colour, alpha), alpha),
        )
        cover = tf.where(empty, tf.zeros_like(cover), cover)
        return cover * over + (1 - cover) * behind, cover

    wanted = empty | rng.chance(settings.background_share)
    return tf.cond(wanted, replaced, lambda: (colour, alpha))


def _background_square(background: tf.Tensor, seed: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """A random window of the background, mirrored half of the time, float32 `[size,size,3]` in 0..1."""
    rng = StatelessRng(seed)
    shape = tf.cast(tf.shape(background)[:2], tf.float32)
    sides = tf.maximum(tf.random.stateless_uniform([2], rng.seed(), 0.5, 1.0) * shape, 1)
    corner = tf.random.stateless_uniform([2], rng.seed()) * (shape - sides)
    (top, left), (height, width) = (tf.unstack(tf.cast(v, tf.int32)) for v in (corner, sides))
    cut = tf.cast(background[top : top + height, left : left + width], tf.float32) / 255
    square = tf.image.resize(cut, tf.stack([size, size]), method="bilinear", antialias=True)
    return tf.cond(rng.chance(0.5), lambda: square[:, ::-1], lambda: square)


def estimate_foreground(image: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """The foreground's own colour by blur fusion (Forte, "Approximate Fast Foreground Colour Estimation",
    ICIP 2021), so that a composite carries no halo of the old background into the new one.

    image float32 `[S,S,3]` and alpha float32 `[S,S,1]` in 0..1 -> foreground float32 `[S,S,3]` in 0..1.
    """
    foreground = background = image
    for share in FUSION_RADII:
        radius = max(1, int(image.shape[0] * share))
        mean_alpha = _box_mean(alpha, radius)
        near = _box_mean(foreground * alpha, radius) / (mean_alpha + 1e-5)
        far = _box_mean(background * (1 - alpha), radius) / (1 - mean_alpha + 1e-5)
        foreground = near + alpha * (image - alpha * near - (1 - alpha) * far)
        foreground, background = tf.clip_by_value(foreground, 0, 1), far
    return foreground


def _box_mean(pixels: tf.Tensor, radius: int) -> tf.Tensor:
    """Mean over a square window of `[S,S,C]`, one axis after the other; wide ones on shrunken pixels, which took four
    fifths of the time that a sample with a new background took."""
    shrink = 2 ** max(0, int(math.log2(radius / NARROW_RADIUS)))
    small = tf.nn.avg_pool2d(pixels[None], shrink, shrink, "VALID") if shrink > 1 else pixels[None]
    window = 2 * round(radius / shrink) + 1
    rows = tf.nn.avg_pool2d(small, [window, 1], 1, "SAME")
    mean = tf.nn.avg_pool2d(rows, [1, window], 1, "SAME")[0]
    return tf.image.resize(mean, pixels.shape[:2]) if shrink > 1 else mean


def _letterbox(
    colour: tf.Tensor, matte: tf.Tensor, rng: StatelessRng, share: float, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The picture narrower or lower, between two bars; colour in 0..255."""
    left = tf.cast(tf.round(rng.uniform(LETTERBOX_MIN, 1.0) * size), tf.int32)
    shape = tf.where(rng.chance(0.5), tf.stack([left, size]), tf.stack([size, left]))

    def between_bars() -> tuple[tf.Tensor, tf.Tensor]:
        # Around the bars' colour, so that zeros are the bars.
        pixels = tf.concat([colour - tf.constant(BAR_COLOUR, tf.float32), matte], 2)
        small = tf.image.resize(pixels, shape, method="bilinear", antialias=True)
        top, start = tf.unstack((size - shape) // 2)
        square = tf.image.pad_to_bounding_box(small, top, start, size, size)
        return square[:, :, :3] + tf.constant(BAR_COLOUR, tf.float32), square[:, :, 3:]

    return tf.cond(rng.chance(share), between_bars, lambda: (colour, matte))


def jitter_colour(colour: tf.Tensor, rng: StatelessRng, settings: AugmentConfig) -> tf.Tensor:
    """Change exposure, contrast, saturation, hue and gamma of float32 `[S,S,3]` in 0..1; sometimes make it grey."""

    def jittered() -> tf.Tensor:
        x = tf.image.stateless_random_brightness(colour, 0.2, rng.seed())
        x = tf.image.stateless_random_contrast(x, 0.7, 1.35, rng.seed())
        x = tf.image.stateless_random_saturation(tf.clip_by_value(x, 0, 1), 0.5, 1.5, rng.seed())
        x = tf.image.stateless_random_hue(x, 0.04, rng.seed())
        warmth = tf.random.stateless_uniform([3], rng.seed(), 0.88, 1.12)
        return tf.clip_by_value(x * warmth, 0, 1) ** tf.exp(rng.uniform(-0.3, 0.3))

    colour = tf.cond(rng.chance(settings.colour_share), jittered, lambda: colour)
    grey = rng.chance(settings.grey_share)
    return tf.cond(grey, lambda: tf.tile(tf.image.rgb_to_grayscale(colour), [1, 1, 3]), lambda: colour)


def degrade(colour: tf.Tensor, rng: StatelessRng, settings: AugmentConfig) -> tf.Tensor:
    """Do what cameras and messengers do: defocus, noise, JPEG. Noise may leave 0..1 a little."""
    sigma, noise = rng.uniform(*BLUR_SIGMA), rng.uniform(0, NOISE_MAX)
    noise_seed, jpeg_seed = rng.seed(), rng.seed()

    def noisy() -> tf.Tensor:
        return colour + noise * tf.random.stateless_normal(tf.shape(colour), noise_seed)

    def compressed() -> tf.Tensor:
        whole = tf.cast(tf.clip_by_value(colour, 0, 1) * 255, tf.uint8)
        return (
            tf.cast(tf.image.stateless_random_jpeg_quality(whole, *JPEG_QUALITY, jpeg_seed), tf.float32) / 255
        )

    colour = tf.cond(rng.chance(settings.blur_share), lambda: _gaussian_blur(colour, sigma), lambda: colour)
    colour = tf.cond(rng.chance(settings.noise_share), noisy, lambda: colour)
    return tf.cond(rng.chance(settings.jpeg_share), compressed, lambda: colour)


def _gaussian_blur(colour: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    offsets = tf.range(-4.0, 5.0)
    kernel = tf.nn.softmax(-(offsets**2) / (2 * sigma**2))
    column = tf.tile(kernel[:, None, None, None], [1, 1, 3, 1])
    padded = tf.pad(colour[None], [[0, 0], [4, 4], [4, 4], [0, 0]], "REFLECT")
    rows = tf.nn.depthwise_conv2d(padded, column, [1, 1, 1, 1], "VALID")
    return tf.nn.depthwise_conv2d(rows, tf.transpose(column, [1, 0, 2, 3]), [1, 1, 1, 1], "VALID")[0]


class StatelessRng:
    """Random numbers as a pure function of a key. Each call takes the next of its independent streams."""

    def __init__(self, key: tf.Tensor) -> None:
        self._key = key
        self._stream = 0

    def seed(self) -> tf.Tensor:
        self._stream += 1
        return self._key + tf.constant([self._stream * 7919, 0], tf.int64)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
        return tf.random.stateless_uniform([], self.seed(), low, high)

    def chance(self, share: float) -> tf.Tensor:
        return self.uniform() < share
