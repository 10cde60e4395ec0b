from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from app.inference.backends import devices, select
from app.inference.backends.base import ExecutionConfig, LoadError
from app.inference.backends.devices import has_bfloat16
from app.inference.backends.precision import Precision
from app.inference.backends.select import OPENVINO, TENSORFLOW, LoadedNetwork, Runtime, device_for
from model.contract import Manifest
from tests.conftest import TINY_SIZE
from tests.support.networks import mean_colour

# float32 on both sides; the convolutions add in another order than NumPy's mean.
FLOAT32_NOISE = 1e-5


def network(
    artifact: Path, runtime: Runtime, device: str = "cpu", asked: Precision = "float32"
) -> LoadedNetwork:
    manifest = Manifest("tiny", "1", TINY_SIZE, "stretch", {})
    return select.load_network(
        artifact, manifest, ExecutionConfig(device, threads=1, lanes=2), runtime, asked
    )


@pytest.fixture
def _not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.fixture
def _without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)


@pytest.mark.parametrize(
    ("asked", "expected"), [("auto", OPENVINO), ("openvino", OPENVINO), ("tensorflow", TENSORFLOW)]
)
def test_openvino_runs_networks_on_cpus_unless_another_is_asked_for(
    tiny_artifact: Path, asked: Runtime, expected: str
) -> None:
    made = network(tiny_artifact, asked)
    assert (made.runtime, made.precision) == (expected, "float32")
    batch = np.random.default_rng(3).integers(0, 256, (2, TINY_SIZE, TINY_SIZE, 3), np.uint8)
    assert np.allclose(made.run(batch), batch.mean(axis=-1) / 255, atol=FLOAT32_NOISE)


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
@pytest.mark.parametrize("asked", ["openvino", "tensorflow"])
def test_each_runtime_has_bfloat16(tiny_artifact: Path, asked: Runtime) -> None:
    assert network(tiny_artifact, asked, asked="auto").precision == "bfloat16"


def test_gpus_are_tensorflows(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        def __init__(self, _path: Path, _place: ExecutionConfig, *, any_size: bool) -> None:
            assert not any_size

        def reference(self) -> object:
            return mean_colour

        def load(self, _precision: str) -> object:
            return mean_colour

    monkeypatch.setattr(select, "TensorFlowModel", Model)
    monkeypatch.setattr(
        select, "native_16_bit_types", lambda place: ("float16",) if place.device == "cuda" else ()
    )
    assert network(tiny_artifact, "auto", "cuda") == LoadedNetwork(mean_colour, TENSORFLOW, "float32")
    assert network(tiny_artifact, "auto", "cuda", asked="auto") == LoadedNetwork(
        mean_colour, TENSORFLOW, "float16"
    )
    assert [device_for("auto", "cuda"), device_for("tensorflow", "auto")] == ["cuda", "auto"]


def test_openvino_looks_for_no_gpu_and_refuses_one() -> None:
    assert [device_for("openvino", "auto"), device_for("openvino", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(LoadError, match="MATTE_RUNTIME=openvino runs on CPUs only"):
        device_for("openvino", "cuda")


@pytest.mark.usefixtures("_not_installed")
def test_where_openvino_is_not_installed_tensorflow_runs_the_network_and_it_is_said(
    tiny_artifact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "app"):
        assert network(tiny_artifact, "auto").runtime == TENSORFLOW
    said = [record.getMessage() for record in caplog.records if record.name.startswith("app")]
    assert len(said) == 1
    assert said[0].startswith("TensorFlow runs the network: OpenVINO cannot be imported")


@pytest.mark.usefixtures("_not_installed")
def test_openvino_that_is_asked_for_and_not_installed_is_an_error(tiny_artifact: Path) -> None:
    with pytest.raises(LoadError, match=r"MATTE_RUNTIME=openvino: OpenVINO cannot be imported.* auto"):
        network(tiny_artifact, "openvino")


def test_model_that_openvino_cannot_run_is_tensorflows(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Model:
        def __init__(self, path: Path, _size: int, _place: ExecutionConfig, **_options: object) -> None:
            raise LoadError(f"{path}: no translation for an operation")

    monkeypatch.setattr(select, "OpenVinoModel", Model)
    assert network(tiny_artifact, "auto").runtime == TENSORFLOW
    assert "TensorFlow runs the network: " in caplog.text
    with pytest.raises(LoadError, match="no translation"):
        network(tiny_artifact, "openvino")


@pytest.mark.usefixtures("_without_tensorflow")
@pytest.mark.parametrize("asked", ["auto", "openvino"])
def test_openvino_runs_the_network_where_tensorflow_is_not_installed(
    tiny_artifact: Path, asked: Runtime
) -> None:
    assert network(tiny_artifact, asked).runtime == OPENVINO


@pytest.mark.usefixtures("_without_tensorflow")
def test_tensorflow_that_is_asked_for_and_not_installed_is_an_error_that_says_what_to_do(
    tiny_artifact: Path,
) -> None:
    with pytest.raises(LoadError) as raised:
        network(tiny_artifact, "tensorflow")
    message = str(raised.value)
    assert message.startswith("MATTE_RUNTIME=tensorflow: TensorFlow is not installed: pip install 'u2matte[")
    assert message.endswith("or set MATTE_RUNTIME=auto.")


@pytest.mark.usefixtures("_without_tensorflow")
def test_model_that_openvino_refuses_says_why_and_that_tensorflow_is_not_there(
    tiny_artifact: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused = tmp_path / "refused"
    shutil.copytree(tiny_artifact, refused)
    next(refused.rglob("saved_model.pb")).write_bytes(b"no graph")
    with pytest.raises(
        LoadError, match=r"^OpenVINO does not run this model, and TensorFlow is not "
    ) as raised:
        network(refused, "auto")
    assert "pip install 'u2matte[tensorflow]'" in str(raised.value)
    assert "OpenVINO says: " in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "TensorFlow runs the network" not in caplog.text


@pytest.mark.usefixtures("_without_tensorflow", "_not_installed")
def test_nothing_to_run_networks_is_an_error_that_names_both(tiny_artifact: Path) -> None:
    with pytest.raises(LoadError, match=r"OpenVINO cannot be imported.*TensorFlow is not installed"):
        network(tiny_artifact, "auto")


def test_precision_that_the_cpu_lacks_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)
    with pytest.raises(LoadError, match="AVX512-BF16"):
        network(tmp_path / "nowhere", "auto", asked="bfloat16")
