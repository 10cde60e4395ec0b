"""U²-Net in an ONNX file is known by its graph, whatever it is named; another network is not taken for it."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from model.transforms import to_model_input
from model.u2net import CHANNEL_MEAN, CHANNEL_STD
from tests.training.official_tensors import telling_tensors
from tests.training.onnx_files import Exporter, write
from training.evaluation.predict import load_network
from training.export.import_weights import import_weights
from training.weights.file_formats import read_weights
from training.weights.official import WeightsError

pytestmark = pytest.mark.slow  # builds whole networks in TensorFlow

SIZE = 64


@pytest.fixture(scope="module")
def tensors():
    return telling_tensors()


def runtime_alpha(file, squares):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (name,) = [each.name for each in session.get_inputs()]
    pictures = ((squares / 255 - np.array(CHANNEL_MEAN)) / np.array(CHANNEL_STD)).transpose(0, 3, 1, 2)
    pictures = pictures.astype(np.float32)
    return np.stack([session.run(None, {name: picture[None]})[0][0, 0] for picture in pictures])


def squares():
    rng = np.random.default_rng(6)
    coarse = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    return np.stack([to_model_input(each, SIZE, "stretch") for each in coarse])


class Halves(Exporter):
    """Weights in 16 bits, widened in the graph."""

    def constant(self, value, name=None):
        if np.asarray(value).dtype != np.float32:
            return super().constant(value, name)
        return self.node("Cast", super().constant(np.asarray(value, np.float16), name), to=TensorProto.FLOAT)


class Nodes(Exporter):
    """Constants as nodes, behind an identity, as torch's exporter shares equal weights."""

    def constant(self, value, name=None):
        if np.asarray(value).dtype != np.float32:
            return super().constant(value, name)
        tensor = numpy_helper.from_array(np.asarray(value, order="C"))
        return self.node("Identity", self.node("Constant", value=tensor))


class Reversed(Exporter):
    """The sides from the coarsest to the finest, as an optimiser may order nodes that do not need each other."""

    def model(self, size=320, opset=13):
        model = super().model(size, opset)
        nodes = list(model.graph.node)
        sides = [
            i for i, node in enumerate(nodes) if node.op_type == "Conv" and node.input[1].startswith("side")
        ]
        moved = [nodes[i] for i in reversed(sides)]
        del model.graph.node[:]
        model.graph.node.extend(nodes[: sides[0]] + moved + [n for n in nodes[sides[0] :] if n not in moved])
        return model


def test_imported_file_gives_onnx_runtimes_alpha(tmp_path, tensors):
    file = write(tmp_path / "u2net.onnx", tensors, size=SIZE)
    manifest = import_weights(file, tmp_path / "artifact").manifest
    assert (manifest.name, manifest.input_size) == ("u2net", SIZE)
    expected = runtime_alpha(file, squares())
    assert expected.min() < 0.1
    assert expected.max() > 0.9
    np.testing.assert_allclose(load_network(tmp_path / "artifact")(squares()), expected, atol=1e-4)


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize(("exporter", "tolerance"), [(Nodes, 0), (Reversed, 0), (Halves, 1e-3)])
def test_same_network_written_otherwise_gives_the_same_weights(
    tmp_path, tensors, folded, exporter, tolerance
):
    plain = read_weights(write(tmp_path / "plain.onnx", tensors, folded=folded)).tensors
    other = read_weights(write(tmp_path / "other.onnx", tensors, exporter, folded=folded)).tensors
    assert other.keys() == plain.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(other[name], value, rtol=tolerance, atol=tolerance)


def test_batch_norm_of_another_epsilon_has_the_same_gain_by_ours(tmp_path, tensors):
    read = read_weights(write(tmp_path / "x.onnx", tensors, folded=False, epsilon=1e-3)).tensors
    name = "stage2.rebnconv3.bn_s1"
    variance = tensors[f"{name}.running_var"]
    np.testing.assert_allclose(
        read[f"{name}.weight"] / np.sqrt(variance + 1e-5),
        tensors[f"{name}.weight"] / np.sqrt(variance + 1e-3),
        rtol=1e-6,
    )
    np.testing.assert_array_equal(read[f"{name}.running_var"], variance)


