"""A whole run on drawn portraits: trained, stopped, resumed, exported, evaluated."""

import json
import os
import re
import signal

import cv2
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from model.contract import verify
from tests.training.p3m_folders import write_backgrounds, write_data_set
from training import loop
from training.__main__ import cli
from training.config import load_config
from training.dataset import list_backgrounds, list_pairs
from training.evaluate import load_network
from training.history import read_history
from training.initial_weights import load_artifact_weights
from training.loop import TrainData, train
from training.progress import Progress
from training.state import RunError, build_network, claim, load_trained

DOCUMENT = """
batch_size = 2
learning_rate = 1e-2
warmup_steps = 2
validate_every = 4
checkpoint_every = 2
ema_decay = 0.5
seed = 5
phases = [{ input_size = 32, steps = 6 }]
[network]
name = "tiny"
variant = "lite"
width = 0.25
serve_size = 64
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_data_set(folder / "p3m")
    write_backgrounds(folder / "backgrounds")
    (folder / "tiny.toml").write_text(DOCUMENT)
    return folder


def invoke(*arguments):
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def finished(folder):
    """A run of the command line from the first step to the last."""
    code, output = invoke(
        "train",
        folder / "tiny.toml",
        *(
            "--data-root",
            folder / "p3m",
            "--backgrounds",
            folder / "backgrounds",
            "--run-dir",
            folder / "whole",
        ),
    )
    assert code == 0, output
    return folder / "whole"


@pytest.fixture(scope="module")
def artifact(folder, finished):
    code, output = invoke("export", finished, folder / "tiny", "--version", "7", "--data", "drawn portraits")
    assert code == 0, output
    return folder / "tiny"


class StopAt(Progress):
    """Sends this process a SIGTERM after a step, as an operator would."""

    def __init__(self, stop_at):
        super().__init__()
        self._stop_at = stop_at

    def step(self, step, loss, size):
        super().step(step, loss, size)
        if step == self._stop_at:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_leaves_history_and_checkpoints(finished):
    rows = read_history(finished / "history.csv")
    assert [(row["step"], row["input_size"]) for row in rows] == [(4, 32), (6, 32)]
    assert all(0 <= row["MAD"] <= 1 and 0 <= row["mIoU"] <= 1 for row in rows)
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["best", "last"]


def test_a_stopped_run_ends_with_the_same_weights_as_an_uninterrupted_one(folder, finished):
    config = load_config(folder / "tiny.toml")
    root = folder / "p3m"
    data = TrainData(
        list_pairs(root, "train").pairs,
        list_pairs(root, "P3M-500-NP").pairs,
        list_backgrounds(folder / "backgrounds"),
    )
    run = folder / "cut"
    claim(run, folder / "tiny.toml", config)
    with StopAt(3) as progress:
        assert train(config, data, run, progress) is False
    assert tf.train.latest_checkpoint(str(run / "checkpoints" / "last")).endswith("ckpt-3")
    with Progress() as progress:
        assert train(config, data, run, progress) is True
    expected, _ = load_trained(finished, config)
    actual, _ = load_trained(run, config)
    for a, b in zip(expected.get_weights(), actual.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_of_another_recipe_is_not_taken_up(folder, finished):
    other = folder / "other.toml"
    other.write_text(DOCUMENT.replace("seed = 5", "seed = 6"))
    with pytest.raises(RunError, match="was begun with other values"):
        claim(finished, other, load_config(other))


def test_a_run_begun_with_a_model_takes_its_weights_and_remembers_it(folder, artifact, monkeypatch):
    """The steps themselves are another test's: here the run stops before its first."""
    config, run = load_config(folder / "tiny.toml"), folder / "begun"
    pairs = list_pairs(folder / "p3m", "train").pairs
    states = []
    monkeypatch.setattr("training.loop._Run.train_phase", lambda self, *_: states.append(self.state))
    claim(run, folder / "tiny.toml", config, artifact)
    claim(run, folder / "tiny.toml", config)
    with Progress() as progress:
        assert train(config, TrainData(pairs, pairs, ()), run, progress, artifact) is False
    expected = build_network(config.network)
    load_artifact_weights(artifact, expected)
    for network in (states[0].network, states[0].average):
        for a, b in zip(network.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_checkpoint_comes_before_the_model_a_run_began_with(folder, finished, artifact, monkeypatch):
    config = load_config(folder / "tiny.toml")
    origins = []
    monkeypatch.setattr(Progress, "start", lambda self, *_, origin, **__: origins.append(origin))
    with Progress() as progress:
        assert train(config, TrainData((), (), ()), finished, progress, artifact) is True
    assert origins == ["resumed at step 6"]


def test_a_run_is_not_taken_up_with_a_model_it_did_not_begin_with(folder, finished, artifact):
    with pytest.raises(RunError, match="was not begun with the weights of"):
        claim(finished, folder / "tiny.toml", load_config(folder / "tiny.toml"), artifact)


def test_an_export_is_a_verified_artifact_that_matches_the_network(folder, finished, artifact):
    manifest = verify(artifact)
    assert manifest.label == "tiny@7"
    assert (manifest.input_size, manifest.geometry, manifest.data) == (64, "stretch", "drawn portraits")
    assert manifest.training_config_sha256 == load_config(folder / "tiny.toml").digest()
    alpha = load_network(artifact)(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8))
    assert alpha.shape == (3, 64, 64)
    assert alpha.dtype == np.float32
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert alpha.std() > 0


