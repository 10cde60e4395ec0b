"""U²-Net as the stage table of its paper (Qin et al., Pattern Recognition 106, 2020; Fig. 5 and Table 1).

In: an image as `normalise` leaves it, float `[N,H,W,3]`, H and W divisible by 32. Out: seven logit maps `[N,H,W,1]`,
the fused one first, then the six side outputs from fine to coarse.

Written in `keras.layers` and `keras.ops` alone, so that it runs on every Keras backend. It knows nothing of the
sigmoid that makes logits a matte (the export adds it) or of training. Layers are named as the
tensors of the official PyTorch checkpoints, so that weights map by name:
`stage1.rebnconvin.conv_s1`, `stage1.rebnconvin.bn_s1`, `side1`, `outconv`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import keras
from keras import layers, ops

# ImageNet's channel means and standard deviations for RGB in 0..1, as the official code uses.
CHANNEL_MEAN: Final = (0.485, 0.456, 0.406)
CHANNEL_STD: Final = (0.229, 0.224, 0.225)

# PyTorch's BatchNorm2d defaults: eps 1e-5, momentum 0.1 of the new value (Keras counts the old one).
BATCH_NORM_EPSILON: Final = 1e-5
BATCH_NORM_MOMENTUM: Final = 0.9

# Vector units take 16 channels at a time; oneDNN's batch normalisation falls to a reference kernel, many times
# slower, on any other count. Every count of the paper is a multiple of it, so width 1 is untouched.
CHANNEL_BLOCK: Final = 16

# The dilations of RSU-4F (Fig. 2e of the paper): no pooling, the field of view grows by dilation instead.
FLAT_DILATIONS: Final = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Stage:
    """One residual U-block: RSU-`height`, or RSU-`height`F where `flat`. Channels at width 1."""

    name: str
    height: int
    mid_channels: int
    out_channels: int
    flat: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """A network by its table: six encoder stages, five decoder stages, and a factor on every channel count."""

    encoder: tuple[Stage, ...]
    decoder: tuple[Stage, ...]
    width: float = 1.0

    def channels(self, at_width_one: int) -> int:
        """Scaled channel count, rounded to the nearest multiple of CHANNEL_BLOCK (at least one block)."""
        return max(1, int(at_width_one * self.width / CHANNEL_BLOCK + 0.5)) * CHANNEL_BLOCK


FULL: Final = Variant(
    encoder=(
        Stage("stage1", 7, 32, 64),
        Stage("stage2", 6, 32, 128),
        Stage("stage3", 5, 64, 256),
        Stage("stage4", 4, 128, 512),
        Stage("stage5", 4, 256, 512, flat=True),
        Stage("stage6", 4, 256, 512, flat=True),
    ),
    decoder=(
        Stage("stage5d", 4, 256, 512, flat=True),
        Stage("stage4d", 4, 128, 256),
        Stage("stage3d", 5, 64, 128),
        Stage("stage2d", 6, 32, 64),
        Stage("stage1d", 7, 16, 64),
    ),
)

# "u2netp" of the official code: the same blocks with 16 inner and 64 outer channels everywhere.
LITE: Final = Variant(
    encoder=tuple(Stage(s.name, s.height, 16, 64, s.flat) for s in FULL.encoder),
    decoder=tuple(Stage(s.name, s.height, 16, 64, s.flat) for s in FULL.decoder),
)

VARIANTS: Final = {"full": FULL, "lite": LITE}


def u2net(
    variant: str = "full",
    *,
    width: float = 1.0,
    input_size: int | None = None,
) -> keras.Model:
    """Build U²-Net.

    `variant` is "full" (44.0 M parameters) or "lite" (1.13 M); `width` scales every channel count.
    `input_size` fixes height = width in pixels (a multiple of 32), None leaves both open.
    Returns a model `[N,H,W,3] -> 7 × [N,H,W,1]` logits, fused first; weights do not depend on the size.
    Raises ValueError for an unknown variant, a width that is not positive, or a size that 32 does not divide.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}: use one of {', '.join(VARIANTS)}")
    if width <= 0:
        raise ValueError(f"width must be positive, not {width}")
    if input_size is not None and (input_size <= 0 or input_size % 32):
        raise ValueError(f"input_size must be a positive multiple of 32, not {input_size}")
    table = VARIANTS[variant]
    table = Variant(table.encoder, table.decoder, width)
    image = keras.Input((input_size, input_size, 3), name="image")
    sides = _side_logits(_decode(_encode(image, table), table))
    fused = layers.Conv2D(1, 1, name="outconv", dtype="float32")(layers.Concatenate(name="sides")(sides))
    name = f"u2net_{variant}" + (f"_x{width:g}" if width != 1 else "")
    return keras.Model(image, [fused, *sides], name=name)


