"""Input sizes one after the other, with stand-ins for the network."""

import numpy as np
import pytest

from model.cascade import Stage, run_cascade, stages
from model.contract import Manifest

SIZE = 64
SQUARES = np.stack([np.full((SIZE, SIZE, 3), value, np.uint8) for value in (10, 20, 30)])


def manifest(**cascade):
    return Manifest("x", "1", SIZE, "stretch", {}, cascade={size[1:]: sure for size, sure in cascade.items()})


class Network:
    """Gives each picture, by its colour and the size at which it is seen, an alpha as sure as it is told."""

    def __init__(self, sure):
        self.sure = sure
        self.seen = []

    def __call__(self, images):
        colours = images[:, 0, 0, 0].tolist()
        self.seen.append((images.shape[1], colours))
        return np.stack(
            [np.full(images.shape[1:3], self.sure[colour, images.shape[1]], np.float32) for colour in colours]
        )


def test_model_without_a_cascade_runs_at_its_own_size_alone():
    network = Network({(colour, SIZE): 0.6 for colour in (10, 20, 30)})
    assert stages(manifest()) == (Stage(SIZE, 0.0),)
    assert run_cascade(SQUARES, network, manifest()).shape == (3, SIZE, SIZE)
    assert network.seen == [(SIZE, [10, 20, 30])]


def test_sizes_come_in_their_order_not_in_that_of_their_names():
    assert [each.size for each in stages(manifest(_128=0, _64=0.9, _32=0.8))] == [32, 64, 128]


def test_each_size_sees_only_what_none_before_was_confident_of():
    sure = {(10, 32): 1.0, (20, 32): 0.8, (20, 64): 1.0, (30, 32): 0.8, (30, 64): 0.8, (30, 96): 1.0}
    network = Network(sure)
    alphas = run_cascade(SQUARES, network, manifest(_32=0.9, _64=0.9, _96=0))
    assert network.seen == [(32, [10, 20, 30]), (64, [20, 30]), (96, [30])]
    np.testing.assert_array_equal(alphas, np.ones((3, SIZE, SIZE), np.float32))


@pytest.mark.parametrize(
    ("sure", "expected"), [((0.8, 0.7, 0.6), 0.8), ((0.7, 0.8, 0.6), 0.8), ((0.6, 0.7, 0.8), 0.8)]
)
def test_the_most_confident_alpha_counts(sure, expected):
    network = Network({(10, size): value for size, value in zip((32, 64, 96), sure, strict=True)})
    alphas = run_cascade(SQUARES[:1], network, manifest(_32=0.99, _64=0.99, _96=0.99))
    assert len(network.seen) == 3
    np.testing.assert_allclose(alphas, expected, rtol=1e-6)


def test_numbers_that_are_not_finite_are_passed_on_at_once():
    network = Network({(10, 32): np.nan, (20, 32): 1.0})
    alphas = run_cascade(SQUARES[:2], network, manifest(_32=0.9, _64=0))
    assert np.isnan(alphas[0]).all()
    assert np.isfinite(alphas[1]).all()
    assert network.seen == [(32, [10, 20])]
