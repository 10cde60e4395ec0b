"""The compiled loops do what the same does by OpenCV, for every shape, and touch nothing but their arrays."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from app.imaging import foreground
from model import kernels, refine
from model.transforms import stretch

pytestmark = pytest.mark.skipif(kernels.COMPILED is None, reason="was installed without a C compiler")

# Height and width of photos, and of the part of the square that holds them.
SHAPES = [
    ((400, 300), (64, 64)),
    ((301, 777), (25, 64)),
    ((65, 66), (64, 64)),
    ((1, 900), (1, 64)),
    ((900, 1), (64, 1)),
    ((2, 300), (1, 40)),
    ((40, 300), (64, 64)),
    ((3, 5), (2, 3)),
    ((1100, 1030), (128, 120)),
]


def scene(size, square):
    """A photo with texture, its square, and a soft alpha with both flat areas and edges."""
    draws = np.random.default_rng(size[0] * 1000 + size[1])
    coarse = draws.uniform(-0.6, 1.6, (3 + square[0] // 8, 3 + square[1] // 8))
    alpha = cv2.resize(coarse, square[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1).astype(np.float32)
    # The photo is bright where alpha is high: there is something to follow.
    ground = stretch(alpha, *size)[..., None] * [200, 140, 90] + draws.normal(25, 12, (*size, 3))
    image = ground.clip(0, 255).astype(np.uint8)
    return image, stretch(image, *square), alpha


@pytest.mark.parametrize(("size", "square"), SHAPES)
def test_refined_mattes_are_the_same(size, square, monkeypatch):
    compiled = refine.refine(*scene(size, square))
    monkeypatch.setattr(refine, "COMPILED", None)
    by_opencv = refine.refine(*scene(size, square))
    difference = np.abs(compiled.astype(int) - by_opencv)
    # Where a side is made smaller, OpenCV's rectangles take single samples of what lies between the edges.
    assert difference.max() <= (1 if size >= square else 16)
    assert difference.mean() < 0.2


@pytest.mark.parametrize("size", [size for size, _ in SHAPES] + [(2, 20_000), (2000, 1999)])
@pytest.mark.parametrize("cut_off", [0.0, 0.9])
def test_cut_outs_are_the_same(size, cut_off, monkeypatch):
    """With alpha in the whole range, and with large flat areas."""
    image, _, alpha = scene(size, (min(size[0], 64), min(size[1], 64)))
    shown = np.rint(255 * stretch(((alpha - cut_off / 2) / (1 - cut_off)).clip(0, 1), *size)).astype(np.uint8)
    compiled = foreground.cut_out(image, shown).whole()
    monkeypatch.setattr(foreground, "COMPILED", None)
    by_opencv = foreground.cut_out(image, shown).whole()
    np.testing.assert_array_equal(compiled[..., 3], by_opencv[..., 3])
    difference = np.abs(compiled.astype(int) - by_opencv)
    assert difference.max() <= 2
    assert difference.mean() < 0.2


@pytest.mark.parametrize("guard", ["before", "behind"])
def test_nothing_is_read_or_written_outside_of_the_arrays(guard):
    """Every array lies against a page that may not be touched; who does ends with SIGSEGV."""
    run = [sys.executable, "-m", "tests.model.kernels_between_guards", guard]
    subprocess.run(run, check=True, timeout=120)


def test_arrays_that_do_not_fit_together_are_refused():
    image, square, alpha = scene((40, 30), (16, 16))
    undecided = np.ones(alpha.shape, np.bool_)
    with pytest.raises(ValueError, match=r"uint8 \[16, 16, 3\]"):
        kernels.COMPILED.fit_to_colour(image, alpha, undecided, 1e-4)
    with pytest.raises(ValueError, match="float32"):
        kernels.COMPILED.fit_to_colour(square, alpha.astype(np.float64), undecided, 1e-4)
    coefficients = kernels.COMPILED.fit_to_colour(square, alpha, undecided, 1e-4)
    whole = np.zeros((40, 60), np.uint8)
    with pytest.raises(ValueError, match="without gaps"):
        kernels.COMPILED.follow_colour(image, coefficients, undecided, whole[:, ::2])
    with pytest.raises(ValueError, match=r"\[40, 60, 3\]"):
        kernels.COMPILED.follow_colour(image, coefficients, undecided, whole)
    few = np.zeros((2, 2, 4), np.uint8)
    edge = np.full(4, kernels.Kind.EDGE, np.uint8)
    into = np.empty((8, 30, 4), np.uint8)
    with pytest.raises(ValueError, match="samples"):
        kernels.COMPILED.cut_out(image, whole[:, :30], slice(0, 8), edge, few, few, 1, 8, into)
    with pytest.raises(ValueError, match="rows"):
        kernels.COMPILED.cut_out(image, whole[:, :30], slice(36, 44), edge, few, few, 1, 8, into)
    with pytest.raises(ValueError, match=r"\[4\]"):
        kernels.COMPILED.cut_out(image, whole[:, :30], slice(0, 8), edge[:3], few, few, 1, 8, into)


def test_a_library_of_another_machine_is_left_alone(monkeypatch, tmp_path):
    broken = tmp_path / "_kernels.so"
    broken.write_bytes(b"\x7fELF of something else")
    monkeypatch.setattr(kernels, "find_spec", lambda _: type("Spec", (), {"origin": str(broken)}))
    assert kernels.load() is None
    monkeypatch.setattr(kernels, "find_spec", lambda _: None)
    assert kernels.load() is None
