"""training -> model <- app: read from the source, so that no import at run time can hide."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {"environ", "getenv", "putenv", "environb"}


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def imports(path: Path) -> set[str]:
    """Dotted names; `from a import b` counts as both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def top_level(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", sources("app"), ids=lambda path: path.name)
def test_app_knows_of_model_its_contract_and_pixels_but_not_its_network(path: Path) -> None:
    used = {".".join(name.split(".")[:2]) for name in imports(path) if name.startswith("model.")}
    assert used <= {
        f"model.{name}"
        for name in ("contract", "decoder_errors", "eight_bits", "kernels", "matting", "transforms")
    }


@pytest.mark.parametrize("path", sources("app"), ids=lambda path: path.name)
def test_app_never_imports_training_or_keras(path: Path) -> None:
    assert top_level(path).isdisjoint({"training", "keras", "tests"})


@pytest.mark.parametrize("path", sources("app"), ids=lambda path: path.name)
def test_what_runs_networks_is_only_in_their_package(path: Path) -> None:
    assert path.parent.name == "network" or top_level(path).isdisjoint({"tensorflow", "openvino"})


def test_tensorflow_and_openvino_know_nothing_of_each_other() -> None:
    for path in sources("app"):
        assert not {"tensorflow", "openvino"} <= top_level(path)


@pytest.mark.parametrize("path", sources("app"), ids=lambda path: path.name)
def test_environment_is_read_only_by_the_settings(path: Path) -> None:
    attributes = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (isinstance(node, ast.alias) and node.name in ENVIRONMENT)
    ]
    # Starting TensorFlow or Ray is no reading: it sets the variables by which they are told to be quiet.
    allowed = {"settings.py": 1, "tensorflow_start.py": 1, "ray_start.py": 1}
    assert len(attributes) <= allowed.get(path.name, 0)


@pytest.mark.parametrize("path", sources("training"), ids=lambda path: path.name)
def test_training_never_imports_app(path: Path) -> None:
    assert "app" not in top_level(path)


@pytest.mark.parametrize("path", sources("model"), ids=lambda path: path.name)
def test_model_imports_neither_side(path: Path) -> None:
    assert top_level(path).isdisjoint({"app", "training"})


def test_contract_needs_only_the_standard_library() -> None:
    assert top_level(ROOT / "model" / "contract.py") <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["confidence", "eight_bits", "kernels", "matting", "refine", "transforms"])
def test_the_shared_pixel_recipe_needs_only_numpy_and_opencv(name: str) -> None:
    used = top_level(ROOT / "model" / f"{name}.py")
    assert used <= {"model", "numpy", "cv2"} | sys.stdlib_module_names
