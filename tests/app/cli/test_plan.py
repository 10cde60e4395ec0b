"""Which photo goes into which file, and what is left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cli.journal import Journal
from app.cli.plan import Job, Plan
from app.files.names import NAME_MAX
from app.files.results import MADE
from app.files.walk import DEAD_LINK, LINKED_BACK
from tests.app.cli.conftest import touch


def plan(paths: list[Path], out: Path, suffix: str = ".png", *, recursive: bool = True) -> list[Job]:
    return Plan(paths, out, suffix, recursive=recursive).look()


def test_folders_keep_their_structure(folder, tmp_path):
    out = tmp_path / "out"
    assert plan([folder], out, ".webp") == [
        (folder / "a.jpg", out / "a.webp"),
        (folder / "b.png", out / "b.webp"),
        (folder / "inner" / "c.webp", out / "inner" / "c.webp"),
    ]


def test_folders_inside_are_left_out_on_request(folder, tmp_path):
    assert [photo.name for photo, _ in plan([folder], tmp_path / "out", recursive=False)] == [
        "a.jpg",
        "b.png",
    ]


def test_inputs_of_one_stem_get_a_file_each(tmp_path):
    paths = touch(tmp_path, "a.jpg", "a.png", "A.webp", "x/a.jpg", "y/a.jpg")
    assert [target.name for _, target in plan(paths, tmp_path / "out")] == [
        "a.png",
        "a.png.png",
        "A.webp.png",
        "a.jpg.png",
        "a.jpg-2.png",
    ]


def test_no_input_is_ever_overwritten(tmp_path):
    touch(tmp_path, "a.png", "b.jpg", "b.png")
    sources, targets = zip(*plan([tmp_path], tmp_path), strict=True)
    assert not set(sources) & set(targets)
    assert len(set(targets)) == 3


def test_photo_that_is_named_twice_is_done_once(tmp_path):
    (photo,) = touch(tmp_path, "a.png")
    assert len(plan([tmp_path, photo], tmp_path / "out")) == 1


def test_results_of_an_earlier_run_inside_the_folder_are_no_input(tmp_path):
    touch(tmp_path, "a.png", "out/a.png")
    assert plan([tmp_path], tmp_path / "out") == [(tmp_path / "a.png", tmp_path / "out" / "a.png")]


def test_results_may_lie_beside_the_folder_of_the_photos(tmp_path):
    touch(tmp_path, "photos/a.jpg", "a.png")
    assert plan([tmp_path / "photos"], tmp_path) == [(tmp_path / "photos" / "a.jpg", tmp_path / "a.png")]


def test_hidden_files_are_no_photos_unless_named(tmp_path):
    hidden = touch(tmp_path, "._a.jpg", ".thumbnails/a.jpg")
    assert plan([tmp_path], tmp_path / "out") == []
    assert len(plan(hidden, tmp_path / "out")) == 2


def test_photo_keeps_its_file_when_others_come(tmp_path):
    touch(tmp_path, "in/b.webp")
    growing = Plan([tmp_path / "in"], tmp_path / "out")
    assert [target.name for _, target in growing.look()] == ["b.png"]
    touch(tmp_path, "in/a.jpg", "in/b.jpg")
    names = {photo.name: target.name for photo, target in growing.look()}
    assert names == {"a.jpg": "a.png", "b.jpg": "b.jpg.png", "b.webp": "b.png"}


def test_result_of_a_look_is_no_photo_of_the_next(tmp_path):
    touch(tmp_path, "a.jpg")
    growing = Plan([tmp_path], tmp_path)
    ((_, target),) = growing.look()
    target.touch()
    assert growing.look() == [(tmp_path / "a.jpg", target)]


def write(jobs: list[Job], out: Path) -> list[str]:
    """As a run does it. The names of the results, as they are below `out`."""
    book = Journal(out, "key")
    for photo, target in jobs:
        data = b"of " + photo.name.encode()
        target.parent.mkdir(parents=True, exist_ok=True)
        book.add(target, book.mark(photo), len(data))
        target.write_bytes(data)
    return [target.relative_to(out).as_posix() for _, target in jobs]


def left(planned: Plan) -> dict[str, str]:
    planned.look()
    return {path.name: why for path, why in planned.left_out.items()}


@pytest.mark.parametrize("how", ["folder", "folder above", "files", "link"])
def test_folder_of_photos_and_results_does_not_grow(tmp_path, how):
    folder = tmp_path / "in"
    touch(folder, "a.jpg", "b.png", "inner/c.webp", "in/d.jpg")
    (tmp_path / "link").symlink_to(folder)
    out = tmp_path if how == "folder above" else folder

    def paths() -> list[Path]:
        if how == "files":  # As a shell gives them for in/* and in/*/*.
            return [path for path in sorted(folder.rglob("*.*")) if path.name[0] != "."]
        return [tmp_path / "link" if how == "link" else folder]

    first = write(plan(paths(), out), out)
    assert len(first) == 4
    for _ in range(3):
        assert write(plan(paths(), out), out) == first


def test_results_are_told(tmp_path):
    touch(tmp_path, "a.jpg")
    write(plan([tmp_path], tmp_path), tmp_path)
    assert left(Plan([tmp_path], tmp_path)) == {"a.png": MADE}
    assert left(Plan([tmp_path / "a.jpg", tmp_path / "a.png"], tmp_path)) == {"a.png": MADE}


def test_photo_in_place_of_a_result_is_done_and_not_written_over(tmp_path):
    touch(tmp_path, "a.jpg")
    write(plan([tmp_path], tmp_path), tmp_path)
    (tmp_path / "a.png").write_bytes(b"somebody's own photo")
    assert plan([tmp_path], tmp_path) == [
        (tmp_path / "a.jpg", tmp_path / "a.jpg.png"),
        (tmp_path / "a.png", tmp_path / "a.png.png"),
    ]


def test_photo_that_is_not_named_is_not_written_over_either(tmp_path):
    """`in/a.jpg -o in` beside somebody's own `in/a.png`."""
    touch(tmp_path, "a.jpg", "a.png")
    jobs = plan([tmp_path / "a.jpg"], tmp_path)
    assert jobs == [(tmp_path / "a.jpg", tmp_path / "a.jpg.png")]
    write(jobs, tmp_path)
    assert plan([tmp_path / "a.jpg"], tmp_path) == jobs


