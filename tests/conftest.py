"""What many tests need: a clean environment, a tiny real model, a running app."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training  # noqa: F401 # sets what TensorFlow reads when a test first imports it
from model import contract
from model.contract import Manifest
from tests.support import global_state, xdist_groups
from tests.support.networks import Gate
from tests.support.services import Running, run_service

TINY_SIZE = 32


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle",
        type=int,
        metavar="SEED",
        help="Shuffle the files, and the tests of each, by this number.",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    seed = config.getoption("--shuffle")
    return None if seed is None else f"shuffled by --shuffle {seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("--shuffle")
    if seed is None:
        items.sort(key=lambda item: not xdist_groups.is_long(item.nodeid))
    else:
        indices = xdist_groups.shuffled([item.nodeid for item in items], seed)
        items[:] = [items[index] for index in indices]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> xdist_groups.GroupScheduling | None:
    return xdist_groups.GroupScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MATTE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What services compile is kept where it is thrown away with the tests, not in the user's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _untouched_process() -> Iterator[None]:
    """The command line sets signal handlers and the root logger; tests get theirs back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root = logging.getLogger()
    kept, level = list(root.handlers), root.level
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    root.handlers[:] = kept
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(autouse=True)
def _untouched_chance_and_precision() -> Iterator[None]:
    yield
    global_state.forget_seeds_and_precision()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def running() -> Running:
    """`async with running(predict, **settings) as service`: an app in this process, ready."""
    return run_service


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real SavedModel of 32 x 32: mean over the channels through two convolutions, as alpha."""
    import tensorflow as tf

    artifact = tmp_path_factory.mktemp("model") / "tiny"
    kernel = np.full((1, 1, 3, 8), 1 / 24, np.float32)

    class Tiny(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = tf.Variable(kernel)
            self.second = tf.Variable(np.ones((1, 1, 8, 1), np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, TINY_SIZE, TINY_SIZE, 3], tf.uint8, name="image")])
        def serve(self, image: object) -> dict[str, object]:
            x = tf.nn.conv2d(tf.cast(image, tf.float32) / 255.0, self.first, 1, "SAME")
            return {"alpha": tf.nn.conv2d(tf.nn.relu(x), self.second, 1, "SAME")}

    tiny = Tiny()
    tf.saved_model.save(tiny, str(artifact / contract.SAVED_MODEL_DIR), {contract.SIGNATURE: tiny.serve})
    files = contract.file_digests(artifact)
    contract.write_manifest(
        artifact, Manifest("tiny", "1", TINY_SIZE, "stretch", files, licence="Apache-2.0")
    )
    return artifact
