"""docker-compose.yml: every profile is valid, every service is hardened, and its figures agree with the service's."""

import functools
import ipaddress
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
OURS = ["matte", "matte-cpu", "matte-a", "matte-b"]
PROFILES = ["", "cpu", "observe", "proxy", "train"]
DEFAULTS = Settings.model_construct()


@functools.cache
def _engine():
    """Docker's own `compose`, or Debian's docker-compose; None where there is neither."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    return None


@pytest.mark.skipif(_engine() is None, reason="neither docker compose nor docker-compose is installed")
@pytest.mark.parametrize(
    "files", [["docker-compose.yml"], ["docker-compose.yml", "docker/proxy/gpu.yml"]], ids=len
)
@pytest.mark.parametrize("profile", PROFILES)
def test_configuration_is_valid(profile, files):
    command = [*_engine(), *(f"--file={ROOT / name}" for name in files)]
    command += [f"--profile={profile}"] if profile else []
    done = subprocess.run([*command, "config"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) >= {
        name for name, service in SERVICES.items() if service.get("profiles", [""]) in ([""], [profile])
    }


def test_up_alone_starts_the_gpu_service():
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["matte"]
    (device,) = SERVICES["matte"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert SERVICES["matte"]["environment"]["MATTE_DEVICE"] == "cuda"


def test_every_profile_is_of_the_list():
    used = {profile for service in SERVICES.values() for profile in service.get("profiles", [""])}
    assert used == set(PROFILES)


@pytest.mark.parametrize("name", SERVICES)
def test_is_hardened(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])
    assert "privileged" not in service


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "train"])
def test_has_a_limit_and_tells_its_health(name):
    assert SERVICES[name]["deploy"]["resources"]["limits"]["memory"]
    assert SERVICES[name]["healthcheck"]["start_period"]


@pytest.mark.parametrize("name", OURS)
def test_is_given_time_to_finish(name):
    grace_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace_s * 1000 > DEFAULTS.drain_timeout_ms


@pytest.mark.parametrize("name", OURS)
def test_every_connection_has_its_file(name):
    assert SERVICES[name]["ulimits"]["nofile"] > 2 * DEFAULTS.max_connections


@pytest.mark.parametrize("name", OURS)
def test_model_and_settings_can_be_replaced(name):
    assert "${U2MATTE_MODELS:-models}:/models:ro" in SERVICES[name]["volumes"]
    (settings,) = SERVICES[name]["env_file"]
    default = re.fullmatch(r"\$\{U2MATTE_ENV:-(.+)\}", settings)[1]
    assert (ROOT / default).is_file()


def test_every_setting_named_is_one():
    known = {"MATTE_" + name.upper() for name in Settings.model_fields}
    texts = (
        path.read_text(encoding="utf-8")
        for path in (FILE, ROOT / "docker/service.env", ROOT / "docker/proxy/gpu.yml")
    )
    named = {name for text in texts for name in re.findall(r"\bMATTE_[A-Z_]+[A-Z]", text)} - {"MATTE_NAME"}
    assert {"MATTE_DEVICE", "MATTE_MODEL_DIR"} <= named <= known


def test_addresses_agree():
    (pool,) = COMPOSE["networks"]["inside"]["ipam"]["config"]
    fixed = {
        name: ipaddress.ip_address(SERVICES[name]["networks"]["inside"]["ipv4_address"])
        for name in ("proxy", "matte-a", "matte-b")
    }
    assert len(set(fixed.values())) == 3
    for address in fixed.values():
        assert address in ipaddress.ip_network(pool["subnet"])
        assert address not in ipaddress.ip_network(pool["ip_range"])
    replicas = SERVICES["proxy"]["environment"]["PROXY_REPLICAS"].split()
    assert replicas == [f"{fixed[name]}:8000" for name in ("matte-a", "matte-b")]
    for name in ("matte-a", "matte-b"):
        assert SERVICES[name]["environment"]["MATTE_TRUSTED_PROXIES"] == str(fixed["proxy"])


def test_replicas_are_reached_by_the_proxy_alone():
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("matte-a", "matte-b"):
        assert "ports" not in SERVICES[name]
        assert list(SERVICES[name]["networks"]) == ["inside"]


def test_bodies_that_the_proxy_takes_fit_in_its_memory():
    proxy = SERVICES["proxy"]
    (size,) = re.findall(r"size=(\d+)m", proxy["tmpfs"][0])
    limit = int(proxy["deploy"]["resources"]["limits"]["memory"].removesuffix("m"))
    assert int(proxy["environment"]["PROXY_IN_ALL"]) * DEFAULTS.max_upload_bytes <= int(size) * 1_000_000
    assert int(size) < limit


def test_what_is_mounted_from_here_is_here():
    mounts = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    here = sorted(mount for mount in mounts if mount.startswith("./"))
    assert len(here) >= 3
    for mount in here:
        assert (ROOT / mount).exists(), mount


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_dockerfile_is_there(name):
    build = SERVICES[name]["build"]
    assert (ROOT / build["context"] / build.get("dockerfile", "Dockerfile")).is_file()


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"\$\{(\w+)", FILE.read_text(encoding="utf-8")))))
def test_every_variable_has_a_default_and_is_explained(variable):
    text = FILE.read_text(encoding="utf-8")
    assert len(re.findall(rf"\$\{{{variable}\b", text)) == len(
        re.findall(rf"\$\{{{variable}:-[^}}]+\}}", text)
    )
    head = text.split("\nx-hardened")[0]
    assert variable in head
