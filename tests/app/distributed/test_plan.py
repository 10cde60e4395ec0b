from __future__ import annotations

import pytest

pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")

import os

import pyarrow as pa
from pyarrow import parquet

from app.distributed.plan import make_plan
from app.distributed.records import Outcome, Photo
from app.distributed.sinks import Files, Parquet
from app.distributed.storage import StorageError, open_storage
from app.files.results import LIST_FILE, MADE


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
    assert [entry.name for entry in open_storage(str(tmp_path / "out")).entries()] == [
        "_u2matte.json",
        "_u2matte.jsonl",
    ]


def test_photos_are_never_written_over(plan):
    with pytest.raises(StorageError, match="another place"):
        plan(destination="src")


@pytest.mark.parametrize("spelling", ["path", "uri", "link"])
def test_photos_are_never_written_over_however_they_are_named(plan, tmp_path, spelling):
    plan()
    (tmp_path / "link").symlink_to("src")
    named = {"path": tmp_path / "src", "uri": (tmp_path / "src").as_uri(), "link": tmp_path / "link"}[
        spelling
    ]
    with pytest.raises(StorageError, match="another place"):
        make_plan(str(tmp_path / "src"), str(named), suffix=".png", key="key")


def test_results_may_lie_above_the_photos_but_not_among_them(plan, tmp_path):
    assert ids(plan("src", ".")) == ["a.jpg", "b.jpg", "in/c.jpg"]
    (tmp_path / "src" / "src").mkdir()
    (tmp_path / "src" / "src" / "d.jpg").write_bytes(b"x")
    (tmp_path / "src" / "d.png").write_bytes(b"somebody's own photo")
    with pytest.raises(StorageError, match=r"src/d\.png would be among the photos"):
        plan("src", ".")


@pytest.mark.parametrize("pattern", ["src", "src/**/*.*", "src/*"])
def test_results_below_the_photos_do_not_become_photos(plan, tmp_path, pattern):
    for out in ("src/mattes", "src/cutouts"):
        for _ in range(3):
            found = plan(pattern, out, overwrite=True)
            for photo in found.photos:
                found.sink.storage.write(photo.target, b"x")
        assert not [each for each in ids(found) if each.endswith(".png")]
    assert set(plan(pattern, "more").left_out.values()) <= {MADE}


def test_results_of_all_jobs_into_one_place_are_noted(plan, tmp_path):
    plan()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "d.jpg").write_bytes(b"x")
    plan("other")
    plan("other")
    lines = (tmp_path / "out" / LIST_FILE).read_text().splitlines()
    assert sorted(lines) == ['["a.png"]', '["b.png"]', '["d.png"]', '["in/c.png"]']


def test_results_of_rows_are_noted_too(plan, rows, tmp_path):
    rows("x/a", "b")
    plan("in.parquet")
    assert (tmp_path / "out" / LIST_FILE).read_text() == '["x/a.png"]\n["b.png"]\n'


def test_where_no_photo_is_that_is_said_with_what_was_left_out(plan, tmp_path):
    (tmp_path / "others").mkdir()
    with pytest.raises(
        StorageError,
        match="others: no photo found; only JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP and GIF are read",
    ):
        plan("others")
    (tmp_path / "others" / "a.nef").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"others: no photo found; 1 file left out: 1 \.nef"):
        plan("others")
    assert not (tmp_path / "out").exists()


def test_failed_rows_of_parquet_are_taken_out_and_tried_again(plan, tmp_path):
    first = plan(destination="out.parquet")
    assert isinstance(first.sink, Parquet)
    writer = first.sink.writer(first.photos)
    writer.close([Outcome("a.jpg"), Outcome("b.jpg", "internal", "why")])
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
