"""An artifact directory comes in, a warm `Predictor` goes out: pictures `[N,S,S,3]` to alphas `[N,S,S]`.

Imports TensorFlow, and what does, only inside functions, so that `--help` is quick. Knows no HTTP, no queue and no
file format; normalisation and sigmoid are inside the SavedModel.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import InferenceFailed, OutOfMemory
from app.headroom import Headroom
from app.network.freed_memory import give_memory_back
from app.network.session import Alphas, Batch, LoadError, Place, Predict, frozen, quick_runner, runner
from app.network.tensorflow_start import tensorflow
from model import contract
from model.contract import Manifest

CPU_INFO: Final = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
BFLOAT16_TOLERANCE: Final = 2 / 255
"""How far an alpha may be from float32's: two of the 256 steps of the answer, which no eye sees."""
BFLOAT16_PERCENTILE: Final = 99.9
"""The share of the probe's pixels, in per cent, that must keep to it. At a steep border a pixel or two may differ by
more in the middle of the step, in any precision below float32."""

LARGEST_ON_CUDA: Final = 16
LARGEST_ON_CPU: Final = 2
"""Pictures in a batch where nothing else is asked for. What the network holds of more no longer fits into a core's
cache (tests/bench/bench_batching.py)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model that is ready to run. `run` takes exactly the `batch_sizes`, gives float32 `[N,S,S]`, and raises
    MemoryError where it needs more than there is; as many threads as there are `lanes` may call it at once."""

    manifest: Manifest
    device: str
    precision: str
    batch_sizes: tuple[int, ...]
    run: Predict
    lanes: int = 1
    headroom: Headroom = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headroom", Headroom(self.batch_sizes))

    @property
    def input_size(self) -> int:
        """S, the side of the network's square, in pixels."""
        return self.manifest.input_size

    def padded_size(self, count: int) -> int:
        """The smallest allowed batch size that holds `count` pictures."""
        return next(size for size in self.batch_sizes if size >= count)

    def predict(self, batch: Batch) -> Alphas:
        """Alphas float32 `[N,S,S]` in 0..1 of a batch uint8 `[N,S,S,3]`, 1 <= N <= the largest batch size.

        Raises what `predict_each` raises, and InferenceFailed if a single alpha is not finite.
        """
        alphas = []
        for alpha in self.predict_each(batch):
            if isinstance(alpha, InferenceFailed):
                raise alpha
            alphas.append(alpha)
        return np.stack(alphas)

    def predict_each(self, batch: Batch) -> list[Alphas | InferenceFailed]:
        """`predict` of any number of pictures, where numbers that are not finite fail their own picture alone.

        Where memory is too little for all at once, the pictures go through in several parts. Raises InferenceFailed
        if the model answers with another shape, OutOfMemory if memory is too little for one picture alone.
        """
        each: list[Alphas | InferenceFailed] = []
        while len(each) < len(batch):
            part = batch[len(each) : len(each) + self.headroom.limit]
            try:
                each += self._run_padded(part)
            except MemoryError:
                if not self.headroom.ran_out(self.padded_size(len(part))):
                    raise OutOfMemory("Memory is too short for even one picture now.") from None
            else:
                self.headroom.sufficed()
        return each

    def _run_padded(self, batch: Batch) -> list[Alphas | InferenceFailed]:
        count = len(batch)
        padding = self.padded_size(count) - count
        padded = np.pad(batch, ((0, padding), (0, 0), (0, 0), (0, 0))) if padding else batch
        alphas = self.run(padded)
        if alphas.shape != padded.shape[:3]:
            raise InferenceFailed(f"the model gave shape {alphas.shape} for {padded.shape}")
        not_finite = "the model gave numbers that are not finite"
        return [
            np.clip(alpha, 0.0, 1.0) if np.isfinite(alpha).all() else InferenceFailed(not_finite)
            for alpha in alphas[:count]
        ]

    def warm(self) -> None:
        """Run every allowed batch size once, so that no request pays for it."""
        for size in self.batch_sizes:
            self.predict(np.zeros((size, self.input_size, self.input_size, 3), np.uint8))


def batch_sizes_up_to(largest: int) -> tuple[int, ...]:
    """Powers of two below `largest`, and `largest`: 6 gives (1, 2, 4, 6)."""
    powers = (1 << bit for bit in range(largest.bit_length()))
    return (*(power for power in powers if power < largest), largest)


