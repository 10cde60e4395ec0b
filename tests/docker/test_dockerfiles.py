"""The Dockerfiles keep what docker-compose.yml, the orchestrators and docker/verify.sh rely on."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
GPU = ROOT / "Dockerfile.gpu"
CPU, TRAIN, PROXY = (
    ROOT / "docker" / name for name in ("Dockerfile.cpu", "Dockerfile.train", "proxy/Dockerfile")
)
ALL = [GPU, CPU, TRAIN, PROXY]
SCRIPTS = sorted((ROOT / "docker").rglob("*.sh"))
TOOLS = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _named(path):
    return str(path.relative_to(ROOT))


def _final_stage(path):
    """Its instructions, comments left out and continued lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stage = re.split(r"^FROM ", text, flags=re.MULTILINE)[-1]
    return stage.replace("\\\n", " ").splitlines()


def _of(path, instruction):
    return [line.split(maxsplit=1)[1] for line in _final_stage(path) if line.startswith(instruction + " ")]


@pytest.mark.parametrize("path", ALL, ids=_named)
def test_hadolint_has_nothing_to_say(path):
    done = subprocess.run(
        [TOOLS / "hadolint", "-c", ROOT / ".hadolint.yaml", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SCRIPTS, ids=_named)
def test_shellcheck_has_nothing_to_say(path):
    done = subprocess.run([TOOLS / "shellcheck", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert path.stat().st_mode & 0o111 == 0o111


def test_verify_tells_how_it_is_used():
    done = subprocess.run([ROOT / "docker/verify.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "docker/verify.sh u2matte:cpu" in done.stderr


def test_cpu_and_gpu_differ_in_three_lines():
    gpu, cpu = (path.read_text(encoding="utf-8").partition("\n\n") for path in (GPU, CPU))
    assert gpu[2] == cpu[2]
    arguments = [re.findall(r"^ARG (\w+)=", head[0], flags=re.MULTILINE) for head in (gpu, cpu)]
    assert arguments == [["BASE_IMAGE", "EXTRAS", "DEVICE"]] * 2


@pytest.mark.parametrize("path", [GPU, TRAIN], ids=_named)
def test_cuda_of_the_base_stands_in_for_the_one_tensorflow_is_built_for(path):
    package = importlib.util.find_spec("tensorflow").submodule_search_locations[0]
    built = (Path(package) / "python/platform/build_info.py").read_text(encoding="utf-8")
    if "'is_cuda_build', True" not in built:
        pytest.skip("this TensorFlow is built without CUDA")
    wanted = [int(part) for part in re.search(r"'cuda_version', '([\d.]+)'", built)[1].split(".")]
    tag = re.search(
        r"^ARG BASE_IMAGE=nvidia/cuda:([\d.]+)-cudnn-runtime-", path.read_text(), flags=re.MULTILINE
    )
    given = [int(part) for part in tag[1].split(".")]
    assert given[0] == wanted[0]
    assert given >= wanted


@pytest.mark.parametrize("path", ALL, ids=_named)
def test_runs_as_a_numbered_user_below_tini(path):
    assert _of(path, "USER") == ["10001:10001"]
    (entry,) = _of(path, "ENTRYPOINT")
    assert entry.startswith('["/usr/bin/tini", "--", ')
    assert len(_of(path, "STOPSIGNAL")) == 1


@pytest.mark.parametrize("path", [GPU, CPU, PROXY], ids=_named)
def test_tells_its_health(path):
    assert len(_of(path, "HEALTHCHECK")) == 1


@pytest.mark.parametrize("path", [GPU, CPU, TRAIN], ids=_named)
def test_final_stage_installs_nothing_that_builds(path):
    (install,) = [line for line in _of(path, "RUN") if "apt-get install" in line]
    packages = re.search(r"--no-install-recommends ([a-z0-9 .-]+?) *&&", install)[1].split()
    assert sorted(packages) == ["python3", "tini"]
    assert "pip" not in " ".join(_of(path, "RUN"))


@pytest.mark.parametrize("path", [GPU, CPU, TRAIN], ids=_named)
def test_says_what_it_is_made_of(path):
    (labels,) = _of(path, "LABEL")
    for name in ("title", "description", "licenses", "version", "revision", "base.name"):
        assert f"org.opencontainers.image.{name}=" in labels


@pytest.mark.parametrize("path", [GPU, CPU, TRAIN], ids=_named)
def test_dependencies_are_the_locks_and_are_not_built(path):
    (install,) = re.findall(r"\$\{PIP\} install (.*requirements\.in)", path.read_text(encoding="utf-8"))
    assert "-c requirements.lock" in install
    assert "--only-binary :all:" in install
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert len(re.findall(r"^tensorflow==", lock, flags=re.MULTILINE)) == 1
    assert "\nsetuptools==" in lock  # Builds the project itself, without an environment of its own.


def _extras(path):
    named = re.findall(r'^ARG EXTRAS="(.*)"$', path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(named) == 1
    return set(named[0].split())


def test_gpu_image_has_tensorflow_and_the_cpu_image_has_all_else():
    assert _extras(GPU) - _extras(CPU) == {"tensorflow"}
    assert _extras(CPU) < _extras(GPU)
    assert _extras(GPU) <= PROJECT["optional-dependencies"].keys()


def test_what_the_cpu_image_installs_on_x86_64_is_without_tensorflow():
    marked = {"platform_machine": "x86_64", "sys_platform": "linux"}
    wanted = [Requirement(each) for extra in _extras(CPU) for each in PROJECT["optional-dependencies"][extra]]
    names = {each.name for each in wanted if each.marker is None or each.marker.evaluate(marked)}
    assert {"openvino", "fastapi"} <= names
    assert "tensorflow" not in names
    elsewhere = marked | {"platform_machine": "aarch64"}
    names = {each.name for each in wanted if each.marker is None or each.marker.evaluate(elsewhere)}
    assert "tensorflow" in names
    assert "openvino" not in names


@pytest.mark.parametrize("path", [GPU, CPU, TRAIN], ids=_named)
def test_what_is_copied_is_there_and_not_ignored(path):
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line[:1] == "!"
    }
    for line in re.findall(
        r"^COPY (?!--from)(.+) \S+$", path.read_text(encoding="utf-8"), flags=re.MULTILINE
    ):
        for source in line.split():
            assert (ROOT / source).exists(), source
            assert source in allowed or source.split("/")[0] in allowed, source


def test_hadolint_rules_are_given_up_by_name_alone():
    assert yaml.safe_load((ROOT / ".hadolint.yaml").read_text(encoding="utf-8")) == {
        "ignored": ["DL3008"],
        "failure-threshold": "info",
    }
