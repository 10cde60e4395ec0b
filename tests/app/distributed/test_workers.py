"""Workers of either kind, in this process."""

from __future__ import annotations

import pytest

pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")

from dataclasses import replace

import numpy as np

from app.distributed import job, records
from app.distributed.job import FAILURES_FILE, write_failures
from app.distributed.quarantine import Quarantine
from app.distributed.records import Outcome, Photo, outcomes_of, photo_table
from app.distributed.workers import (
    DecodeActor,
    FinishActor,
    FullPipelineActor,
    InferenceActor,
    Task,
    load_model,
)
from app.imaging.output import Output
from app.inference.backends.base import LoadError
from app.inference.predictor import Predictor
from app.inference.registry import STAND_IN
from app.inference.repository import ModelVersion
from app.settings import Settings
from model.contract import read_manifest
from model.quality import Quality
from tests.support.images import plain, png
from tests.support.networks import mean_colour


@pytest.fixture
def task(order, photos):
    """A task for one good photo and one bad one, with its plan."""
    source = photos(good=100, other=60)
    (source / "bad.jpg").write_bytes(b"\xff\xd8\xffno")

    def make(**chosen):
        asked = order(source, **chosen)
        plan = job.plan(asked)
        return job._task(asked, plan, 1), plan

    return make


def relayed(task, table):
    """All that three pools would make of a batch."""
    decoder, network, finisher = (
        DecodeActor(task, Quarantine()),
        InferenceActor(task),
        FinishActor(task, Quarantine()),
    )
    try:
        return [row for part in decoder(table) for row in outcomes_of(finisher(network(part)))]
    finally:
        decoder.close()
        finisher.close()


def whole(task, table):
    """All that one pool would."""
    worker = FullPipelineActor(task, Quarantine())
    try:
        return [row for part in worker(table) for row in outcomes_of(part)]
    finally:
        worker.close()


@pytest.mark.parametrize("way", [whole, relayed])
def test_results_are_kept_and_failures_told(task, tmp_path, way):
    made, plan = task(output=Output(quality=Quality.HIGH))
    done = {each.id: each for each in way(made, photo_table(plan.photos))}
    assert {name: each.code for name, each in done.items()} == {
        "bad.jpg": "failed_to_read_image",
        "good.png": "",
        "other.png": "",
    }
    assert (done["good.png"].height, done["good.png"].width) == (24, 36)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["good.png", "other.png"]


@pytest.mark.parametrize("way", [whole, relayed])
def test_photo_that_is_gone_and_photo_that_cannot_be_written_are_failures(task, tmp_path, way):
    made, plan = task()
    (tmp_path / "photos" / "other.png").unlink()
    (tmp_path / "out" / "good.png").mkdir()
    codes = {each.id: each.code for each in way(made, photo_table(plan.photos))}
    assert codes == {"bad.jpg": "failed_to_read_image", "good.png": "storage", "other.png": "storage"}


@pytest.mark.parametrize("way", [whole, relayed])
def test_alphas_that_are_no_numbers_are_their_photos_failures(task, way):
    def broken(batch):
        alphas = mean_colour(batch).copy()
        alphas[batch.mean(axis=(1, 2, 3)) > 80] = np.nan
        return alphas

    made, plan = task(load=lambda _task: Predictor(STAND_IN, "none", "float32", (1, 2), broken))
    codes = {each.id: each.code for each in way(made, photo_table(plan.photos))}
    assert codes == {"bad.jpg": "failed_to_read_image", "good.png": "internal", "other.png": ""}


def test_keys_do_not_reach_the_workers(order, photos):
    asked = order(photos(a=1), settings=Settings(api_keys="secret", protect="metrics"))
    sent = job._task(asked, job.plan(asked), 3).settings
    assert (sent.api_keys, sent.protect, sent.core_count) == ((), (), 3)


def test_another_model_under_the_same_path_is_refused(tiny_artifact, task):
    manifest = read_manifest(tiny_artifact)
    made, _plan = task(settings=Settings(model_dir=tiny_artifact, device="cpu", cores=1))
    assert load_model(replace(made, model=ModelVersion(tiny_artifact, manifest, 0))).manifest == manifest
    other = replace(manifest, files={"saved_model/saved_model.pb": "0" * 64})
    with pytest.raises(LoadError, match="not the same model on every node"):
        load_model(replace(made, model=ModelVersion(tiny_artifact, other, 0)))


def test_failures_are_lines_of_json(order, photos, tmp_path):
    plan = job.plan(order(photos(a=1)))
    where = write_failures(plan, [Outcome("ä.png", "internal", "why")])
    assert where == str(tmp_path / "out" / FAILURES_FILE)
    text = (tmp_path / "out" / FAILURES_FILE).read_text()
    assert text == '{"path": "\\u00e4.png", "code": "internal", "detail": "why"}\n'
    write_failures(plan, [])
    assert (tmp_path / "out" / FAILURES_FILE).read_text() == ""


def test_rows_go_to_and_fro():
    photos = [Photo("a", "a.png"), Photo("b", "b.png", b"\0")]
    assert records.photos_of(photo_table(photos)) == photos
    made = [Outcome("a"), Outcome("b", "c", "d", False, 1, 2, 0.5)]
    assert outcomes_of(records.outcome_table(made)) == made


def test_order_does_not_show_its_settings(order, photos):
    assert "settings" not in repr(order(photos(a=1)))


def test_task_reads_rows_and_passes_over_those_that_are_done(task, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"id": ["a", "b", "c"], "bytes": [png(plain(1)), b"", None]})
    parquet.write_table(table, tmp_path / "photos" / "in.parquet")
    made, _plan = task()
    made = replace(made, done=frozenset({"b"}))
    assert isinstance(made, Task)
    group = pa.Table.from_pylist([{"file": "in.parquet", "number": 0}], records.GROUPS)
    assert list(made.photos(group)) == [[Photo("a", "a.png", png(plain(1))), Photo("c", "c.png", b"")]]