def test_an_export_overwrites_only_when_told(finished, artifact):
    with pytest.raises(RuntimeError, match="exists; choose another place or give --overwrite"):
        invoke("export", finished, artifact)
    before = verify(artifact)
    code, _ = invoke("export", finished, artifact, "--version", "8", "--overwrite")
    assert code == 0
    after = verify(artifact)
    assert (before.version, after.version) == ("7", "8")
    assert not [path for path in artifact.parent.iterdir() if path.name.startswith(".tiny")]


def test_an_evaluation_reports_prints_and_records(folder, artifact):
    code, output = invoke(
        "evaluate",
        artifact,
        *("--data-root", folder / "p3m", "--json", folder / "scores.json", "--record"),
    )
    assert code == 0
    assert "MAD" in output
    report = json.loads((folder / "scores.json").read_text())
    assert sorted(report["images"]) == ["p_00000000", "p_00000001", "p_00000002"]
    assert report["protocol"] == "served 64x64 stretch, refined"
    mads = [scores["MAD"] for scores in report["images"].values()]
    assert report["mean"]["MAD"] == pytest.approx(np.mean(mads))
    metrics = {"SAD", "MSE", "MAD", "mIoU", "GRAD", "SAD-T", "MSE-T", "MAD-T"}
    assert set(report["mean"]) == metrics | {"confidence", "person"}
    recorded = verify(artifact).metrics
    assert set(recorded) == {f"P3M-500-NP/{name}" for name in metrics}
    # Rounded to five digits in the manifest.
    assert recorded["P3M-500-NP/MAD"] == pytest.approx(report["mean"]["MAD"], rel=1e-4)


def test_a_report_shows_every_figure_and_the_worst_mattes(folder, artifact):
    code, output = invoke(
        "evaluate",
        artifact,
        "--data-root",
        folder / "p3m",
        "--report",
        folder / "report",
        "--json",
        folder / "r.json",
    )
    assert code == 0
    assert str(folder / "report" / "index.html").replace("\n", "") in output.replace("\n", "")
    page = (folder / "report" / "index.html").read_text()
    scores = json.loads((folder / "r.json").read_text())
    assert f"<td>{scores['mean']['MAD']:.4f}</td>" in page
    pictures = re.findall(r'src="([^"]+)"', page)
    assert pictures[0] == "spread.png"
    ranked = sorted(scores["images"], key=lambda stem: scores["images"][stem]["mIoU"])
    assert pictures[1:] == [f"{rank + 1:02d}-{stem}.jpg" for rank, stem in enumerate(ranked)]
    for name in pictures:
        assert cv2.imread(str(folder / "report" / name)) is not None


def test_an_evaluation_can_differ_from_what_is_served_but_is_then_not_recorded(folder, artifact):
    options = ("--no-refine", "--quality", "high", "--cut", "landscape")
    code, _ = invoke(
        "evaluate", artifact, "--data-root", folder / "p3m", "--json", folder / "other.json", *options
    )
    assert code == 0
    report = json.loads((folder / "other.json").read_text())
    assert report["protocol"] == "served 64x64 stretch, not refined, quality high, cut landscape"
    with pytest.raises(ValueError, match="--record keeps what is served"):
        invoke("evaluate", artifact, "--data-root", folder / "p3m", "--record", *options)


def test_an_export_may_choose_another_square_and_geometry(folder, finished):
    options = ("--serve-size", "96", "--geometry", "limited")
    code, _ = invoke("export", finished, folder / "other", *options)
    assert code == 0
    manifest = verify(folder / "other")
    assert (manifest.input_size, manifest.geometry) == (96, "limited")
    assert load_network(folder / "other")(np.zeros((1, 96, 96, 3), np.uint8)).shape == (1, 96, 96)


def test_a_sharper_export_moves_alpha_towards_0_and_1_by_its_logit(folder, finished, artifact):
    code, _ = invoke("export", finished, folder / "sharp", "--sharpness", "2")
    assert code == 0
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    plain, sharp = (load_network(path)(noise).astype(np.float64) for path in (artifact, folder / "sharp"))
    odds = (plain / (1 - plain)) ** 2
    np.testing.assert_allclose(sharp, odds / (1 + odds), atol=1e-5)
    assert np.abs(sharp - plain).max() > 0.01


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_compiled_step", lambda *_: lambda image, alpha: float("nan"))
    pairs = list_pairs(folder / "p3m", "train").pairs
    data = TrainData(pairs, pairs[:1], ())
    with (
        Progress() as progress,
        pytest.raises(RunError, match=r"not finite at step \d+; the batch was p_\w+, p_\w+\."),
    ):
        train(load_config(folder / "tiny.toml"), data, tmp_path / "hot", progress)
    assert not list((tmp_path / "hot").rglob("ckpt-*"))
