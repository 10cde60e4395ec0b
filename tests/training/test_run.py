"""The smoke document on drawn portraits: trained, killed, resumed, exported, evaluated."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

import training
from model.contract import verify
from tests.training import shallow_network
from tests.training.p3m_folders import write_backgrounds, write_data_set
from training.cli.app import app
from training.config import load_config
from training.data.dataset import Sources, TrainData, list_pairs
from training.data.fingerprint import DataFingerprint
from training.data.images import DataError
from training.engine import trainer
from training.engine.checkpoints import Checkpoints, load_trained
from training.engine.history import read_history
from training.engine.progress import Progress
from training.engine.run_dir import RunError, claim
from training.engine.state import TrainState, build_network
from training.engine.trainer import train
from training.evaluation.predict import load_network
from training.weights.artifact_weights import load_artifact_weights
from training.weights.layout import weight_name

pytestmark = pytest.mark.slow

SMOKE = Path(training.__file__).parent / "configs" / "smoke.toml"
STEPS = 8
TIMEOUT_S = 300
# In so shallow a network a kernel in 16 bits may show in the alpha, and an export that shows is refused.
EXACT = ("--storage", "float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_data_set(folder / "p3m")
    write_backgrounds(folder / "backgrounds")
    return folder


@pytest.fixture(scope="module")
def config():
    return load_config(SMOKE)


def data_of(folder):
    root = folder / "p3m"
    pairs = list_pairs(root, "train").pairs
    return TrainData(pairs, list_pairs(root, "P3M-500-NP").pairs, Sources.of(pairs))


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    return result.exit_code, result.output


def train_command(folder, run_dir):
    return (
        *("train", SMOKE, "--data-root", folder / "p3m", "--backgrounds", folder / "backgrounds"),
        *("--run-dir", run_dir, "--cache", folder / "cache"),
    )


def vectors_of(run_dir, config):
    """The run's whole state at its last step."""
    state = TrainState(config)
    assert Checkpoints(run_dir, state).restore_last()
    assert state.step.numpy() == STEPS
    return {name: vector.numpy() for name, vector in state.vectors.items()}


@pytest.fixture(scope="module")
def finished(folder):
    """A run of the command line from the first step to the last."""
    code, output = invoke(*train_command(folder, folder / "whole"))
    assert code == 0, output
    return folder / "whole"


@pytest.fixture(scope="module")
def artifact(folder, finished):
    code, output = invoke("export", finished, folder / "tiny", "--version", "7", "--data", "drawn portraits")
    assert code == 0, output
    return folder / "tiny"


@pytest.fixture
def small(monkeypatch):
    """Networks are shallow: for what does not hang on their depth, and would take long with all stages."""
    shallow_network.use(monkeypatch)


@pytest.fixture(scope="module")
def small_run(folder):
    """As `finished`, of the shallow network."""
    with pytest.MonkeyPatch.context() as patch:
        shallow_network.use(patch)
        code, output = invoke(*train_command(folder, folder / "small"))
    assert code == 0, output
    return folder / "small"


@pytest.fixture(scope="module")
def small_artifact(folder, small_run):
    with pytest.MonkeyPatch.context() as patch:
        shallow_network.use(patch)
        code, output = invoke("export", small_run, folder / "smaller", "--version", "7", *EXACT)
    assert code == 0, output
    return folder / "smaller"


def test_a_run_leaves_history_curves_mattes_and_checkpoints(finished):
    rows = read_history(finished / "history.csv")
    assert [(row["step"], row["input_size"]) for row in rows] == [(4, 32), (8, 64)]
    assert all(0 <= row["MAD"] <= 1 and 0 <= row["mIoU"] <= 1 for row in rows)
    assert all(0 < row["loss"] < 10 for row in rows)
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["best", "last"]
    # Three pictures of 64 × 64, in two columns of four panels.
    assert cv2.imread(str(finished / "validation.png")).shape == (128, 512, 3)
    assert cv2.imread(str(finished / "curves.png")).std() > 10


