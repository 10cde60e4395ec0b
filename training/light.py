"""Light and camera: what changes a picture's colours and leaves its matte alone.

In and out: colour float32 `[S,S,3]` in 0..1, a little out of it where noise is added; the draws to vary it by.
"""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from training.config import AugmentConfig
from training.draws import Draws

JPEG_QUALITY: Final = (35, 95)
NOISE_MAX: Final = 0.04  # standard deviation, of 1
BLUR_SIGMA: Final = (0.4, 1.6)  # pixels at the network's size


def light(colour: tf.Tensor, draws: Draws, settings: AugmentConfig) -> tf.Tensor:
    """Exposure, contrast, saturation, hue, gamma; sometimes grey."""

    def jittered() -> tf.Tensor:
        x = tf.image.stateless_random_brightness(colour, 0.2, draws.seed())
        x = tf.image.stateless_random_contrast(x, 0.7, 1.35, draws.seed())
        x = tf.image.stateless_random_saturation(tf.clip_by_value(x, 0, 1), 0.5, 1.5, draws.seed())
        x = tf.image.stateless_random_hue(x, 0.04, draws.seed())
        warmth = tf.random.stateless_uniform([3], draws.seed(), 0.88, 1.12)
        return tf.clip_by_value(x * warmth, 0, 1) ** tf.exp(draws.uniform(-0.3, 0.3))

    colour = tf.cond(draws.chance(settings.colour_share), jittered, lambda: colour)
    grey = draws.chance(settings.grey_share)
    return tf.cond(grey, lambda: tf.tile(tf.image.rgb_to_grayscale(colour), [1, 1, 3]), lambda: colour)


def degrade(colour: tf.Tensor, draws: Draws, settings: AugmentConfig) -> tf.Tensor:
    """What cameras and messengers do: defocus, noise, JPEG."""
    sigma, noise = draws.uniform(*BLUR_SIGMA), draws.uniform(0, NOISE_MAX)
    noise_seed, jpeg_seed = draws.seed(), draws.seed()

    def noisy() -> tf.Tensor:
        return colour + noise * tf.random.stateless_normal(tf.shape(colour), noise_seed)

    def compressed() -> tf.Tensor:
        whole = tf.cast(tf.clip_by_value(colour, 0, 1) * 255, tf.uint8)
        return (
            tf.cast(tf.image.stateless_random_jpeg_quality(whole, *JPEG_QUALITY, jpeg_seed), tf.float32) / 255
        )

    colour = tf.cond(draws.chance(settings.blur_share), lambda: _gaussian_blur(colour, sigma), lambda: colour)
    colour = tf.cond(draws.chance(settings.noise_share), noisy, lambda: colour)
    return tf.cond(draws.chance(settings.jpeg_share), compressed, lambda: colour)


def _gaussian_blur(colour: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    offsets = tf.range(-4.0, 5.0)
    kernel = tf.nn.softmax(-(offsets**2) / (2 * sigma**2))
    column = tf.tile(kernel[:, None, None, None], [1, 1, 3, 1])
    padded = tf.pad(colour[None], [[0, 0], [4, 4], [4, 4], [0, 0]], "REFLECT")
    rows = tf.nn.depthwise_conv2d(padded, column, [1, 1, 1, 1], "VALID")
    return tf.nn.depthwise_conv2d(rows, tf.transpose(column, [1, 0, 2, 3]), [1, 1, 1, 1], "VALID")[0]