def test_numbered_weights_find_their_official_names(tmp_path, tensors):
    read = read_weights(write(tmp_path / "x.onnx", tensors))
    assert read.folded
    assert read.size == 320
    gain = tensors["stage4d.rebnconv2d.bn_s1.weight"] / np.sqrt(
        tensors["stage4d.rebnconv2d.bn_s1.running_var"] + 1e-5
    )
    np.testing.assert_allclose(
        read.tensors["stage4d.rebnconv2d.conv_s1.weight"],
        tensors["stage4d.rebnconv2d.conv_s1.weight"] * gain[:, None, None, None],
        rtol=1e-5,
    )
    for name in ("side1", "side6", "outconv"):
        np.testing.assert_array_equal(read.tensors[f"{name}.weight"], tensors[f"{name}.weight"])


def test_batch_norm_that_is_not_folded_keeps_its_statistics(tmp_path, tensors):
    read = read_weights(write(tmp_path / "x.onnx", tensors, folded=False))
    assert not read.folded
    assert {name: value.tolist() for name, value in read.tensors.items()} == {
        name: value.tolist() for name, value in tensors.items() if not name.endswith("tracked")
    }


class Swapped(Exporter):
    def joined(self, *parts):
        return super().joined(*reversed(parts))


class Nearest(Exporter):
    def resized(self, x, like):
        return super().resized(x, like, "nearest")


class Strided(Exporter):
    def node(self, kind, *inputs, **attributes):
        if kind == "Conv" and not self.nodes:
            attributes["strides"] = [2, 2]
        return super().node(kind, *inputs, **attributes)


class Undilated(Exporter):
    def layer(self, name, x, dilation=1):
        return super().layer(name, x, 1)


class Softened(Exporter):
    """Another activation."""

    def node(self, kind, *inputs, **attributes):
        return super().node("Softplus" if kind == "Relu" else kind, *inputs, **attributes)


class Quantised(Exporter):
    def convolution(self, x, *rest):
        scale, zero = self.constant(np.float32(0.1)), self.constant(np.uint8(0))
        x = self.node("DequantizeLinear", self.node("QuantizeLinear", x, scale, zero), scale, zero)
        return super().convolution(x, *rest)


class Computed(Exporter):
    def constant(self, value, name=None):
        name = super().constant(value, name)
        return self.node("Neg", name) if np.ndim(value) == 4 else name


class Centred(Exporter):
    """Normalises by itself, to -1..1."""

    def entry(self, x):
        half = self.constant(np.float32(127.5))
        return self.node("Div", self.node("Sub", x, half), half)


class Squared(Exporter):
    def entry(self, x):
        return self.node("Mul", x, x)


@pytest.mark.parametrize(
    ("exporter", "reason"),
    [
        (Swapped, "what is joined for stage1.rebnconv6d is in another order"),
        (Nearest, "it enlarges by nearest, pytorch_half_pixel, not bilinear by half pixels"),
        (Strided, "it has convolutions with strides or groups"),
        (Undilated, "its convolution 8 is not stage1.rebnconv7"),
        (Softened, "it has 0 convolutions with ReLU, U²-Net has 112"),
        (Quantised, "it is quantised (DequantizeLinear); import the file in floating point"),
        (Computed, "the weights of its Conv .* are computed, not stored"),
        (Centred, "it normalises its picture by other values than ImageNet's mean and deviation"),
        (Squared, "its picture goes through Mul before the first convolution"),
    ],
)
def test_another_network_is_told_by_its_ends_and_what_differs(tmp_path, tensors, exporter, reason):
    file = write(tmp_path / "x.onnx", tensors, exporter, SIZE)
    ends = rf"is an ONNX file of another network than U²-Net \(inputs: input.1 \[1, 3, {SIZE}, {SIZE}\]; outputs: "
    with pytest.raises(
        WeightsError, match=f"^{file}: {ends}.*{reason.replace('(', '[(]').replace(')', '[)]')}$"
    ):
        read_weights(file)


