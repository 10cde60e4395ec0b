"""The registry of models: which models serve, and which one serves a request.

    repository       the models in the models folder
    servable         one model in service, with its batcher
    shadow_traffic   a candidate model: compared with the answers, never answered with

A new version is verified, loaded and warmed while the old one serves, and then replaces it; the old one is unloaded
when its last request is done. A version that cannot be loaded changes nothing. Knows no photos and no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar

from app.errors import NotReady, UnknownModel
from app.inference import predictor
from app.inference.backends import compiled_cache
from app.inference.backends.base import LoadError, Predict, give_memory_back
from app.inference.predictor import Predictor
from app.inference.repository import ModelVersion, check_one_name, pick, scan
from app.inference.servable import DeviceContext, LoadedModel, Servable, on_device
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

    def __init__(self, source: ModelSource, device: DeviceContext) -> None:
        self._source = source
        self._device = device
        self._settings: Settings = device.settings
        self._metrics: Metrics = device.metrics
        self._by_name: dict[str, list[Servable]] = {}  # The newest first.
        self._shadow: Servable | None = None
        self._rejected: set[tuple[str, str]] = set()
        self._poll_task: asyncio.Task[None] | None = None
        self._unloading: set[asyncio.Task[None]] = set()
        self._loader = ThreadPoolExecutor(1, "load")

    async def start(self) -> None:
        """Load the models, and poll for changes from then on. Raises ContractError or LoadError."""
        found = await self._in_thread(self._source.scan)
        await self._update(found, starting=True)
        self._default()
        if self._settings.model_poll_ms and any(each.number for each in found):
            self._poll_task = asyncio.create_task(self._poll(), name="models")
            self._poll_task.add_done_callback(_log_poll_failure)

    @contextmanager
    def use(self, model: str = "") -> Iterator[Servable]:
        """The model for one request: `name@version`, the newest version of `name`, or the default model. It stays
        loaded while the context lasts. Raises UnknownModel or NotReady."""
        servable = self._find(model) if model else self.default
        with servable.in_use():
            yield servable

    @property
    def default(self) -> Servable:
        """The model of requests that name none. Raises NotReady before it is loaded."""
        if not self._by_name:
            raise NotReady("The model is still loading.")
        return self._default()

    @property
    def shadow(self) -> Servable | None:
        """The candidate model, if there is one."""
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
    def fault(self) -> str:
        """Why a model will not serve new requests, in a sentence; empty if all will."""
        each = [*self._answering(), *([self._shadow] if self._shadow else [])]
        return next((servable.fault for servable in each if servable.fault), "")

    @property
    def depth(self) -> int:
        """Squares that wait for a batch of any model."""
        return sum(servable.depth for servable, _ in self.all())

    def flush(self) -> None:
        """From now on start batches without waiting for more pictures. Safe to call from a signal handler."""
        for servable, _ in self.all():
            servable.flush()

    async def close(self) -> None:
        """Close all models; waiting requests get NotReady."""
        if self._poll_task:
            self._poll_task.cancel()
        for servable, _ in self.all():
            await servable.close()
        for each in self._unloading:
            each.cancel()
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _default(self) -> Servable:
        """The default model. Raises ContractError if it is ambiguous or missing."""
        model = self._settings.default_model
        if model:
            try:
                return self._find(model)
            except UnknownModel as error:
                raise ContractError(f"MATTE_DEFAULT_MODEL: {error.detail}") from None
        check_one_name(self._answering())
        return self._answering()[0]

    def _answering(self) -> list[Servable]:
        """All models except the candidate; of each name the newest first."""
        return [servable for versions in self._by_name.values() for servable in versions]

    def _find(self, model: str) -> Servable:
        found = pick(self._answering(), model)
        if found is not None:
            return found
        available = ", ".join(sorted(servable.manifest.label for servable in self._answering()))
        raise UnknownModel(f"No model {model[:100]!r} is in service; there is {available}.")

    async def _poll(self) -> None:
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
        self._publish()

    def _pinned_first(self, candidates: list[ModelVersion]) -> list[ModelVersion]:
        """Put the configured default version first: it serves even if there are newer ones."""
        return sorted(candidates, key=lambda each: each.label != self._settings.default_model)

    async def _load_newest(self, candidates: list[ModelVersion], *, starting: bool) -> list[Servable]:
        """The versions of one name to serve, the newest first, as many as the settings keep. When `starting`, raises
        the errors of `load` if none can be loaded."""
        before = self._by_name.get(candidates[0].manifest.name, [])
        available = {_servable_key(servable): servable for servable in before}
        serving: list[Servable] = []
        for version in candidates:
            if len(serving) == self._settings.model_versions:
                break
            servable = available.get(_version_key(version))
            try:
                servable = servable or await self._load(version)
            except (ContractError, LoadError):
                if starting and version is candidates[-1] and not serving:
                    raise
                continue
            serving.append(servable)
        return serving

    async def _load(self, version: ModelVersion) -> Servable:
        """Load a version. Raises ContractError or LoadError, without another try if the same files failed before."""
        key = _version_key(version)
        if key in self._rejected:
            raise LoadError(f"{version.label} was refused before")
        _log.info("loading model %s", version.label)
        try:
            return await self._source.open(version, self._device, self._loader)
        except (ContractError, LoadError) as error:
            self._rejected.add(key)
            self._metrics.model_load_failures.inc()
            _log.error("model %s cannot be served: %s", version.label, error)
            raise

    async def _update_shadow(self, version: ModelVersion | None) -> None:
        before = self._shadow
        if version and before and _servable_key(before) == _version_key(version):
            return
        try:
            self._shadow = await self._load(version) if version else None
        except (ContractError, LoadError):
            self._shadow = None
        if before:
            self._retire(before)

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
                self._retire(each)

    def _retire(self, servable: Servable) -> None:
        async def unload() -> None:
            await servable.unload()
            _log.info("model %s is out of service", servable.manifest.label)
            await self._in_thread(give_memory_back)

        task = asyncio.create_task(unload(), name=f"unload {servable.manifest.label}")
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)

    def _publish(self) -> None:
        self._metrics.set_models([*_labels(servable.model), role] for servable, role in self.all())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._loader, work)


def _version_key(version: ModelVersion) -> tuple[str, str]:
    return version.label, version.manifest.sha256


def _servable_key(servable: Servable) -> tuple[str, str]:
    return servable.manifest.label, servable.manifest.sha256


def _labels(model: LoadedModel) -> list[str]:
    """The model's metric labels: name, version, device, runtime, precision and SHA-256."""
    manifest = model.manifest
    return [
        manifest.name,
        manifest.version,
        model.device,
        model.runtime,
        model.precision,
        manifest.sha256,
    ]


