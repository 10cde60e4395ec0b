from __future__ import annotations

import asyncio
import io
import itertools
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from app.api.routes import router
from app.main import create_app
from app.middleware.tracing import TracingMiddleware, connect
from app.observability.logs import configure_logs
from app.settings import Settings, SettingsError
from tests.support.images import plain, png
from tests.support.networks import mean_colour
from tests.support.services import Running, Service
from tests.support.socket_servers import served

otel = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

PHOTO = png(plain(50))
# W3C's own example.
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"  # pragma: allowlist secret
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
STAGES = ["read", "budget", "decode", "queue", "infer", "refine", "encode"]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    yield made
    made.shutdown()


@asynccontextmanager
async def traced(running: Running, provider: TracerProvider, **chosen: object) -> AsyncIterator[Service]:
    """A running app behind `TracingMiddleware`, as main puts it there."""
    async with running(**chosen) as service:
        app = TracingMiddleware(service.app, provider=provider, routes=router.routes)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield Service(service.app, client)


def request_and_stages(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """The request's span, and its stages' by their beginning."""
    spans = exporter.get_finished_spans()
    (request,) = (span for span in spans if span.kind is SpanKind.SERVER)
    stages = [span for span in spans if span is not request]
    return request, sorted(stages, key=lambda span: (span.start_time, span.end_time))


async def test_a_photo_is_one_span_and_one_for_each_stage_in_their_order(
    running: Running, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    async with traced(running, provider) as service:
        answer = await service.post(PHOTO, headers={"X-Request-Id": "abc"})
    request, stages = request_and_stages(exporter)
    assert request.name == "POST /v1/matte"
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/matte",
        "http.response.status_code": 200,
        "matte.request_id": "abc",
    }
    assert [span.name for span in stages] == STAGES
    assert all(span.parent.span_id == request.context.span_id for span in stages)
    assert answer.headers["traceresponse"].split("-")[1] == f"{request.context.trace_id:032x}"


async def test_stages_follow_each_other_inside_the_request_and_last_as_long_as_its_header_says(
    running: Running, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    async with traced(running, provider) as service:
        answer = await service.post(png(plain(50, 600, 800)))
    request, stages = request_and_stages(exporter)
    assert request.start_time <= stages[0].start_time
    assert stages[-1].end_time <= request.end_time
    for before, after in itertools.pairwise(stages):
        assert before.end_time <= after.start_time + 1_000, (before.name, after.name)  # of rounding, in ns
    told = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]))
    for span in stages:
        if span.name in ("infer", "refine", "encode"):
            assert (span.end_time - span.start_time) / 1e6 == pytest.approx(float(told[span.name]), abs=0.1)


