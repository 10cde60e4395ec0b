from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from app.inference.backends import precision
from app.inference.backends.base import Alphas, Batch, LoadError, Predict
from app.inference.backends.precision import TOLERANCE, probe_picture
from tests.support.networks import mean_colour

SIZE = 16


class Network:
    """Whose alphas are `error` off in 8 or 16 bits, of a kind among `errors` by that, and one pixel by
    `at_one_pixel`."""

    def __init__(
        self, error: float = 0.0, errors: Mapping[str, float] | None = None, at_one_pixel: float = 0.0
    ) -> None:
        self.error, self.errors, self.at_one_pixel = error, errors or {}, at_one_pixel
        self.made: list[str] = []

    def reference(self) -> Predict:
        self.made.append("reference")
        return mean_colour

    def load(self, kind: str) -> Predict:
        self.made.append(kind)
        if kind == "float32":
            return mean_colour

        def run(batch: Batch) -> Alphas:
            assert batch.shape == (1, SIZE, SIZE, 3)
            alphas = mean_colour(batch) + np.float32(self.errors.get(kind, self.error))
            alphas[0, 0, 0] += self.at_one_pixel
            return alphas

        return run


@pytest.mark.parametrize("asked", ["auto", "bfloat16"])
def test_16_bits_that_are_close_enough_are_chosen(asked: precision.Precision) -> None:
    network = Network(0.9 * TOLERANCE)
    _, chosen = precision.choose(network, SIZE, ["bfloat16"], asked)
    assert (chosen, network.made) == ("bfloat16", ["reference", "bfloat16"])


def test_the_first_of_the_possible_is_chosen_or_what_is_asked_for() -> None:
    assert precision.choose(Network(), SIZE, ["float16", "bfloat16"], "auto")[1] == "float16"
    assert precision.choose(Network(), SIZE, ["float16", "bfloat16"], "bfloat16")[1] == "bfloat16"


@pytest.mark.parametrize("error", [1.1 * TOLERANCE, math.nan])
def test_16_bits_that_are_too_coarse_or_overflow_are_not_used(
    error: float, caplog: pytest.LogCaptureFixture
) -> None:
    network = Network(error)
    run, chosen = precision.choose(network, SIZE, ["float16"], "auto")
    assert (run, chosen) == (mean_colour, "float32")
    assert "alphas in float16 are" in caplog.text
    with pytest.raises(LoadError, match=r"MATTE_PRECISION=auto or float32"):
        precision.choose(network, SIZE, ["float16"], "float16")


def test_auto_goes_on_to_the_next_precision_that_the_alphas_bear() -> None:
    network = Network(0.9 * TOLERANCE, {"int8": 2 * TOLERANCE})
    assert precision.choose(network, SIZE, ["int8", "bfloat16"], "auto")[1] == "bfloat16"
    assert network.made == ["reference", "int8", "bfloat16"]
    with pytest.raises(LoadError, match=r"alphas in int8 are .* on average"):
        precision.choose(network, SIZE, ["int8", "bfloat16"], "int8")


def test_single_pixels_of_a_steep_edge_do_not_speak_against_a_precision() -> None:
    assert precision.choose(Network(at_one_pixel=0.5), SIZE, ["int8"], "int8")[1] == "int8"


def test_float32_that_is_asked_for_is_not_compared_with_anything() -> None:
    network = Network()
    assert precision.choose(network, SIZE, ["bfloat16"], "float32") == (mean_colour, "float32")
    assert network.made == ["float32"]


def test_a_machine_without_16_bits_has_float32_and_refuses_others() -> None:
    assert precision.choose(Network(), SIZE, [], "auto")[1] == "float32"
    precision.check("auto", [])
    precision.check("float32", [])
    with pytest.raises(LoadError, match="AVX512-BF16"):
        precision.check("bfloat16", [])


def test_what_the_machine_has_may_be_asked_for_and_nothing_else() -> None:
    precision.check("bfloat16", ["bfloat16"])
    with pytest.raises(LoadError, match=r"float16 .* needs a GPU of compute capability 7\.0"):
        precision.check("float16", ["bfloat16"])


def test_probe_has_flat_parts_and_edges() -> None:
    probe = probe_picture(64)
    assert probe.shape == (1, 64, 64, 3)
    assert probe.std() > 30
