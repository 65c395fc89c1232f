"""The Kubernetes manifests, as Kustomize renders them: valid, safe, and of one mind with the code.

`deploy/kubernetes/rendered` holds what is looked at, so that no tool of Kubernetes is needed; where
there is kubectl, the renderings are made again and compared.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import trustme
import tyro
import yaml

from services.cli import roles
from services.cli.experiment_flags import parse
from services.cli.health import health
from services.cli.peers import Peers
from services.cli.teacher_serve import serve
from services.shared.call_limits import ServerLimits
from services.shared.grpc_server import GrpcServer, ListenAddress
from services.shared.health import is_serving
from services.shared.security.server import SecurityConfig
from tests.support.patience import PATIENCE_SECONDS
from tests.support.programs import need

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = sorted(folder.name for folder in (KUBERNETES / "overlays").iterdir())
ROLES = {"teacher", "replay", "learner", "actor", "evaluator"}
# The oldest release that the guide names, and the newest that the schemas know.
RELEASES = ("1.30", kubernetes_validate.latest_version())
COMPONENT = "app.kubernetes.io/component"

Manifest = dict[str, Any]


def manifests_of(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.load_all(text, yaml.CSafeLoader) if manifest]


@functools.cache
def rendered(overlay: str) -> list[Manifest]:
    return manifests_of((KUBERNETES / "rendered" / f"{overlay}.yaml").read_text())


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def workloads(overlay: str) -> dict[str, Manifest]:
    found = of_kind(rendered(overlay), "Deployment", "StatefulSet")
    return {manifest["metadata"]["name"]: manifest for manifest in found}


def pod_of(workload: Manifest) -> Manifest:
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def container_of(workload: Manifest) -> Manifest:
    (container,) = pod_of(workload)["containers"]
    found: Manifest = container
    return found


def experiment(overlay: str) -> dict[str, str]:
    (found,) = of_kind(rendered(overlay), "ConfigMap")
    data: dict[str, str] = found["data"]
    return data


def is_selected(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


def container_ports(container: Manifest) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_there_is_a_rendering_of_every_overlay() -> None:
    assert [path.stem for path in sorted((KUBERNETES / "rendered").iterdir())] == OVERLAYS


def test_the_renderings_are_up_to_date(tmp_path: Path) -> None:
    need("kubectl", "it renders the manifests")
    subprocess.run([KUBERNETES / "render.sh", tmp_path], check=True, timeout=600)
    for name in OVERLAYS:
        text = (tmp_path / f"{name}.yaml").read_text()
        assert manifests_of(text) == rendered(name), (
            f"{name} has changed: run deploy/kubernetes/render.sh"
        )


@pytest.mark.parametrize("release", RELEASES)
def test_every_manifest_is_what_the_schemas_of_kubernetes_ask_for(
    overlay: str, release: str
) -> None:
    for manifest in rendered(overlay):
        if not manifest["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(manifest, release, strict=True)


def test_schemas_refuse_a_field_that_kubernetes_does_not_know() -> None:
    manifest = copy.deepcopy(workloads("cpu")["actor"])
    manifest["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, RELEASES[0], strict=True)


def test_the_scaled_object_is_what_keda_asks_for() -> None:
    (scaler,) = of_kind(rendered("large"), "ScaledObject")
    schema = json.loads((Path(__file__).parent / "keda_scaled_object.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(scaler)


def test_autoscalers_go_by_metrics_that_the_roles_have() -> None:
    services = KUBERNETES.parents[1] / "services"
    made = "".join(path.read_text() for path in services.glob("*/metrics.py"))
    asked = (KUBERNETES / "monitoring" / "prometheus-adapter.yaml").read_text()
    for overlay in OVERLAYS:
        scalers = of_kind(rendered(overlay), "HorizontalPodAutoscaler", "ScaledObject")
        # Two autoscalers of one thing would undo each other's work.
        assert len(scalers) == (0 if overlay == "dev" else 1)
        asked += json.dumps(scalers)
        for namespace in re.findall(r'namespace=\\?"([^"\\]+)', json.dumps(scalers)):
            assert namespace == scalers[0]["metadata"]["namespace"]
    names = set(re.findall(r"rrl_[a-z_]+", asked))
    assert {"rrl_teacher_queue_rows", "rrl_learner_weaning_weight"} < names
    for name in names:
        assert f'"{name.removesuffix("_total")}"' in made, f"no role has {name}"


def test_the_scrape_configuration_reads_the_metrics_port_of_every_pod() -> None:
    text = (KUBERNETES / "monitoring" / "scrape-configs.yaml").read_text()
    (job,) = yaml.safe_load(text)["scrape_configs"]
    wanted = {tuple(rule["source_labels"]): rule for rule in job["relabel_configs"]}
    labels = "__meta_kubernetes_pod_label_app_kubernetes_io_"
    annotation = "__meta_kubernetes_pod_annotation_prometheus_io_scrape"
    assert wanted[(f"{labels}name", annotation)]["regex"] == "rrl;true"
    assert wanted[("__meta_kubernetes_pod_container_port_name",)]["regex"] == "metrics"
    # The rules and the dashboard know jobs by the roles' names.
    assert wanted[(f"{labels}component",)]["target_label"] == "job"


def test_every_role_is_there_once(overlay: str) -> None:
    assert workloads(overlay).keys() == ROLES
    for name, workload in workloads(overlay).items():
        assert workload["spec"]["template"]["metadata"]["labels"][COMPONENT] == name


def test_no_pod_can_do_more_than_it_needs(overlay: str) -> None:
    for workload in workloads(overlay).values():
        pod, container = pod_of(workload), container_of(workload)
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not any("hostPath" in volume for volume in pod["volumes"])
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["capabilities"] == {"drop": ["ALL"]}


def test_namespaces_refuse_pods_with_more_rights(overlay: str) -> None:
    (namespace,) = of_kind(rendered(overlay), "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    inside = {
        manifest["metadata"]["namespace"]
        for manifest in rendered(overlay)
        if manifest["kind"] != "Namespace"
    }
    assert inside == {namespace["metadata"]["name"]}


def test_pods_say_what_they_need_and_write_to_volumes_alone(overlay: str) -> None:
    for name, workload in workloads(overlay).items():
        container = container_of(workload)
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        volumes = {volume["name"] for volume in pod_of(workload)["volumes"]}
        claims = workload["spec"].get("volumeClaimTemplates", [])
        volumes |= {claim["metadata"]["name"] for claim in claims}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.keys() == volumes
        assert mounts["tmp"] == "/tmp"
        flags = [word for word in container["args"] if word.startswith("--run=")]
        assert flags == ([f"--run={mounts['run']}"] if name not in ("teacher", "actor") else [])


def test_images_of_others_are_named_by_digest(overlay: str) -> None:
    for manifest in rendered(overlay):
        for image in re.findall(r'"image": "([^"]+)"', json.dumps(manifest)):
            is_ours = image.partition(":")[0] in ("rrl-teacher", "rrl-training")
            assert is_ours or re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", image), image


def test_gpus_go_to_teacher_and_learner() -> None:
    for name, workload in workloads("gpu").items():
        container = container_of(workload)
        wanted = container["resources"]["limits"].get("nvidia.com/gpu", 0)
        assert wanted == (1 if name in ("teacher", "learner") else 0)
        assert container["image"].endswith(":cuda") == (wanted > 0)


def test_selectors_find_the_pods_they_are_for(overlay: str) -> None:
    manifests = rendered(overlay)
    labels = {
        name: workload["spec"]["template"]["metadata"]["labels"]
        for name, workload in workloads(overlay).items()
    }
    for name, workload in workloads(overlay).items():
        assert is_selected(workload["spec"]["selector"]["matchLabels"], labels[name])
        assert workload["spec"].get("serviceName", name) == name
    for manifest in of_kind(manifests, "Service"):
        name = manifest["metadata"]["name"]
        found = [role for role in ROLES if is_selected(manifest["spec"]["selector"], labels[role])]
        assert found == [name]
        # Headless: its name stands for every pod.
        assert manifest["spec"]["clusterIP"] == "None"
        names = container_ports(container_of(workloads(overlay)[name]))
        for port in manifest["spec"]["ports"]:
            assert names[port["targetPort"]] == port["port"]
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert {budget["metadata"]["name"] for budget in budgets} == ROLES
    for budget in budgets:
        name = budget["metadata"]["name"]
        assert is_selected(budget["spec"]["selector"]["matchLabels"], labels[name])
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == "teacher"
        # Otherwise every `apply` would undo what the autoscaler did.
        assert "replicas" not in workloads(overlay)["teacher"]["spec"]
    for constraint in pod_of(workloads(overlay)["teacher"])["topologySpreadConstraints"]:
        assert is_selected(constraint["labelSelector"]["matchLabels"], labels["teacher"])


def policies_of(overlay: str, role: str) -> Iterator[Manifest]:
    """What network policies say of a role's pods."""
    labels = pod_labels(overlay).get(role, {COMPONENT: role, "app.kubernetes.io/name": "rrl"})
    for policy in of_kind(rendered(overlay), "NetworkPolicy"):
        if is_selected(policy["spec"]["podSelector"].get("matchLabels", {}), labels):
            yield policy["spec"]


