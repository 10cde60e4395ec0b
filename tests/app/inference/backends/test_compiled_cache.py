from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.inference.backends import compiled_cache
from app.inference.backends.compiled_cache import SUFFIX, CompiledCache, folder_of


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def test_what_was_kept_is_found_by_the_same_model_compiler_and_way_of_running_alone(tmp_path: Path) -> None:
    CompiledCache(tmp_path, "model", "1").put("int8", b"compiled")
    assert CompiledCache(tmp_path, "model", "1").get("int8") == b"compiled"
    assert CompiledCache(tmp_path, "model", "1").get("float32") is None
    assert CompiledCache(tmp_path, "other", "1").get("int8") is None
    assert CompiledCache(tmp_path, "model", "2").get("int8") is None


def test_another_kind_of_cpu_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CompiledCache(tmp_path, "model", "1").put("int8", b"compiled")
    monkeypatch.setattr(compiled_cache, "_machine", lambda: "another")
    assert CompiledCache(tmp_path, "model", "1").get("int8") is None


def test_folder_is_the_users_alone_and_holds_nothing_half(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    CompiledCache(folder, "model", "1").put("int8", b"compiled")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.suffix for path in folder.iterdir()] == [SUFFIX]


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 80])
def test_damaged_entry_is_none(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    cache = CompiledCache(tmp_path, "model", "1")
    cache.put("int8", b"compiled")
    entries(tmp_path)[0].write_bytes(damage)
    assert cache.get("int8") is None
    assert "damaged" in caplog.text


def test_least_recently_used_go_when_there_is_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_cache, "BYTES_MAX", 100)
    cache = CompiledCache(tmp_path, "model", "1")
    for age, what in enumerate(("oldest", "used", "newer")):
        cache.put(what, what.encode())
        os.utime(cache._path(what), (1000 + age, 1000 + age))
    assert cache.get("oldest") is None, "three of them are too many"
    assert cache.get("used") == b"used"
    cache.put("last", b"last")
    assert cache.get("newer") is None
    assert cache.get("used") == b"used"


def test_folder_that_cannot_be_written_keeps_nothing_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "file").write_bytes(b"")
    cache = CompiledCache(tmp_path / "file" / "cache", "model", "1")
    for _ in range(2):
        cache.put("int8", b"compiled")
        assert cache.get("int8") is None
    assert caplog.text.count("are not stored") == 1


def test_without_a_folder_nothing_is_kept() -> None:
    cache = CompiledCache(None, "model", "1")
    cache.put("int8", b"compiled")
    cache.remove("int8")
    assert cache.get("int8") is None


def test_setting_names_a_folder_none_or_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder_of("") is None
    assert folder_of("/somewhere") == Path("/somewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder_of("auto") == tmp_path / "u2matte"
    monkeypatch.setattr(compiled_cache, "user_cache_path", lambda _: Path("~/.cache/u2matte"))
    assert folder_of("auto") is None
