"""training -> model <- app: read from the source, so that no import at run time can hide."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {"environ", "getenv", "putenv", "environb"}

# What each part of training/ may import of the others; the root's modules are parts of their own.
TRAINING = {
    "losses": set(),
    "metrics": set(),
    "config": {"losses"},
    "weights": set(),
    "data": {"config"},
    "engine": {"config", "data", "losses", "metrics", "weights"},
    "inspection": {"data"},
    "evaluation": {"data", "metrics", "weights"},
    "export": {"config", "data", "engine", "evaluation", "weights"},
    "cli": {"config", "data", "engine", "evaluation", "export", "inspection"},
    "__main__": {"cli"},
    "__init__": set(),
}


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
        f"model.{name}" for name in ("contract", "decoder_errors", "kernels", "matting", "transforms")
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


def part_of(module: str) -> str:
    """The part of training/ that a dotted name is in; "" of training itself."""
    return [*module.split("."), ""][1]


def modules_of(path: Path, package: str) -> set[str]:
    """The modules of `package` that a file imports, also where a name of them is imported."""
    known = {".".join(each.relative_to(ROOT).with_suffix("").parts) for each in sources(package)}
    return imports(path) & known


@pytest.mark.parametrize("path", sources("training"), ids=lambda path: str(path.relative_to(ROOT)))
def test_parts_of_training_import_each_other_only_as_the_table_says(path: Path) -> None:
    own = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    used = {part_of(name) for name in modules_of(path, "training")} - {own}
    assert used <= TRAINING[own]


def test_the_table_of_trainings_parts_has_no_circle_and_no_arrow_that_nobody_takes() -> None:
    TopologicalSorter(TRAINING).prepare()  # raises CycleError
    taken = {
        (part_of(".".join(path.relative_to(ROOT).with_suffix("").parts)), part_of(name))
        for path in sources("training")
        for name in modules_of(path, "training")
    }
    assert {(own, other) for own, others in TRAINING.items() for other in others} <= taken


@pytest.mark.parametrize("package", ["training", "model"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sources(package)}
    # Also what is imported for its types alone, or late, inside of a function.
    TopologicalSorter({name: modules_of(path, package) for name, path in modules.items()}).prepare()


@pytest.mark.parametrize("path", sources("model"), ids=lambda path: path.name)
def test_model_imports_neither_side(path: Path) -> None:
    assert top_level(path).isdisjoint({"app", "training"})


def test_contract_needs_only_the_standard_library() -> None:
    assert top_level(ROOT / "model" / "contract.py") <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["confidence", "kernels", "matting", "refine", "transforms"])
def test_the_shared_pixel_recipe_needs_only_numpy_and_opencv(name: str) -> None:
    used = top_level(ROOT / "model" / f"{name}.py")
    assert used <= {"model", "numpy", "cv2"} | sys.stdlib_module_names
