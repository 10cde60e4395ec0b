"""How failures are told to people, and listed for scripts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from app.cli.failures import Failure, listing, tell
from app.cli.files import PathsError
from app.cli.processors import ProcessingStopped

LONG = Path("photos", *["a folder of a rather long name"] * 9, "the photo.jpg")


def told(*, terminal: bool, width: int = 60) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=width, no_color=True)
    tell(console, "2 of 9 failed", {LONG: "it is [damaged]", Path("b\n.jpg"): "so is this"}, more=["the end"])
    return text.getvalue()


def test_logs_get_each_name_whole_on_a_line_of_its_own():
    assert told(terminal=False).splitlines() == [
        "2 of 9 failed:",
        f"{LONG}: it is [damaged]",
        r"b\n.jpg: so is this",
        "the end",
    ]


@pytest.mark.parametrize("width", [20, 60, 500])
def test_terminals_get_a_table_with_each_name_whole(width):
    text = told(terminal=True, width=width)
    assert "2 of 9 failed" in text
    assert "…" not in text
    first = "".join(line.split("│")[1].strip() if "│" in line else "" for line in text.splitlines())
    assert str(LONG).replace(" ", "") in first.replace(" ", "")


def test_list_has_a_line_of_json_for_each_failure_as_it_comes(tmp_path):
    path = tmp_path / "new" / "failures.jsonl"
    with listing(path) as note:
        assert path.read_text() == ""
        note(Path("a\n\udce9.jpg"), Failure("code", "It is [damaged]."))
        assert json.loads(path.read_text()) == {
            "path": "a\n\udce9.jpg",
            "code": "code",
            "detail": "It is [damaged].",
        }
        note(Path("b.jpg"), Failure("code", ""))
    assert len(path.read_text().splitlines()) == 2


def test_list_is_of_the_last_run_alone(tmp_path):
    path = tmp_path / "failures.jsonl"
    path.write_text("old")
    with listing(path):
        pass
    assert path.read_text() == ""


def test_without_a_file_nothing_is_listed(tmp_path):
    with listing(None) as note:
        note(Path("a.jpg"), Failure("code", ""))


@pytest.mark.parametrize("name", ["a.jpg", "b.PNG", "c.jfif"])
def test_photo_is_not_written_over(tmp_path, name):
    """Whoever forgets the file's name has typed a photo there."""
    (tmp_path / name).write_bytes(b"photo")
    with pytest.raises(PathsError, match="is a photo's name"), listing(tmp_path / name):
        pass
    assert (tmp_path / name).read_bytes() == b"photo"


def test_list_that_cannot_be_written_ends_the_work():
    with (
        pytest.raises(ProcessingStopped, match="/dev/full: No space left"),
        listing(Path("/dev/full")) as note,
    ):
        note(Path("a.jpg"), Failure("code", ""))


def test_folder_is_no_list(tmp_path):
    with pytest.raises(PathsError, match=r"is a folder; --failures writes a list"), listing(tmp_path):
        pass