def pod_labels(overlay: str) -> dict[str, dict[str, str]]:
    return {
        name: workload["spec"]["template"]["metadata"]["labels"]
        for name, workload in workloads(overlay).items()
    }


def ports_of(rule: Manifest) -> set[int]:
    return {
        number
        for port in rule["ports"]
        for number in range(port["port"], port.get("endPort", port["port"]) + 1)
    }


def admitted(overlay: str, role: str) -> Iterator[tuple[set[int], list[Manifest]]]:
    """The ports that network policies open to a role's pods, and to whom."""
    for policy in policies_of(overlay, role):
        for rule in policy.get("ingress", []):
            yield ports_of(rule), rule["from"]


def callers(peers: list[Manifest]) -> set[str]:
    """The roles among those let in."""
    found: set[str] = set()
    for peer in peers:
        selector = peer.get("podSelector", {})
        if COMPONENT in selector.get("matchLabels", {}):
            found.add(selector["matchLabels"][COMPONENT])
        for expression in selector.get("matchExpressions", []):
            assert (expression["key"], expression["operator"]) == (COMPONENT, "In")
            found |= {*expression["values"]}
    return found


def test_nobody_is_let_in_but_those_who_need_it(overlay: str) -> None:
    everybody = [
        policy["spec"]
        for policy in of_kind(rendered(overlay), "NetworkPolicy")
        if not policy["spec"]["podSelector"]
    ]
    assert everybody == [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]
    reached: dict[tuple[str, int], set[str]] = {}
    for role, workload in workloads(overlay).items():
        opened = [ports for ports, _ in admitted(overlay, role)]
        for name, number in container_ports(container_of(workload)).items():
            assert any(number in ports for ports in opened), f"{role}'s port {name} is shut"
        for ports, peers in admitted(overlay, role):
            if callers(peers):
                (port,) = ports
                reached[role, port] = callers(peers)
    assert reached == REACHED


