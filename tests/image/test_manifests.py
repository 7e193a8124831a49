"""The manifests: valid, hardened, and true about the daemon that they run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.image.conftest import OVERLAYS, Documents, Run

# Kinds of operators, whose schemas no offline checker has.
FOREIGN: Final = {"PrometheusRule", "ScaledObject", "ServiceMonitor", "TriggerAuthentication"}
GRACE_S: Final = 25  # of the daemon; the pod's must be longer


def pods(documents: Documents) -> Iterator[dict[str, Any]]:
    """The pod of every workload."""
    for document in documents:
        if document["kind"] == "Deployment":
            yield document["spec"]["template"]["spec"]
        if document["kind"] == "CronJob":
            yield document["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def of_kind(documents: Documents, kind: str) -> dict[str, Any]:
    """The only document of a kind."""
    [found] = [document for document in documents if document["kind"] == kind]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_fits_the_schemas_of_kubernetes(
    overlay: str, built: dict[str, Documents], checker: Run, tmp_path: Path
) -> None:
    """Strict: a misspelt field is an error, not silently nothing."""
    ours = [document for document in built[overlay] if document["kind"] not in FOREIGN]
    file = tmp_path / "built.yaml"
    file.write_text(yaml.safe_dump_all(ours), "utf-8")

    done = checker("kubernetes-validate", ["--strict", file])

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_field_is_found(
    built: dict[str, Documents], checker: Run, tmp_path: Path
) -> None:
    """The check above can fail."""
    deployment = of_kind(built["prod"], "Deployment")
    planted = yaml.safe_dump(deployment).replace("periodSeconds", "periodSecond")
    file = tmp_path / "planted.yaml"
    file.write_text(planted, "utf-8")

    assert checker("kubernetes-validate", ["--strict", file]).returncode != 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_policy_of_checkov_is_broken(
    overlay: str, built: dict[str, Documents], checker: Run, tmp_path: Path
) -> None:
    """Its whole set for Kubernetes, none left out."""
    file = tmp_path / "built.yaml"
    file.write_text(yaml.safe_dump_all(built[overlay]), "utf-8")

    done = checker(
        "checkov", ["--skip-download", "-o", "json", "--framework", "kubernetes", "-f", file]
    )

    found = json.loads(done.stdout)
    failed = [check["check_name"] for check in found["results"]["failed_checks"]]
    assert failed == []
    assert found["summary"]["passed"] > 80


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_hardened(overlay: str, built: dict[str, Documents]) -> None:
    """Nothing may be gained, written or asked of the cluster from inside."""
    for pod in pods(built[overlay]):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert {*pod} & {"hostNetwork", "hostPID", "hostIPC"} == set()
        kinds = {kind for volume in pod["volumes"] for kind in volume} - {"name"}
        assert kinds <= {"configMap", "secret", "emptyDir"}
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert "@sha256:" in container["image"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_files_and_stand_in_no_environment(
    overlay: str, built: dict[str, Documents]
) -> None:
    """An environment is inherited, dumped and shown; a file of mode 0440 is not."""
    for pod in pods(built[overlay]):
        for container in pod["containers"]:
            assert {*container} & {"env", "envFrom"} == set()
        [secret] = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
        assert secret["defaultMode"] == 0o440


def test_a_pod_has_longer_to_end_than_the_daemon_takes(built: dict[str, Documents]) -> None:
    """Killed in the middle of its drain it would be safe, and late."""
    service = yaml.safe_load(_config_map(built["prod"])["service.yaml"])

    pod = of_kind(built["prod"], "Deployment")["spec"]["template"]["spec"]

    assert service["grace_s"] == GRACE_S
    assert pod["terminationGracePeriodSeconds"] > service["grace_s"] + 10


def test_liveness_and_readiness_are_asked_apart(built: dict[str, Documents]) -> None:
    """Liveness never depends on a database, or an outage of one would kill every pod."""
    [container] = of_kind(built["prod"], "Deployment")["spec"]["template"]["spec"]["containers"]

    asked = {name: container[name]["httpGet"]["path"] for name in container if "Probe" in name}

    assert asked == {
        "startupProbe": "/health/liveness",
        "livenessProbe": "/health/liveness",
        "readinessProbe": "/health/readiness",
    }


def test_nothing_goes_in_or_out_that_is_not_named(built: dict[str, Documents]) -> None:
    """One policy denies all; another opens the few ports that are used."""
    policies = [d for d in built["prod"] if d["kind"] == "NetworkPolicy"]
    denied = [p for p in policies if p["spec"]["podSelector"] == {}]
    opened = [p for p in policies if p not in denied]

    assert [p["spec"].keys() & {"ingress", "egress"} for p in denied] == [set()]
    out = {port["port"] for p in opened for rule in p["spec"]["egress"] for port in rule["ports"]}
    assert out == {53, 443, 1433, 5432}


def test_two_pods_stand_on_two_nodes_and_one_always_stays(built: dict[str, Documents]) -> None:
    """The standby takes over; a drain of its node must not take both."""
    deployment = of_kind(built["prod"], "Deployment")["spec"]
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]

    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert ("kubernetes.io/hostname", "DoNotSchedule") in [
        (one["topologyKey"], one["whenUnsatisfiable"]) for one in spread
    ]
    assert of_kind(built["prod"], "PodDisruptionBudget")["spec"]["minAvailable"] == 1


def _config_map(documents: Documents) -> dict[str, str]:
    data = of_kind(documents, "ConfigMap")["data"]
    assert isinstance(data, dict)
    return data
