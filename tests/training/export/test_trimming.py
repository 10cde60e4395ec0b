"""What is left of a SavedModel gives the same and loads by every way that there is; it is half as large."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from model.contract import INPUT_NAME, OUTPUT_NAME, SIGNATURE
from model.u2net import u2net
from tests.training import shallow_network
from training.export.artifact import ServedMatte, Serving
from training.export.trimming import GRAPH_FILE, trim

SIZE = 64
IMAGE = np.random.default_rng(5).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A SavedModel as TensorFlow writes it, and the same trimmed."""
    folder = tmp_path_factory.mktemp("trimming")
    with pytest.MonkeyPatch.context() as patch:
        shallow_network.use(patch)
        module = ServedMatte(u2net("lite"), Serving(SIZE), "int8")
    tf.saved_model.save(module, str(folder / "whole"), signatures={SIGNATURE: module.serve})
    shutil.copytree(folder / "whole", folder / "trimmed")
    trim(folder / "trimmed")
    return folder / "whole", folder / "trimmed"


def test_the_signature_gives_the_same_and_the_variables_are_all_there(models):
    whole, trimmed = (tf.saved_model.load(str(path)) for path in models)
    one, other = (each.signatures[SIGNATURE] for each in (whole, trimmed))
    assert one.structured_outputs == other.structured_outputs
    alphas = [each(**{INPUT_NAME: tf.constant(IMAGE)})[OUTPUT_NAME].numpy() for each in (one, other)]
    np.testing.assert_array_equal(*alphas)
    for names in ("trainable", "moving"):
        pairs = list(zip(getattr(whole, names), getattr(trimmed, names), strict=True))
        assert pairs
        for left, right in pairs:
            assert left.name == right.name
            np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_sessions_restore_the_variables_by_the_graph_alone(models):
    """As the service freezes graphs, and as TensorFlow Serving loads them."""
    alphas = []
    for path in models:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
            ends = loaded.signature_def[SIGNATURE]
            alphas.append(session.run(ends.outputs[OUTPUT_NAME].name, {ends.inputs[INPUT_NAME].name: IMAGE}))
    np.testing.assert_array_equal(*alphas)


def test_what_saves_the_variables_again_is_gone_and_half_of_the_file_with_it(models):
    whole, trimmed = ((path / GRAPH_FILE).read_bytes() for path in models)
    assert len(trimmed) < 0.55 * len(whole)
    (graph,) = SavedModel.FromString(trimmed).meta_graphs
    operations = {node.op for function in graph.graph_def.library.function for node in function.node_def}
    assert "RestoreV2" in operations
    assert not operations & {"SaveV2", "MergeV2Checkpoints"}


def test_trimming_again_changes_nothing(models, tmp_path):
    shutil.copytree(models[1], tmp_path / "again")
    trim(tmp_path / "again")
    assert (tmp_path / "again" / GRAPH_FILE).read_bytes() == (models[1] / GRAPH_FILE).read_bytes()