# Who calls whom: the importer is a Job of the user's own.
REACHED = {
    ("teacher", 50051): {"actor", "evaluator", "importer"},
    ("replay", 50052): {"learner", "actor", "importer"},
    ("replay", 50054): {"learner"},
    ("learner", 50053): {"actor", "evaluator"},
}
CLUSTER_DNS = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {
                "matchExpressions": [
                    {"key": "k8s-app", "operator": "In", "values": ["kube-dns"]},
                ]
            },
        },
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
    ],
    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
}


@pytest.mark.parametrize("role", sorted(ROLES | {"importer"}))
def test_a_role_reaches_dns_and_whom_it_calls_and_nothing_else(overlay: str, role: str) -> None:
    found: set[tuple[str, int]] = set()
    rules = [rule for policy in policies_of(overlay, role) for rule in policy.get("egress", [])]
    assert CLUSTER_DNS in rules
    for rule in rules:
        if rule != CLUSTER_DNS:
            # Its own namespace: a peer without a namespace selector is in it.
            assert all(peer.keys() == {"podSelector"} for peer in rule["to"])
            found |= {(callee, port) for callee in callers(rule["to"]) for port in ports_of(rule)}
    assert found == {callee for callee, allowed in REACHED.items() if role in allowed}


def test_a_role_may_call_every_address_that_it_is_told(overlay: str, tmp_path: Path) -> None:
    for role in sorted(ROLES - {"teacher"}):
        called: set[tuple[str, int]] = set()
        for word in words(overlay, role, tmp_path):
            flag, _, addresses = word.partition("=")
            if flag.endswith("-address"):
                for address in addresses.removeprefix("dns:///").split(","):
                    name, _, port = address.partition(":")
                    called.add((name.rpartition(".")[2], int(port)))
        if role == "learner":
            # Without an address of replay's control, it asks at this port of the same hosts.
            called.add(("replay", 50054))
        assert called == {callee for callee, allowed in REACHED.items() if role in allowed}


