from __future__ import annotations

import hashlib
import hmac
import logging
import os
from pathlib import Path

import pytest

from app.security import api_keys
from app.security.api_keys import CHECK_EVERY_S, Key, KeyRing, KeysError, generate_key, read_file, read_list
from app.security.rate_limit import RATE_MAX


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self) -> None:
        self.now += CHECK_EVERY_S


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"shop sha256:{sha('one')}\n")
    return path


def name_of(ring: KeyRing, secret: str) -> str | None:
    found = ring.find(secret.encode())
    return None if found is None else found.name


def test_plain_keys_are_named_by_their_positions_and_never_by_what_they_are() -> None:
    assert read_list(["one", "two"]) == (
        Key("key-1", hashlib.sha256(b"one").digest()),
        Key("key-2", hashlib.sha256(b"two").digest()),
    )


def test_hashed_key_of_the_settings_has_its_own_name() -> None:
    ring = KeyRing(read_list(["plain", f"shop:sha256:{sha('one').upper()}"]))
    assert name_of(ring, "one") == "shop"
    assert name_of(ring, "plain") == "key-1"
    assert name_of(ring, sha("one")) is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["schlüssel"], "must be ASCII"),
        ([f"sha256:{sha('secret')}"], "entry 1 is neither"),
        (["x", f"shop:sha256:{sha('secret')[1:]}"], "entry 2 is neither"),
        ([f"shop:sha256:{sha('secret')}0"], "entry 1 is neither"),
        ([f"-shop:sha256:{sha('secret')}"], "a name is"),
        ([f":sha256:{sha('secret')}"], "a name is"),
        ([f"shop:sha256:{sha('secret')}", f"shop:sha256:{sha('two')}"], "two keys are named shop"),
        (["secret", f"shop:sha256:{sha('secret')}"], "key-1 and shop are the same key"),
    ],
)
def test_what_is_no_key_in_the_settings_is_refused_and_not_shown(entries: list[str], message: str) -> None:
    with pytest.raises(KeysError, match=message) as caught:
        read_list(entries)
    assert "secret" not in str(caught.value)
    assert sha("secret")[:8] not in str(caught.value)


