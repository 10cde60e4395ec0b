"""What a release is made of is read from the packages' own metadata."""

from __future__ import annotations

import pytest

from tests.tools import make_sbom


def test_packages_that_the_service_needs_are_found_through_others() -> None:
    needed = make_sbom.needed()
    assert {"fastapi", "tensorflow", "pillow"} <= needed["u2matte"]
    assert "starlette" in needed["fastapi"]
    assert "pydantic-core" in needed["pydantic"]
    assert {name for names in needed.values() for name in names} == needed.keys() - {"u2matte"}


def test_what_only_tests_or_trains_is_not_of_the_release() -> None:
    assert make_sbom.needed().keys().isdisjoint({"pytest", "mypy", "ruff", "matplotlib", "atheris"})


def test_bom_is_cut_down_to_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_sbom, "needed", lambda: {"u2matte": {"a"}, "a": set()})
    names = ("a", "b")
    bom = {
        "metadata": {"component": {"bom-ref": "root"}},
        "components": [{"name": name.upper(), "bom-ref": f"{name}==1"} for name in names],
        "dependencies": [],
    }
    cut = make_sbom.runtime(bom)
    assert [each["bom-ref"] for each in cut["components"]] == ["a==1"]
    assert cut["dependencies"] == [{"ref": "a==1", "dependsOn": []}, {"ref": "root", "dependsOn": ["a==1"]}]


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        ([], "not stated"),
        ([{"expression": "MIT OR Apache-2.0"}], "MIT OR Apache-2.0"),
        (
            [{"license": {"id": "MIT"}}, {"license": {"name": "License :: OSI Approved :: BSD License"}}],
            "BSD License, MIT",
        ),
    ],
)
def test_licence_is_what_the_package_states(stated: list[object], shown: str) -> None:
    assert make_sbom.licences({"licenses": stated}) == shown