def secrets_of(workload: Manifest) -> dict[str, str]:
    """The secrets of a pod, by where its container sees them."""
    names = {
        volume["name"]: volume["secret"]["secretName"]
        for volume in pod_of(workload)["volumes"]
        if "secret" in volume
    }
    mounts = container_of(workload)["volumeMounts"]
    return {m["mountPath"]: names[m["name"]] for m in mounts if m["name"] in names}


def test_the_services_key_is_in_the_pods_that_serve_and_in_no_other(overlay: str) -> None:
    has_tls = overlay == "large"
    for name, workload in workloads(overlay).items():
        serves = name in ("teacher", "replay", "learner")
        assert ("rrl-tls" in secrets_of(workload).values()) == (serves and has_tls), name
        # Not by any other way either.
        assert ("rrl-tls" in json.dumps(workload)) == (serves and has_tls), name


def test_every_file_that_a_pod_names_is_of_a_secret_that_it_mounts(overlay: str) -> None:
    has = {"rrl-tls": TLS_FILES, "rrl-client-tls": TLS_FILES, "rrl-token": {"token"}}
    for name, workload in workloads(overlay).items():
        secrets = secrets_of(workload)
        named = re.findall(r"/etc/rrl/[\w./-]+", json.dumps(container_of(workload)))
        files = {Path(path) for path in named} - {Path(mount) for mount in secrets}
        for file in files:
            assert file.name in has[secrets[str(file.parent)]], f"{name}: {file}"
        assert {secrets[str(file.parent)] for file in files} == {*secrets.values()}, name


TLS_FILES = {"tls.crt", "tls.key", "ca.crt"}


def test_the_guides_certificates_fill_the_secrets_and_hold_every_name_that_is_called() -> None:
    guide = (KUBERNETES.parents[1] / "docs" / "kubernetes.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    issued = {
        manifest["spec"]["secretName"]: manifest["spec"]
        for block in blocks
        for manifest in manifests_of(block)
        if manifest["kind"] == "Certificate"
    }
    mounted = {name for w in workloads("large").values() for name in secrets_of(w).values()}
    assert mounted == {"rrl-tls", "rrl-client-tls", "rrl-token"}
    assert {*issued} - {"rrl-authority"} == mounted - {"rrl-token"}
    assert "server auth" in issued["rrl-tls"]["usages"]
    assert "client auth" in issued["rrl-client-tls"]["usages"]
    names = {"teacher", "learner"}
    names |= {address.partition(":")[0] for address in experiment("large")["RRL_REPLAY"].split(",")}
    assert {*issued["rrl-tls"]["dnsNames"]} == names


