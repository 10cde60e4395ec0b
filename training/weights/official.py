"""U²-Net's weights by their official names: which there are, in which order they run, and which network they are of.

A block's convolution is `stage1.rebnconv6d.conv_s1` and its batch norm `stage1.rebnconv6d.bn_s1`. Each of the 112
needs the one before it, so that every way to write the network down has them in this order; a file that lost their
names is read by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.u2net import CHANNEL_BLOCK, FLAT_DILATIONS, FULL, VARIANTS, Stage, Variant
from training.weights.batch_norm import BATCH_NORM_SUFFIX, CONVOLUTION_SUFFIX

Array = NDArray[Any]

SIDES: Final = tuple(f"side{level}" for level in range(1, 7))
FUSED: Final = "outconv"
COUNTER: Final = "num_batches_tracked"  # a counter of PyTorch's batch norm that inference does not read

_FIRST: Final = f"stage1.rebnconvin{CONVOLUTION_SUFFIX}.weight"
_WRAPPING: Final = frozenset({"module", "_orig_mod"})  # DataParallel's and torch.compile's part of a name
_DECIMALS_MAX: Final = 6


class WeightsError(ValueError):
    """The file or its tensors are not those of this network; the message says what they are and what to do."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors in PyTorch's layout by official name, without batch norm's if that is folded into the convolutions.

    The rest is as in a manifest, as far as the file says it.
    """

    tensors: dict[str, Array]
    size: int | None = None
    geometry: str | None = None
    sharpness: float = 1.0
    data: str = ""
    licence: str = ""

    @property
    def folded(self) -> bool:
        return not any(BATCH_NORM_SUFFIX in name for name in self.tensors)


@dataclass(frozen=True, slots=True)
class Block:
    """A 3×3 convolution with batch norm and ReLU, by its official name: `stage1.rebnconv6d`."""

    name: str
    dilation: int
    is_outer: bool  # gives the stage's outer channels, not the inner ones


@dataclass(frozen=True, slots=True)
class Architecture:
    """What `model.u2net.u2net` takes: the variant and the factor on its channel counts."""

    variant: str
    width: float

    def __str__(self) -> str:
        return self.variant if self.width == 1 else f"{self.variant} at width {self.width:g}"


def blocks_of(stage: Stage) -> Iterator[Block]:
    """In the order in which they run: down to the bottom and up again."""
    height = stage.height

    def block(suffix: str, level: int) -> Block:
        around = 2 if level == height else 1
        dilation = FLAT_DILATIONS[level - 1] if stage.flat else around
        return Block(f"{stage.name}.rebnconv{suffix}", dilation, suffix in ("in", "1d"))

    yield block("in", 1)
    for level in range(1, height + 1):
        yield block(f"{level}", level)
    for level in range(height - 1, 0, -1):
        yield block(f"{level}d", level)


BLOCKS: Final = tuple(block for stage in (*FULL.encoder, *FULL.decoder) for block in blocks_of(stage))


def with_official_names(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors without what wrappers put before or into their names, as in `module.net.stage1…`.

    Raises WeightsError if none of them is U²-Net's, or if the file holds U²-Net more than once.
    """
    plain = {}
    for name, tensor in tensors.items():
        plain[".".join(part for part in name.split(".") if part not in _WRAPPING)] = tensor
    prefixes = sorted(name.removesuffix(_FIRST) for name in plain if name.endswith(_FIRST))
    if not prefixes:
        some = ", ".join(list(tensors)[:3]) or "none"
        raise WeightsError(f"none of its {len(tensors)} tensors is U²-Net's {_FIRST}; the first are {some}")
    if len(prefixes) > 1 or len(plain) < len(tensors):
        found = ", ".join(repr(prefix) for prefix in prefixes)
        raise WeightsError(f"it holds U²-Net more than once, by the prefixes {found}: save one of them alone")
    return {name.removeprefix(prefixes[0]): tensor for name, tensor in plain.items()}


def detect_architecture(tensors: Mapping[str, Array]) -> Architecture:
    """The network whose blocks give so many channels. Of the widths that fit, the one with the fewest decimals.

    Raises WeightsError if it is none of this package.
    """
    found = {}
    for block in BLOCKS:
        name = f"{block.name}{CONVOLUTION_SUFFIX}.weight"
        if name not in tensors:
            raise WeightsError(f"it lacks {name}: damaged, or another network than U²-Net")
        found[block.name] = tensors[name].shape[0] if tensors[name].ndim else 0
    for variant in reversed(VARIANTS):  # the smaller first, for the narrowest of both are the same
        width = _roundest_width(list(_counts(VARIANTS[variant], found)))
        if width is not None:
            return Architecture(variant, width)
    outer, inner = found["stage1.rebnconvin"], found["stage1.rebnconv1"]
    raise WeightsError(
        f"its first stage has {outer} outer and {inner} inner channels: a U²-Net of other channel counts than "
        f"{' or '.join(VARIANTS)} at any width"
    )


def _counts(table: Variant, found: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """For each block, the channels at width one and those found."""
    for stage in (*table.encoder, *table.decoder):
        for block in blocks_of(stage):
            yield stage.out_channels if block.is_outer else stage.mid_channels, found[block.name]


def _roundest_width(counts: Sequence[tuple[int, int]]) -> float | None:
    """The factor that makes of each count at width one the count found, by the rounding of `Variant.channels`."""
    low, high = 0.0, math.inf
    for at_width_one, found in counts:
        blocks, rest = divmod(found, CHANNEL_BLOCK)
        if rest or blocks < 1:
            return None
        low = max(low, (blocks - 0.5) * CHANNEL_BLOCK / at_width_one if blocks > 1 else 0.0)
        high = min(high, (blocks + 0.5) * CHANNEL_BLOCK / at_width_one)
    for decimals in range(_DECIMALS_MAX + 1):
        width = max(1, math.ceil(low * 10**decimals)) / 10**decimals
        if width < high:
            return width
    return None


def unfold_batch_norm(tensors: Mapping[str, Array], epsilon: float) -> dict[str, Array]:
    """Batch norm again where it was folded: mean 0, gain 1, and the convolution's bias as its shift."""
    result = dict(tensors)
    for block in BLOCKS:
        bias = np.asarray(tensors[f"{block.name}{CONVOLUTION_SUFFIX}.bias"], np.float32)
        one = np.ones_like(bias)
        result[f"{block.name}{CONVOLUTION_SUFFIX}.bias"] = 0 * one
        parts = {"weight": one, "bias": bias, "running_mean": 0 * one, "running_var": one * (1 - epsilon)}
        norm = f"{block.name}{BATCH_NORM_SUFFIX}"
        result |= {f"{norm}.{part}": value.astype(np.float32) for part, value in parts.items()}
    return result
