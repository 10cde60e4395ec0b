"""training -> model <- app: read from the source, so that no import at run time can hide."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
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
    assert path.parent.name == "backends" or top_level(path).isdisjoint({"tensorflow", "openvino"})


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
    allowed = {"settings.py": 1, "tensorflow.py": 1, "cluster.py": 1}
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


ARROWS = {
    "__main__": {"cli", "cutout_options", "server"},
    "cli": {
        *(
            "api",
            "client",
            "cutout_options",
            "distributed",
            "errors",
            "files",
            "imaging",
            "inference",
            "main",
        ),
        *("observability", "pipeline", "security", "server", "settings"),
    },
    "distributed": {
        *("cutout_options", "errors", "files", "imaging", "inference", "main", "observability", "pipeline"),
        "settings",
    },
    "server": {"errors", "middleware", "observability", "settings"},
    "main": {
        *("api", "errors", "inference", "middleware", "observability", "pipeline", "schemas", "security"),
        "settings",
    },
    "api": {
        "errors",
        "imaging",
        "inference",
        "middleware",
        "observability",
        "pipeline",
        "schemas",
        "settings",
    },
    "middleware": {"errors", "observability", "security", "settings"},
    "pipeline": {"concurrency", "errors", "imaging", "inference", "observability", "settings"},
    "inference": {"concurrency", "errors", "observability", "settings"},
    "imaging": {"errors"},
    "concurrency": {"errors"},
    "observability": {"errors"},
    "settings": {"security"},
    "security": {"errors"},
    "files": {"cutout_options"},
    "client": set(),
    "schemas": {"errors"},
    "cutout_options": set(),
    "errors": set(),
}
"""Which part of app/ may import which others: read downwards, nothing leads up, so there is no circle."""

MOST_IN_THE_ROOT = 12


def part_of(module: str) -> str:
    """The folder or module right below app that a dotted name belongs to."""
    return module.split(".")[1]


@pytest.mark.parametrize("path", sources("app"), ids=lambda path: str(path.relative_to(ROOT)))
def test_parts_of_app_import_only_what_lies_below_them(path: Path) -> None:
    own = path.relative_to(ROOT / "app").with_suffix("").parts[0]
    if own == "__init__":
        assert not [name for name in imports(path) if name.startswith("app.")]
        return
    used = {part_of(name) for name in imports(path) if name.startswith("app.")}
    assert used - {own} <= ARROWS[own]


def test_the_table_of_parts_has_no_circle_and_leads_downwards() -> None:
    above: set[str] = set()
    for part, below in ARROWS.items():
        above.add(part)
        assert below.isdisjoint(above), part


def test_a_newcomer_finds_few_files_in_the_root_of_app() -> None:
    assert len(list((ROOT / "app").glob("*.py"))) <= MOST_IN_THE_ROOT


def test_modules_of_app_import_each_other_in_one_direction() -> None:
    """Also where only the types are imported."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sources("app")}
    graph = {name: imports(path) & set(files) - {name} for name, path in files.items()}
    TopologicalSorter(graph).prepare()
