from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from app.network.frozen_graph import FrozenGraph
from app.network.precision import probe_picture
from app.network.rewritings import for_cpus
from app.network.running import Place
from app.network.tensorflow_model import frozen, runner
from app.network.thin_convolutions import PIXELS
from app.settings import BUILT_IN_MODEL
from model import contract

PLACE = Place("cpu", 1)
# Alphas of a float32 network, whose convolutions add in another order.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def exported() -> FrozenGraph:
    return frozen(BUILT_IN_MODEL / contract.SAVED_MODEL_DIR, PLACE)


@pytest.fixture(scope="module")
def rewritten(exported: FrozenGraph) -> FrozenGraph:
    return FrozenGraph(for_cpus(exported.definition), exported.input, exported.output)


def test_every_rewriting_finds_its_part_in_an_exported_network(rewritten: FrozenGraph) -> None:
    operations = Counter(node.op for node in rewritten.definition.node)
    assert operations.keys().isdisjoint({"ResizeBilinear", "RealDiv", "Sub"})
    steps = Counter(
        tuple(node.attr["strides"].list.i) for node in rewritten.definition.node if node.op == "Conv2D"
    )
    assert steps[1, 1, PIXELS, 1] == 3  # the side maps of 256, 128 and 64 pixels


def test_alpha_of_an_exported_network_stays_the_same(exported: FrozenGraph, rewritten: FrozenGraph) -> None:
    probe = np.repeat(probe_picture(contract.read_manifest(BUILT_IN_MODEL).input_size), 2, axis=0)
    before, after = (runner(graph, PLACE, optimised=False)(probe) for graph in (exported, rewritten))
    np.testing.assert_allclose(after, before, atol=ROUNDING)
