"""`bulk` from the arguments to the last line, without a cluster."""

from __future__ import annotations

import json

import pytest

from app.__main__ import cli
from app.cli import bulk


@pytest.fixture
def cluster(monkeypatch):
    """Photos become outcomes by their names, without Ray. The orders that came."""
    pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")
    from app.distributed import job
    from app.distributed.records import Outcome

    orders = []

    def outcomes(order, plan):
        orders.append(order)
        for photo in plan.photos:
            if photo.id.startswith("bad"):
                yield Outcome(photo.id, "failed_to_read_image", "it is [damaged]")
            else:
                plan.sink.storage.write(photo.target, b"x")
                yield Outcome(photo.id, foreground=photo.id != "b.png")

    monkeypatch.setattr(job, "outcomes", outcomes)
    return orders


def test_all_is_done_told_and_skipped_the_next_time(runner, cluster, folder, tmp_path):
    arguments = ["bulk", str(folder), str(tmp_path / "out")]
    result = runner.invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "3/3" in result.output
    assert "without a person" in result.output
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.png")) == ["a.png", "b.png", "c.png"]
    assert (tmp_path / "out" / "_failures.jsonl").read_text() == ""
    again = runner.invoke(cli, arguments)
    assert [line.split()[-1] for line in again.output.splitlines() if "skipped" in line] == ["3"]


def test_failures_are_listed_and_end_with_1(runner, cluster, folder, tmp_path):
    for number in range(22):
        (folder / f"bad{number:02d}.jpg").write_bytes(b"x")
    result = runner.invoke(cli, ["bulk", str(folder), str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "bad00.jpg" in result.output
    assert "it is [damaged]" in result.output
    assert "and 2 more" in result.output
    lines = (tmp_path / "out" / "_failures.jsonl").read_text().splitlines()
    assert len(lines) == 22
    assert json.loads(lines[0]) == {
        "path": "bad00.jpg",
        "code": "failed_to_read_image",
        "detail": "it is [damaged]",
    }


def test_names_of_failures_are_whole_where_no_terminal_is(runner, cluster, folder, tmp_path):
    name = "bad and of a rather long name " * 7 + ".jpg"
    (folder / name).write_bytes(b"x")
    runner.env["COLUMNS"] = "40"
    result = runner.invoke(cli, ["bulk", str(folder), str(tmp_path / "out")])
    assert f"{name}: failed_to_read_image: it is [damaged]" in result.output.splitlines()


def test_what_is_left_out_is_told(runner, cluster, folder, tmp_path):
    for name in ("d.nef", "e.NEF", "inner/f.psd"):
        (folder / name).write_bytes(b"x")
    result = runner.invoke(cli, ["bulk", str(folder), str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "4 files left out: 2 .nef, 1 .psd, 1 .txt" in result.output


def test_where_nothing_but_that_is_there_it_is_an_error(runner, cluster, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "d.nef").write_bytes(b"x")
    result = runner.invoke(cli, ["bulk", str(tmp_path / "in"), str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "no photo found; 1 file left out: 1 .nef" in result.output
    assert not cluster


def test_results_of_the_plain_command_are_no_photos_of_bulk_and_the_other_way_round(
    runner, cluster, maker, folder, tmp_path
):
    runner.invoke(cli, ["matte", str(folder), "-o", str(folder)])
    result = runner.invoke(cli, ["bulk", str(folder), str(folder / "bulk")])
    assert "3 made by an earlier run" in result.output
    assert len(list((folder / "bulk").rglob("*.png"))) == 3
    result = runner.invoke(cli, ["matte", str(folder), "-o", str(tmp_path / "out")])
    assert "6 made by an earlier run" in result.output
    assert "3 written" in result.output


def test_every_option_is_handed_on(runner, cluster, folder, tmp_path):
    options = (
        "--output cutout --format webp --background red --size 1 --overwrite --no-recursive --address h:1"
    )
    counts = "--workers 3 --cpus 2 --gpus 0 --split"
    result = runner.invoke(
        cli, ["bulk", str(folder), str(tmp_path / "out"), *options.split(), *counts.split()]
    )
    assert result.exit_code == 0, result.output
    (order,) = cluster
    assert (order.suffix, order.address, order.overwrite, order.recursive) == (".webp", "h:1", True, False)
    assert (
        order.cluster_spec.workers,
        order.cluster_spec.cpus,
        order.cluster_spec.gpus,
        order.cluster_spec.split,
    ) == (3, 2, 0, True)
    assert order.output.format == "webp"
    assert "background" in order.key


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none", "out"], "no such file or folder"),
        ([".", "out", "--format", "webp"], "a matte has no options but --quality and --subject"),
    ],
)
def test_what_cannot_begin_is_said_in_a_sentence(runner, cluster, arguments, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(cli, ["bulk", *arguments])
    assert result.exit_code == 1
    assert problem in result.output
    assert "Traceback" not in result.output
    assert not cluster


def test_without_ray_it_is_said_how_to_install_it(runner, monkeypatch):
    monkeypatch.setattr(bulk, "find_spec", lambda name: None if name == "ray" else object())
    result = runner.invoke(cli, ["bulk", "a", "b"])
    assert result.exit_code == 1
    assert "pip install 'u2matte[ray]'" in result.output
