from __future__ import annotations

import pytest

pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")

import pyarrow as pa
from pyarrow import parquet

from app.bulk.sources import Photos, Rows, find, is_inside, targets, twice
from app.bulk.storage import StorageError, open_storage


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "in/b.PNG", "in/deep/c.webp", ".hidden.jpg", "in/.d/e.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def names(found):
    assert isinstance(found, Photos)
    return [entry.name for entry in found.entries]


def test_folder_gives_its_photos_by_their_names_below_it(folder):
    assert names(find(str(folder))) == ["a.jpg", "in/b.PNG", "in/deep/c.webp"]
    assert names(find(folder.as_uri())) == ["a.jpg", "in/b.PNG", "in/deep/c.webp"]
    assert names(find(str(folder), recursive=False)) == ["a.jpg"]


def test_results_below_the_folder_are_no_photos(folder):
    but = open_storage(str(folder / "in" / "deep"))
    assert names(find(str(folder), but=but)) == ["a.jpg", "in/b.PNG"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["a.jpg"]),
        ("in/*", ["b.PNG"]),
        ("**/*.webp", ["in/deep/c.webp"]),
        ("in/**/[bc].*", ["b.PNG", "deep/c.webp"]),
        ("z*", []),
    ],
)
def test_pattern_gives_what_fits_it(folder, pattern, found):
    base = f"{folder}/in/" if pattern.startswith("in/") else f"{folder}/"
    where = find(f"{folder}/{pattern}")
    assert names(where) == found
    assert f"{where.storage.root}/" == base


def test_single_photo_and_file_whose_name_looks_like_a_pattern(folder):
    (folder / "[1].jpg").write_bytes(b"x")
    assert names(find(str(folder / "[1].jpg"))) == ["[1].jpg"]


def test_parquet_gives_its_row_groups_with_their_ids(tmp_path):
    table = pa.table({"id": [1, 2, 3], "bytes": [b"a", b"b", b"c"], "more": [0, 0, 0]})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    for source in (tmp_path, tmp_path / "t.parquet"):
        found = find(str(source))
        assert isinstance(found, Rows)
        assert found.groups == {("t.parquet", 0): ["1", "2"], ("t.parquet", 1): ["3"]}


def test_parquet_without_the_columns_is_said(tmp_path):
    parquet.write_table(pa.table({"name": ["a"], "bytes": [b"a"]}), tmp_path / "t.parquet")
    with pytest.raises(StorageError, match="no column id"):
        find(str(tmp_path / "t.parquet"))
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    with pytest.raises(StorageError, match=r"t\.parquet"):
        find(str(tmp_path / "t.parquet"))


def test_source_that_is_not_there_is_said(tmp_path):
    with pytest.raises(StorageError, match="no such file or folder"):
        find(str(tmp_path / "none"))


def test_each_photo_has_a_file_of_its_own():
    assert targets(["a.jpg", "in/b.png", "in/a.jpg"], ".png") == {
        "a.jpg": "a.png",
        "in/b.png": "in/b.png",
        "in/a.jpg": "in/a.png",
    }
    clashing = ["a.jpg", "A.webp", "a.jpg.png", "b.c.jpg"]
    assert targets(clashing, ".png") == {
        "a.jpg": "a.jpg.png",
        "A.webp": "A.webp.png",
        "a.jpg.png": "a.jpg.png.png",
        "b.c.jpg": "b.c.png",
    }


def test_ids_that_lead_out_of_a_folder_are_known():
    assert all(map(is_inside, ["a", "a/b", "..a", "a b"]))
    assert not any(map(is_inside, ["", "/a", "../a", "a/../../b", "a//b", "./a", "a/", "a\0"]))


def test_ids_that_occur_twice_are_known():
    assert twice(["a", "b", "a"]) == "a"
    assert twice(["a", "b"]) is None