def _log_poll_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.critical("polling for new models has failed", exc_info=error)


STAND_IN: Final = Manifest("stand-in", "0", input_size=64, geometry="stretch", files={})
"""The manifest of a function that replaces the network; the X-Model header names it."""


class ModelSource(Protocol):
    """Where models come from. `scan`, which may take long, raises ContractError; `open`, which may use the thread of
    `loader`, raises that or LoadError."""

    @property
    def scan(self) -> Callable[[], list[ModelVersion]]: ...

    async def open(self, version: ModelVersion, device: DeviceContext, loader: Executor) -> Servable: ...


@dataclass(frozen=True, slots=True)
class Source:
    """Models that run in this process. `scan` raises ContractError, `load` that or LoadError; both may take long."""

    scan: Callable[[], list[ModelVersion]]
    load: Callable[[ModelVersion], Predictor]

    async def open(self, version: ModelVersion, device: DeviceContext, loader: Executor) -> Servable:
        """Load a version, and put it into service."""
        predictor = await asyncio.get_running_loop().run_in_executor(loader, self.load, version)
        return on_device(predictor, device)


def single_model(manifest: Manifest, load: Callable[[], Predictor]) -> Source:
    """A source of one model that never changes."""
    return Source(lambda: [ModelVersion(Path(), manifest, 0)], lambda _: load())


def model_source(settings: Settings, predict: Predict | None = None, gpu: int = 0) -> Source:
    """The source that the settings name; `predict`, if given, replaces its models."""
    if predict is not None:
        sizes = predictor.batch_sizes_up_to(settings.max_batch_size or predictor.LARGEST_ON_CPU)
        return single_model(STAND_IN, partial(Predictor, STAND_IN, "none", "float32", sizes, predict))

    def load(version: ModelVersion) -> Predictor:
        return predictor.load(
            version.path,
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
