from __future__ import annotations

import pytest

pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")

import os

import pyarrow as pa
from pyarrow import parquet

from app.bulk.outcomes import Outcome, Photo
from app.bulk.plan import make_plan
from app.bulk.sinks import Files, Parquet
from app.bulk.storage import StorageError, open_storage


@pytest.fixture
def plan(tmp_path):
    """A plan for three photos in `src`, or for rows."""
    for name in ("a.jpg", "b.jpg", "in/c.jpg"):
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")

    def make(source="src", destination="out", *, key="key", **chosen):
        where = [str(tmp_path / each) for each in (source, destination)]
        return make_plan(*where, suffix=".png", key=key, **chosen)

    return make


def ids(plan):
    return [photo.id for photo in plan.photos]


def test_what_is_done_is_left_out(plan, tmp_path):
    first = plan()
    assert (ids(first), first.skipped) == (["a.jpg", "b.jpg", "in/c.jpg"], 0)
    first.sink.storage.write("in/c.png", b"c")
    again = plan()
    assert (ids(again), again.count, again.skipped) == (["a.jpg", "b.jpg"], 2, 1)


def test_photo_that_was_replaced_is_done_anew(plan, tmp_path):
    plan().sink.storage.write("a.png", b"a")
    later = (tmp_path / "out" / "a.png").stat().st_mtime + 1
    os.utime(tmp_path / "src" / "a.jpg", (later, later))
    assert "a.jpg" in ids(plan())


def test_results_of_other_options_are_not_taken_for_done(plan):
    plan().sink.storage.write("a.png", b"a")
    with pytest.raises(StorageError, match="other options or another model"):
        plan(key="other")
    assert ids(plan(key="other", overwrite=True)) == ["a.jpg", "b.jpg", "in/c.jpg"]
    assert ids(plan(key="other")) == ["a.jpg", "b.jpg", "in/c.jpg"]  # Cut off, it goes on with the new key.


def test_what_a_crash_has_left_is_cleared_away(plan, tmp_path):
    plan()
    (tmp_path / "out" / ".1234.part").write_bytes(b"half")
    plan()
    assert [entry.name for entry in open_storage(str(tmp_path / "out")).entries()] == ["_u2matte.json"]


def test_photos_are_never_written_over(plan):
    with pytest.raises(StorageError, match="another place"):
        plan(destination="src")


def test_failed_rows_of_parquet_are_taken_out_and_tried_again(plan, tmp_path):
    first = plan(destination="out.parquet")
    assert isinstance(first.sink, Parquet)
    shelf = first.sink.shelf(first.photos)
    shelf.close([Outcome("a.jpg"), Outcome("b.jpg", "internal", "why")])
    again = plan(destination="out.parquet")
    assert (ids(again), again.skipped) == (["b.jpg", "in/c.jpg"], 1)
    assert parquet.read_table(tmp_path / "out.parquet")["id"].to_pylist() == ["a.jpg"]
    anew = plan(destination="out.parquet", overwrite=True)
    assert len(anew.photos) == 3
    assert not list((tmp_path / "out.parquet").glob("part-*"))


@pytest.fixture
def rows(tmp_path):
    def write(*ids):
        table = pa.table({"id": list(ids), "bytes": [b"x" for _ in ids]})
        parquet.write_table(table, tmp_path / "in.parquet", row_group_size=2)

    return write


def test_row_groups_that_are_done_are_left_out(plan, rows):
    rows("a", "b", "c")
    first = plan("in.parquet")
    assert isinstance(first.sink, Files)
    assert (first.groups, first.count) == ([("in.parquet", 0), ("in.parquet", 1)], 3)
    for photo in (Photo("a", "a.png"), Photo("c", "c.png")):
        first.sink.storage.write(photo.target, b"x")
    again = plan("in.parquet")
    assert (again.groups, again.count, again.skipped) == ([("in.parquet", 0)], 1, 2)
    assert "a" in again.done


def test_ids_that_are_no_names_of_files_are_refused_where_files_are_written(plan, rows):
    rows("../a", "b")
    found = plan("in.parquet")
    assert [(each.id, each.code) for each in found.refused] == [("../a", "invalid_id")]
    assert found.count == 1
    assert not plan("in.parquet", "out.parquet").refused


def test_ids_that_occur_twice_are_said(plan, rows):
    rows("a", "a")
    with pytest.raises(StorageError, match="'a' occurs more than once"):
        plan("in.parquet")
