from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.imaging.decode import KINDS
from app.settings import BUILT_IN_MODEL, Settings, SettingsError, container_cores, load_settings, visible_gpus


def test_defaults_are_valid_and_name_the_built_in_model() -> None:
    settings = load_settings()
    assert settings.model_dir == BUILT_IN_MODEL
    assert BUILT_IN_MODEL.parts[-3:] == ("model", "artifacts", "portrait")
    assert (settings.host, settings.port, settings.device) == ("127.0.0.1", 8000, "auto")
    assert settings.cpu_thread_count >= 1


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATTE_MAX_BATCH_SIZE", "3")
    monkeypatch.setenv("MATTE_MODEL_DIR", "/models/x")
    settings = load_settings()
    assert settings.max_batch_size == 3
    assert settings.model_dir == Path("/models/x")


def test_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATTE_PORT", "1")
    monkeypatch.setenv("MATTE_MAX_QUEUE", "5")
    settings = load_settings(host="::", port=2)
    assert (settings.host, settings.port, settings.max_queue) == ("::", 2, 5)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MATTE_MAX_BATCH_SIZE", "-1"),
        ("MATTE_MAX_QUEUE", "many"),
        ("MATTE_DEVICE", "tpu"),
        ("MATTE_PORT", "70000"),
        ("MATTE_BATCH_WAIT_MS", "-1"),
        ("MATTE_API_KEYS", "schlüssel"),
        ("MATTE_API_KEYS", "shop:sha256:12"),
        ("MATTE_API_KEYS", "one,one"),
        ("MATTE_PROTECT", "metrics"),
        ("MATTE_RATE_PER_MINUTE", "-1"),
        ("MATTE_CORS_ORIGINS", "shop.example"),
        ("MATTE_CORS_ORIGINS", "https://shop.example/"),
        ("MATTE_CORS_ORIGINS", "https://Shop.example"),
        ("MATTE_CORS_ORIGINS", "null"),
    ],
)
def test_nonsense_is_refused_with_the_name_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: "):
        load_settings()


def test_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATTE_MAX_BATCHSIZE", "4")
    with pytest.raises(SettingsError, match=r"unknown setting: MATTE_MAX_BATCHSIZE\n.*MATTE_MAX_BATCH_SIZE"):
        load_settings()


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATTE_DEVICE", "")
    assert load_settings().device == "auto"


def test_keys_are_split_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATTE_API_KEYS", " first , second,")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["first", "second"]
    assert "first" not in repr(settings)


@pytest.mark.parametrize("keys", [{"MATTE_API_KEYS": "one"}, {"MATTE_API_KEYS_FILE": "/keys.txt"}])
def test_only_with_keys_can_pages_be_protected_and_websites_must_be_named(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, str]
) -> None:
    monkeypatch.setenv("MATTE_CORS_ORIGINS", "*")
    assert load_settings().cors_origins == ("*",)
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"^MATTE_CORS_ORIGINS: .*one by one"):
        load_settings()
    monkeypatch.setenv("MATTE_CORS_ORIGINS", "https://shop.example, http://localhost:3000")
    monkeypatch.setenv("MATTE_PROTECT", "ui, metrics")
    assert load_settings().protect == ("ui", "metrics")
    assert load_settings().cors_origins == ("https://shop.example", "http://localhost:3000")
    monkeypatch.setenv("MATTE_PROTECT", "healthz")
    with pytest.raises(SettingsError, match=r"^MATTE_PROTECT: "):
        load_settings()


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_a_containers_cpu_limit_is_known(tmp_path: Path, files: dict[str, str], cores: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert container_cores(tmp_path) == cores


def test_cores_are_no_more_than_the_containers_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(64)))
    monkeypatch.setattr("app.settings.container_cores", lambda: 2)
    assert (Settings().core_count, Settings().cpu_thread_count) == (2, 2)
    monkeypatch.setattr("app.settings.container_cores", lambda: None)
    assert Settings().core_count == 64


@pytest.mark.parametrize(
    "side", [(8160, 6144), (8192, 6144), (9216, 6912), (9248, 6936), (9248, 6944), (9280, 6944)]
)
def test_photos_of_phones_with_50_and_64_megapixels_are_taken(side: tuple[int, int]) -> None:
    assert side[0] * side[1] <= Settings().max_pixels < 108_000_000


def test_formats_are_words_between_commas_and_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().kinds == frozenset(KINDS)
    monkeypatch.setenv("MATTE_FORMATS", "JPEG, heic")
    assert load_settings().kinds == {"JPEG", "HEIC"}
    for wrong in ("jpg", "jpeg,svg", ","):
        monkeypatch.setenv("MATTE_FORMATS", wrong)
        with pytest.raises(SettingsError, match="MATTE_FORMATS"):
            load_settings()


@pytest.mark.parametrize(
    ("value", "count"),
    [(None, None), ("", 0), ("0", 1), ("1, 0", 2), ("-1", 0), ("0,-1,1", 1), ("GPU-8932f937", 1)],
)
def test_gpus_that_cuda_is_to_hide_do_not_count(
    monkeypatch: pytest.MonkeyPatch, value: str | None, count: int | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == count
