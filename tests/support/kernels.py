"""What compiled loops and OpenCV can both do is tested both ways."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


def both_ways(module: ModuleType) -> Callable[..., None]:
    """A fixture by which each test of a file runs with `module`'s compiled loops, and without them."""

    @pytest.fixture(autouse=True, params=["compiled", "by OpenCV"])
    def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if request.param != "compiled":
            monkeypatch.setattr(module, "COMPILED", None)
        elif module.COMPILED is None:
            pytest.skip("was installed without a C compiler")

    return way
