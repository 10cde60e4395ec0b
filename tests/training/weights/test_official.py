"""The official names and their order are those of the network, and the network is known by its tensors' shapes."""

import numpy as np
import pytest

from tests.training.official_tensors import SMALL, network_of, official_tensors
from training.weights.official import (
    BLOCKS,
    Architecture,
    WeightsError,
    detect_architecture,
    unfold_batch_norm,
    with_official_names,
)

FIRST = "stage1.rebnconvin.conv_s1.weight"


@pytest.mark.parametrize("variant", ["full", "lite"])
def test_blocks_are_the_networks_in_the_order_in_which_they_run(variant):
    layers = [layer for layer in network_of(variant).layers if layer.name.endswith(".conv_s1")]
    assert [(f"{block.name}.conv_s1", block.dilation) for block in BLOCKS] == [
        (layer.name, layer.dilation_rate[0]) for layer in layers
    ]


@pytest.mark.parametrize(
    ("variant", "width"),
    [
        ("full", 1),
        ("lite", 1),
        *(pytest.param("full", width, marks=pytest.mark.slow) for width in (0.5, 0.75, 1.5)),
        pytest.param("lite", 2, marks=pytest.mark.slow),
    ],
)
def test_variant_and_width_are_found_from_the_shapes(variant, width):
    shapes = {
        f"{layer.name}.weight": np.broadcast_to(0, layer.kernel.shape[::-1])
        for layer in network_of(variant, width).layers
        if layer.name.endswith(".conv_s1")
    }
    assert detect_architecture(shapes) == Architecture(variant, width)


def test_narrowest_network_gets_a_width_that_builds_it():
    found = detect_architecture(official_tensors(*SMALL))
    built = network_of(found.variant, found.width)
    assert [w.shape for w in built.weights] == [w.shape for w in network_of(*SMALL).weights]


def test_channel_counts_of_no_width_are_refused_and_told():
    tensors = official_tensors(*SMALL)
    tensors[FIRST] = np.zeros((24, 3, 3, 3))
    with pytest.raises(
        WeightsError, match="24 outer and 16 inner channels: a U²-Net of other channel counts"
    ):
        detect_architecture(tensors)


@pytest.mark.parametrize(
    "change",
    [
        "module.{}",
        "net.{}",
        "model.{}",
        "_orig_mod.{}",
        "module.net.{}",
        "model._orig_mod.module.{}",
        "teacher.{}",
    ],
)
def test_prefixes_of_wrappers_are_taken_off(change):
    tensors = official_tensors(*SMALL)
    wrapped = {change.format(name): tensor for name, tensor in tensors.items()}
    assert list(with_official_names(wrapped)) == list(tensors)


def test_a_compiled_part_of_a_network_is_named_as_any_other():
    wrapped = {
        name.replace("stage1.", "stage1._orig_mod."): t for name, t in official_tensors(*SMALL).items()
    }
    assert with_official_names(wrapped).keys() == official_tensors(*SMALL).keys()


def test_tensors_of_another_network_are_named():
    tensors = {"backbone.conv1.weight": np.zeros(1), "backbone.bn1.weight": np.zeros(1)}
    with pytest.raises(
        WeightsError, match=r"none of its 2 tensors is U²-Net's .*backbone.conv1.weight, backbone"
    ):
        with_official_names(tensors)


@pytest.mark.parametrize("prefixes", [("", "module."), ("net.", "ema.")])
def test_a_file_with_two_networks_does_not_leave_the_choice_to_chance(prefixes):
    with pytest.raises(WeightsError, match="more than once"):
        with_official_names({f"{prefix}{FIRST}": np.zeros(1) for prefix in prefixes})


def test_unfolded_batch_norm_is_the_identity_and_the_bias():
    tensors = {
        name: tensor
        for name, tensor in official_tensors(*SMALL).items()
        if "bn_s1" not in name or name.endswith(".bias")
    }
    bias = tensors["stage3.rebnconv2d.conv_s1.bias"]
    result = unfold_batch_norm(tensors, 1e-5)
    norm = [
        result[f"stage3.rebnconv2d.bn_s1.{part}"]
        for part in ("weight", "bias", "running_mean", "running_var")
    ]
    np.testing.assert_array_equal(result["stage3.rebnconv2d.conv_s1.bias"], 0)
    np.testing.assert_allclose(
        (5 - norm[2]) / np.sqrt(norm[3] + 1e-5) * norm[0] + norm[1], 5 + bias, rtol=1e-6
    )
