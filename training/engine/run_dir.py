"""A run's directory, and which run it belongs to.

<run>/config.toml            the run's document, as given; a run is only resumed with the same values
<run>/pictures.json          the fingerprint of its pictures: how many, and digests
<run>/init_from.txt          the model whose weights it began with, where it began with one
<run>/checkpoints/last/      everything, for an exact resume
<run>/checkpoints/best/      the average of the best validation of the last phase
<run>/history.csv            a row per validation
<run>/curves.png             history.csv as a picture
<run>/validation.png         mattes of the last validation
<run>/tensorboard/           the same for TensorBoard, and every step's loss
"""

from __future__ import annotations

from pathlib import Path

from model.contract import verify
from training.config import TrainConfig, load_config
from training.data.fingerprint import DataFingerprint
from training.weights.batch_norm import check_statistics_measured


class RunError(RuntimeError):
    """The run cannot go on; the message says why and what to do."""


def check_claim(
    run_dir: Path,
    document: Path,
    config: TrainConfig,
    init_from: Path | None = None,
    pictures: DataFingerprint | None = None,
    *,
    data_changed: bool = False,
) -> str:
    """Check, without writing anything, that `claim` would succeed. Raises what it raises. Returns what a run notes of
    the weights that it begins with; "" without `init_from`."""
    if run_dir.exists() and not run_dir.is_dir():
        raise RunError(f"{run_dir} is a file; --run-dir is the folder that a run lives in")
    copy, weights_note = run_dir / "config.toml", run_dir / "init_from.txt"
    origin = _first_weights(init_from, config.freeze)
    if not copy.exists():
        return origin
    if load_config(copy).digest() != config.digest():
        raise RunError(f"{run_dir} was begun with other values than {document}; give another --run-dir")
    if origin and origin != (weights_note.read_text(encoding="utf-8") if weights_note.exists() else ""):
        raise RunError(f"{run_dir} was not begun with the weights of {init_from}; give another --run-dir")
    if pictures and not data_changed and (run_dir / "checkpoints" / "last" / "checkpoint").exists():
        _check_pictures(run_dir, pictures)
    return origin


def claim(
    run_dir: Path,
    document: Path,
    config: TrainConfig,
    init_from: Path | None = None,
    pictures: DataFingerprint | None = None,
    *,
    data_changed: bool = False,
) -> None:
    """Keep a copy of the document in a new run directory, the name of the model it begins with, and its `pictures`.

    Raises RunError when the directory holds a run of other values, or one that began with other weights or, unless
    `data_changed`, on other pictures: half a run with one recipe and half with another would be nobody's result. An
    existing run may be taken up without `init_from`; its weights come from the checkpoint anyway. Raises
    ContractError for a damaged artifact, and StatisticsError for one that this run cannot begin with.
    """
    origin = check_claim(run_dir, document, config, init_from, pictures, data_changed=data_changed)
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "config.toml").exists():
        if origin:
            _write(run_dir / "init_from.txt", origin.encode())
        _write(run_dir / "config.toml", document.read_bytes())
    if pictures:
        _write(run_dir / "pictures.json", pictures.to_json().encode())


def _check_pictures(run_dir: Path, pictures: DataFingerprint) -> None:
    record = run_dir / "pictures.json"
    if not record.exists():
        return  # a run of before there was such a record
    if changed := pictures.changed_since(record.read_text(encoding="utf-8")):
        raise RunError(
            f"{run_dir} was begun on other pictures: {changed}. Give another --run-dir, or --data-changed to go "
            "on with those that are there now"
        )


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever the process may be killed."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)


def _first_weights(init_from: Path | None, freeze: str) -> str:
    """`name@version <SHA-256>` of an artifact; "" for none."""
    if init_from is None:
        return ""
    manifest = verify(init_from)
    check_statistics_measured(manifest, freeze)
    return f"{manifest.label} {manifest.sha256}\n"