def test_file_holds_names_digests_rates_and_comments(file: Path) -> None:
    file.write_text(
        f"# who may\n\nshop sha256:{sha('one')} rate=60 # since May\n"
        f"\tdesk.2   sha256:{sha('two')}\n  # nobody else\ntill sha256:{sha('three')}   rate=0"
    )
    assert read_file(file) == (
        Key("shop", hashlib.sha256(b"one").digest(), 60),
        Key("desk.2", hashlib.sha256(b"two").digest()),
        Key("till", hashlib.sha256(b"three").digest(), 0),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("secret", "line 2 is not `name sha256:digest"),
        ("shop secret", "line 2 is not"),
        ("shop plain:secret", "line 2 is not"),
        (f"sha256:{sha('secret')}", "line 2 is not"),
        (f"shop:sha256:{sha('secret')}", "line 2 is not"),
        (f"shop {sha('secret')}", "line 2 is not"),
        (f"shop sha256:{sha('secret')[:-1]}", "line 2 is not"),
        (f"shöp sha256:{sha('secret')}", "line 2 is not"),
        (f"shop sha256:{sha('secret')} rate=1 rate=2", "line 2 is not"),
        (f"shop sha256:{sha('secret')} 60", "line 2: the rate"),
        (f"shop sha256:{sha('secret')} rate=-1", "line 2: the rate"),
        (f"shop sha256:{sha('secret')} rate=", "line 2: the rate"),
        (f"shop sha256:{sha('secret')} rate={RATE_MAX + 1}", "line 2: the rate"),
        (f"desk sha256:{sha('secret')}", "two keys are named desk"),
        (f"shop sha256:{sha('one')}", "desk and shop are the same key"),
    ],
)
def test_malformed_file_is_refused_with_its_line_and_without_what_it_says(
    file: Path, line: str, message: str
) -> None:
    file.write_text(f"desk sha256:{sha('one')}\n{line}\n", encoding="utf-8")
    with pytest.raises(KeysError, match=message) as caught:
        KeyRing(file=file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "secret" not in str(caught.value)
    assert sha("secret")[:8] not in str(caught.value)


def test_file_that_is_not_there_or_no_text_is_refused(file: Path) -> None:
    with pytest.raises(KeysError, match="No such file"):
        KeyRing(file=file.with_name("none"))
    with pytest.raises(KeysError, match="Is a directory"):
        KeyRing(file=file.parent)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(KeysError, match="UTF-8"):
        KeyRing(file=file)


def test_file_that_everybody_may_write_is_refused(file: Path) -> None:
    file.chmod(0o646)
    with pytest.raises(KeysError, match="chmod o-w"):
        KeyRing(file=file)
    file.chmod(0o644)
    assert name_of(KeyRing(file=file), "one") == "shop"


def test_no_two_keys_of_settings_and_file_may_be_alike(file: Path) -> None:
    with pytest.raises(KeysError, match="two keys are named shop"):
        KeyRing(read_list([f"shop:sha256:{sha('two')}"]), file)
    with pytest.raises(KeysError, match="key-1 and shop are the same key"):
        KeyRing(read_list(["one"]), file)


def test_keys_are_needed_as_soon_as_a_file_for_them_is_set(file: Path) -> None:
    assert not KeyRing().needed
    assert KeyRing(read_list(["one"])).needed
    file.write_text("# none yet\n")
    ring = KeyRing(file=file)
    assert ring.needed
    assert name_of(ring, "one") is None


@pytest.mark.parametrize("given", ["one", "two", "three", "none"])
def test_every_key_is_compared_in_constant_time(
    file: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def spy(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return compare(left, right)

    monkeypatch.setattr(api_keys.hmac, "compare_digest", spy)
    ring = KeyRing(read_list(["two", "three"]), file)
    name_of(ring, given)
    digests = [hashlib.sha256(key).digest() for key in (b"two", b"three", b"one")]
    assert compared == [(hashlib.sha256(given.encode()).digest(), digest) for digest in digests]


def test_key_that_is_added_or_revoked_needs_no_restart(file: Path) -> None:
    clock = Clock()
    ring = KeyRing(read_list(["fixed"]), file, clock)
    file.write_text(f"desk sha256:{sha('two')} rate=5\n")
    clock.pass_by()
    assert ring.find(b"two") == Key("desk", hashlib.sha256(b"two").digest(), 5)
    assert name_of(ring, "one") is None
    assert name_of(ring, "fixed") == "key-1"


def test_file_that_is_replaced_by_another_is_read_anew(file: Path) -> None:
    clock = Clock()
    ring = KeyRing(file=file, clock=clock)
    same_size = file.with_name("new")
    same_size.write_text(f"desk sha256:{sha('two')}\n")
    times = file.stat()
    os.utime(same_size, ns=(times.st_atime_ns, times.st_mtime_ns))
    same_size.replace(file)
    clock.pass_by()
    assert name_of(ring, "two") == "desk"


def test_revoking_the_last_key_opens_nothing(file: Path) -> None:
    clock = Clock()
    ring = KeyRing(file=file, clock=clock)
    file.write_text("")
    clock.pass_by()
    assert name_of(ring, "one") is None
    assert ring.needed


@pytest.mark.parametrize("text", ["rubbish\n", None])
def test_broken_version_keeps_the_keys_from_before_and_is_said_once(
    file: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    ring = KeyRing(file=file, clock=clock)
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    for _ in range(3):
        clock.pass_by()
        assert name_of(ring, "one") == "shop"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith(f"the previous keys stay valid: {file}: ")
    assert "rubbish" not in record.getMessage()
    file.write_text(f"desk sha256:{sha('two')}\n")
    clock.pass_by()
    assert (name_of(ring, "one"), name_of(ring, "two")) == (None, "desk")


def test_file_is_looked_at_once_a_second_and_read_only_when_it_has_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    ring = KeyRing(file=file, clock=clock)
    looks: list[Path] = []
    stamp = api_keys._stamp

    def spy(path: Path) -> object:
        looks.append(path)
        return stamp(path)

    monkeypatch.setattr(api_keys, "_stamp", spy)
    monkeypatch.setattr(api_keys, "read_file", lambda path: pytest.fail("read without need"))
    for _ in range(100):
        name_of(ring, "one")
        clock.now += CHECK_EVERY_S / 64
    assert looks == [file]


def test_drawn_key_is_random_and_only_its_digest_is_in_its_line(file: Path) -> None:
    secret, key = generate_key("shop", 30)
    other, _ = generate_key("shop")
    assert secret != other
    assert len(secret) == 43  # 256 bits in base64
    assert key.line == f"shop sha256:{sha(secret)} rate=30"
    file.write_text(f"{key.line}\n")
    assert KeyRing(file=file).find(secret.encode()) == key


@pytest.mark.parametrize("name", ["", "a b", "a:b", "#a", "ä", ".a", "x" * 65])
def test_key_of_no_name_is_not_drawn(name: str) -> None:
    with pytest.raises(KeysError, match="a name is"):
        generate_key(name)
