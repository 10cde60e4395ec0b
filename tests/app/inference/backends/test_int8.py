"""A small U²-Net with random weights, in 8 bits and in float."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from app.inference.backends import select
from app.inference.backends.base import ExecutionConfig, LoadError
from app.inference.backends.compiled_cache import CompiledCache
from app.inference.backends.devices import has_int8
from app.inference.backends.openvino import OpenVinoModel
from app.inference.backends.precision import TOLERANCE
from model import contract
from model.contract import Activations, ContractError
from model.u2net import u2net
from tests.training import constant_channel, shallow_network
from training.export.artifact import Card, Packing, Serving, export_network

SIZE = 64
PLACE = ExecutionConfig("cpu", threads=1, lanes=2)


def calibrated(folder: Path, *, odd: bool = False) -> Path:
    """An artifact of a small network; if `odd`, with a channel that is the same everywhere."""
    draws = np.random.default_rng(4)
    (folder / "photos").mkdir()
    for i in range(3):
        cv2.imwrite(
            str(folder / f"photos/{i}.png"), cv2.resize(draws.integers(0, 256, (6, 8, 3), np.uint8), (96, 80))
        )
    with pytest.MonkeyPatch.context() as patch:
        shallow_network.use(patch)
        keras.utils.set_random_seed(0)
        network = u2net("lite")
    if odd:
        constant_channel.put_into(network)
    card = Card("narrow", "1", "", "")
    export_network(network, Serving(SIZE), folder / "model", card, packing=Packing("int8", folder / "photos"))
    return folder / "model"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated(tmp_path_factory.mktemp("calibrated"))


@pytest.fixture(scope="module")
def odd_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated(tmp_path_factory.mktemp("odd"), odd=True)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    small = np.random.default_rng(6).integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.resize(small, (SIZE, SIZE))[None]


def opened(artifact: Path, activations: Activations | None) -> OpenVinoModel:
    return OpenVinoModel(artifact / contract.SAVED_MODEL_DIR, SIZE, PLACE, activations=activations)


def network(artifact: Path, asked: select.Precision, cache: Path | None = None) -> select.Network:
    return select.load_network(artifact, contract.verify(artifact), PLACE, "openvino", asked, cache)


def test_8_bits_are_close_to_float_and_not_the_same(artifact: Path, picture: np.ndarray) -> None:
    model = opened(artifact, contract.read_activations(artifact))
    exact, narrow = model.reference()(picture), model.load("int8")(picture)
    assert 0 < np.abs(narrow - exact).mean() < TOLERANCE


@pytest.mark.slow
def test_a_channel_that_is_the_same_everywhere_does_not_spoil_8_bits(
    odd_artifact: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(odd_artifact, contract.read_activations(odd_artifact))
    exact = model.reference()(picture)
    kept = np.abs(model.load("int8")(picture) - exact).mean()
    monkeypatch.setattr("model.eight_bits.TOO_LOPSIDED", np.inf)
    spoilt = np.abs(model.load("int8")(picture) - exact).mean()
    assert 0 < kept < TOLERANCE
    assert spoilt > 3 * kept


@pytest.mark.slow
def test_only_the_convolution_that_does_not_bear_8_bits_sees_floats(odd_artifact: Path) -> None:
    narrow = opened(odd_artifact, contract.read_activations(odd_artifact))._network_for("int8")

    def source(node: Any, number: int) -> Any:
        return node.input(number).get_source_output().get_node()

    convolutions = [
        node
        for node in narrow.get_ordered_ops()
        if node.get_type_name() == "Convolution" and list(node.output(0).get_shape())[1] > 1
    ]
    _first, exact = [node for node in convolutions if source(node, 1).get_type_name() == "Constant"]
    joined = source(exact, 0)
    assert [source(joined, i).get_type_name() for i in (0, 1)] == ["Interpolate", "Relu"]
    others = [source(node, 0) for node in convolutions if source(node, 1).get_type_name() != "Constant"]
    for seen in others:
        sources = [source(seen, i) for i in (0, 1)] if seen.get_type_name() == "Concat" else [seen]
        assert {each.get_type_name() for each in sources} <= {"FakeQuantize", "MaxPool"}


def test_every_kernel_is_of_bytes_that_sees_no_picture_and_makes_no_logits(artifact: Path) -> None:
    model = opened(artifact, contract.read_activations(artifact))
    narrow = model._network_for("int8")
    kernels = {
        tuple(node.output(0).get_shape()): node.input(1).get_source_output().get_node().get_type_name()
        for node in narrow.get_ordered_ops()
        if node.get_type_name() == "Convolution" and list(node.input(0).get_shape())[1] > 3
    }
    assert {kind for shape, kind in kernels.items() if shape[1] > 1} == {"Multiply"}
    enlarged = [node for node in narrow.get_ordered_ops() if node.get_type_name() == "Interpolate"]
    assert {node.input(0).get_source_output().get_node().get_type_name() for node in enlarged} == {
        "Relu",
        "Add",
    }


def test_kernels_come_out_as_they_are_stored(artifact: Path) -> None:
    import tensorflow as tf

    from training.weights.storage import SCALE_SUFFIX

    loaded = tf.saved_model.load(str(artifact / contract.SAVED_MODEL_DIR))
    values = {v.name.split(":")[0]: v.numpy() for v in (*loaded.trainable, *loaded.moving)}
    stored = sorted(
        tuple(np.bincount(np.abs(each.astype(int)).ravel(), minlength=128))
        for name, each in values.items()
        if name + SCALE_SUFFIX in values
    )
    narrow = opened(artifact, contract.read_activations(artifact))._network_for("int8")
    served = sorted(
        tuple(np.bincount(np.abs(node.get_data().astype(int)).ravel(), minlength=128))
        for node in narrow.get_ordered_ops()
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == "i8"
    )
    assert served == stored


def test_ranges_of_another_network_are_refused(artifact: Path) -> None:
    model = opened(artifact, Activations({"stage1.rebnconvin": 1.0}, {"stage1": 1.0}))
    with pytest.raises(LoadError, match=r"has 1 ranges of ReLUs and 1 of sums, the network \d+ and 3"):
        model.load("int8")


@pytest.mark.slow
@pytest.mark.skipif(not has_int8(), reason="networks in int8 are not faster on this CPU")
def test_auto_takes_8_bits_where_the_cpu_has_them_and_the_model_is_calibrated(artifact: Path) -> None:
    assert network(artifact, "auto").precision == "int8"
    assert network(artifact, "int8").precision == "int8"
    assert network(artifact, "float32").precision == "float32"


def test_8_bits_are_refused_where_the_cpu_does_not_have_them(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "has_int8", lambda: False)
    assert network(artifact, "auto").precision != "int8"
    with pytest.raises(LoadError, match="AVX2"):
        network(artifact, "int8")


@pytest.mark.slow
@pytest.mark.skipif(not has_int8(), reason="networks in int8 are not faster on this CPU")
@pytest.mark.parametrize("dot_product", [False, True])
def test_start_tells_what_a_cpu_without_vnni_costs(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, dot_product: bool
) -> None:
    monkeypatch.setattr(select, "has_int8_dot_product", lambda: dot_product)
    with caplog.at_level(logging.INFO, "app"):
        network(artifact, "auto")
    assert ("neither VNNI nor AMX" in caplog.text) is not dot_product


def test_start_tells_what_float32_costs(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(select, "has_int8", lambda: False)
    monkeypatch.setattr(select, "native_16_bit_types", lambda _config: ())
    with caplog.at_level(logging.INFO, "app"):
        network(artifact, "float32")
        assert "8 bits" not in caplog.text
        network(artifact, "auto")
    assert "the network runs in float32: 8 bits" in caplog.text


def test_8_bits_are_refused_for_a_model_that_is_not_calibrated(tiny_artifact: Path) -> None:
    with pytest.raises(LoadError, match="exported with --calibrate"):
        network(tiny_artifact, "int8")


def test_ranges_that_are_no_numbers_are_refused(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / contract.ACTIVATIONS_FILE).write_text('{"relu": {"a": -1}, "sum": {}}')
    with pytest.raises(ContractError, match="positive number"):
        contract.read_activations(tmp_path)


def test_second_start_reads_no_model_and_gives_the_same_alphas(
    artifact: Path, picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = network(artifact, "auto", tmp_path)
    expected = first.run(picture)
    monkeypatch.setattr(OpenVinoModel, "_in_float", lambda _: pytest.fail("the model was read"))
    again = network(artifact, "auto", tmp_path)
    assert again.precision == first.precision
    np.testing.assert_array_equal(again.run(picture), expected)


def test_entry_that_openvino_does_not_take_is_compiled_anew(
    artifact: Path, picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = network(artifact, "float32", tmp_path).run(picture)
    kept, asked = CompiledCache.get, []

    def nonsense_at_first(cache: CompiledCache, what: str) -> memoryview | None:
        asked.append(what)
        broken = "chosen" not in what and asked.count(what) == 1
        return memoryview(bytearray(b"nonsense")) if broken else kept(cache, what)

    monkeypatch.setattr(CompiledCache, "get", nonsense_at_first)
    np.testing.assert_array_equal(network(artifact, "float32", tmp_path).run(picture), expected)