def load(
    model_dir: Path,
    *,
    device: Literal["auto", "cpu", "cuda"],
    precision: Literal["auto", "float32", "bfloat16"],
    max_batch_size: int,
    lanes: int = 0,
    cores: int = 1,
    gpu: int = 0,
) -> Predictor:
    """Verify the artifact, choose device and precision, freeze the model and warm every batch size.

    `max_batch_size` 0 chooses what suits the device, as `lanes` 0 does, by the number of `cores`. On a CPU a picture
    by one core takes less of all cores' time than a picture by several, so each lane has its own.
    Raises ContractError for a bad artifact, LoadError for a device or precision that is not to be had.
    """
    manifest = contract.verify(model_dir)
    chosen_device, index = _choose_device(device, gpu)
    path = model_dir / contract.SAVED_MODEL_DIR
    on_cuda = chosen_device == "cuda"
    lanes = lanes or (1 if on_cuda else cores)
    place = Place(chosen_device, max(1, cores // lanes), index)
    run, chosen_precision = _choose_precision(path, manifest, place, precision)
    sizes = batch_sizes_up_to(max_batch_size or (LARGEST_ON_CUDA if on_cuda else LARGEST_ON_CPU))
    predictor = Predictor(manifest, chosen_device, chosen_precision, sizes, run, lanes)
    try:
        predictor.warm()
    except OutOfMemory as error:
        raise LoadError(f"{model_dir}: {error.detail}") from None
    give_memory_back()
    unasked = device == "auto" and chosen_device == "cpu"
    _log.log(
        logging.WARNING if unasked else logging.INFO,
        "model %s runs on %s in %s%s",
        manifest.label,
        chosen_device.upper(),
        chosen_precision,
        ": no GPU was found" if unasked else "",
    )
    return predictor


def has_bfloat16(cpu_info: Path = CPU_INFO) -> bool:
    """Whether this CPU multiplies bfloat16 natively (AVX512-BF16 or AMX), by its Linux feature flags."""
    try:
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _BFLOAT16_FLAGS.isdisjoint(flags.split())


def probe_picture(size: int) -> Batch:
    """A drawn head and shoulders before a gradient, uint8 `[1,size,size,3]`: flat parts, edges, texture."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    head = (x - 0.5) ** 2 / 0.03 + (y - 0.35) ** 2 / 0.05 < 1
    shoulders = (x - 0.5) ** 2 / 0.12 + (y - 1.0) ** 2 / 0.16 < 1
    picture: NDArray[np.float32] = np.stack((60 + 90 * y, 110 + 60 * x, 170 - 70 * y), axis=-1)
    picture[shoulders] = (40, 50, 90)
    picture[head] = (215, 170, 140)
    texture = 12 * np.sin(90 * x) * np.sin(70 * y)
    probe: Batch = np.clip(picture + texture[..., None], 0, 255).astype(np.uint8)[None]
    return probe


def _choose_device(asked: str, gpu: int) -> tuple[str, int]:
    """ "cuda" or "cpu", and the GPU's index among those that TensorFlow sees. Raises LoadError."""
    tf = tensorflow()
    gpus = [] if asked == "cpu" else tf.config.list_physical_devices("GPU")
    if asked == "cuda" and not gpus:
        raise LoadError(
            "MATTE_DEVICE=cuda, but TensorFlow sees no GPU. Install the `gpu` extra, check `nvidia-smi`, in "
            "a container pass the GPU on (`docker run --gpus all`); or set MATTE_DEVICE=cpu. With "
            "MATTE_LOG_LEVEL=debug and TF_CPP_MIN_LOG_LEVEL=0 TensorFlow says what it misses."
        )
    taken = gpus[gpu % len(gpus) :][:1] if gpus else []
    try:
        tf.config.set_visible_devices(taken, "GPU")
        for each in taken:
            tf.config.experimental.set_memory_growth(each, True)
    except RuntimeError as error:
        raise LoadError(f"the devices of this process are already in use otherwise: {error}") from None
    return ("cuda", gpus.index(taken[0])) if taken else ("cpu", 0)


def _choose_precision(path: Path, manifest: Manifest, place: Place, asked: str) -> tuple[Predict, str]:
    """The model as a function, and the precision it works in. Raises LoadError if asked for too much."""
    possible = place.device == "cpu" and has_bfloat16()
    if asked == "bfloat16" and not possible:
        raise LoadError(
            "MATTE_PRECISION=bfloat16 needs a CPU with AVX512-BF16 or AMX; set it to auto or float32."
        )
    graph = frozen(path, place)
    if asked == "float32" or not possible:
        return runner(graph, place), "float32"
    probe = probe_picture(manifest.input_size)
    exact = runner(graph, place, optimised=False)(probe)
    give_memory_back()
    quick = quick_runner(graph, place, probe)
    difference = float(np.percentile(np.abs(quick(probe) - exact), BFLOAT16_PERCENTILE))
    give_memory_back()
    if difference <= BFLOAT16_TOLERANCE:
        return quick, "bfloat16"
    problem = f"an alpha in bfloat16 is {difference:.4f} off float32's, the limit is {BFLOAT16_TOLERANCE:.4f}"
    if asked == "bfloat16":
        raise LoadError(f"{problem}. Set MATTE_PRECISION=auto or float32.")
    _log.warning("%s: staying with float32", problem)
    return runner(graph, place), "float32"
