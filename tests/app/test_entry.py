"""`u2matte` is both command lines, and says which extra a command needs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from app import entry
from training.cli.app import app as training

# The program, in an environment that lacks some packages.
WITHOUT = """
import sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Nowhere())
from app.entry import main
sys.argv[0] = "u2matte"
main()
"""


def _names(program: typer.Typer) -> list[str]:
    return [str(each.name or each.callback.__name__) for each in program.registered_commands if each.callback]


def _run(*arguments: str, missing: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    program = WITHOUT.format(missing=missing)
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_it_has_the_services_commands_and_all_of_trainings() -> None:
    names = _names(entry.command_line())
    assert {"serve", "matte", "cutout", "frames", "bulk", "key"} <= set(names)
    assert names[-len(entry.TRAINING) :] == _names(training)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("command", ["serve", "matte", "train", "score", "import-weights"])
def test_help_of_a_command_is_its_own_and_names_the_program(command: str) -> None:
    done = _run(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Usage: u2matte {command} " in done.stdout


def test_a_mistake_in_a_training_command_is_told_in_its_words() -> None:
    done = _run("score", "nowhere", "neither")
    assert (done.returncode, done.stderr) == (1, "")
    assert "nowhere: no such folder" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "missing", "said"),
    [
        (["--help"], "typer", "'u2matte[serve]'"),
        (["key", "shop"], "typer", "'u2matte[serve]'"),
        (["serve"], "fastapi", "'u2matte[serve]'"),
        (["matte", "photo.jpg", "-o", "out"], "cv2", "'u2matte[serve]'"),
        (["train", "run.toml"], "typer", "'u2matte[train]'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_missing_package_is_one_sentence_that_names_the_extra(
    arguments: list[str], missing: str, said: str
) -> None:
    done = _run(*arguments, missing=(missing,))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"this needs {missing}, which is not installed: ")
    assert done.stderr.endswith(f" -m pip install {said}\n")
    assert done.stderr.count("\n") == 1


def test_an_image_without_training_says_so() -> None:
    done = _run("train", "run.toml", missing=("training",))
    assert done.returncode == 1
    assert done.stderr == "this installation is of the service alone, without its training package\n"


def test_training_without_tensorflow_names_the_extra() -> None:
    done = _run("export", "run", "artifact", missing=("tensorflow",))
    assert done.returncode == 1
    assert "this needs tensorflow, which is not installed: " in done.stdout.replace("\n", " ")
    assert "'u2matte[train]'" in done.stdout


def test_a_module_of_ours_that_is_missing_is_a_fault_and_shown_as_one() -> None:
    done = _run("serve", missing=("model",))
    assert "Traceback" in done.stderr