async def test_a_batch_tells_how_many_shared_it(
    running: Running, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    async with traced(running, provider, max_batch_size=2, lanes=1, batch_wait_ms=10_000) as service:
        await asyncio.gather(service.post(PHOTO), service.post(PHOTO))
    sizes = [dict(span.attributes) for span in exporter.get_finished_spans() if span.name == "infer"]
    assert sizes == [{"matte.batch.size": 2}] * 2


async def test_the_trace_of_the_caller_is_taken_over(
    running: Running, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    async with traced(running, provider) as service:
        answer = await service.post(PHOTO, headers=SAMPLED | {"tracestate": "vendor=1"})
    request, stages = request_and_stages(exporter)
    assert f"{request.parent.span_id:016x}" == PARENT
    assert {f"{span.context.trace_id:032x}" for span in (request, *stages)} == {TRACE}
    assert request.context.trace_state.get("vendor") == "1"
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{request.context.span_id:016x}-01"


async def test_what_the_caller_does_not_sample_is_not_told_but_named(
    running: Running, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    async with traced(running, provider) as service:
        answer = await service.post(PHOTO, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert answer.status_code == 200
    assert exporter.get_finished_spans() == ()
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-00", answer.headers["traceresponse"])


@pytest.mark.parametrize(
    "wrong", ["", "x", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", "00-" * 500]
)
async def test_a_malformed_context_begins_a_trace_of_its_own(
    running: Running, provider: TracerProvider, exporter: InMemorySpanExporter, wrong: str
) -> None:
    async with traced(running, provider) as service:
        answer = await service.client.get("/v1/models", headers={"traceparent": wrong})
    assert answer.status_code == 200
    request, _ = request_and_stages(exporter)
    assert request.parent is None


async def test_a_refused_photo_tells_its_code_and_is_no_error_of_ours(
    running: Running, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    async with traced(running, provider) as service:
        await service.post(b"no photo")
    request, stages = request_and_stages(exporter)
    assert request.attributes["error.type"] == "invalid_file_type"
    assert request.attributes["http.response.status_code"] == 415
    assert request.status.status_code is StatusCode.UNSET
    assert [span.name for span in stages] == ["read"]


async def test_a_failure_of_ours_is_an_error(
    running: Running,
    provider: TracerProvider,
    exporter: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with traced(running, provider) as service:
        monkeypatch.setattr(service.app.state.pipeline, "run", None)
        await service.post(PHOTO)
    request, _ = request_and_stages(exporter)
    assert request.status.status_code is StatusCode.ERROR
    assert request.attributes["error.type"] == "internal"


async def test_neither_photo_nor_key_nor_address_is_in_a_span(
    running: Running, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    async with traced(running, provider, api_keys="topsecret") as service:
        await service.client.post(
            "/v1/matte?quality=high&secret=1",
            files={"image": ("my-wife.png", PHOTO)},
            headers={"X-Api-Key": "topsecret", "X-Forwarded-For": "203.0.113.7"},
        )
    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "/v1/matte" in told
    for word in ("topsecret", "my-wife", "203.0.113.7", "127.0.0.1", "secret=1"):
        assert word not in told


async def test_what_machines_ask_every_few_seconds_is_not_traced(
    running: Running, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    async with traced(running, provider) as service:
        for path in ("/healthz", "/readyz", "/metrics"):
            answer = await service.client.get(path)
            assert "traceresponse" not in answer.headers
    assert exporter.get_finished_spans() == ()


async def test_made_up_paths_and_methods_share_one_name(
    running: Running, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    async with traced(running, provider) as service:
        await service.client.request("HACK", "/some/where")
    request, _ = request_and_stages(exporter)
    assert request.name == "HTTP unmatched"
    assert request.attributes["http.request.method"] == "_OTHER"


async def test_log_lines_carry_the_trace(running: Running, provider: TracerProvider) -> None:
    stream = io.StringIO()
    async with traced(running, provider) as service:
        configure_logs("info", stream)
        await service.post(PHOTO, headers=SAMPLED)
        logging.getLogger("app").info("outside")
    by_message = {line["message"]: line for line in map(json.loads, stream.getvalue().splitlines())}
    assert by_message["request"]["trace_id"] == TRACE
    assert "trace_id" not in by_message["outside"]


class Receiver(HTTPServer):
    """An OTLP receiver that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[str, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_spans_arrive_at_the_endpoint_before_the_service_is_gone(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    endpoint = f"http://127.0.0.1:{receiver.server_address[1]}/"
    with served(create_app(Settings(otlp_endpoint=endpoint), mean_colour)) as address:
        answer = httpx.post(f"{address}/api/remove", files={"file": PHOTO}, headers=SAMPLED, timeout=30)
    assert answer.status_code in (200, 503)  # It may be loading still; both are traced.
    ((path, body),) = receiver.received
    assert path == "/v1/traces"
    (told,) = ExportTraceServiceRequest.FromString(body).resource_spans
    resource = {each.key: each.value.string_value for each in told.resource.attributes}
    assert resource["service.name"] == "u2matte"
    assert resource["deployment.environment"] == "test"
    spans = {span.name: span for scope in told.scope_spans for span in scope.spans}
    assert spans["POST /api/remove"].trace_id.hex() == TRACE


def test_an_endpoint_without_the_extra_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"pip install 'u2matte\[otel\]'"):
        connect("http://127.0.0.1:4318")


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(ValueError, match="otlp_endpoint"):
        Settings(otlp_endpoint="collector:4318")


def test_nothing_of_opentelemetry_is_imported_where_no_endpoint_is_set() -> None:
    check = (
        "import sys; from app.main import create_app; from app.settings import Settings; create_app(Settings());"
        "sys.exit(any(name.startswith('opentelemetry.sdk') or name.startswith('opentelemetry.exporter') "
        "for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


async def test_fastapis_own_telemetry_is_off(
    running: Running,
    provider: TracerProvider,
    exporter: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)
    async with running() as service:
        assert (await service.client.get("/healthz")).status_code == 200
    assert exporter.get_finished_spans() == ()