class Imagenet(Exporter):
    """Normalises by itself, as the network was trained."""

    def __init__(self, *arguments, full=255.0, **options):
        super().__init__(*arguments, **options)
        self.full = full

    def entry(self, x):
        mean, deviation = (
            self.constant((self.full * np.array(values, np.float32)).reshape(3, 1, 1))
            for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        )
        return self.node("Div", self.node("Sub", x, mean), deviation)


@pytest.mark.parametrize("full", [1.0, 255.0])
def test_a_file_that_normalises_as_we_do_is_taken(tmp_path, tensors, full):
    assert read_weights(write(tmp_path / "x.onnx", tensors, Imagenet, full=full)).folded


def test_a_cut_download_is_told_by_its_size(tmp_path, tensors):
    file = write(tmp_path / "x.onnx", tensors)
    file.write_bytes(file.read_bytes()[:200_000])
    with pytest.raises(WeightsError, match="is damaged or cut short at 200,000 bytes: get it again"):
        read_weights(file)


def test_a_tensor_shorter_than_its_shape_is_damage(tmp_path, tensors):
    model = Exporter(tensors).model()
    model.graph.initializer[0].dims[0] = 2**40
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(WeightsError, match="is a damaged ONNX file: the tensor '801' cannot be read"):
        read_weights(tmp_path / "x.onnx")


def test_a_tensorflow_model_is_no_onnx_file(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12\x03abc")
    with pytest.raises(WeightsError, match="without an ONNX graph, maybe a TensorFlow model"):
        read_weights(tmp_path / "saved_model.pb")


def with_weights_beside(folder, tensors):
    folder.mkdir()
    file = folder / "u2net.onnx"
    onnx.save(
        Exporter(tensors).model(), file, save_as_external_data=True, location="u2net.data", size_threshold=0
    )
    return file


def test_weights_in_a_file_beside_are_read(tmp_path, tensors):
    beside = read_weights(with_weights_beside(tmp_path / "beside", tensors)).tensors
    within = read_weights(write(tmp_path / "x.onnx", tensors)).tensors
    assert beside.keys() == within.keys()
    for name, value in within.items():
        np.testing.assert_array_equal(beside[name], value)


def set_location(file, change):
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            change(entry)
    file.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "inner/u2net.data", "..", "."])
def test_weights_elsewhere_are_not_opened(tmp_path, tensors, location):
    (tmp_path / "secret").write_bytes(bytes(10**7))
    file = with_weights_beside(tmp_path / "beside", tensors)

    def change(entry):
        if entry.key == "location":
            entry.value = location

    set_location(file, change)
    with pytest.raises(WeightsError, match=r"not a plain file beside it|must lie beside it and does not"):
        read_weights(file)


def test_a_link_to_elsewhere_is_not_followed(tmp_path, tensors):
    file = with_weights_beside(tmp_path / "beside", tensors)
    (file.parent / "u2net.data").rename(tmp_path / "secret")
    (file.parent / "u2net.data").symlink_to(tmp_path / "secret")
    with pytest.raises(WeightsError, match="not a plain file beside it, and is not followed"):
        read_weights(file)


def test_weights_that_were_not_copied_along_are_asked_for(tmp_path, tensors):
    file = with_weights_beside(tmp_path / "beside", tensors)
    (file.parent / "u2net.data").unlink()
    with pytest.raises(WeightsError, match=r"in the file u2net.data, which must lie beside it and does not"):
        read_weights(file)


@pytest.mark.parametrize(("key", "value"), [("offset", "-5"), ("length", str(2**50)), ("offset", "x")])
def test_weights_outside_of_the_file_beside_are_damage(tmp_path, tensors, key, value):
    file = with_weights_beside(tmp_path / "beside", tensors)

    def change(entry):
        if entry.key == key:
            entry.value = value

    set_location(file, change)
    with pytest.raises(WeightsError, match=r"u2net.data, which is damaged or cut short"):
        read_weights(file)


def test_an_unknown_geometry_in_the_metadata_is_left_out(tmp_path, tensors):
    model = Exporter(tensors).model()
    helper.set_model_props(model, {"u2matte.geometry": "../../etc"})
    onnx.save(model, tmp_path / "x.onnx")
    assert read_weights(tmp_path / "x.onnx").geometry is None