def test_tensorboard_shows_losses_scores_and_mattes(finished):
    tags = set()
    for path in (finished / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            tags |= {value.tag for value in event.summary.value}
    assert tags == {"validation/MAD", "validation/mIoU", "validation/mattes"}, (
        "8 steps are fewer than EVERY_STEPS"
    )


def test_curves_can_be_drawn_again(finished):
    (finished / "curves.png").unlink()
    code, output = invoke("plot", finished)
    assert code == 0
    assert str(finished / "curves.png") in output.replace("\n", "")
    assert cv2.imread(str(finished / "curves.png")).std() > 10
    with pytest.raises(FileNotFoundError, match=r"no history\.csv with a validation yet"):
        invoke("plot", finished / "checkpoints")


def test_a_killed_run_ends_with_the_same_bits_as_an_uninterrupted_one(folder, small, small_run, config):
    killed = folder / "killed"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.training.killed_program",
            "3",
            *map(str, train_command(folder, killed)),
        ],
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    code, output = invoke(*train_command(folder, killed))
    assert code == 0, output
    assert "resumed at step 2" in " ".join(output.split())
    expected, actual = vectors_of(small_run, config), vectors_of(killed, config)
    assert len(expected) == 10
    for name, vector in expected.items():
        np.testing.assert_array_equal(actual[name], vector, err_msg=name)
    # The loss of a row is the mean since the row before, or since the kill.
    expected_rows, rows = (read_history(each / "history.csv") for each in (small_run, killed))
    for name in ("step", "MAD", "mIoU", "learning_rate"):
        assert [row[name] for row in rows] == [row[name] for row in expected_rows]


class StopAt(Progress):
    """Sends this process a SIGTERM after a step, as an operator would."""

    def __init__(self, stop_at):
        super().__init__()
        self._stop_at = stop_at

    def on_step_end(self, step, loss, size):
        super().on_step_end(step, loss, size)
        if step == self._stop_at:
            signal.raise_signal(signal.SIGTERM)


def test_a_signal_ends_a_run_after_the_step_in_hand_with_a_checkpoint(folder, small, config):
    run = folder / "stopped"
    claim(run, SMOKE, config)
    with StopAt(2) as progress:
        assert train(config, data_of(folder), run, progress) is False
    # The loss of step 2 is told while step 3 runs.
    assert tf.train.latest_checkpoint(str(run / "checkpoints" / "last")).endswith("ckpt-3")


def test_a_run_of_another_recipe_is_not_taken_up(folder, small_run):
    other = folder / "other.toml"
    other.write_text(SMOKE.read_text().replace("seed = 5", "seed = 6"))
    with pytest.raises(RunError, match="was begun with other values"):
        claim(small_run, other, load_config(other))


def test_a_checkpoint_of_another_network_is_not_taken_up(finished, small, config):
    with pytest.raises(RunError, match="is not of this network or version"):
        Checkpoints(finished, TrainState(config)).restore_last()


def test_a_run_begun_with_a_model_takes_its_weights_and_remembers_it(
    folder, small, small_artifact, config, monkeypatch
):
    """The steps themselves are another test's: here the run stops before its first."""
    run = folder / "begun"
    states = []
    monkeypatch.setattr("training.engine.trainer._TrainingLoop.run", lambda self: states.append(self._state))
    claim(run, SMOKE, config, small_artifact)
    claim(run, SMOKE, config)
    with Progress() as progress:
        train(config, data_of(folder), run, progress, small_artifact)
    expected = build_network(config.network)
    load_artifact_weights(small_artifact, expected)
    (state,) = states
    for layout, vectors in (
        (state.layout, (state.weights, state.average)),
        (state.moving_layout, (state.moving, state.moving_average)),
    ):
        for vector in vectors:
            values = layout.by_name(vector.numpy())
            for weight in expected.weights:
                if weight_name(weight) in values:
                    np.testing.assert_array_equal(values[weight_name(weight)], weight.numpy())
    assert len(state.layout.names) + len(state.moving_layout.names) == len(expected.weights)


def test_a_checkpoint_comes_before_the_model_a_run_began_with(
    folder, small, small_run, small_artifact, config, monkeypatch
):
    origins = []
    monkeypatch.setattr(Progress, "on_train_begin", lambda self, *_, origin, **__: origins.append(origin))
    with Progress() as progress:
        assert train(config, data_of(folder), small_run, progress, small_artifact) is True
    assert origins == ["resumed at step 8"]


