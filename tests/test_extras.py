"""pyproject.toml's extras bring what each part of the code imports; the client needs httpx alone, and the service no
TensorFlow where OpenVINO runs the network."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata, util
from pathlib import Path

import PIL.Image
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.client import Client
from tests.support.servers import serving

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Modules that are named otherwise than the package which brings them.
PACKAGES = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "pynvml": "nvidia-ml-py",
    "google": "protobuf",
    "opentelemetry": "opentelemetry-sdk",
}
# What other packages of the same extra bring for certain.
BROUGHT_ALONG = {"protobuf": "tensorboard", "pyarrow": "ray", "fsspec": "ray"}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def third_party(package: str) -> set[str]:
    """The packages that a folder's modules import, also late."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
    theirs = found - sys.stdlib_module_names - {"app", "model", "training"}
    packages = {canonicalize_name(PACKAGES.get(each, each)) for each in theirs}
    return {BROUGHT_ALONG.get(each, each) for each in packages}


@pytest.mark.parametrize(
    ("package", "extras"),
    [
        ("app", ["serve", "tensorflow", "otel", "ray"]),
        ("training", ["train", "import", "dev"]),
        ("model", ["train"]),
    ],
)
def test_what_is_imported_is_asked_for(package: str, extras: list[str]) -> None:
    asked = names([*PROJECT["dependencies"], *(each for extra in extras for each in EXTRAS[extra])])
    assert third_party(package) - asked == set()


def test_training_takes_nothing_of_dev_but_onnxruntime_which_it_can_do_without() -> None:
    asked = names(EXTRAS["train"] + EXTRAS["import"])
    assert third_party("training") - asked == {"onnxruntime"}


def test_one_package_has_one_range_in_all_extras() -> None:
    ranges: dict[str, set[str]] = {}
    for each in (*PROJECT["dependencies"], *(each for extra in EXTRAS.values() for each in extra)):
        read = Requirement(each)
        ranges.setdefault(canonicalize_name(read.name), set()).add(str(read.specifier))
    assert {name: found for name, found in ranges.items() if len(found) > 1} == {}


def test_a_service_has_something_to_run_networks_on_each_platform() -> None:
    for machine, system in (
        ("x86_64", "linux"),
        ("aarch64", "linux"),
        ("arm64", "darwin"),
        ("AMD64", "win32"),
    ):
        here = {"platform_machine": machine, "sys_platform": system}
        wanted = [Requirement(each) for each in EXTRAS["serve"]]
        runtimes = {each.name for each in wanted if each.marker is None or each.marker.evaluate(here)} & {
            "openvino",
            "tensorflow",
        }
        assert len(runtimes) == 1, (machine, system)


def test_dev_brings_what_every_other_extra_of_the_product_does() -> None:
    (own,) = [Requirement(each) for each in EXTRAS["dev"] if each.startswith("u2matte[")]
    assert own.extras == EXTRAS.keys() - {"dev", "client", "gpu", "fuzz", "release"}


@pytest.fixture(scope="module")
def httpx_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of httpx and what it needs, and of this project's code."""
    folder = tmp_path_factory.mktemp("httpx_alone")
    waiting, done = ["httpx"], set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in done:
            continue
        done.add(name)
        for top in {Path(file).parts[0] for file in metadata.files(name) or ()} - {"..", "__pycache__"}:
            (folder / top).symlink_to(metadata.distribution(name).locate_file(top))
        required = [Requirement(each) for each in metadata.requires(name) or ()]
        waiting += [
            each.name for each in required if each.marker is None or each.marker.evaluate({"extra": ""})
        ]
    for package in ("app", "model", "training"):
        (folder / package).symlink_to(ROOT / package)
    return folder


def _in(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """The program, with that folder and the standard library to import from."""
    start = f"import sys; sys.path.insert(0, {str(folder)!r})\n"
    # -S: no site-packages; -I: no variables of the environment, and not this folder.
    command = [sys.executable, "-I", "-S", "-c", start + program]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_client_needs_httpx_alone(httpx_alone: Path) -> None:
    program = """
import json
from app.client import AsyncClient, Client
Client("http://127.0.0.1:8000").close()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = _in(httpx_alone, program)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert "httpx" in loaded
    assert loaded.isdisjoint(
        {"tensorflow", "openvino", "fastapi", "starlette", "pydantic", "numpy", "cv2", "PIL"}
    )
    # That folder alone was to be had: nothing here hides what a stranger's machine lacks.
    assert util.find_spec("numpy") is not None
    assert _in(httpx_alone, "import numpy").returncode == 1


def test_command_line_of_the_client_alone_says_what_to_install(httpx_alone: Path) -> None:
    program = "from app.entry import main; sys.argv = ['u2matte', 'matte', 'photo.jpg', '-o', 'out']; main()"
    done = _in(httpx_alone, program)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("-m pip install 'u2matte[serve]'\n")


def test_client_can_be_copied_under_another_name_as_the_documents_say(
    httpx_alone: Path, tmp_path: Path
) -> None:
    place = tmp_path / "yours" / "u2matte"
    shutil.copytree(ROOT / "app" / "client", place, ignore=shutil.ignore_patterns("__pycache__"))
    for path in place.rglob("*.py"):
        path.write_text(path.read_text("utf-8").replace("app.client", "yours.u2matte"), "utf-8")
    program = (
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from yours.u2matte import AsyncClient, Client\n"
        "assert not {'app', 'model', 'training'} & sys.modules.keys()"
    )
    done = _in(httpx_alone, program)
    assert done.returncode == 0, done.stderr


# The service where TensorFlow is not installed.
WITHOUT_TENSORFLOW = """
import runpy, sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nowhere())
sys.argv = ["app", "serve", "--port", "0"]
runpy.run_module("app", run_name="__main__")
"""


def test_service_without_tensorflow_answers_with_mattes(tiny_artifact: Path) -> None:
    photo = io.BytesIO()
    PIL.Image.new("RGB", (60, 40), "teal").save(photo, "PNG")
    with (
        serving(tiny_artifact, program=("-c", WITHOUT_TENSORFLOW), MATTE_WORKERS="1") as (_, address),
        Client(address) as client,
    ):
        assert client.matte(photo.getvalue()).array.shape == (40, 60)
        assert [each.runtime for each in client.models()] == ["openvino"]


def test_service_that_needs_tensorflow_and_has_none_says_so_and_ends(
    tiny_artifact: Path, tmp_path: Path
) -> None:
    here = {"MATTE_MODEL_DIR": str(tiny_artifact), "MATTE_DEVICE": "cpu", "MATTE_RUNTIME": "tensorflow"}
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})" + WITHOUT_TENSORFLOW]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | here, capture_output=True, text=True, check=False, timeout=120)  # fmt: skip # noqa: E501
    assert done.returncode == 1
    assert done.stderr.startswith("MATTE_RUNTIME=tensorflow: TensorFlow is not installed: pip install ")
    assert done.stderr.count("\n") == 1
