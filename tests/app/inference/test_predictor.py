from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import InferenceFailed, OutOfMemory
from app.inference import predictor
from app.inference import predictor as backoff
from app.inference.backends import devices, openvino, select
from app.inference.backends.base import Alphas, Batch, LoadError
from app.inference.backends.devices import has_bfloat16
from app.inference.backends.precision import TOLERANCE
from app.inference.backends.select import Runtime
from app.inference.predictor import Predictor, batch_sizes_up_to
from model import contract
from model.contract import ContractError, Manifest
from tests.conftest import TINY_SIZE
from tests.support.networks import mean_colour

# float32 on both sides; the convolutions add in another order than NumPy's mean.
FLOAT32_NOISE = 1e-5
HAS_BFLOAT16 = has_bfloat16()

by_both = pytest.mark.parametrize("runtime", ["tensorflow", "openvino"])


def load(artifact: Path, runtime: Runtime, **changes: Any) -> Predictor:
    chosen = {"device": "cpu", "precision": "float32", "max_batch_size": 4} | changes
    return predictor.load(artifact, runtime=runtime, **chosen)


def random_batch(count: int) -> Batch:
    return np.random.default_rng(3).integers(0, 256, (count, TINY_SIZE, TINY_SIZE, 3), np.uint8)


def stand_in(run: predictor.Predict, sizes: tuple[int, ...] = (1, 2, 4)) -> Predictor:
    return Predictor(Manifest("x", "1", TINY_SIZE, "stretch", {}), "none", "float32", sizes, run)


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))],
)
def test_allowed_sizes_are_powers_of_two_and_the_largest(largest: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes_up_to(largest) == sizes


@by_both
@pytest.mark.parametrize(("asked", "cores", "lanes"), [(0, 1, 1), (0, 6, 6), (2, 6, 2)])
def test_each_core_has_its_lane_unless_others_are_asked_for(
    tiny_artifact: Path, runtime: Runtime, asked: int, cores: int, lanes: int
) -> None:
    assert load(tiny_artifact, runtime, lanes=asked, cores=cores).lanes == lanes


@pytest.mark.parametrize(
    ("runtime", "asked", "sizes"),
    [
        ("tensorflow", 0, (1, 2)),
        ("tensorflow", 4, (1, 2, 4)),
        ("openvino", 0, (1,)),
        ("openvino", 4, (1,)),
    ],
)
def test_tensorflow_takes_batches_and_openvino_one_picture_at_a_time(
    tiny_artifact: Path, runtime: Runtime, asked: int, sizes: tuple[int, ...]
) -> None:
    assert load(tiny_artifact, runtime, max_batch_size=asked).batch_sizes == sizes


@by_both
def test_lanes_answer_at_once_and_each_its_own_pictures(tiny_artifact: Path, runtime: Runtime) -> None:
    loaded = load(tiny_artifact, runtime, lanes=2, cores=2)
    batches = [random_batch(2) + np.uint8(shift) for shift in range(12)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(loaded.predict, batches))
    for batch, alphas in zip(batches, together, strict=True):
        assert np.allclose(alphas, batch.mean(axis=-1) / 255, atol=FLOAT32_NOISE)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_batch_is_padded_to_an_allowed_size_and_cut_back(count: int) -> None:
    seen: list[int] = []

    def run(batch: Batch) -> Alphas:
        seen.append(len(batch))
        return mean_colour(batch)

    batch = random_batch(count)
    alphas = stand_in(run).predict(batch)
    assert seen == [{1: 1, 2: 2, 3: 4, 4: 4}[count]]
    assert np.array_equal(alphas, mean_colour(batch))


def test_warming_runs_every_allowed_size_once() -> None:
    seen: list[int] = []

    def run(batch: Batch) -> Alphas:
        seen.append(len(batch))
        return mean_colour(batch)

    stand_in(run).warm()
    assert seen == [1, 2, 4]


def test_later_sizes_of_a_cascade_see_padded_batches_of_what_is_left() -> None:
    seen: list[tuple[int, int]] = []

    def run(batch: Batch) -> Alphas:
        """Sure of nothing but the first picture, which is black."""
        seen.append((len(batch), batch.shape[1]))
        return np.where(batch.max(axis=-1) > 0, 0.5, 0).astype(np.float32)

    small, large = TINY_SIZE, 2 * TINY_SIZE
    manifest = Manifest("x", "1", small, "stretch", {}, cascade={str(small): 0.9, str(large): 0.0})
    cascade = Predictor(manifest, "none", "float32", (1, 2, 4), run)
    batch = np.concatenate([np.zeros_like(random_batch(1)), random_batch(3) | 1])
    alphas = cascade.predict(batch)
    assert seen == [(4, small), (4, large)]
    assert alphas.shape == batch.shape[:3]
    seen.clear()
    cascade.predict(batch[:2])
    assert seen == [(2, small), (1, large)]
    seen.clear()
    cascade.warm()
    assert seen == [(size, side) for side in (small, large) for size in (1, 2, 4)]


def test_output_of_another_shape_is_an_error() -> None:
    with pytest.raises(InferenceFailed, match="shape"):
        stand_in(lambda batch: mean_colour(batch)[:, 1:]).predict(random_batch(1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_not_finite_is_an_error(value: float) -> None:
    with pytest.raises(InferenceFailed, match="finite"):
        stand_in(lambda batch: mean_colour(batch) + np.float32(value)).predict(random_batch(1))


def test_numbers_that_are_not_finite_are_the_failure_of_their_own_picture() -> None:
    def second_is_bad(batch: Batch) -> Alphas:
        alphas = mean_colour(batch)
        alphas[1, 0, 0] = np.nan
        return alphas

    batch = random_batch(3)
    first, second, third = stand_in(second_is_bad).predict_each(batch)
    assert isinstance(second, InferenceFailed)
    assert np.array_equal(np.stack([first, third]), mean_colour(batch[[0, 2]]))  # type: ignore[list-item]


class Memory:
    """Has room for so many pictures at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def __call__(self, batch: Batch) -> Alphas:
        self.tried.append(len(batch))
        if len(batch) > self.room:
            raise MemoryError
        return mean_colour(batch)


def test_batch_that_memory_is_too_short_for_is_halved_until_it_fits_and_so_are_the_next() -> None:
    memory = Memory(room=2)
    model = stand_in(memory, (1, 2, 4, 8))
    batch = random_batch(7)
    assert np.array_equal(model.predict(batch), mean_colour(batch))
    assert memory.tried == [8, 4, 2, 2, 2, 1]
    memory.tried.clear()
    assert np.array_equal(model.predict(batch), mean_colour(batch))
    assert memory.tried == [2, 2, 2, 1]


def test_larger_batches_are_tried_again_after_many_good_ones() -> None:
    memory = Memory(room=2)
    model = stand_in(memory, (1, 2, 4))
    model.predict(random_batch(4))
    memory.room = 4
    for _ in range(backoff.RETRY_AFTER // 2):
        model.predict(random_batch(4))
    memory.tried.clear()
    model.predict(random_batch(4))
    assert memory.tried == [4]


def test_memory_that_is_too_short_for_one_picture_is_said() -> None:
    memory = Memory(room=0)
    model = stand_in(memory)
    with pytest.raises(OutOfMemory):
        model.predict(random_batch(4))
    assert memory.tried == [4, 2, 1]
    memory.room = 1
    assert np.array_equal(model.predict(batch := random_batch(2)), mean_colour(batch))


def test_model_that_does_not_even_fit_with_one_picture_is_refused_at_the_start(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = select.LoadedNetwork(Memory(room=0), "tensorflow", "float32")
    monkeypatch.setattr(select, "load_network", lambda *_: network)
    with pytest.raises(LoadError, match="There is too little memory"):
        load(tiny_artifact, "tensorflow")


def test_model_that_memory_is_too_short_to_load_is_refused(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(*_: object) -> None:
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(openvino, "_InferRequest", compiled)
    with pytest.raises(LoadError, match="there is too little memory for the network"):
        load(tiny_artifact, "auto")


@by_both
def test_loaded_model_computes_what_was_exported(tiny_artifact: Path, runtime: Runtime) -> None:
    loaded = load(tiny_artifact, runtime)
    assert (loaded.device, loaded.runtime, loaded.precision) == ("cpu", runtime, "float32")
    assert loaded.input_size == TINY_SIZE
    assert loaded.manifest.label == "tiny@1"
    batch = random_batch(3)
    alphas = loaded.predict(batch)
    assert alphas.dtype == np.float32
    assert np.allclose(alphas, batch.mean(axis=-1) / 255, atol=FLOAT32_NOISE)


@by_both
def test_picture_gets_the_same_alpha_in_every_batch_size(tiny_artifact: Path, runtime: Runtime) -> None:
    loaded = load(tiny_artifact, runtime)
    batch = random_batch(4)
    together = loaded.predict(batch)
    alone = np.concatenate([loaded.predict(picture[None]) for picture in batch])
    assert np.allclose(together, alone, atol=FLOAT32_NOISE)


@by_both
@pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no bfloat16")
def test_bfloat16_is_chosen_where_the_cpu_has_it_and_really_used(
    tiny_artifact: Path, runtime: Runtime
) -> None:
    exact, quick = load(tiny_artifact, runtime), load(tiny_artifact, runtime, precision="auto")
    assert quick.precision == "bfloat16"
    batch = random_batch(4)
    difference = np.abs(exact.predict(batch) - quick.predict(batch)).max()
    assert 0 < difference <= TOLERANCE


@by_both
@pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no bfloat16")
def test_precisions_do_not_disturb_each_other_on_any_thread(tiny_artifact: Path, runtime: Runtime) -> None:
    exact, quick = load(tiny_artifact, runtime), load(tiny_artifact, runtime, precision="bfloat16")
    batch = random_batch(2)
    first_exact, first_quick = exact.predict(batch), quick.predict(batch)
    with ThreadPoolExecutor(1) as other_thread:
        assert np.array_equal(other_thread.submit(exact.predict, batch).result(), first_exact)
        assert np.array_equal(other_thread.submit(quick.predict, batch).result(), first_quick)
    assert np.array_equal(exact.predict(batch), first_exact)


@pytest.mark.parametrize(
    ("runtime", "device", "level", "text"),
    [
        (
            "auto",
            "auto",
            logging.WARNING,
            "model tiny@1 runs on CPU by OpenVINO in float32: no GPU was found",
        ),
        ("auto", "cpu", logging.INFO, "model tiny@1 runs on CPU by OpenVINO in float32"),
        ("openvino", "auto", logging.INFO, "model tiny@1 runs on CPU by OpenVINO in float32"),
        ("tensorflow", "cpu", logging.INFO, "model tiny@1 runs on CPU by TensorFlow in float32"),
    ],
)
def test_where_and_by_what_it_runs_is_said_loudly_if_it_is_a_cpu_that_nobody_asked_for(
    tiny_artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    runtime: Runtime,
    device: str,
    level: int,
    text: str,
) -> None:
    monkeypatch.setattr(devices, "may_have_gpu", lambda: False)
    with caplog.at_level(logging.INFO, "app"):
        load(tiny_artifact, runtime, device=device)
    said = [(each.levelno, each.getMessage()) for each in caplog.records if each.name.startswith("app")]
    assert said == [(level, text)]


def test_damaged_artifact_is_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_artifact, tmp_path / "copy")
    (copy / "saved_model" / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(ContractError, match="changed or damaged"):
        load(copy, "auto")


@pytest.mark.parametrize("runtime", ["auto", "tensorflow", "openvino"])
def test_artifact_without_a_real_saved_model_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    artifact = tmp_path / "fake"
    (artifact / "saved_model").mkdir(parents=True)
    file = artifact / "saved_model" / "saved_model.pb"
    file.write_bytes(b"nonsense")
    files = {"saved_model/saved_model.pb": contract.file_sha256(file)}
    contract.write_manifest(artifact, Manifest("fake", "1", 32, "stretch", files))
    with pytest.raises(LoadError, match="not a SavedModel"):
        load(artifact, runtime)


@pytest.mark.parametrize("runtime", ["auto", "tensorflow", "openvino"])
def test_weights_that_were_cut_off_before_they_were_listed_are_refused(
    tiny_artifact: Path, tmp_path: Path, runtime: Runtime
) -> None:
    copy = shutil.copytree(tiny_artifact, tmp_path / "copy")
    (weights,) = (copy / "saved_model" / "variables").glob("*.data*")
    os.truncate(weights, 10)
    manifest = dataclasses.replace(contract.read_manifest(copy), files=contract.file_digests(copy))
    contract.write_manifest(copy, manifest)
    with pytest.raises(LoadError, match="not a SavedModel"):
        load(copy, runtime)


def test_predictor_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        stand_in(mean_colour).device = "other"  # type: ignore[misc]