def with_secrets_in(folder: Path, line: list[str]) -> list[str]:
    """A command line whose secrets are not where pods have them."""
    return [word.replace("/etc/rrl", str(folder)) for word in line]


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The Secrets of the component `tls`, as files."""
    authority = trustme.CA()
    issued = {
        "tls": authority.issue_cert("teacher", "learner", "replay-0.replay", "replay-1.replay"),
        "client-tls": authority.issue_cert("clients.rrl"),
    }
    for name, certificate in issued.items():
        (tmp_path / name).mkdir()
        chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        (tmp_path / name / "tls.crt").write_bytes(chain)
        certificate.private_key_pem.write_to_path(tmp_path / name / "tls.key")
        authority.cert_pem.write_to_path(tmp_path / name / "ca.crt")
    (tmp_path / "token").mkdir()
    (tmp_path / "token" / "token").write_text("0123456789abcdef")
    return tmp_path


SERVICES = {"teacher": "Teacher", "learner": "Learner", "replay": "Replay"}


def security_of(role: str, secrets: Path, tmp_path: Path) -> SecurityConfig:
    """How a role of the overlay with TLS guards itself."""
    line = with_secrets_in(secrets, words("large", role, tmp_path))
    security: SecurityConfig
    if role == "teacher":
        security = arguments_of(serve, line[2:])["security"]
    else:
        parsed: Any = parse(getattr(roles, role.capitalize()), line[1:], f"rrl {role}")
        security = parsed.security
    return security


@pytest.mark.parametrize("role", sorted(SERVICES))
def test_clients_and_probes_of_the_manifests_are_let_in_and_nobody_without_a_certificate(
    role: str, secrets: Path, tmp_path: Path
) -> None:
    """A server with the manifest's security is asked with the flags of clients and probes."""
    security = security_of(role, secrets, tmp_path)
    service = f"rrl.{role}.v1.{SERVICES[role]}"
    limits = ServerLimits(
        calls=8, calls_per_connection=8, max_request_bytes=1000, max_response_bytes=1000
    )
    listen = ListenAddress(host="127.0.0.1", port=0, security=security)
    server = GrpcServer(f"the {role}", service, listen, limits, lambda *_: None)
    address = f"127.0.0.1:{server.start()}"
    name = "replay-0.replay" if role == "replay" else role
    try:
        for caller in ("learner", "actor", "evaluator"):
            line = with_secrets_in(secrets, words("large", caller, tmp_path))
            parsed: Any = parse(getattr(roles, caller.capitalize()), line[1:], f"rrl {caller}")
            peers = dataclasses.replace(parsed.peers, server_name_override=name)
            assert is_asked(address, peers), caller
            bare = dataclasses.replace(peers, certificate=None, private_key=None)
            assert not is_asked(address, bare), caller
        probe = container_of(workloads("large")[role])["readinessProbe"]["exec"]["command"]
        program, command, _, *flags = with_secrets_in(secrets, probe)
        assert (program, command) == ("rrl", "health")
        tyro.cli(health, args=[address, *flags])
        without = [word for word in flags if "certificate=" not in word and "key=" not in word]
        with pytest.raises(SystemExit):
            tyro.cli(health, args=[address, *without])
    finally:
        server.stop(0.0)


def is_asked(address: str, peers: Peers) -> bool:
    security = peers.security(address)
    # A refused caller gets no answer: gRPC retries until its deadline.
    seconds = PATIENCE_SECONDS if security.certificate is not None else 2.0
    return is_serving(address, timeout_seconds=seconds, security=security)


def test_metrics_pages_are_where_prometheus_is_told(overlay: str) -> None:
    ports = dict(zip(sorted(ROLES), (9104, 9105, 9103, 9102, 9101), strict=True))
    for name, workload in workloads(overlay).items():
        annotations = workload["spec"]["template"]["metadata"]["annotations"]
        assert annotations == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(ports[name]),
        }
        container = container_of(workload)
        assert container_ports(container)["metrics"] == ports[name]
        assert f"--metrics-port={ports[name]}" in container["args"]


