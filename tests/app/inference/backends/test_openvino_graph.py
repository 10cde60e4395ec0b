from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

from openvino import opset13 as ops  # noqa: E402

from app.inference.backends.openvino_graph import resize_matrix, simplify_side_maps  # noqa: E402

RNG = np.random.default_rng(0)


def model(channels: int = 1, weighed: int = 1, sizes: tuple[int, ...] = (5, 8, 16)) -> Any:
    """Maps `[1,s,s,channels]`, enlarged to 16 x 16 where they are smaller, joined and weighed."""
    images = [ops.parameter([1, size, size, channels], np.float32, name=f"map{size}") for size in sizes]
    planes = [
        ops.transpose(enlarged(image, size), np.array([0, 3, 1, 2]))
        for image, size in zip(images, sizes, strict=True)
    ]
    kernel = RNG.normal(size=(weighed, channels * len(sizes), 1, 1)).astype(np.float16)
    weights = ops.convert(ops.constant(kernel), "f32")
    total = ops.convolution(ops.concat(planes, 1), weights, [1, 1], [0, 0], [0, 0], [1, 1])
    return openvino.Model([total], images, "sum")


def enlarged(image: Any, size: int) -> Any:
    if size == 16:
        return image
    return ops.interpolate(
        image,
        np.array([16, 16]),
        "linear_onnx",
        "sizes",
        axes=np.array([1, 2]),
        coordinate_transformation_mode="half_pixel",
    )


def run(network: Any) -> np.ndarray:
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    draws = np.random.default_rng(1)
    images = [draws.random(list(each.get_shape()), np.float32) for each in network.inputs]
    return np.asarray(openvino.Core().compile_model(network, "CPU", options)(images)[0])


def kinds(network: Any) -> Counter[str]:
    return Counter(node.get_type_name() for node in network.get_ordered_ops())


def test_enlarged_planes_and_their_sum_are_the_same_by_matrices() -> None:
    network = model()
    expected = run(network)
    simplify_side_maps(network)
    found = kinds(network)
    assert (found["Interpolate"], found["Convolution"], found["Concat"], found["MatMul"]) == (0, 0, 0, 4)
    np.testing.assert_allclose(run(network), expected, atol=1e-6)


@pytest.mark.parametrize(("channels", "weighed"), [(3, 1), (3, 2)])
def test_many_channels_stay_as_they_are(channels: int, weighed: int) -> None:
    network = model(channels, weighed)
    before = kinds(network)
    simplify_side_maps(network)
    assert kinds(network) == before


def test_planes_that_go_into_several_sums_are_joined_as_before() -> None:
    network = model(weighed=2)
    expected = run(network)
    simplify_side_maps(network)
    found = kinds(network)
    assert (found["Interpolate"], found["Convolution"], found["Concat"]) == (0, 1, 1)
    np.testing.assert_allclose(run(network), expected, atol=1e-6)


def test_corners_as_they_were_resized_are_left_alone() -> None:
    image = ops.parameter([1, 4, 4, 1], np.float32)
    corners = ops.interpolate(
        image,
        np.array([8, 8]),
        "linear_onnx",
        "sizes",
        axes=np.array([1, 2]),
        coordinate_transformation_mode="align_corners",
    )
    network = openvino.Model([corners], [image], "corners")
    simplify_side_maps(network)
    assert kinds(network)["Interpolate"] == 1


def test_weights_of_each_output_pixel_sum_to_one() -> None:
    np.testing.assert_allclose(resize_matrix(7, 20).sum(axis=1), 1, rtol=1e-6)
    assert resize_matrix(2, 4).tolist() == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