def test_results_of_other_runs_below_the_folder_are_no_photos(tmp_path):
    touch(tmp_path, "a.jpg")
    for name in ("mattes", "cutouts"):
        assert write(plan([tmp_path], tmp_path / name), tmp_path / name) == ["a.png"]
    planned = Plan([tmp_path], tmp_path / "more")
    assert planned.look() == [(tmp_path / "a.jpg", tmp_path / "more" / "a.png")]
    assert planned.left_out == {
        tmp_path / "cutouts" / "a.png": MADE,
        tmp_path / "mattes" / "a.png": MADE,
    }


def test_results_that_are_named_themselves_are_done_elsewhere(tmp_path):
    touch(tmp_path, "a.jpg")
    out = tmp_path / "out"
    write(plan([tmp_path], out), out)
    assert plan([out], tmp_path / "more") == []
    assert plan([out / "a.png"], tmp_path / "more") == [(out / "a.png", tmp_path / "more" / "a.png")]


def test_result_of_a_linked_folder_is_known(tmp_path):
    touch(tmp_path, "else/a.jpg", "in/b.jpg")
    (tmp_path / "in" / "link").symlink_to("../else")
    first = write(plan([tmp_path / "in"], tmp_path / "in"), tmp_path / "in")
    assert first == ["b.png", "link/a.png"]
    assert write(plan([tmp_path / "in"], tmp_path / "in"), tmp_path / "in") == first


@pytest.mark.parametrize("suffix", ["jfif", "JFIF", "jpe", "JPG", "jpeg", "png", "webp", "apng"])
def test_every_name_of_what_is_read_is_done(tmp_path, suffix):
    touch(tmp_path, f"a.{suffix}")
    assert len(plan([tmp_path], tmp_path / "out")) == 1


def test_what_is_no_photo_is_left_out_with_its_kind(tmp_path):
    touch(tmp_path, "a.nef", "in/b.NEF", "c.psd", "IMG_1", "d.jpg", ".DS_Store", "_u2matte.json")
    (tmp_path / "e.jpg").symlink_to("gone")
    (tmp_path / "in" / "up").symlink_to("..")
    planned = Plan([tmp_path], tmp_path / "out")
    assert left(planned) == {
        "a.nef": ".nef",
        "b.NEF": ".nef",
        "c.psd": ".psd",
        "IMG_1": "without a suffix",
        "e.jpg": DEAD_LINK,
        "up": LINKED_BACK,
    }
    (tmp_path / "a.nef").unlink()
    assert "a.nef" not in left(planned)


def test_what_is_not_looked_into_is_not_told(tmp_path):
    touch(tmp_path, "a.jpg", "in/b.nef", "out/c.nef")
    assert left(Plan([tmp_path], tmp_path / "out", recursive=False)) == {}
    assert left(Plan([tmp_path], tmp_path / "out")) == {"b.nef": ".nef"}


def test_each_name_gets_a_result(tmp_path):
    touch(tmp_path, "else/a.jpg", "in/b.jpg")
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "c.jpg").symlink_to("b.jpg")
    (folder / "d.jpg").hardlink_to(folder / "b.jpg")
    (folder / "one").symlink_to("../else")
    (folder / "two").symlink_to("../else")
    assert [target.relative_to(out).as_posix() for _, target in plan([folder], out)] == [
        "b.png",
        "c.png",
        "d.png",
        "one/a.png",
        "two/a.png",
    ]


def test_one_name_gets_one_result_however_it_is_spelled(tmp_path, monkeypatch):
    touch(tmp_path, "in/a.jpg")
    monkeypatch.chdir(tmp_path)
    spellings = [Path("in"), Path("in/a.jpg"), Path("./in/../in/a.jpg"), tmp_path / "in" / "a.jpg"]
    assert len(plan(spellings, tmp_path / "out")) == 1


@pytest.mark.parametrize("length", range(248, 256))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_longest_names_get_results(tmp_path, length, suffix):
    stems = ["x" * (length - 4), "X" * (length - 4), "é" * ((length - 4) // 2)]
    touch(tmp_path, *[stem + ".jpg" for stem in stems])
    jobs = plan([tmp_path], tmp_path / "out", suffix)
    write(jobs, tmp_path / "out")
    assert len(os.listdir(tmp_path / "out")) == 1 + len(stems)  # noqa: PTH208 - the journal too
    assert all(len(os.fsencode(target.name)) <= NAME_MAX for _, target in jobs)
    assert plan([tmp_path], tmp_path / "out", suffix) == jobs
