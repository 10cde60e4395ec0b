from __future__ import annotations

import base64
import hashlib
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.main import create_app
from app.middleware.auth import CLIENT, HOW_TO_SEND, KEY_NAME, AuthMiddleware, address_of
from app.middleware.request_context import AccessLog, RequestContextMiddleware
from app.middleware.response_headers import STRICT
from app.observability.metrics import Metrics
from app.security.api_keys import KeyRing, read_list
from app.security.rate_limit import RateLimiter
from app.settings import Settings
from tests.support.images import plain, png
from tests.support.networks import Gate, mean_colour
from tests.support.services import Running, Service

PHOTO = png(plain(50))
UPLOADS = ["/v1/matte", "/v1/cutout", "/v1.0/removebg", "/api/remove"]
PAGES = ["/", "/page/page.js", "/docs", "/docs/docs.js", "/api", "/openapi.json"]
BROWSER = {"Accept": "text/html,*/*;q=0.8"}
RATE = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


def basic(key: str, name: str = "anybody") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{key}'.encode()).decode()}"}


def line(name: str, key: str, more: str = "") -> str:
    return f"{name} sha256:{hashlib.sha256(key.encode()).hexdigest()} {more}\n"


class Times:
    """A clock of either kind, which goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0

    def monotonic_ns(self) -> int:
        return (7_000 + self.seconds) * 1_000_000_000

    def unix_s(self) -> float:
        return 1_800_000_000.5 + self.seconds


class GuardedApp:
    """AuthMiddleware around an app that says what it finds in the scope, with clocks that stand."""

    def __init__(self, keys: KeyRing | None = None, **settings: object) -> None:
        self.times = Times()
        self.metrics = Metrics()
        self.seen: list[dict[str, Any]] = []
        access = AuthMiddleware(
            self._answer,
            settings=Settings(**settings),  # type: ignore[arg-type]
            keys=keys or KeyRing(),
            metrics=self.metrics,
            limited={"/v1/matte"},
            rate_limiter=RateLimiter(),
            monotonic_ns=self.times.monotonic_ns,
            unix_s=self.times.unix_s,
        )
        self._app = RequestContextMiddleware(access, access_log=AccessLog(self.metrics, []))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append({name: scope.get(name) for name in (CLIENT, KEY_NAME)})
        if "broken" in scope["query_string"].decode():
            raise RuntimeError
        await Request(scope, receive).body()
        await PlainTextResponse("done")(scope, receive, send)

    async def ask(self, *given: str, host: str = "10.0.0.1", key: str = "", **options: Any) -> httpx.Response:
        method, path = given or ("POST", "/v1/matte")
        transport = httpx.ASGITransport(self._app, client=(host, 5))
        headers = {"X-Api-Key": key} if key else {}
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, headers=headers, **options)

    def refused(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("matte_rejected_total", {"reason": reason})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-Api-Key": "wrong"}, 401),
        ({"X-Api-Key": ""}, 401),
        ({"X-Api-Key": "two2"}, 401),
        ({"Authorization": "Basic two"}, 401),
        (basic("wrong"), 401),
        (basic("x", name="two"), 401),
        ({"X-Api-Key": "one"}, 200),
        ({"X-Api-Key": "two"}, 200),
        ({"Authorization": "Bearer two"}, 200),
        (basic("two"), 200),
        (basic("two", name=""), 200),
    ],
)
async def test_key_is_needed_where_keys_are_set(
    running: Running, headers: dict[str, str], status: int
) -> None:
    async with running(api_keys="one,two") as service:
        answers = [
            await service.post(PHOTO, headers=headers),
            await service.client.get("/v1/models", headers=headers),
        ]
    for answer in answers:
        assert answer.status_code == status
        # Never Basic: the page asks for its key itself, and the browser would ask a second time.
        assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


@pytest.mark.parametrize("path", UPLOADS)
async def test_every_route_that_takes_photos_wants_a_key(running: Running, path: str) -> None:
    async with running(api_keys="one") as service:
        assert (await service.client.post(path, content=PHOTO)).status_code == 401


async def test_missing_and_wrong_key_are_told_apart_in_words_and_counted() -> None:
    guarded = GuardedApp(KeyRing(read_list(["one"])))
    none, wrong = await guarded.ask(), await guarded.ask(key="two")
    assert none.json()["errors"][0]["detail"] == HOW_TO_SEND
    assert wrong.json()["errors"][0]["detail"].startswith(
        "The key that was sent is not one of the service's keys."
    )
    assert guarded.refused("auth_failed") == 2
    assert guarded.seen == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", *PAGES])
async def test_nothing_else_needs_a_key_unless_it_is_protected(running: Running, path: str) -> None:
    async with running(api_keys="one") as service:
        assert (await service.client.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_never_needs_a_key(running: Running, path: str) -> None:
    async with running(api_keys="one", protect="metrics,ui") as service:
        assert (await service.client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("protect", "locked", "open_"),
    [("metrics", ["/metrics"], PAGES), ("ui", PAGES, ["/metrics"]), ("ui,metrics", [*PAGES, "/metrics"], [])],
)
async def test_metrics_and_pages_can_be_protected(
    running: Running, protect: str, locked: list[str], open_: list[str]
) -> None:
    async with running(api_keys="one", protect=protect) as service:
        for path in open_:
            assert (await service.client.get(path, headers=BROWSER)).status_code == 200, path
        for path in locked:
            answer = await service.client.get(path, headers=BROWSER)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Basic realm="), path
            for way in (basic("one"), {"X-Api-Key": "one"}, {"Authorization": "Bearer one"}):
                assert (await service.client.get(path, headers=BROWSER | way)).status_code == 200, path


@pytest.mark.parametrize("path", ["/page/..%2fsite.py", "/page/%0A", "/docs/x", "/docs/"])
async def test_odd_paths_below_protected_ones_are_protected(running: Running, path: str) -> None:
    async with running(api_keys="one", protect="ui") as service:
        assert (await service.client.get(path)).status_code == 401


async def test_page_that_was_opened_with_a_key_needs_no_other_one(running: Running) -> None:
    """A browser sends what its user gave it with all that the page loads and posts."""
    here = {**basic("one"), "Origin": "http://service"}
    async with running(api_keys="one", protect="ui") as service:
        assert (await service.post(PHOTO, headers=here)).status_code == 200
        assert (await service.post(PHOTO, headers=here | {"X-Api-Key": "wrong"})).status_code == 401


@pytest.mark.parametrize("sign", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_browsers_key_is_of_no_use_to_another_website(running: Running, sign: dict[str, str]) -> None:
    async with running(api_keys="one", protect="ui") as service:
        answer = await service.post(PHOTO, headers=basic("one") | sign)
        assert answer.status_code == 401
        assert "Another website" in answer.json()["errors"][0]["detail"]
        # Following a link from there to here is no harm.
        assert (await service.client.get("/", headers=BROWSER | basic("one") | sign)).status_code == 200


async def test_refused_upload_is_not_read() -> None:
    guarded = GuardedApp(KeyRing(read_list(["one"])))

    async def body() -> Any:
        yield b""
        pytest.fail("the body was read")

    transport = httpx.ASGITransport(guarded._app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        answer = await client.post("/v1/matte", content=body(), headers={"Expect": "100-continue"})
    assert answer.status_code == 401


async def test_client_is_the_keys_name_else_the_address(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(line("shop", "two"))
    guarded = GuardedApp(KeyRing(read_list(["one"]), file))
    await guarded.ask(key="one")
    await guarded.ask(key="two")
    await guarded.ask("GET", "/healthz")
    assert guarded.seen == [
        {CLIENT: "key-1", KEY_NAME: "key-1"},
        {CLIENT: "shop", KEY_NAME: "shop"},
        {CLIENT: "10.0.0.1", KEY_NAME: None},
    ]


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("::ffff:10.0.0.1", 5), "10.0.0.1"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::7", 5), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (("::1", 5), "::/64"),
        (("testclient", 5), "testclient"),
        (None, ""),
    ],
)
def test_address_stands_for_all_that_one_host_may_have(client: object, address: str) -> None:
    assert address_of({"client": client}) == address


async def test_key_revoked_in_the_file_is_refused_without_a_restart(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(line("shop", "one"))
    async with running(api_keys_file=file) as service:
        assert (await service.post(PHOTO, headers={"X-Api-Key": "one"})).status_code == 200
        file.write_text(line("desk", "two"))
        service.app.state.keys._checked_at -= 1  # a second passes
        assert (await service.post(PHOTO, headers={"X-Api-Key": "one"})).status_code == 401
        assert (await service.post(PHOTO, headers={"X-Api-Key": "two"})).status_code == 200


async def test_log_names_the_key_and_no_address(
    running: Running, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(line("shop", "topsecret"))
    async with running(api_keys_file=file) as service:
        with caplog.at_level(logging.INFO, "app.access"):
            await service.post(PHOTO, headers={"X-Api-Key": "topsecret"})
            await service.client.get("/healthz")
    with_key, without = (vars(record) for record in caplog.records)
    assert with_key["client"] == "shop"
    assert "topsecret" not in str(with_key)
    assert "client" not in without
    assert "127.0.0.1" not in str(without)


async def test_rate_is_told_with_every_answer_and_kept() -> None:
    guarded = GuardedApp(rate_per_minute=2)
    first, second, third = [await guarded.ask() for _ in range(3)]
    assert [answer.status_code for answer in (first, second, third)] == [200, 200, 429]
    assert [[answer.headers[name] for name in RATE] for answer in (first, second, third)] == [
        ["2", "1", "1800000031"],
        ["2", "0", "1800000061"],
        ["2", "0", "1800000061"],
    ]
    assert "retry-after" not in second.headers
    assert third.headers["retry-after"] == "30"
    (error,) = third.json()["errors"]
    assert error["code"] == "rate_limit_exceeded"
    assert error["detail"] == "At most 2 photos a minute; the next one may come in 30 s."
    assert guarded.refused("rate_limited") == 1
    guarded.times.seconds = 29
    assert (await guarded.ask()).headers["retry-after"] == "1"
    guarded.times.seconds = 30
    assert (await guarded.ask()).status_code == 200


async def test_only_photos_cost_and_are_told_the_rate() -> None:
    guarded = GuardedApp(rate_per_minute=1)
    for given in (("GET", "/v1/matte"), ("POST", "/v1/models"), ("GET", "/healthz")):
        for _ in range(3):
            answer = await guarded.ask(*given)
            assert answer.status_code == 200
            assert not {*RATE} & {*answer.headers}
    assert (await guarded.ask()).headers["x-ratelimit-remaining"] == "0"


async def test_without_a_rate_nothing_is_told_of_it() -> None:
    answer = await GuardedApp().ask()
    assert not {*RATE} & {*answer.headers}


async def test_answer_of_the_last_resort_tells_the_rate_too() -> None:
    answer = await GuardedApp(rate_per_minute=1).ask("POST", "/v1/matte?broken")
    assert answer.status_code == 500
    assert {*RATE} <= {*answer.headers}


async def test_each_address_has_its_own_rate_where_there_are_no_keys() -> None:
    guarded = GuardedApp(rate_per_minute=1)
    hosts = ["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"]
    assert [(await guarded.ask(host=host)).status_code for host in hosts] == [200, 200, 200, 429]


async def test_each_key_has_its_own_rate_wherever_it_is_used(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(line("shop", "a", "rate=2") + line("desk", "b") + line("till", "c", "rate=0"))
    guarded = GuardedApp(KeyRing(file=file), rate_per_minute=1)
    hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    statuses = {key: [(await guarded.ask(key=key, host=host)).status_code for host in hosts] for key in "abc"}
    assert statuses == {"a": [200, 200, 429], "b": [200, 429, 429], "c": [200, 200, 200]}


async def test_wrong_key_costs_nobodys_rate() -> None:
    guarded = GuardedApp(KeyRing(read_list(["one"])), rate_per_minute=1)
    for _ in range(3):
        answer = await guarded.ask(key="two")
        assert answer.status_code == 401
        assert not {*RATE} & {*answer.headers}
    assert (await guarded.ask(key="one")).status_code == 200


async def test_good_and_bad_answers_of_photos_tell_the_rate(running: Running) -> None:
    async with running(rate_per_minute=3) as service:
        answers = [
            await service.post(PHOTO),
            await service.post(b"no photo"),
            await service.client.post("/v1.0/removebg", data={"nonsense": "1"}),
            await service.client.post("/api/remove", files={"file": PHOTO}),
        ]
    assert [answer.status_code for answer in answers] == [200, 415, 400, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]


async def test_full_queue_and_spent_rate_are_counted_apart(running: Running, gate: Gate) -> None:
    async with running(gate, rate_per_minute=1, request_timeout_ms=100) as service:
        assert (await service.post(PHOTO)).status_code == 504
        assert (await service.post(PHOTO)).status_code == 429
        assert await service.metric('matte_rejected_total{reason="rate_limited"}') == 1
        assert await service.metric('matte_rejected_total{reason="queue_full"}') == 0


async def answers_of_every_kind(service: Service) -> list[httpx.Response]:
    client, one = service.client, {"X-Api-Key": "one"}
    return [
        await service.post(PHOTO, headers=one),
        await service.post(b"no photo", headers=one),
        await service.post(PHOTO),
        await client.get("/v1/models", headers=one),
        await client.get("/healthz"),
        await client.get("/metrics"),
        await client.get("/"),
        await client.get("/", headers=BROWSER),
        await client.get("/docs"),
        await client.get("/openapi.json"),
        await client.get("/nothing"),
    ]


async def test_every_answer_has_strict_headers_once(running: Running) -> None:
    async with running(api_keys="one") as service:
        answers = await answers_of_every_kind(service)
    for answer in answers:
        for name, value in STRICT.items():
            assert answer.headers.get_list(name) == [value], (answer.url, name)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy


async def test_only_files_of_the_pages_may_be_kept(running: Running) -> None:
    async with running(api_keys="one") as service:
        answers = await answers_of_every_kind(service)
    kept = {answer.url.path for answer in answers if answer.headers["cache-control"] != "no-store"}
    assert kept == {"/", "/docs"}
    assert answers[0].headers["cache-control"] == "no-store"


SHOP = "https://shop.example"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "x-api-key, content-type",
}


def cors_of(answer: httpx.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


async def test_other_websites_read_nothing_unless_they_are_named(running: Running) -> None:
    async with running() as service:
        answer = await service.post(PHOTO, headers={"Origin": SHOP})
        preflight = await service.client.options("/v1/matte", headers={"Origin": SHOP, **PREFLIGHT})
    assert cors_of(answer) == cors_of(preflight) == set()
    assert preflight.status_code == 405


async def test_named_website_may_post_with_a_key_and_read_the_answer(running: Running) -> None:
    async with running(api_keys="one", cors_origins=f"{SHOP},http://localhost:3000") as service:
        preflight = await service.client.options("/v1/matte", headers={"Origin": SHOP, **PREFLIGHT})
        answer = await service.post(PHOTO, headers={"Origin": SHOP, "X-Api-Key": "one"})
        refused = await service.post(PHOTO, headers={"Origin": SHOP})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == SHOP
    assert "x-api-key" in preflight.headers["access-control-allow-headers"].lower()
    assert [answer.status_code, refused.status_code] == [200, 401]
    for each in (answer, refused):
        assert each.headers["access-control-allow-origin"] == SHOP
        assert "access-control-allow-credentials" not in each.headers
        assert "origin" in each.headers["vary"].lower()
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    ours = {name for name in answer.headers if name.startswith("x-")} - {name.lower() for name in STRICT}
    assert ours | {"retry-after", "server-timing", *RATE} <= {*exposed}


async def test_website_that_is_not_named_reads_nothing(running: Running) -> None:
    async with running(cors_origins=SHOP) as service:
        for origin in ("https://evil.example", "https://shop.example.evil.example", "null"):
            answer = await service.post(PHOTO, headers={"Origin": origin})
            assert "access-control-allow-origin" not in answer.headers
            preflight = await service.client.options("/v1/matte", headers={"Origin": origin, **PREFLIGHT})
            assert preflight.status_code == 400


async def test_everybody_may_be_let_read_where_there_are_no_keys(running: Running) -> None:
    async with running(cors_origins="*") as service:
        answer = await service.post(PHOTO, headers={"Origin": "https://anywhere.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


def described(**settings: object) -> dict[str, Any]:
    return create_app(Settings(**settings), mean_colour).openapi()  # type: ignore[arg-type]


def test_description_says_where_a_key_is_sent() -> None:
    document = described(api_keys="one", protect="metrics")
    schemes = document["components"]["securitySchemes"]
    assert schemes["ApiKey"] == {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
    assert schemes["Bearer"] == {"type": "http", "scheme": "bearer"}
    ways = [{"ApiKey": []}, {"Bearer": []}, {"Basic": []}]
    locked = {path: {*methods} for path, methods in document["paths"].items() if is_locked(methods, ways)}
    assert locked.keys() == {*UPLOADS, "/v1/models", "/v1.0/account", "/metrics"}


def is_locked(methods: dict[str, Any], ways: list[dict[str, Any]]) -> bool:
    (operation,) = methods.values()
    assert operation.get("security") in (None, ways)
    return "security" in operation


def test_description_says_that_a_key_is_not_needed_where_there_are_none() -> None:
    operation = described()["paths"]["/v1/matte"]["post"]
    assert operation["security"][0] == {}
    answers = operation["responses"]
    assert {name.lower() for name in answers["429"]["headers"]} == {"retry-after", *RATE}
    assert {*answers["401"]["headers"]} == {"WWW-Authenticate"}
    assert {*RATE} <= {name.lower() for name in answers["200"]["headers"]}
