"""New models come into service and old ones leave it without anybody noticing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from app.concurrency.watchdog import Watchdog
from app.errors import NotReady, UnknownModel
from app.inference.backends.base import LoadError
from app.inference.predictor import Predictor
from app.inference.registry import DEFAULT, KEPT, SHADOW, ModelRegistry, Source
from app.inference.repository import ModelVersion
from app.inference.servable import DeviceContext, gather
from app.observability.metrics import Metrics
from app.settings import Settings
from model.contract import ContractError, Manifest
from tests.support.networks import mean_colour
from tests.support.services import until

SQUARE = np.full((32, 32, 3), 255, np.uint8)


@dataclass
class Folder:
    """A models folder that tests fill: labels such as "a@2", those in `broken` cannot be loaded."""

    labels: list[str]
    broken: set[str] = field(default_factory=set)
    content: str = "0"
    loaded: list[str] = field(default_factory=list)
    looks: int = 0
    unreadable: bool = False

    def scan(self) -> list[ModelVersion]:
        self.looks += 1
        if self.unreadable:
            raise ContractError("no such model directory")
        return [self._stored(label) for label in sorted(self.labels, key=_order)]

    def load(self, stored: ModelVersion) -> Predictor:
        self.loaded.append(stored.label)
        if stored.label in self.broken:
            raise LoadError("it is broken")
        return Predictor(stored.manifest, "cpu", "float32", (1, 2), mean_colour)

    def _stored(self, label: str) -> ModelVersion:
        name, version = label.split("@")
        files = {"saved_model/x": self.content * 64}
        return ModelVersion(Path(label), Manifest(name, version, 32, "stretch", files), int(version))


def _order(label: str) -> tuple[str, int]:
    name, version = label.split("@")
    return name, -int(version)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


Started = Callable[..., "asynccontextmanager[ModelRegistry]"]


@pytest.fixture
def started(threads: ThreadPoolExecutor) -> Started:
    @asynccontextmanager
    async def start(folder: Folder, **chosen: object) -> AsyncIterator[ModelRegistry]:
        settings = Settings(**({"model_poll_ms": 1} | chosen))  # type: ignore[arg-type]
        device = DeviceContext(threads, Watchdog(60).pool("", 1), Metrics(), settings)
        models = ModelRegistry(Source(folder.scan, folder.load), device)
        await models.start()
        try:
            yield models
        finally:
            await models.close()

    return start


def roles(models: ModelRegistry) -> dict[str, str]:
    return {served.manifest.label: role for served, role in models.all()}


async def looked_twice(folder: Folder) -> None:
    """So that whatever changed before has been seen and done."""
    goal = folder.looks + 2
    await until(lambda: folder.looks >= goal)


async def test_newest_version_is_the_default_and_older_ones_are_not_loaded(started: Started) -> None:
    folder = Folder(["a@1", "a@2", "a@10"])
    async with started(folder) as models:
        assert roles(models) == {"a@10": DEFAULT}
        assert folder.loaded == ["a@10"]


async def test_as_many_versions_as_wished_are_kept_and_found_by_their_names(started: Started) -> None:
    async with started(Folder(["a@1", "a@2", "a@3"]), model_versions=2) as models:
        assert roles(models) == {"a@3": DEFAULT, "a@2": KEPT}
        for wish, label in (("", "a@3"), ("a", "a@3"), ("a@2", "a@2")):
            with models.use(wish) as served:
                assert served.manifest.label == label


@pytest.mark.parametrize("wish", ["a@1", "b", "a@", "@2", "a@2@2", "x" * 200])
async def test_model_that_is_not_there_is_an_error_that_names_those_that_are(
    started: Started, wish: str
) -> None:
    async with started(Folder(["a@2", "a@1"])) as models:
        if wish == "a@":
            with models.use(wish) as served:
                assert served.manifest.label == "a@2"
            return
        with pytest.raises(UnknownModel, match="there is a@2"), models.use(wish):
            pass


async def test_new_version_takes_over_and_the_old_one_goes_when_its_last_request_is_done(
    started: Started,
) -> None:
    folder = Folder(["a@1"])
    async with started(folder) as models:
        with models.use() as old:
            folder.labels.append("a@2")
            await until(lambda: roles(models) == {"a@2": DEFAULT})
            await looked_twice(folder)
            assert old.alive
            (batched,) = await gather(old.submit_squares([SQUARE]))
            assert batched.output.mean() == 1
        await until(lambda: not old.alive)


async def test_removing_the_new_version_brings_back_the_old_one(started: Started) -> None:
    folder = Folder(["a@1", "a@2"])
    async with started(folder) as models:
        folder.labels.remove("a@2")
        await until(lambda: roles(models) == {"a@1": DEFAULT})


async def test_version_that_cannot_be_loaded_changes_nothing_and_is_tried_once(
    started: Started, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Folder(["a@1"], broken={"a@2"})
    async with started(folder) as models:
        folder.labels.append("a@2")
        with caplog.at_level(logging.ERROR):
            await until(lambda: "a@2" in folder.loaded)
            await looked_twice(folder)
        assert roles(models) == {"a@1": DEFAULT}
        assert folder.loaded == ["a@1", "a@2"]
        assert "model a@2 cannot be served: it is broken" in caplog.text


async def test_version_whose_files_changed_is_loaded_again(started: Started) -> None:
    folder = Folder(["a@1"])
    async with started(folder) as models:
        before = models.default
        folder.content = "1"
        await until(lambda: models.default is not before)
        await until(lambda: not before.alive)
        assert roles(models) == {"a@1": DEFAULT}


async def test_broken_newest_version_at_the_start_leaves_the_one_before(started: Started) -> None:
    async with started(Folder(["a@1", "a@2"], broken={"a@2"})) as models:
        assert roles(models) == {"a@1": DEFAULT}


async def test_nothing_to_serve_at_the_start_is_an_error(started: Started) -> None:
    with pytest.raises(LoadError, match="it is broken"):
        async with started(Folder(["a@1", "a@2"], broken={"a@1", "a@2"})):
            pass


async def test_models_stay_while_their_folder_is_away(started: Started) -> None:
    folder = Folder(["a@1"])
    async with started(folder) as models:
        folder.unreadable = True
        await looked_twice(folder)
        assert roles(models) == {"a@1": DEFAULT}
        folder.unreadable = False
        folder.labels.append("a@2")
        await until(lambda: roles(models) == {"a@2": DEFAULT})


async def test_which_of_several_names_is_the_default_must_be_said(started: Started) -> None:
    with pytest.raises(ContractError, match=r"several models \(a, b\): set MATTE_DEFAULT_MODEL"):
        async with started(Folder(["a@1", "b@1"])):
            pass
    async with started(Folder(["a@1", "b@1"]), default_model="b") as models:
        assert roles(models) == {"b@1": DEFAULT, "a@1": KEPT}


async def test_default_that_is_not_there_is_an_error_at_the_start(started: Started) -> None:
    with pytest.raises(ContractError, match="MATTE_DEFAULT_MODEL: No model 'a@7'"):
        async with started(Folder(["a@1"]), default_model="a@7"):
            pass


async def test_pinned_version_is_served_before_newer_ones_and_stays_when_its_files_are_gone(
    started: Started,
) -> None:
    folder = Folder(["a@1", "a@2"])
    async with started(folder, default_model="a@1") as models:
        assert roles(models) == {"a@1": DEFAULT}
        folder.labels.remove("a@1")
        await until(lambda: roles(models) == {"a@1": DEFAULT, "a@2": KEPT})
        await looked_twice(folder)
        assert models.default.alive


async def test_name_that_is_gone_leaves_but_never_the_last(started: Started) -> None:
    folder = Folder(["a@1", "b@1"])
    async with started(folder, default_model="a") as models:
        folder.labels[:] = ["a@1"]
        await until(lambda: roles(models) == {"a@1": DEFAULT})
        folder.labels[:] = []
        await looked_twice(folder)
        assert roles(models) == {"a@1": DEFAULT}


async def test_candidate_stands_beside_the_others_and_answers_nobody(started: Started) -> None:
    folder = Folder(["a@1", "a@2"])
    async with started(folder, shadow_model="a@2") as models:
        assert roles(models) == {"a@1": DEFAULT, "a@2": SHADOW}
        with pytest.raises(UnknownModel), models.use("a@2"):
            pass
        shadow = models.shadow
        assert shadow is not None
        folder.labels.remove("a@2")
        await until(lambda: models.shadow is None)
        await until(lambda: not shadow.alive)


async def test_candidate_that_is_broken_does_no_harm(started: Started) -> None:
    async with started(Folder(["a@1", "a@2"], broken={"a@2"}), shadow_model="a@2") as models:
        assert roles(models) == {"a@1": DEFAULT}


async def test_single_artifact_is_not_watched(started: Started) -> None:
    folder = Folder(["a@0"])
    async with started(folder) as models:
        assert models._poll_task is None
        assert folder.looks == 1


async def test_nothing_is_used_before_something_is_loaded(threads: ThreadPoolExecutor) -> None:
    folder = Folder(["a@1"])
    device = DeviceContext(threads, Watchdog(60).pool("", 1), Metrics(), Settings())
    models = ModelRegistry(Source(folder.scan, folder.load), device)
    with pytest.raises(NotReady), models.use():
        pass
    await models.close()


async def test_each_model_is_told_to_prometheus_with_its_role(
    started: Started, threads: ThreadPoolExecutor
) -> None:
    folder = Folder(["a@1", "a@2"])
    async with started(folder, model_versions=2) as models:
        registry = models._metrics.registry

        def told(version: str, role: str) -> float | None:
            sha = models.default.manifest.sha256
            labels = {
                "name": "a",
                "version": version,
                "device": "cpu",
                "runtime": "none",
                "precision": "float32",
            }
            return registry.get_sample_value("matte_model_info", {**labels, "sha256": sha, "role": role})

        assert (told("2", DEFAULT), told("1", KEPT)) == (1, 1)
        folder.labels.append("a@3")
        await until(lambda: told("3", DEFAULT) == 1)
        assert told("1", KEPT) is None
        assert told("2", KEPT) == 1


async def test_removed_model_is_out_of_the_way_of_a_request_in_its_middle(started: Started) -> None:
    folder = Folder(["a@1"])
    async with started(folder) as models:
        folder.labels.append("a@2")
        answers = []

        async def ask() -> None:
            while "a@2" not in roles(models):
                with models.use() as served:
                    (batched,) = await gather(served.submit_squares([SQUARE]))
                    answers.append(batched.output.mean())

        await asyncio.gather(*(ask() for _ in range(8)))
        assert answers
        assert set(answers) == {1}