def normalise(image: keras.KerasTensor) -> keras.KerasTensor:
    """RGB `[N,H,W,3]` in 0..255, any real dtype, to the network's input: float32, (x / 255 - mean) / std."""
    return (ops.cast(image, "float32") / 255.0 - ops.array(CHANNEL_MEAN)) / ops.array(CHANNEL_STD)


def _encode(image: keras.KerasTensor, table: Variant) -> list[keras.KerasTensor]:
    """The six encoder stages; returns their outputs, the finest first."""
    x = image
    features: list[keras.KerasTensor] = []
    for stage in table.encoder:
        if features:
            x = _halve(x, f"{stage.name}.pool")
        x = _residual_u_block(x, stage, table)
        features.append(x)
    return features


def _decode(features: list[keras.KerasTensor], table: Variant) -> list[keras.KerasTensor]:
    """The five decoder stages on top of the coarsest feature; returns six maps, the finest first."""
    maps = [features[-1]]
    for stage, skip in zip(table.decoder, reversed(features[:-1]), strict=True):
        up = _enlarge(maps[0], 2, f"{stage.name}.up")
        x = layers.Concatenate(name=f"{stage.name}.cat")([up, skip])
        maps.insert(0, _residual_u_block(x, stage, table))
    return maps


def _side_logits(maps: list[keras.KerasTensor]) -> list[keras.KerasTensor]:
    """One 3×3 convolution per map, enlarged to the input's size. Float32: the losses and the sigmoid read them."""
    logits = []
    for level, x in enumerate(maps):
        name = f"side{level + 1}"
        x = layers.Conv2D(1, 3, padding="same", name=name, dtype="float32")(x)
        logits.append(_enlarge(x, 2**level, f"{name}.up", dtype="float32") if level else x)
    return logits


def _residual_u_block(x: keras.KerasTensor, stage: Stage, table: Variant) -> keras.KerasTensor:
    """RSU: an input convolution, a small U-Net on it, and their sum (Fig. 2e)."""
    mid, out = table.channels(stage.mid_channels), table.channels(stage.out_channels)
    height = stage.height

    def dilation(level: int) -> int:
        if stage.flat:
            return FLAT_DILATIONS[level - 1]
        return 2 if level == height else 1

    def conv(x: keras.KerasTensor, channels: int, level: int, suffix: str) -> keras.KerasTensor:
        return _conv_bn_relu(x, channels, dilation(level), f"{stage.name}.rebnconv{suffix}")

    entry = conv(x, out, 1, "in")
    x, skips = entry, []
    for level in range(1, height + 1):
        if 1 < level < height and not stage.flat:
            x = _halve(x, f"{stage.name}.pool{level - 1}")
        x = conv(x, mid, level, f"{level}")
        skips.append(x)
    x = skips.pop()
    for level in range(height - 1, 0, -1):
        if level < height - 1 and not stage.flat:
            x = _enlarge(x, 2, f"{stage.name}.up{level}")
        x = layers.Concatenate(name=f"{stage.name}.cat{level}")([x, skips.pop()])
        x = conv(x, mid if level > 1 else out, level, f"{level}d")
    return layers.Add(name=f"{stage.name}.add")([x, entry])


def _conv_bn_relu(x: keras.KerasTensor, channels: int, dilation: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(channels, 3, padding="same", dilation_rate=dilation, name=f"{name}.conv_s1")(x)
    x = layers.BatchNormalization(
        epsilon=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM, name=f"{name}.bn_s1"
    )(x)
    return layers.ReLU(name=f"{name}.relu_s1")(x)


def _halve(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """2×2 max-pooling; "same" is PyTorch's ceil_mode: an odd last row or column is pooled alone."""
    return layers.MaxPooling2D(2, padding="same", name=name)(x)


def _enlarge(x: keras.KerasTensor, factor: int, name: str, dtype: str | None = None) -> keras.KerasTensor:
    """Bilinear with half-pixel centres: PyTorch's align_corners=False."""
    return layers.UpSampling2D(factor, interpolation="bilinear", name=name, dtype=dtype)(x)
