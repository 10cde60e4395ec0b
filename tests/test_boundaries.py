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
    "": set(),
}

APP = {
    "": set(),
    "entry": {"__main__"},
    "__main__": {"cli", "options", "server"},
    "cli": {
        "client",
        "distributed",
        "errors",
        "files",
        "imaging",
        "inference",
        "main",
        "observability",
        "options",
        "pipeline",
        "security",
        "server",
        "settings",
    },
    "distributed": {
        "errors",
        "files",
        "imaging",
        "inference",
        "main",
        "observability",
        "pipeline",
        "settings",
    },
    "server": {"errors", "middleware", "observability", "settings"},
    "main": {
        "api",
        "errors",
        "inference",
        "middleware",
        "observability",
        "pipeline",
        "security",
        "settings",
    },
    "api": {
        "errors",
        "imaging",
        "inference",
        "middleware",
        "observability",
        "options",
        "pipeline",
        "schemas",
        "values",
    },
    "middleware": {"errors", "observability", "security", "settings"},
    "pipeline": {
        "concurrency",
        "errors",
        "imaging",
        "inference",
        "observability",
        "options",
        "settings",
        "values",
    },
    "inference": {"concurrency", "errors", "observability", "settings"},
    "imaging": {"errors", "options", "values"},
    "concurrency": {"errors"},
    "observability": {"errors"},
    "settings": {"security"},
    "security": set(),
    "files": {"options"},
    "client": set(),
    "schemas": set(),
    "options": {"errors", "values"},
    "values": set(),
    "errors": set(),
}
"""The same of app/. `inference` holds the backends, too."""
TABLES = {"training": TRAINING, "app": APP}
MOST_IN_THE_ROOT_OF_APP = 12


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
        for name in (
            "cascade",
            "contract",
            "decoder_errors",
            "eight_bits",
            "kernels",
            "matting",
            "quality",
            "transforms",
        )
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


def part_of(module: str) -> str:
    """The folder or module right below its package that a dotted name is in; "" of the package itself."""
    return [*module.split("."), ""][1]


def modules_of(path: Path, package: str) -> set[str]:
    """The modules of `package` that a file imports, also where a name of them is imported."""
    return imports(path) & {module_of(each) for each in sources(package)}


def module_of(path: Path) -> str:
    """The dotted name of a file's module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


EACH_FILE = [(package, path) for package in TABLES for path in sources(package)]


@pytest.mark.parametrize(("package", "path"), EACH_FILE, ids=[str(p.relative_to(ROOT)) for _, p in EACH_FILE])
def test_parts_import_each_other_only_as_the_table_says(package: str, path: Path) -> None:
    own = part_of(module_of(path))
    used = {part_of(name) for name in modules_of(path, package)} - {own, ""}
    assert used <= TABLES[package][own]


@pytest.mark.parametrize("package", TABLES)
def test_tables_have_no_circle_and_no_arrow_that_nobody_takes(package: str) -> None:
    TopologicalSorter(TABLES[package]).prepare()  # raises CycleError
    taken = {
        (part_of(module_of(path)), part_of(name))
        for path in sources(package)
        for name in modules_of(path, package)
    }
    assert {(own, other) for own, others in TABLES[package].items() for other in others} <= taken


@pytest.mark.parametrize("package", ["app", "training", "model"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    modules = {module_of(path): path for path in sources(package)}
    # Also what is imported for its types alone, or late, inside of a function.
    TopologicalSorter({name: modules_of(path, package) for name, path in modules.items()}).prepare()


def test_a_newcomer_finds_few_files_in_the_root_of_app() -> None:
    assert len(list((ROOT / "app").glob("*.py"))) <= MOST_IN_THE_ROOT_OF_APP


@pytest.mark.parametrize("path", sources("model"), ids=lambda path: path.name)
def test_model_imports_neither_side(path: Path) -> None:
    assert top_level(path).isdisjoint({"app", "training"})


@pytest.mark.parametrize("name", ["contract", "quality"])
def test_what_loads_no_recipe_needs_only_the_standard_library(name: str) -> None:
    assert top_level(ROOT / "model" / f"{name}.py") <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["confidence", "eight_bits", "kernels", "matting", "refine", "transforms"])
def test_the_shared_pixel_recipe_needs_only_numpy_and_opencv(name: str) -> None:
    used = top_level(ROOT / "model" / f"{name}.py")
    assert used <= {"model", "numpy", "cv2"} | sys.stdlib_module_names


# Files of tests that are of no single module: several of them, real processes, or the page, which is JavaScript.
OF_SEVERAL_MODULES = {
    "tests/app/imaging/test_hostile_images.py",
    "tests/app/test_built_in_model.py",
    "tests/app/test_faults.py",
    "tests/training/test_run.py",
    "tests/training/test_upright.py",
}


def files_of_tests() -> list[str]:
    folders = (ROOT / "tests" / package for package in ("app", "model", "training"))
    files = [path.relative_to(ROOT) for folder in folders for path in sorted(folder.rglob("test_*.py"))]
    return [str(path) for path in files if path.parent != Path("tests/app/web")]


@pytest.mark.parametrize("file", files_of_tests())
def test_tests_are_found_by_the_name_of_their_module(file: str) -> None:
    """tests/app/x/test_y.py and test_y_subject.py test app/x/y.py, or the package app/x/y."""
    _, *folders, name = Path(file).with_suffix("").parts
    names = {path.stem for path in ROOT.joinpath(*folders).iterdir() if path.is_dir() or path.suffix == ".py"}
    tested = name.removeprefix("test_")
    found = any(tested == each or tested.startswith(f"{each}_") for each in names)
    assert found != (file in OF_SEVERAL_MODULES)
