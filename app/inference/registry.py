"""Which models serve, and which one serves a request.

    repository       what lies in the folder of models
    servable         one model in service, with its batcher
    shadow_traffic   a candidate beside them, compared and never answered with

New versions are verified, loaded and warmed while the old ones serve on, and then take their place at once; an old
one is unloaded when its last request is done. What cannot be loaded changes nothing. Knows no photo and no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

from app.errors import NotReady, UnknownModel
from app.inference import predictor
from app.inference.backends import compiled_cache
from app.inference.backends.base import LoadError, Predict, give_memory_back
from app.inference.predictor import Predictor
from app.inference.repository import ModelVersion, check_one_name, pick, scan
from app.inference.servable import DeviceContext, Servable
from app.observability.metrics import Metrics
from app.settings import Settings
from model.contract import ContractError, Manifest

Role = Literal["default", "kept", "shadow"]
DEFAULT: Final = "default"
KEPT: Final = "kept"
SHADOW: Final = "shadow"

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)


class ModelRegistry:
    """All models of one process. `start` once, `use` for each request, `close` once."""

    def __init__(self, source: Source, device: DeviceContext) -> None:
        self._source = source
        self._device = device
        self._settings: Settings = device.settings
        self._metrics: Metrics = device.metrics
        self._by_name: dict[str, list[Servable]] = {}  # The newest first.
        self._shadow: Servable | None = None
        self._refused: set[tuple[str, str]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._loader = ThreadPoolExecutor(1, "load")

    async def start(self) -> None:
        """Load what there is, and scan for changes from then on. Raises ContractError or LoadError."""
        found = await self._in_thread(self._source.scan)
        await self._update(found, starting=True)
        self._default()
        if self._settings.model_poll_ms and any(each.number for each in found):
            self._watching = asyncio.create_task(self._watch(), name="models")
            self._watching.add_done_callback(_ended)

    @contextmanager
    def use(self, wish: str = "") -> Iterator[Servable]:
        """The model for one request: `name@version`, the newest `name`, or the default one. It stays while the
        context lasts. Raises UnknownModel or NotReady."""
        servable = self._find(wish) if wish else self.default
        with servable.in_use():
            yield servable

    @property
    def default(self) -> Servable:
        """Who serves those that ask for none. Raises NotReady before there is one."""
        if not self._by_name:
            raise NotReady("The model is still loading.")
        return self._default()

    @property
    def shadow(self) -> Servable | None:
        """The candidate that is tried beside the others."""
        return self._shadow

    def all(self) -> list[tuple[Servable, Role]]:
        """Every model, with its role: DEFAULT, KEPT or SHADOW."""
        if not self._by_name:
            return []
        default = self._default()
        roles: list[tuple[Servable, Role]] = [(default, DEFAULT)]
        roles += [(each, KEPT) for each in self._answering() if each is not default]
        return roles + ([(self._shadow, SHADOW)] if self._shadow else [])

    @property
    def alive(self) -> bool:
        """Whether every model will serve what comes."""
        shadow = self._shadow
        return all(servable.alive for servable in self._answering()) and (shadow is None or shadow.alive)

    @property
    def depth(self) -> int:
        """Squares that wait for a batch of any model."""
        return sum(servable.depth for servable, _ in self.all())

    def flush(self) -> None:
        """From now on no batch waits for company. Safe to call from a signal handler."""
        for servable, _ in self.all():
            servable.flush()

    async def close(self) -> None:
        """Whoever still waits gets NotReady."""
        if self._watching:
            self._watching.cancel()
        for servable, _ in self.all():
            await servable.close()
        for each in self._leaving:
            each.cancel()
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _default(self) -> Servable:
        """Raises ContractError if it is not clear which."""
        wish = self._settings.default_model
        if wish:
            try:
                return self._find(wish)
            except UnknownModel as error:
                raise ContractError(f"MATTE_DEFAULT_MODEL: {error.detail}") from None
        check_one_name(self._answering())
        return self._answering()[0]

    def _answering(self) -> list[Servable]:
        """All but the candidate; of each name the newest first."""
        return [servable for versions in self._by_name.values() for servable in versions]

    def _find(self, wish: str) -> Servable:
        found = pick(self._answering(), wish)
        if found is not None:
            return found
        there = ", ".join(sorted(servable.manifest.label for servable in self._answering()))
        raise UnknownModel(f"No model {wish[:100]!r} is in service; there is {there}.")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.model_poll_ms / 1000)
            try:
                await self._update(await self._in_thread(self._source.scan))
            except (ContractError, OSError) as error:
                _log.error("the models stay as they are: %s", error)

    async def _update(self, found: list[ModelVersion], *, starting: bool = False) -> None:
        shadow = [each for each in found if each.label == self._settings.shadow_model]
        await self._update_shadow(shadow[0] if shadow else None)
        names = {each.manifest.name for each in found if each not in shadow}
        for name in sorted(names):
            candidates = [each for each in found if each.manifest.name == name and each not in shadow]
            serving = await self._load_newest(self._pinned_first(candidates), starting=starting)
            if serving:
                self._replace(name, serving)
        for name in sorted(self._by_name.keys() - names):
            # The last one stays even when its files are gone: a folder that is not mounted must not end the service.
            if len(self._by_name) > 1 and self._by_name[name][0] is not self._default():
                self._replace(name, [])
        self._tell()

    def _pinned_first(self, candidates: list[ModelVersion]) -> list[ModelVersion]:
        """The version that is chosen as the default is served even when there are newer ones."""
        return sorted(candidates, key=lambda each: each.label != self._settings.default_model)

    async def _load_newest(self, candidates: list[ModelVersion], *, starting: bool) -> list[Servable]:
        """Of one name as many as are to be kept, the newest first. When `starting`, raises what `load` raises if
        there is none."""
        there = {_key(servable): servable for servable in self._by_name.get(candidates[0].manifest.name, [])}
        serving: list[Servable] = []
        for stored in candidates:
            if len(serving) == self._settings.model_versions:
                break
            servable = there.get(_stored_key(stored))
            try:
                servable = servable or await self._load(stored)
            except (ContractError, LoadError):
                if starting and stored is candidates[-1] and not serving:
                    raise
                continue
            serving.append(servable)
        return serving

    async def _load(self, stored: ModelVersion) -> Servable:
        """Raises ContractError or LoadError, and the same for files that have been refused before."""
        key = _stored_key(stored)
        if key in self._refused:
            raise LoadError(f"{stored.label} was refused before")
        _log.info("loading model %s", stored.label)
        try:
            predictor = await self._in_thread(lambda: self._source.load(stored))
        except (ContractError, LoadError) as error:
            self._refused.add(key)
            self._metrics.model_load_failures.inc()
            _log.error("model %s cannot be served: %s", stored.label, error)
            raise
        return Servable(predictor, self._device)

    async def _update_shadow(self, stored: ModelVersion | None) -> None:
        before = self._shadow
        if stored and before and _key(before) == _stored_key(stored):
            return
        try:
            self._shadow = await self._load(stored) if stored else None
        except (ContractError, LoadError):
            self._shadow = None
        if before:
            self._let_go(before)

    def _replace(self, name: str, serving: list[Servable]) -> None:
        before = self._by_name.get(name, [])
        chosen = [each for each in before if each.manifest.label == self._settings.default_model]
        if chosen and chosen[0] not in serving:
            _log.error(
                "the files of the default model %s are gone; it stays in service", chosen[0].manifest.label
            )
            serving = [*chosen, *serving]
        self._by_name.pop(name, None)
        if serving:
            self._by_name[name] = serving
        for each in serving:
            if each not in before:
                _log.info("model %s is in service", each.manifest.label)
        for each in before:
            if each not in serving:
                self._let_go(each)

    def _let_go(self, servable: Servable) -> None:
        async def leave() -> None:
            await servable.unload()
            _log.info("model %s is out of service", servable.manifest.label)
            await self._in_thread(give_memory_back)

        leaving = asyncio.create_task(leave(), name=f"let go of {servable.manifest.label}")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _tell(self) -> None:
        self._metrics.set_models([*servable.predictor.labels, role] for servable, role in self.all())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._loader, work)


def _stored_key(stored: ModelVersion) -> tuple[str, str]:
    return stored.label, stored.manifest.sha256


def _key(servable: Servable) -> tuple[str, str]:
    return servable.manifest.label, servable.manifest.sha256


def _ended(watching: asyncio.Task[None]) -> None:
    if not watching.cancelled() and (error := watching.exception()):
        _log.critical("new models are no longer looked for", exc_info=error)


STAND_IN: Final = Manifest("stand-in", "0", input_size=64, geometry="stretch", files={})
"""Who the X-Model header names when a function takes the network's place."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where models come from. `scan` raises ContractError, `load` that or LoadError; both may take long."""

    scan: Callable[[], list[ModelVersion]]
    load: Callable[[ModelVersion], Predictor]


def only(manifest: Manifest, load: Callable[[], Predictor]) -> Source:
    """One model that does not change."""
    return Source(lambda: [ModelVersion(Path(), manifest, 0)], lambda _: load())


def model_source(settings: Settings, predict: Predict | None = None, gpu: int = 0) -> Source:
    """Where the models that the settings name come from; `predict`, where given, takes the place of all."""
    if predict is not None:
        sizes = predictor.batch_sizes_up_to(settings.max_batch_size or predictor.LARGEST_ON_CPU)
        return only(STAND_IN, partial(Predictor, STAND_IN, "none", "float32", sizes, predict))

    def load(stored: ModelVersion) -> Predictor:
        return predictor.load(
            stored.path,
            device=settings.device,
            precision=settings.precision,
            runtime=settings.runtime,
            max_batch_size=settings.max_batch_size,
            lanes=settings.lanes,
            cores=settings.core_count,
            gpu=gpu,
            cache_dir=compiled_cache.folder_of(settings.cache_dir),
        )

    return Source(partial(scan, settings.model_dir), load)
