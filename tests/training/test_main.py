"""The command line tells a person what is wrong in one line."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.training.p3m_folders import write_data_set, write_own_folder
from training import __main__ as command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.toml"], "none.toml: no such file"),
        (["export", "no-run", "artifact"], "no-run/config.toml: no such file"),
        (["evaluate", "no-artifact", "--data-root", "."], "no-artifact: no such model directory"),
        (["import-weights", "none.pth", "artifact"], "none.pth: no such file"),
        (["inspect", "."], "no blurred_image/ and mask/ for train"),
        (["plot", "no-run"], "no-run: no history.csv with a validation yet"),
        (["score", "mattes", "truths"], "mattes: no such folder"),
    ],
)
def test_errors_are_one_line_and_exit_1(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["training", *arguments])
    with pytest.raises(SystemExit) as exit_:
        command.main()
    assert exit_.value.code == 1
    out = capsys.readouterr().out
    assert message in out.replace("\n", "")
    assert "Traceback" not in out


def test_a_document_without_data_asks_for_it(monkeypatch, capsys, tmp_path):
    (tmp_path / "run.toml").write_text("phases = [{ input_size = 32, steps = 1 }]")
    monkeypatch.setattr("sys.argv", ["training", "train", str(tmp_path / "run.toml")])
    with pytest.raises(SystemExit):
        command.main()
    assert "give --data-root DIR, or data_root in the document" in capsys.readouterr().out.replace("\n", "")


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["training", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        command.main()
    return exit_.value.code


def test_a_good_data_set_is_counted_drawn_and_exits_0(monkeypatch, capsys, tmp_path):
    write_own_folder(tmp_path / "own", 5)
    code = run(
        monkeypatch,
        "inspect",
        tmp_path / "own",
        "--out",
        tmp_path / "sheet.png",
        "--json",
        tmp_path / "i.json",
    )
    assert code == 0
    assert "no problems" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] == 1600
    assert [split["name"] for split in json.loads((tmp_path / "i.json").read_text())["splits"]] == [
        "train",
        "held-out",
    ]


def test_a_data_set_with_a_problem_names_it_and_exits_1(monkeypatch, capsys, tmp_path):
    root = write_data_set(tmp_path, train=2, validation=1)
    photo = root / "train" / "blurred_image" / "p_00000001.jpg"
    photo.write_bytes(photo.read_bytes()[:-200])
    assert run(monkeypatch, "inspect", root) == 1
    assert "p_00000001.jpg" in capsys.readouterr().out
    assert run(monkeypatch, "inspect", root, "--quick") == 1
    assert "p_00000001.jpg" in capsys.readouterr().out


def test_a_quick_look_decodes_nothing(monkeypatch, capsys, tmp_path):
    root = write_data_set(tmp_path, train=2, validation=1)
    cv2.imwrite(str(root / "train" / "mask" / "p_00000000.png"), np.zeros((96, 72), np.uint8))
    assert run(monkeypatch, "inspect", root, "--quick") == 0
    assert run(monkeypatch, "inspect", root) == 1


def test_mattes_are_scored_without_tensorflow(tmp_path):
    for name in ("mattes", "truths"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.full((4, 5), 51 if name == "mattes" else 0, np.uint8))
    program = (
        "import sys; sys.argv[0] = 'training'\n"
        "from training.__main__ import cli\n"
        "cli(standalone_mode=False)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", program, "score", "mattes", "truths", "--json", "scores.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "scores.json").read_text())["mean"]["MAD"] == pytest.approx(0.2)