def test_a_run_is_not_taken_up_with_a_model_it_did_not_begin_with(small_run, small_artifact, config):
    with pytest.raises(RunError, match="was not begun with the weights of"):
        claim(small_run, SMOKE, config, small_artifact)


def test_an_export_is_a_verified_artifact_that_matches_the_network(artifact, config):
    manifest = verify(artifact)
    assert manifest.label == "smoke@7"
    assert (manifest.input_size, manifest.geometry, manifest.data) == (64, "stretch", "drawn portraits")
    assert manifest.training_config_sha256 == config.digest()
    alpha = load_network(artifact)(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8))
    assert alpha.shape == (3, 64, 64)
    assert alpha.dtype == np.float32
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert alpha.std() > 0


def test_an_export_overwrites_only_when_told(small, small_run, small_artifact):
    with pytest.raises(RuntimeError, match="exists; choose another place or give --overwrite"):
        invoke("export", small_run, small_artifact)
    before = verify(small_artifact)
    code, _ = invoke("export", small_run, small_artifact, "--version", "8", "--overwrite", *EXACT)
    assert code == 0
    after = verify(small_artifact)
    assert (before.version, after.version) == ("7", "8")
    assert not [path for path in small_artifact.parent.iterdir() if path.name.startswith(".smaller")]


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
    metrics = {"SAD", "MSE", "MAD", "mIoU", "GRAD", "CONN", "SAD-T", "MSE-T", "MAD-T", "SAD-FG", "SAD-BG"}
    assert set(report["mean"]) == metrics | {"confidence", "person"}
    recorded = verify(artifact).metrics
    assert set(recorded) == {f"P3M-500-NP/{name}" for name in metrics}
    # Rounded to five digits in the manifest.
    assert recorded["P3M-500-NP/MAD"] == pytest.approx(report["mean"]["MAD"], rel=1e-4)


