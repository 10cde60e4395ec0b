from __future__ import annotations

import pytest

pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")

import os
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from app.distributed.plan import Photos, Rows, find, first_duplicate, is_inside, targets
from app.distributed.storage import StorageError, open_storage
from app.files.results import LIST_FILE, MADE, listed
from app.files.walk import DEAD_LINK, LINKED_BACK


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
    deep = open_storage(str(folder / "in" / "deep"))
    assert names(find(str(folder), exclude=deep)) == ["a.jpg", "in/b.PNG"]


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
    assert first_duplicate(["a", "b", "a"]) == "a"
    assert first_duplicate(["a", "b"]) is None


def left(found):
    return {path.as_posix(): why for path, why in found.left_out.items()}


@pytest.fixture(params=["path", "file", "memory"])
def place(request, tmp_path):
    """A folder by its path or URI; the function writes files into it."""
    uri = {"path": f"{tmp_path}/p", "file": f"{tmp_path.as_uri()}/p", "memory": f"memory:/{tmp_path}/p"}

    def write(**files):
        storage = open_storage(uri[request.param])
        for name, data in files.items():
            storage.write(name, data)
        return uri[request.param]

    return write


def test_what_is_no_photo_is_left_out_with_its_kind(place):
    names = (
        "a.jpg",
        "b.jfif",
        "c.jpe",
        "d.nef",
        "in/e.PSD",
        "f",
        ".g.jpg",
        "_u2matte.json",
        "_failures.jsonl",
    )
    uri = place(**dict.fromkeys(names, b"x"))
    assert names_of(uri) == ["a.jpg", "b.jfif", "c.jpe"]
    assert left(find(uri)) == {"d.nef": ".nef", "in/e.PSD": ".psd", "f": "without a suffix"}
    assert left(find(uri, recursive=False)) == {"d.nef": ".nef", "f": "without a suffix"}
    assert left(find(f"{uri}/[cd]*")) == {"d.nef": ".nef"}


def names_of(uri):
    return names(find(uri))


@pytest.mark.parametrize("journal", [".u2matte.jsonl", "_u2matte.jsonl"])
def test_results_of_earlier_runs_are_no_photos(place, journal):
    lines = b'["a.png", "mark", 3]\n["in/b.png", "mark", 3]\n'
    if journal == LIST_FILE:
        lines = listed(["a.png", "in/b.png"]).encode()
    three = dict.fromkeys(("out/a.png", "out/in/b.png", "out/c.png", "a.png"), b"123")
    uri = place(**{f"out/{journal}": lines}, **three)
    assert names_of(uri) == ["a.png", "out/c.png"]
    assert left(find(uri)) == {"out/a.png": MADE, "out/in/b.png": MADE}
    assert names_of(f"{uri}/**/*.png") == ["a.png", "out/c.png"]


def test_results_are_known_from_a_folder_above(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"x")
    (tmp_path / LIST_FILE).write_text(listed(["in/a.png"]))
    assert left(find(str(tmp_path / "in"))) == {"a.png": MADE}


def test_pattern_finds_nothing_where_the_results_go(place):
    uri = place(**{"a.png": b"x", "out/a.png": b"x"})
    assert names(find(f"{uri}/**/*.png", exclude=open_storage(f"{uri}/out"))) == ["a.png"]


def test_links_are_followed_and_loops_end(tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "a.jpg").write_bytes(b"x")
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "b.jpg").write_bytes(b"x")
    (folder / "c.jpg").symlink_to("b.jpg")
    (folder / "gone.jpg").symlink_to("nothing")
    (folder / "link").symlink_to("../else")
    (folder / "up").symlink_to("..")
    (folder / "self").symlink_to(".")
    assert names_of(str(folder)) == ["b.jpg", "c.jpg", "link/a.jpg", "up/else/a.jpg"]
    assert left(find(str(folder))) == {"gone.jpg": DEAD_LINK, "self": LINKED_BACK, "up/p": LINKED_BACK}


def test_photos_beside_parquet_are_left_out_and_said(tmp_path):
    parquet.write_table(pa.table({"id": ["1"], "bytes": [b"a"]}), tmp_path / "t.parquet")
    (tmp_path / "a.jpg").write_bytes(b"x")
    found = find(str(tmp_path))
    assert isinstance(found, Rows)
    assert left(found) == {"a.jpg": "beside Parquet, which alone is read"}


@pytest.mark.parametrize("spelling", ["path", "uri", "dots", "link"])
def test_one_folder_is_one_however_it_is_named(tmp_path, spelling):
    (tmp_path / "p").mkdir()
    (tmp_path / "link").symlink_to("p")
    named = {
        "path": str(tmp_path / "p"),
        "uri": (tmp_path / "link").as_uri(),
        "dots": os.path.relpath(tmp_path / "p", Path.cwd()),
        "link": str(tmp_path / "link"),
    }
    assert open_storage(named[spelling]) == open_storage(str(tmp_path / "p"))
