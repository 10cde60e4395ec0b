"""The command line tells a person what is wrong in one line."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.training.p3m_folders import write_data_set, write_own_folder
from training import __main__ as command

OWN = ("--data-root", "own")
DOCUMENT = 'validation_split = "held-out"\nphases = [{ input_size = 32, steps = 1 }]'


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
        (["train", "."], ".: is a directory"),
        (["train", "photo.toml"], "photo.toml: not a text in UTF-8"),
        (["train", "run.toml", "--data-root", "none"], "none: no such folder"),
        (["train", "run.toml", "--data-root", "file"], "file: no such folder"),
        (["train", "run.toml", *OWN, "--backgrounds", "file"], "file: no such folder for background"),
        (["train", "run.toml", *OWN, "--run-dir", "file"], "file is a file; --run-dir is the folder"),
        (["train", "run.toml", *OWN, "--run-dir", "file/run"], "file/run: not a directory"),
        (["train", "run.toml", *OWN, "--init-from", "file"], "file: no such model directory"),
        (["export", "file", "artifact"], "file/config.toml: not a directory"),
        (["evaluate", "file", *OWN], "file: no such model directory"),
        (["inspect", "file"], "file: no such folder"),
        (["inspect", "own", "--json", "none/i.json"], "none/i.json: no such file or directory"),
        (["inspect", "own", "--json", "own"], "own: is a directory"),
        (["plot", "file"], "file: no history.csv with a validation yet"),
        (["score", "file", "own/mask"], "file: no such folder"),
    ],
)
def test_errors_are_one_line_and_exit_1(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_own_folder(tmp_path / "own", 2)
    (tmp_path / "file").touch()
    (tmp_path / "photo.toml").write_bytes((tmp_path / "own" / "image" / "photo 0.jpg").read_bytes())
    (tmp_path / "run.toml").write_text(DOCUMENT)
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


# The packages that only the extra `train` brings, taken away. The last line has how each command and each import
# ended: by which exit status or traceback, and with which output.
WITHOUT_EXTRA = """
import contextlib, importlib, io, json, sys, traceback

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("matplotlib", "tensorboard"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def told(act):
    out, code = io.StringIO(), 0
    with contextlib.redirect_stdout(out):
        try:
            act()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            code = traceback.format_exc()
    return code, out.getvalue().replace("\\n", "")

def call(arguments):
    sys.argv = ["training", *arguments]
    main()

sys.meta_path.insert(0, Nowhere())
commands, modules = json.loads(sys.argv[1])
from training.__main__ import main
ends = [told(lambda: call(each)) for each in commands]
ends += [told(lambda: importlib.import_module(name)) for name in modules]
print(json.dumps(ends))
"""
MODULES = ("training.export.artifact", "training.export.import_weights", "training.evaluation.evaluate")
WITH_PLOTS = (
    ("train", "run.toml", *OWN),
    ("plot", "run"),
    ("evaluate", "artifact", *OWN, "--split", "held-out", "--report", "report"),
)
WITHOUT_PLOTS = (
    ("inspect", "own", "--out", "sheet.png"),
    ("evaluate", "artifact", *OWN, "--split", "held-out", "--mattes", "mattes"),
    ("score", "own/mask", "own/mask"),
)


@pytest.fixture(scope="module")
def without_extra(tmp_path_factory, tiny_artifact):
    """How each of WITH_PLOTS, WITHOUT_PLOTS and MODULES ends: in one process, because TensorFlow takes seconds."""
    folder = tmp_path_factory.mktemp("without_extra")
    write_own_folder(folder / "own", 2)
    (folder / "run.toml").write_text(DOCUMENT)
    (folder / "artifact").symlink_to(tiny_artifact)
    asked = json.dumps([[*WITH_PLOTS, *WITHOUT_PLOTS], MODULES])
    command = [sys.executable, "-c", WITHOUT_EXTRA, asked]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (folder / "runs").exists()
    ends = map(tuple, json.loads(done.stdout.splitlines()[-1]))
    return dict(zip((*WITH_PLOTS, *WITHOUT_PLOTS, *MODULES), ends, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", WITH_PLOTS, ids=lambda arguments: arguments[0])
def test_what_needs_plots_says_in_one_sentence_what_to_install(arguments, without_extra):
    code, out = without_extra[arguments]
    assert code == 1
    assert re.fullmatch(
        r"error: this needs (matplotlib|tensorboard), which is not installed: "
        r"\S+ -m pip install 'u2matte\[train\]'",
        out,
    )


@pytest.mark.parametrize("arguments", WITHOUT_PLOTS, ids=lambda arguments: arguments[0])
def test_what_needs_no_plots_runs_without_them(arguments, without_extra):
    code, out = without_extra[arguments]
    assert code == 0, out


@pytest.mark.parametrize("module", MODULES)
def test_modules_of_commands_without_plots_load_without_them(module, without_extra):
    assert without_extra[module] == (0, "")


def test_mattes_are_scored_without_tensorflow(tmp_path):
    for name in ("mattes", "truths"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.full((4, 5), 51 if name == "mattes" else 0, np.uint8))
    program = (
        "import sys; sys.argv[0] = 'training'\n"
        "from training.cli.app import app\n"
        "app(standalone_mode=False)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", program, "score", "mattes", "truths", "--json", "scores.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "scores.json").read_text())["mean"]["MAD"] == pytest.approx(0.2)