def test_probes_ask_the_ports_that_are_served(overlay: str) -> None:
    for name, workload in workloads(overlay).items():
        container = container_of(workload)
        ports = container_ports(container)
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            (asked,) = container[kind].keys() & {"grpc", "httpGet", "tcpSocket", "exec"}
            if asked == "exec":
                program, command, *flags = container[kind]["exec"]["command"]
                assert (program, command) == ("rrl", "health")
                port = int(arguments_of(health, flags)["address"].rpartition(":")[2])
            else:
                port = container[kind][asked]["port"]
            assert ports.get(str(port), port) in ports.values()
            # Who serves gRPC is asked so; of the others the metrics page is.
            assert (asked == "httpGet") == (name in ("actor", "evaluator"))


def arguments_of(function: Callable[..., None], line: list[str]) -> dict[str, Any]:
    """What a command of `rrl` would be called with."""

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> dict[str, Any]:
        return inspect.signature(function).bind(*arguments, **named).arguments

    parsed: dict[str, Any] = tyro.cli(called, args=line)
    return parsed


def words(overlay: str, name: str, tmp_path: Path) -> list[str]:
    """What a pod's command hands to `rrl`, by way of its shell."""
    container = container_of(workloads(overlay)[name])
    environment = {"POD_INDEX": "0"}
    for source in container["envFrom"]:
        (found,) = of_kind(rendered(overlay), "ConfigMap")
        assert source["configMapRef"]["name"] == found["metadata"]["name"]
        environment |= found["data"]
    environment |= (
        {each["name"]: each["value"] for each in container["env"] if "value" in each}
        if ("env" in container)
        else {}
    )
    # What Kubernetes puts in for $(NAME) before it starts the program.
    line = [
        re.sub(r"\$\((\w+)\)", lambda match: environment[match[1]], word)
        for word in container["command"] + container["args"]
    ]
    program = tmp_path / "rrl"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said = subprocess.run(line, env=environment | path, check=True, capture_output=True, text=True)
    return said.stdout.splitlines()


@pytest.mark.parametrize("role", sorted(ROLES - {"teacher"}))
def test_the_flags_of_a_role_are_the_command_lines(overlay: str, role: str, tmp_path: Path) -> None:
    command, *arguments = words(overlay, role, tmp_path)
    assert command == role
    parsed: Any = parse(getattr(roles, role.capitalize()), arguments, f"rrl {role}")
    said = experiment(overlay)
    assert parsed.experiment.teacher.checkpoint == said["RRL_TEACHER"]
    assert parsed.experiment.environment.game == "pong"
    assert parsed.experiment.replay_shards == int(said["RRL_REPLAY_SHARDS"])
    assert parsed.telemetry.metrics_host == "0.0.0.0"
    # Kubernetes starts again what ends; the replay server never does.
    assert role == "replay" or parsed.when_finished == "wait"


def test_the_flags_of_the_teacher_are_the_command_lines(overlay: str, tmp_path: Path) -> None:
    *command, checkpoint = words(overlay, "teacher", tmp_path)[:3]
    assert command == ["teacher", "serve"]
    assert checkpoint == f"--checkpoint={experiment(overlay)['RRL_TEACHER']}"
    parsed = arguments_of(serve, words(overlay, "teacher", tmp_path)[2:])
    assert parsed["service"].host == "0.0.0.0"
    # Connections must be older than DNS answers live, and younger than a scale-down takes.
    assert 30 < parsed["service"].connection_age_seconds < 300


