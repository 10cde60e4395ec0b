"""The manifests: Kubernetes' own schemas accept them, and they keep what the service needs and promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.security.api_keys import KeyRing
from app.settings import Settings, refuse_unknown
from tests.docker.manifests import FOLDER, Manifest, built, kustomization, read

validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.30", "1.36")
OVERLAYS = ("cpu", "gpu")
KUSTOMIZATIONS = sorted(FOLDER.rglob("kustomization.yaml"))
CUSTOM = {
    "ServiceMonitor",
    "PrometheusRule",
}  # Kinds of the Prometheus operator, which Kubernetes does not know.


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> dict[str, Manifest]:
    return built(FOLDER / "overlays" / str(request.param))


def sources() -> list[Path]:
    """Each file with manifests of kinds that Kubernetes knows, whole or as a patch."""
    files = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.name != "kustomization.yaml"]
    return [path for path in files if read(path).get("kind", "") not in {"", *CUSTOM}]


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_each_file_of_a_kustomization_is_there_and_none_is_left_over(path: Path) -> None:
    spec = read(path)
    named = [*spec.get("resources", []), *(patch["path"] for patch in spec.get("patches", []))]
    for generator in (*spec.get("configMapGenerator", []), *spec.get("secretGenerator", [])):
        named += [*generator.get("envs", []), *generator.get("files", [])]
    assert all((path.parent / name).exists() for name in named)
    there = {
        file.name for file in path.parent.iterdir() if file.suffix not in (".py", ".example") and file != path
    }
    assert there == {name for name in named if "/" not in name}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", sources(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_each_manifest_is_known_to_kubernetes(path: Path, version: str) -> None:
    manifest = read(path)
    if path.parent.name == "base":
        validator.validate(manifest, version, strict=True)
    else:  # A patch has only a part of what is required; what it has must exist.
        problems = []
        try:
            validator.validate(manifest, version, strict=True)
        except validator.ValidationError as error:
            problems.append(error.message)
        assert all("is a required property" in problem for problem in problems)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_applied_is_valid(overlay: dict[str, Manifest], version: str) -> None:
    assert overlay.keys() == {
        "Namespace",
        "ServiceAccount",
        "ConfigMap",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
    }
    for manifest in overlay.values():
        validator.validate(manifest, version, strict=True)
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "matte"


def test_a_wrong_manifest_is_found_out() -> None:
    manifest = read(FOLDER / "base" / "deployment.yaml")
    manifest["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(validator.ValidationError):
        validator.validate(manifest, VERSIONS[0], strict=True)


def pod() -> Manifest:
    spec: Manifest = read(FOLDER / "base" / "deployment.yaml")["spec"]["template"]["spec"]
    return spec


def test_the_pod_has_no_rights_it_does_not_need() -> None:
    (container,) = pod()["containers"]
    security = container["securityContext"]
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod()["automountServiceAccountToken"] is False
    assert read(FOLDER / "base" / "service_account.yaml")["automountServiceAccountToken"] is False


def test_photos_touch_no_disk() -> None:
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod()["volumes"]}
    assert volumes.pop("tmp")["medium"] == "Memory"
    (container,) = pod()["containers"]
    mounted = {each["mountPath"] for each in container["volumeMounts"] if each["name"] in volumes}
    assert mounted == {"/var/cache/u2matte"}, "what is on a disk is what was compiled of a model"


def test_the_user_is_the_images_own() -> None:
    dockerfile = (ROOT / "Dockerfile.gpu").read_text(encoding="utf-8")
    security = pod()["securityContext"]
    assert f"USER {security['runAsUser']}" in dockerfile


def test_no_service_puts_its_address_into_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Kubernetes would set for a Service named matte is refused: hence no service links."""
    assert pod()["enableServiceLinks"] is False
    monkeypatch.setenv("MATTE_PORT", "tcp://10.0.0.1:80")
    with pytest.raises(ValueError, match="port"):
        Settings()


