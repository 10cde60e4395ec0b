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

from app import headroom, predictor
from app.errors import InferenceFailed, OutOfMemory
from app.network.session import Alphas, Batch, LoadError, Place, runner, short_of_memory
from app.network.tensorflow_start import tensorflow
from app.predictor import Predictor, batch_sizes_up_to, has_bfloat16, probe_picture
from model import contract
from model.contract import ContractError, Manifest
from tests.conftest import TINY_SIZE, mean_colour

# float32 on both sides; the convolutions add in another order than NumPy's mean.
FLOAT32_NOISE = 1e-5
HAS_BFLOAT16 = has_bfloat16()


def load(artifact: Path, **changes: Any) -> Predictor:
    chosen = {"device": "cpu", "precision": "float32", "max_batch_size": 4} | changes
    return predictor.load(artifact, **chosen)


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


@pytest.mark.parametrize(("asked", "cores", "lanes"), [(0, 1, 1), (0, 6, 6), (2, 6, 2)])
def test_each_core_has_its_lane_unless_others_are_asked_for(
    tiny_artifact: Path, asked: int, cores: int, lanes: int
) -> None:
    loaded = load(tiny_artifact, max_batch_size=0, lanes=asked, cores=cores)
    assert loaded.lanes == lanes
    assert loaded.batch_sizes == (1, 2)


def test_lanes_answer_at_once_and_each_its_own_pictures(tiny_artifact: Path) -> None:
    loaded = load(tiny_artifact, lanes=2, cores=2)
    batches = [random_batch(2) + np.uint8(shift) for shift in range(12)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(loaded.predict, batches))
    for batch, alphas in zip(batches, together, strict=True):
        assert np.allclose(alphas, batch.mean(axis=-1) / 255, atol=FLOAT32_NOISE)


def test_threads_of_a_place_are_one_batchs_and_a_gpu_has_none_of_its_own() -> None:
    cpu, cuda = Place("cpu", 3).options(), Place("cuda", 1).options()
    assert (cpu.intra_op_parallelism_threads, cpu.inter_op_parallelism_threads) == (3, -1)
    assert cpu.device_count["GPU"] == 0
    assert (cuda.intra_op_parallelism_threads, cuda.gpu_options.visible_device_list) == (0, "0")


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
    for _ in range(headroom.TRY_AGAIN_AFTER // 2):
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
    monkeypatch.setattr(predictor, "runner", lambda *_, **__: Memory(room=0))
    with pytest.raises(LoadError, match="Memory is too short"):
        load(tiny_artifact)


def test_a_graph_that_needs_more_than_there_is_raises_memory_error() -> None:
    from app.network.frozen_graph import FrozenGraph

    tf = tensorflow()
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.uint8, [None, 8, 8, 3])
        # 8 x 8 pixels, ten million times as high and as wide: more bytes than any machine has.
        huge = tf.tile(tf.cast(image, tf.float32), [1, 10_000_000, 10_000_000, 1])
        alpha = tf.reduce_mean(huge, axis=(1, 2, 3), keepdims=True)
    small = FrozenGraph(graph.as_graph_def(), image.name, alpha.name)
    with pytest.raises(MemoryError):
        runner(small, Place("cpu", 1))(np.zeros((1, 8, 8, 3), np.uint8))