def test_addresses_name_services_and_their_ports(overlay: str) -> None:
    known = {
        f"{service['metadata']['name']}:{port['port']}"
        for service in of_kind(rendered(overlay), "Service")
        for port in service["spec"]["ports"]
    }
    for workload in workloads(overlay).values():
        for word in container_of(workload)["args"]:
            flag, _, value = word.partition("=")
            if flag.endswith("-address") and not value.startswith("$("):
                assert value.removeprefix("dns:///") in known
            # All replicas of the teacher, not the one that is looked up first.
            assert flag != "--teacher-address" or value.startswith("dns:///")


def test_there_are_as_many_shards_as_the_run_is_told(overlay: str) -> None:
    said, replay = experiment(overlay), workloads(overlay)["replay"]
    shards = int(said["RRL_REPLAY_SHARDS"])
    assert replay["spec"]["replicas"] == shards
    assert said["RRL_REPLAY"] == ",".join(f"replay-{i}.replay:50052" for i in range(shards))
    (index,) = (each for each in container_of(replay)["env"] if each["name"] == "POD_INDEX")
    assert index["valueFrom"]["fieldRef"]["fieldPath"] == (
        "metadata.labels['apps.kubernetes.io/pod-index']"
    )


def test_a_drained_teacher_has_the_time_it_takes(overlay: str) -> None:
    teacher = workloads(overlay)["teacher"]
    flags = dict(word.split("=") for word in container_of(teacher)["args"] if "=" in word)
    asked = float(flags["--lame-duck-seconds"]) + float(flags["--grace-seconds"])
    assert pod_of(teacher)["terminationGracePeriodSeconds"] >= asked + 10


def test_the_next_teacher_goes_when_names_lead_to_the_new_one(overlay: str) -> None:
    # CoreDNS has the addresses of a headless service kept for 5 s.
    assert workloads(overlay)["teacher"]["spec"]["minReadySeconds"] >= 5


LEARNER = '{namespace="rrl", instance="learner:9103"}'
ACTOR = '{namespace="rrl", instance="actor:9104"}'


def learner_says(stage: str, weaning_weight: float) -> dict[str, float]:
    stages = ("collect", "offline", "online", "final_evaluation", "finished")
    labels = LEARNER.strip("{}")
    return {f"rrl_learner_weaning_weight{LEARNER}": weaning_weight} | {
        f'rrl_learner_stage{{{labels}, stage="{each}"}}': float(each == stage) for each in stages
    }


def test_the_teacher_is_wanted_exactly_while_somebody_may_ask_it(tmp_path: Path) -> None:
    """The query that takes it to zero, by the real Prometheus."""
    need("promtool", "Debian's package prometheus")
    queries = f"rrl_actor_queries_total{ACTOR}"
    # What is there; queries of actors per minute; whether the teacher is wanted.
    cases: list[tuple[dict[str, float], float, float]] = [
        (learner_says("collect", 0.0), 0, 1),
        (learner_says("offline", 1.0), 0, 1),
        (learner_says("online", 0.3), 60, 1),
        (learner_says("online", 0.0), 0, 0),
        # A guide is asked without any weaning.
        (learner_says("online", 0.0), 60, 1),
        # Never weaned, but over.
        (learner_says("finished", 0.3), 0, 0),
        # The learner is away: unknown.
        ({}, 0, 1),
    ]
    (scaler,) = of_kind(rendered("large"), "ScaledObject")
    (trigger,) = (each for each in scaler["spec"]["triggers"] if each["name"] == "wanted")
    rule = {"record": "wanted", "expr": trigger["metadata"]["query"]}
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]})
    )
    tests = [
        {
            "interval": "1m",
            "input_series": [
                *({"series": name, "values": f"{value}x20"} for name, value in there.items()),
                {"series": queries, "values": f"0+{asked}x20"},
            ],
            "promql_expr_test": [
                {
                    "expr": "wanted",
                    "eval_time": "15m",
                    "exp_samples": [{"labels": "wanted", "value": wanted}],
                }
            ],
        }
        for there, asked, wanted in cases
    ]
    (tmp_path / "tests.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests})
    )
    done = subprocess.run(
        ["promtool", "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
