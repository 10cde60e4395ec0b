"""What `make wheel` makes has all that the program needs, and works away from this folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from model.kernels import COMPILED

ROOT = Path(__file__).parent.parent
OF_A_WHEEL = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "app", "model", "training")
PATIENCE_S = 300  # on a busy machine


def _run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    here = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [str(each) for each in command]
    return subprocess.run(words, cwd=cwd, env=here, capture_output=True, text=True, check=False, timeout=PATIENCE_S)  # fmt: skip # noqa: E501


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, since builders write into the folder; without the network, with setuptools as it is here."""
    if importlib.util.find_spec("setuptools") is None or importlib.util.find_spec("pip") is None:
        pytest.skip("pip or setuptools is not installed")
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    for name in OF_A_WHEEL:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=unwanted)
        else:
            shutil.copy(path, source / name)
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", dist)
    done = _run(sys.executable, "-m", "pip", "wheel", *options, ".", cwd=source)
    assert done.returncode == 0, done.stderr
    (made,) = dist.glob("u2matte-*.whl")
    return made


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`u2matte`, installed from the wheel; other packages are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    done = _run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(f"{Path(np.__file__).parents[1]}\n", encoding="utf-8")
    return folder / "bin" / "u2matte"


def test_wheel_holds_the_model_the_page_the_recipes_and_the_compiled_loops(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for folder in ("model/artifacts/portrait", "app/web", "training/configs")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(wanted) > 10
    assert wanted <= held
    if COMPILED is not None:
        assert any(name.startswith("model/_kernels.") for name in held)
    top = {name.partition("/")[0] for name in held}
    assert {name for name in top if not name.startswith("u2matte-")} == {"app", "model", "training"}


def test_installed_program_names_its_commands(program: Path, tmp_path: Path) -> None:
    done = _run(program, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for command in (
        "serve",
        "matte",
        "cutout",
        "frames",
        "bulk",
        "key",
        "train",
        "inspect",
        "evaluate",
        "export",
    ):
        assert f" {command} " in done.stdout


@pytest.mark.slow  # with the whole network, in a process of its own
def test_installed_program_makes_a_matte_with_the_model_inside_the_wheel(
    program: Path, tmp_path: Path
) -> None:
    y, x = np.mgrid[0:300, 0:240]
    photo = np.full((300, 240, 3), (200, 180, 150), np.uint8)
    photo[((x - 120) / 45) ** 2 + ((y - 110) / 60) ** 2 < 1] = (140, 170, 215)
    photo[(y > 190) & (abs(x - 120) < 60 + (y - 190) / 2)] = (90, 50, 40)
    cv2.imwrite(str(tmp_path / "drawn.png"), photo)
    done = _run(program, "matte", "drawn.png", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "out").glob("*.png")
    matte = cv2.imread(str(made), cv2.IMREAD_UNCHANGED)
    assert matte.shape == photo.shape[:2]
    assert matte[:10, :10].max() < 50
    place = _run(program.with_name("python"), "-c", "import app; print(app.__file__)", cwd=tmp_path)
    assert place.stdout.startswith(str(program.parents[1]))


def test_installed_program_reads_training_commands(program: Path, tmp_path: Path) -> None:
    done = _run(program, "score", "nowhere", "neither", cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere: no such folder" in done.stdout
