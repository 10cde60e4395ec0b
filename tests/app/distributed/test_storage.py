from __future__ import annotations

import pytest

pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")


from app.distributed.storage import StorageError, is_partial, open_storage


@pytest.fixture(params=["path", "file", "memory"])
def uri(request, tmp_path):
    return {"path": str(tmp_path), "file": tmp_path.as_uri(), "memory": f"memory:/{tmp_path}"}[request.param]


def test_what_is_written_is_listed_and_read(uri):
    storage = open_storage(uri)
    storage.write("b/c.png", b"first")
    storage.write("b/c.png", b"second")
    storage.write("a.png", b"a")
    assert [entry.name for entry in storage.entries()] == ["a.png", "b/c.png"]
    assert storage.read("b/c.png") == b"second"
    assert storage.existing(["a.png", "b", "none.png"]) == {"a.png"}
    storage.delete("a.png")
    assert [entry.name for entry in storage.entries()] == ["b/c.png"]


def test_folder_that_is_not_there_has_no_files(uri):
    assert open_storage(f"{uri}/none").entries() == []


def test_file_that_could_not_be_finished_is_a_part_and_no_result(tmp_path, monkeypatch):
    storage = open_storage(str(tmp_path))
    (tmp_path / "a.png").mkdir()  # Nothing can be renamed to it.
    with pytest.raises(OSError, match="directory"):
        storage.write("a.png", b"a")
    assert all(is_partial(entry.name) for entry in storage.entries())


@pytest.mark.parametrize("uri", ["nosuch://bucket/folder", "s3n:"])
def test_unknown_scheme_is_said(uri):
    if "://" in uri:
        with pytest.raises(StorageError, match="nosuch"):
            open_storage(uri)
    else:
        assert open_storage(uri).root.endswith("s3n:")