def test_a_report_shows_every_figure_and_the_worst_mattes(folder, small_artifact):
    code, output = invoke(
        "evaluate",
        small_artifact,
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
    confidences = [image["confidence"] for image in scores["images"].values()]
    assert f"X-Matte-Confidence averages {np.mean(confidences):.3f}" in page
    counts = re.findall(r"<td>0\.\d\d to \d\.\d\d</td><td>(\d+)</td>", page)
    assert len(counts) == 4
    assert sum(map(int, counts)) == len(confidences)
    pictures = re.findall(r'src="([^"]+)"', page)
    assert pictures[0] == "spread.png"
    ranked = sorted(scores["images"], key=lambda stem: scores["images"][stem]["mIoU"])
    assert pictures[1:] == [f"{rank + 1:02d}-{stem}.jpg" for rank, stem in enumerate(ranked)]
    for name in pictures:
        assert cv2.imread(str(folder / "report" / name)) is not None


def test_an_evaluation_can_differ_from_what_is_served_but_is_then_not_recorded(folder, small_artifact):
    options = ("--no-refine", "--quality", "high", "--cut", "landscape")
    code, _ = invoke(
        "evaluate", small_artifact, "--data-root", folder / "p3m", "--json", folder / "other.json", *options
    )
    assert code == 0
    report = json.loads((folder / "other.json").read_text())
    assert report["protocol"] == "served 64x64 stretch, not refined, quality high, cut landscape"
    with pytest.raises(ValueError, match="--record keeps what is served, or resize"):
        invoke("evaluate", small_artifact, "--data-root", folder / "p3m", "--record", *options)


def test_an_export_may_choose_another_square_and_geometry(folder, small, small_run):
    options = ("--serve-size", "96", "--geometry", "limited", *EXACT)
    code, _ = invoke("export", small_run, folder / "other", *options)
    assert code == 0
    manifest = verify(folder / "other")
    assert (manifest.input_size, manifest.geometry) == (96, "limited")
    assert load_network(folder / "other")(np.zeros((1, 96, 96, 3), np.uint8)).shape == (1, 96, 96)


def test_a_sharper_export_moves_alpha_towards_0_and_1_by_its_logit(folder, small, small_run, small_artifact):
    code, _ = invoke("export", small_run, folder / "sharp", "--sharpness", "2", *EXACT)
    assert code == 0
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    plain, sharp = (
        load_network(path)(noise).astype(np.float64) for path in (small_artifact, folder / "sharp")
    )
    odds = (plain / (1 - plain)) ** 2
    np.testing.assert_allclose(sharp, odds / (1 + odds), atol=1e-5)
    assert np.abs(sharp - plain).max() > 0.01


def test_p3ms_own_protocol_sees_half_of_each_side_and_is_recorded_apart(folder, small, small_artifact):
    options = (
        "--data-root",
        folder / "p3m",
        "--protocol",
        "resize",
        "--split",
        "P3M-500-P",
        "--split",
        "P3M-500-NP",
    )
    code, _ = invoke("evaluate", small_artifact, *options, "--json", folder / "both.json", "--record")
    assert code == 0
    report = json.loads((folder / "both.json").read_text())
    assert set(report) == {"P3M-500-P", "P3M-500-NP"}
    assert report["P3M-500-P"]["protocol"] == "resize: half of each side, a multiple of 32, at most 1600"
    recorded = verify(small_artifact).metrics
    for split in report:
        assert recorded[f"{split}@resize/MAD"] == pytest.approx(report[split]["mean"]["MAD"], rel=1e-4)


def test_written_mattes_are_scored_as_the_evaluation_scored_them(folder, small_artifact):
    code, _ = invoke(
        *("evaluate", small_artifact, "--data-root", folder / "p3m", "--json", folder / "own.json"),
        *("--mattes", folder / "mattes"),
    )
    assert code == 0
    truths = folder / "p3m" / "validation" / "P3M-500-NP"
    code, output = invoke(
        *("score", folder / "mattes", truths / "mask", "--trimap", truths / "trimap"),
        *("--json", folder / "scored.json"),
    )
    assert code == 0
    assert "SAD-T" in output
    own, scored = (json.loads((folder / name).read_text()) for name in ("own.json", "scored.json"))
    for stem, scores in scored["images"].items():
        expected = own["images"][stem]
        assert scores == {name: expected[name] for name in expected if name not in ("confidence", "person")}


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(
    folder, small, config, tmp_path, monkeypatch
):
    bad = tf.constant([np.nan, 1, 0])
    monkeypatch.setattr(trainer, "compile_train_step", lambda *_: lambda image, alpha, stopping: bad)
    with (
        Progress() as progress,
        pytest.raises(RunError, match=r"not finite at step 1; the batch was (p_\w+, ){3}p_\w+\."),
    ):
        train(config, data_of(folder), tmp_path / "hot", progress)
    assert not list((tmp_path / "hot").rglob("ckpt-*"))


def test_a_validation_that_is_not_finite_is_never_the_best(
    folder, small, config, tmp_path, monkeypatch, capsys
):
    """The loss is a number all the while: what is broken is seen by the validation alone."""
    scores = iter([{"MAD": np.nan, "mIoU": np.nan}, {"MAD": 0.4, "mIoU": 0.5}, {"MAD": np.nan, "mIoU": 0.5}])
    monkeypatch.setattr(trainer.ValidationSet, "score", lambda self: (real(self), next(scores))[1])
    every = dataclasses.replace(
        config, phases=(dataclasses.replace(config.phases[0], steps=6),), validate_every=2
    )
    with Progress() as progress:
        assert train(every, data_of(folder), tmp_path / "run", progress)
    assert [path.name for path in (tmp_path / "run" / "checkpoints" / "best").glob("*.index")] == [
        "ckpt-4.index"
    ]
    said = capsys.readouterr().out
    assert said.count("(not finite: never the best)") == 2
    assert said.count("(best)") == 1


real = trainer.ValidationSet.score


def poisoned(run_dir, config, *, best, last):
    """A run directory whose checkpoints hold NaN where it is said."""
    state = TrainState(config)
    checkpoints = Checkpoints(run_dir, state)
    for manager, bad, step in ((checkpoints._best, best, 4), (checkpoints._last, last, 6)):
        state.average.assign(np.full(state.layout.size, np.nan if bad else step, np.float32))
        manager.save(checkpoint_number=step)
    return run_dir


@pytest.mark.parametrize(("best", "taken"), [(False, "best-4"), (True, "last-6")])
def test_the_best_weights_are_taken_unless_they_are_not_finite(small, config, tmp_path, best, taken):
    run_dir = poisoned(tmp_path, config, best=best, last=not best)
    network, found = load_trained(run_dir, config)
    assert found == taken
    assert np.isfinite(network.trainable_variables[0].numpy()).all()


def test_weights_that_are_not_finite_are_not_exported(small, config, tmp_path):
    run_dir = poisoned(tmp_path / "run", config, best=True, last=True)
    (run_dir / "config.toml").write_bytes(SMOKE.read_bytes())
    with pytest.raises(RunError, match=r"best-4 and last-6: the weights are not finite \(NaN\)"):
        invoke("export", run_dir, tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


@pytest.mark.parametrize("vector", ["weights", "moving", "average", "moving_average"])
@pytest.mark.parametrize("save", ["save_last", "save_best"])
def test_weights_that_are_not_finite_are_not_kept(small, config, tmp_path, vector, save):
    state = TrainState(config)
    checkpoints = Checkpoints(tmp_path, state)
    getattr(checkpoints, save)()
    broken = getattr(state, vector)
    broken.assign(np.append(broken.numpy()[:-1], np.float32(np.inf)))
    state.step.assign_add(1)
    with pytest.raises(RunError, match=r"not finite after step 1\..*the last checkpoint is from before"):
        getattr(checkpoints, save)()
    assert [path.name for path in tmp_path.rglob("*.index")] == ["ckpt-0.index"]


def test_a_run_is_not_taken_up_on_other_pictures_without_a_word(folder, small, small_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    write_data_set(tmp_path / "p3m", train=7)
    kept = ("--backgrounds", folder / "backgrounds", "--run-dir", run, "--cache", folder / "cache")
    options = ("--data-root", tmp_path / "p3m", *kept)
    with pytest.raises(RunError, match=r"begun on other pictures: training: 7 instead of 6.*--data-changed"):
        invoke("train", SMOKE, *options)
    shutil.copytree(folder / "p3m", tmp_path / "moved")
    code, output = invoke("train", SMOKE, "--data-root", tmp_path / "moved", *kept)
    assert code == 0, output
    code, output = invoke("train", SMOKE, *options, "--data-changed")
    assert code == 0, output
    # From now on these are its pictures.
    code, output = invoke("train", SMOKE, *options)
    assert code == 0, output


def test_a_run_without_a_checkpoint_may_begin_on_other_pictures(folder, config, tmp_path):
    pairs = data_of(folder).train
    for some in (pairs, pairs[:3]):
        claim(tmp_path, SMOKE, config, None, DataFingerprint.of(some, pairs, ()))


def test_a_file_is_no_run_directory(config, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file is a file; --run-dir is the folder that a run lives in"):
        claim(tmp_path / "file", SMOKE, config)


def test_what_is_wrong_with_the_data_is_told_before_a_run_is_begun(folder, tmp_path):
    root = write_data_set(tmp_path / "p3m")
    cv2.imwrite(str(root / "train" / "mask" / "p_00000002.png"), np.zeros((96, 72), np.uint8))
    options = ("--data-root", root, "--run-dir", tmp_path / "run", "--cache", tmp_path / "cache")
    with pytest.raises(DataError, match=r"1 of 9 pairs.*passes with --allow empty"):
        invoke("train", SMOKE, *options)
    assert not (tmp_path / "run").exists()


def test_the_first_line_of_a_run_names_its_device(folder, small, small_run):
    code, output = invoke(*train_command(folder, small_run))
    assert code == 0, output
    gpus = tf.config.list_physical_devices("GPU")
    expected = f"float32 on {len(gpus)} GPU" if gpus else "float32 on the CPU (no GPU found), resumed"
    assert expected in " ".join(output.split())


def test_a_batch_that_the_devices_cannot_share_is_refused(folder, config, tmp_path):
    odd = dataclasses.replace(config, batch_size=5)
    with (
        Progress() as progress,
        pytest.raises(RunError, match="batch_size 5 cannot be shared by 1 replicas in 2"),
    ):
        train(odd, data_of(folder), tmp_path / "odd", progress)
