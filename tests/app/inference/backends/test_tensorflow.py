from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.inference.backends import tensorflow as tensorflow_model
from app.inference.backends.base import ExecutionConfig
from app.inference.backends.precision import TOLERANCE, probe_picture
from app.inference.backends.tensorflow import (
    TensorFlowModel,
    is_out_of_memory,
    session_config,
    session_function,
    tensorflow,
)
from model import contract
from model.u2net import u2net
from tests.conftest import TINY_SIZE
from training.evaluation.predict import load_any_size_network
from training.export.artifact import Card, Packing, Serving, export_network


def test_threads_of_a_device_are_one_batchs_and_a_gpu_has_none_of_its_own() -> None:
    cpu, cuda = session_config(ExecutionConfig("cpu", 3)), session_config(ExecutionConfig("cuda", 1))
    assert (cpu.intra_op_parallelism_threads, cpu.inter_op_parallelism_threads) == (3, -1)
    assert cpu.device_count["GPU"] == 0
    assert (cuda.intra_op_parallelism_threads, cuda.gpu_options.visible_device_list) == (0, "0")


@pytest.mark.slow
def test_a_graph_that_needs_more_than_there_is_raises_memory_error() -> None:
    from app.inference.backends.frozen_graph import FrozenGraph

    tf = tensorflow()
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.uint8, [None, 8, 8, 3])
        # 8 x 8 pixels, ten million times as high and as wide: more bytes than any machine has.
        huge = tf.tile(tf.cast(image, tf.float32), [1, 10_000_000, 10_000_000, 1])
        alpha = tf.reduce_mean(huge, axis=(1, 2, 3), keepdims=True)
    small = FrozenGraph(graph.as_graph_def(), image.name, alpha.name)
    with pytest.raises(MemoryError):
        session_function(small, ExecutionConfig("cpu", 1))(np.zeros((1, 8, 8, 3), np.uint8))


def test_only_what_speaks_of_memory_is_a_lack_of_memory() -> None:
    errors = tensorflow().errors
    assert is_out_of_memory(errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
    assert is_out_of_memory(errors.InternalError(None, None, "Dst tensor is not initialized."))
    assert not is_out_of_memory(errors.InternalError(None, None, "something else"))


def test_a_gpus_network_in_16_bits_is_the_graph_as_tensorflow_optimises_it(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU in place of the GPU, which calculates the same."""
    path = tiny_artifact / contract.SAVED_MODEL_DIR
    exact = TensorFlowModel(path, ExecutionConfig("cpu", 1)).reference()(probe_picture(TINY_SIZE))
    monkeypatch.setattr(
        tensorflow_model, "session_config", lambda _place: tensorflow().compat.v1.ConfigProto()
    )
    narrow = TensorFlowModel(path, ExecutionConfig("cuda", 1)).load("float16")
    assert 0 < np.abs(narrow(probe_picture(TINY_SIZE)) - exact).max() < TOLERANCE


def test_start_up_notes_of_native_libraries_become_debug_lines(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), tensorflow_model._stderr_to_debug_log():
        os.write(2, b"E0000 no CUDA\nI0000 oneDNN is on\n")
    os.write(2, b"later\n")
    assert [record.getMessage() for record in caplog.records] == [
        "TensorFlow: E0000 no CUDA",
        "TensorFlow: I0000 oneDNN is on",
    ]
    assert capfd.readouterr().err == "later\n"


@pytest.mark.slow
def test_keras_is_left_out_and_can_be_had_afterwards() -> None:
    program = """
import sys
from app.inference.backends.tensorflow import tensorflow
assert tensorflow() is sys.modules["tensorflow"]
assert not [name for name in sys.modules if name.startswith("keras")]
import keras
print(keras.layers.Dense(2)(tensorflow().ones((1, 3))).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 2)"


@pytest.mark.slow
def test_one_graph_runs_pictures_of_several_sizes_and_those_of_its_own_as_before(tmp_path: Path) -> None:
    network, card = u2net("lite"), Card("x", "1", "", "")
    made = export_network(network, Serving(64), tmp_path / "lite", card, packing=Packing("float32"))
    path, place = tmp_path / "lite" / contract.SAVED_MODEL_DIR, ExecutionConfig("cpu", 1)
    own = TensorFlowModel(path, place).load("float32")
    any_size = TensorFlowModel(path, place, any_size=True).load("float32")
    for size in (64, 96, 32):
        picture = probe_picture(size)
        alphas = any_size(np.concatenate([picture, picture]))
        exact = own if size == 64 else load_any_size_network(tmp_path / "lite", made.manifest, size)
        np.testing.assert_allclose(alphas, np.repeat(exact(picture), 2, axis=0), atol=1e-5)