def test_only_what_speaks_of_memory_is_a_lack_of_memory() -> None:
    errors = tensorflow().errors
    assert short_of_memory(errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
    assert short_of_memory(errors.InternalError(None, None, "Dst tensor is not initialized."))
    assert not short_of_memory(errors.InternalError(None, None, "something else"))


def test_loaded_model_computes_what_was_exported(tiny_artifact: Path) -> None:
    loaded = load(tiny_artifact)
    assert (loaded.device, loaded.precision, loaded.input_size) == ("cpu", "float32", TINY_SIZE)
    assert loaded.manifest.label == "tiny@1"
    batch = random_batch(3)
    alphas = loaded.predict(batch)
    assert alphas.dtype == np.float32
    assert np.allclose(alphas, batch.mean(axis=-1) / 255, atol=FLOAT32_NOISE)


def test_picture_gets_the_same_alpha_in_every_batch_size(tiny_artifact: Path) -> None:
    loaded = load(tiny_artifact)
    batch = random_batch(4)
    together = loaded.predict(batch)
    alone = np.concatenate([loaded.predict(picture[None]) for picture in batch])
    assert np.allclose(together, alone, atol=FLOAT32_NOISE)


@pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no bfloat16")
def test_bfloat16_is_chosen_where_the_cpu_has_it_and_really_used(tiny_artifact: Path) -> None:
    exact, quick = load(tiny_artifact), load(tiny_artifact, precision="auto")
    assert quick.precision == "bfloat16"
    batch = random_batch(4)
    difference = np.abs(exact.predict(batch) - quick.predict(batch)).max()
    assert 0 < difference <= predictor.BFLOAT16_TOLERANCE


@pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no bfloat16")
def test_precisions_do_not_disturb_each_other_on_any_thread(tiny_artifact: Path) -> None:
    exact, quick = load(tiny_artifact), load(tiny_artifact, precision="bfloat16")
    batch = random_batch(2)
    first_exact, first_quick = exact.predict(batch), quick.predict(batch)
    with ThreadPoolExecutor(1) as other_thread:
        assert np.array_equal(other_thread.submit(exact.predict, batch).result(), first_exact)
        assert np.array_equal(other_thread.submit(quick.predict, batch).result(), first_quick)
    assert np.array_equal(exact.predict(batch), first_exact)


def test_bfloat16_that_is_too_coarse_is_not_used(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(predictor, "has_bfloat16", lambda: True)
    monkeypatch.setattr(
        predictor, "quick_runner", lambda *_: lambda batch: mean_colour(batch) + np.float32(0.05)
    )
    assert load(tiny_artifact, precision="auto").precision == "float32"
    assert "staying with float32" in caplog.text
    with pytest.raises(LoadError, match=r"MATTE_PRECISION=auto or float32"):
        load(tiny_artifact, precision="bfloat16")


@pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no bfloat16")
def test_without_onednns_own_operations_the_service_is_slower_and_says_so(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    as_expected = load(tiny_artifact, precision="bfloat16")
    assert "slower" not in caplog.text
    monkeypatch.setattr("app.network.fusion.FUSED", "_AnotherName")  # which another version may give it
    batch = random_batch(2)
    slower = load(tiny_artifact, precision="bfloat16")
    assert "the network will be slower" in caplog.text
    assert np.allclose(slower.predict(batch), as_expected.predict(batch), atol=predictor.BFLOAT16_TOLERANCE)


def test_bfloat16_is_refused_where_the_cpu_lacks_it(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "has_bfloat16", lambda: False)
    assert load(tiny_artifact, precision="auto").precision == "float32"
    with pytest.raises(LoadError, match="AVX512-BF16"):
        load(tiny_artifact, precision="bfloat16")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags : fpu amx_bf16\n", True),
        ("flags : fpu avx512_bf16 x\n", True),
        ("flags : fpu\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_read_from_the_cpu_flags(tmp_path: Path, text: str, expected: bool) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(text)
    assert has_bfloat16(info) is expected


def test_missing_cpu_info_means_no_bfloat16(tmp_path: Path) -> None:
    assert not has_bfloat16(tmp_path / "none")


def test_cuda_without_a_gpu_is_refused(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _kind: [])
    with pytest.raises(LoadError, match=r"MATTE_DEVICE=cuda, but TensorFlow sees no GPU.*MATTE_DEVICE=cpu"):
        load(tiny_artifact, device="cuda")


def test_auto_without_a_gpu_says_loudly_that_it_is_the_cpu(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _kind: [])
    load(tiny_artifact, device="auto")
    assert [(r.levelno, "no GPU was found" in r.message) for r in caplog.records] == [(logging.WARNING, True)]


def test_damaged_artifact_is_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_artifact, tmp_path / "copy")
    (copy / "saved_model" / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(ContractError, match="changed or damaged"):
        load(copy)


def test_artifact_without_a_real_saved_model_is_refused(tmp_path: Path) -> None:
    artifact = tmp_path / "fake"
    (artifact / "saved_model").mkdir(parents=True)
    file = artifact / "saved_model" / "saved_model.pb"
    file.write_bytes(b"nonsense")
    files = {"saved_model/saved_model.pb": contract.file_sha256(file)}
    contract.write_manifest(artifact, Manifest("fake", "1", 32, "stretch", files))
    with pytest.raises(LoadError, match="not a SavedModel"):
        load(artifact)


def test_weights_that_were_cut_off_before_they_were_listed_are_refused(
    tiny_artifact: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_artifact, tmp_path / "copy")
    (weights,) = (copy / "saved_model" / "variables").glob("*.data*")
    os.truncate(weights, 10)
    manifest = dataclasses.replace(contract.read_manifest(copy), files=contract.file_digests(copy))
    contract.write_manifest(copy, manifest)
    with pytest.raises(LoadError, match="not a SavedModel"):
        load(copy)


def test_probe_has_flat_parts_and_edges() -> None:
    probe = probe_picture(64)
    assert probe.shape == (1, 64, 64, 3)
    assert probe.std() > 30


def test_predictor_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        stand_in(mean_colour).device = "other"  # type: ignore[misc]
