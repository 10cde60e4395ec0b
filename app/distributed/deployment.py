"""The service on Ray Serve: replicas of the same app on all nodes of a cluster, scaled by load.

    serve run app.distributed.deployment:deployment          docker/ray/serve.yaml has the same for `serve deploy`

Settings come from the environment of the process that builds the application, and are sent to all replicas, which
share their node by `cpus`. `app.main` builds the app of a replica. Needs the extra `ray`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from app.main import create_app
from app.observability.logs import configure_logs
from app.pipeline import busy_photos
from app.settings import load_settings

HEALTH_CHECK_S: Final = 10.0
START_TIMEOUT_S: Final = 120.0
"""Timeout of a replica's first health check, which waits for its model."""


class Replicas(BaseModel):
    """How many replicas, from `least` to `most`, and the CPUs and GPUs of each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least: int = Field(default=1, ge=1)
    most: int = Field(default=4, ge=1)
    cpus: int = Field(default=2, ge=1)
    gpus: int = Field(default=0, ge=0, le=1)


class Matting:
    """A replica. It builds its app in its own process."""

    app: FastAPI

    async def check_health(self) -> None:
        """Called by Ray Serve: wait for the model, and raise if the app would answer 503."""
        state = self.app.state
        await asyncio.shield(state.loading)
        state.pipeline.check_ready()


def deployment(arguments: Mapping[str, str]) -> Any:
    """The application for `serve run`, with arguments such as `most=8 gpus=1`, which are the fields of `Replicas`.

    Raises SettingsError, and ValidationError for other arguments.
    """
    replicas, settings = Replicas.model_validate(arguments), load_settings()
    own = settings.model_copy(update={"cores": settings.cores or replicas.cpus})

    def build() -> FastAPI:
        """Called in each replica."""
        configure_logs(own.log_level)
        return create_app(own)

    return serve.deployment(
        serve.ingress(build)(Matting),
        name="matting",
        max_ongoing_requests=own.max_queue,
        max_queued_requests=own.max_queue,
        autoscaling_config={
            "min_replicas": replicas.least,
            "max_replicas": max(replicas.least, replicas.most),
            "target_ongoing_requests": busy_photos(own, on_gpu=replicas.gpus > 0),
        },
        health_check_period_s=HEALTH_CHECK_S,
        health_check_timeout_s=START_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=1.0,
        graceful_shutdown_timeout_s=own.drain_timeout_ms / 1000,
        ray_actor_options={"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
    ).bind()