def test_the_pod_outlives_its_drain() -> None:
    lines = (FOLDER / "base" / "settings.env").read_text(encoding="utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    (container,) = pod()["containers"]
    waits_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain_s = int(settings["MATTE_DRAIN_TIMEOUT_MS"]) / 1000
    assert pod()["terminationGracePeriodSeconds"] > waits_s + drain_s


def test_its_settings_are_settings(overlay: dict[str, Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = overlay["Deployment"]["spec"]["template"]["spec"]["containers"]
    environment = overlay["ConfigMap"]["data"] | {each["name"]: each["value"] for each in container["env"]}
    refuse_unknown(environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Settings()
    assert container["envFrom"] == [{"configMapRef": {"name": overlay["ConfigMap"]["metadata"]["name"]}}]


def test_probes_ask_what_each_is_for() -> None:
    (container,) = pod()["containers"]
    asked = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")
    }
    assert asked == {"startup": "/readyz", "liveness": "/healthz", "readiness": "/readyz"}


def test_a_rollout_takes_no_pod_away_before_another_is_ready(overlay: dict[str, Manifest]) -> None:
    assert overlay["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "replicas" not in overlay["Deployment"]["spec"]


def test_everything_means_the_same_pods(overlay: dict[str, Manifest]) -> None:
    labels = overlay["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        overlay["Deployment"]["spec"]["selector"]["matchLabels"],
        overlay["Service"]["spec"]["selector"],
        overlay["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        overlay["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    (container,) = overlay["Deployment"]["spec"]["template"]["spec"]["containers"]
    names = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in overlay["Service"]["spec"]["ports"]} == names
    assert overlay["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "matte"


def test_the_gpu_overlay_asks_for_one_gpu_and_serves_by_it_alone() -> None:
    spec = built(FOLDER / "overlays" / "gpu")["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "u2matte:gpu"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"name": "MATTE_DEVICE", "value": "cuda"} in container["env"]


def test_the_cpu_overlay_scales_by_load_where_the_queue_is_not_told() -> None:
    manifests = built(FOLDER / "overlays" / "cpu")
    metrics = manifests["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Pods", "Resource"]
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["cpu"] == container["resources"]["requests"]["cpu"]


def test_the_autoscaler_asks_for_what_the_adapter_tells_of_the_service() -> None:
    (rule,) = read(FOLDER / "prometheus_adapter.yaml")["rules"]["custom"]
    (metric,) = read(FOLDER / "base" / "autoscaler.yaml")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"] == "matte_queue_depth"
    assert rule["seriesQuery"].startswith("matte_queue_depth{")


def test_the_operators_alerts_are_those_of_prometheus() -> None:
    rules = read(FOLDER / "components" / "prometheus-operator" / "alerts.yaml")
    alerts = read(ROOT / "docker" / "prometheus" / "alerts.yml")
    assert rules["spec"] == alerts, "run: python docker/k8s/components/prometheus-operator/make_alerts.py"


def test_components_add_to_an_overlay(tmp_path: Path) -> None:
    manifests = built(kustomization(tmp_path.resolve(), "prometheus-operator", "api-keys"))
    assert manifests.keys() >= CUSTOM
    for kind in manifests.keys() - CUSTOM:
        validator.validate(manifests[kind], VERSIONS[-1], strict=True)
    monitor = manifests["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= manifests["Service"]["metadata"]["labels"].items()
    spec = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert {"name": "MATTE_API_KEYS_FILE", "value": "/run/keys/keys"} in container["env"]
    assert "api_keys_file" in Settings.model_fields
    assert {"name": "MATTE_DEVICE", "value": "cpu"} in container["env"]
    assert spec["securityContext"]["runAsNonRoot"] is True


def test_the_example_of_a_key_file_can_be_read() -> None:
    assert KeyRing((), FOLDER / "components" / "api-keys" / "keys.example").needed
