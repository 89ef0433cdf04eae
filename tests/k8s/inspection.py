"""Looks at rendered manifests: the schemas of Kubernetes, and what a good chart for stateful workers keeps.

`complaints` is empty for a good chart. The schemas are those of Kubernetes 1.36 (its OpenAPI document), of KEDA 2.21 and of
the Prometheus operator 0.85, made strict: an unknown field is refused.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from tests.k8s.toolbox import CHART, helm_template

_SCHEMAS = Path(__file__).parent / "schemas"
_VERSION_LABELS = {"helm.sh/chart", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"}
Manifest = dict[str, Any]


def complaints(chart: Path = CHART) -> Iterator[str]:
    """Everything that is wrong with what the chart makes of its example values."""
    for values in sorted((CHART / "ci").glob("*.yaml")):
        done = helm_template(values, chart)
        if done.returncode:
            yield f"{values.stem}: {done.stderr}"
            continue
        yield from (f"{values.stem}: {text}" for text in complaints_of(read(done.stdout)))


def complaints_of(manifests: list[Manifest]) -> Iterator[str]:
    """Everything that is wrong with manifests; what has not the form of Kubernetes is not looked at further."""
    yield from list(_by_schema(manifests)) or _by_rule(manifests)


def read(text: str) -> list[Manifest]:
    """Documents of a stream of YAML."""
    return [each for each in YAML(typ="safe").load_all(text) if each]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Manifests of a kind."""
    return [each for each in manifests if each["kind"] == kind]


@functools.cache
def _schema(kind: str, api_version: str) -> Draft7Validator:
    group, _, version = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], version) if part)
    return Draft7Validator(json.loads((_SCHEMAS / f"{name}.json").read_text()))


def _by_schema(manifests: list[Manifest]) -> Iterator[str]:
    for each in manifests:
        for error in _schema(each["kind"], each["apiVersion"]).iter_errors(each):
            yield f"{each['kind']} {each['metadata']['name']}: {error.json_path}: {error.message}"


def _by_rule(manifests: list[Manifest]) -> Iterator[str]:
    pods = [
        *((each, each["spec"]["template"]) for kind in ("StatefulSet", "Job") for each in of_kind(manifests, kind)),
        *((each, each) for each in of_kind(manifests, "Pod")),
    ]
    for owner, pod in pods:
        place = f"{owner['kind']} {owner['metadata']['name']}"
        yield from (f"{place}: {text}" for text in _pod(pod["spec"]))
    (workers,) = of_kind(manifests, "StatefulSet")
    yield from _workers(workers, manifests)
    yield from _hooks(manifests)
    yield from _topics(manifests)
    yield from _policies(manifests)


def _pod(spec: Manifest) -> Iterator[str]:
    security = spec.get("securityContext", {})
    if not (security.get("runAsNonRoot") and security.get("runAsUser")):
        yield "may run as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    if spec.get("automountServiceAccountToken") is not False:
        yield "has a token of Kubernetes"
    if spec.get("enableServiceLinks") is not False:
        yield "gets variables of Services, among them STREAMFLOW_…"
    for container in spec["containers"]:
        rights = container.get("securityContext", {})
        if rights.get("allowPrivilegeEscalation") is not False or rights.get("capabilities") != {"drop": ["ALL"]}:
            yield "keeps rights"
        if rights.get("readOnlyRootFilesystem") is not True:
            yield "can write to its root"
        resources = container.get("resources", {})
        if "cpu" in resources.get("limits", {}) or "memory" not in resources.get("limits", {}):
            yield "needs a limit of memory, and none of CPU"
        if {"cpu", "memory"} - set(resources.get("requests", {})):
            yield "requests no CPU or no memory"
        for variable in container.get("env", []):
            if "e+" in variable.get("value", ""):
                yield f"{variable['name']} is a float: {variable['value']}"


def _workers(workers: Manifest, manifests: list[Manifest]) -> Iterator[str]:
    spec, template = workers["spec"], workers["spec"]["template"]
    (worker,) = template["spec"]["containers"]
    environment = {each["name"]: each.get("value") or "" for each in worker["env"]}
    scaled = [*of_kind(manifests, "HorizontalPodAutoscaler"), *of_kind(manifests, "ScaledObject")]
    if len(scaled) > 1 or bool(scaled) == ("replicas" in spec):
        yield "replicas have two owners, or none"
    if spec["podManagementPolicy"] != "Parallel":
        yield "workers restore one after the other"
    if template["spec"].get("serviceAccountName", "default") not in _accounts(manifests):
        yield "uses a ServiceAccount that is not there"
    keys = [each["topologyKey"] for each in template["spec"].get("topologySpreadConstraints", [])]
    if len(keys) != len(set(keys)):
        yield "spreads twice over the same"
    yield from _labels(spec, template, manifests)
    yield from _life(template["spec"], worker, environment)
    yield from _identity(spec, worker, environment, manifests)


def _labels(spec: Manifest, template: Manifest, manifests: list[Manifest]) -> Iterator[str]:
    for place, labels in (
        ("selector", spec["selector"]["matchLabels"]),
        ("pods", template["metadata"]["labels"]),
        ("claims", spec["volumeClaimTemplates"][0]["metadata"]["labels"]),
    ):
        if _VERSION_LABELS & set(labels):
            yield f"labels of {place} change with versions: every upgrade restarts or is refused"
    if "streamflow/topology-sum" not in template["metadata"]["annotations"]:
        yield "another topology would not restart it"
    for selector in _selectors(manifests):
        if not selector.items() <= template["metadata"]["labels"].items():
            yield f"nothing has the labels {selector}"


def _life(pod: Manifest, worker: Manifest, environment: dict[str, str]) -> Iterator[str]:
    probes = {name: worker.get(f"{name}Probe", {}).get("httpGet", {}).get("path") for name in ("startup", "liveness")}
    if probes != {"startup": "/healthz", "liveness": "/healthz"}:
        yield "a worker that restores would be killed"
    if worker.get("readinessProbe", {}).get("httpGet", {}).get("path") != "/readyz":
        yield "a worker would be ready before it has restored"
    stop_s = int(environment.get("STREAMFLOW_SHUTDOWN_DEADLINE_MS", 30_000)) / 1_000
    if pod["terminationGracePeriodSeconds"] < stop_s + worker["lifecycle"]["preStop"]["sleep"]["seconds"]:
        yield "is killed before its own deadline of a stop"


def _identity(
    spec: Manifest, worker: Manifest, environment: dict[str, str], manifests: list[Manifest]
) -> Iterator[str]:
    if environment.get("STREAMFLOW_INSTANCE_ID") != "$(POD_NAME)":
        yield "has no stable identity"
    mounted = {each["mountPath"] for each in worker["volumeMounts"]}
    state = environment.get("STREAMFLOW_STATE_DIR", "")
    if not any(state.startswith(f"{path}/") for path in mounted - {"/tmp"}):
        yield "keeps its state outside of its volume"
    claims = {each["name"] for each in spec["template"]["spec"]["volumes"] if "persistentVolumeClaim" in each}
    mounts = {each["mountPath"] for each in worker["volumeMounts"] if each["name"] in claims | {"state"}}
    for name in ("STREAMFLOW_FILES_DIR", "STREAMFLOW_MODELS_DIR"):
        if not any(environment.get(name, "").startswith(path) for path in mounts):
            yield f"{name} is gone with the pod"
    if claims - {each["name"] for each in worker["volumeMounts"]}:
        yield "a claim is not mounted"
    racks = [each for each in worker["env"] if each["name"] == "STREAMFLOW_CLIENT_RACK"]
    if len(racks) != 1 or not (racks[0].get("value") or "labels['topology.kubernetes.io/zone']" in str(racks[0])):
        yield "reads from another zone"
    heads = {each["metadata"]["name"]: each["spec"] for each in of_kind(manifests, "Service")}
    head = heads.get(spec["serviceName"], {})
    if head.get("clusterIP") != "None" or not head.get("publishNotReadyAddresses"):
        yield "workers do not find each other while one restores"
    if f".{spec['serviceName']}." not in environment.get("STREAMFLOW_ADVERTISED_URL", ""):
        yield "tells others an address that is not its own"


def _accounts(manifests: list[Manifest]) -> set[str]:
    return {"default", *(each["metadata"]["name"] for each in of_kind(manifests, "ServiceAccount"))}


def _selectors(manifests: list[Manifest]) -> Iterator[dict[str, str]]:
    for each in of_kind(manifests, "Service"):
        yield each["spec"]["selector"]
    for each in of_kind(manifests, "PodDisruptionBudget"):
        yield each["spec"]["selector"]["matchLabels"]
    for each in of_kind(manifests, "PodMonitor"):
        yield each["spec"]["selector"]["matchLabels"]
    (workers,) = of_kind(manifests, "StatefulSet")
    yield workers["spec"]["selector"]["matchLabels"]


def _hooks(manifests: list[Manifest]) -> Iterator[str]:
    """Before an install only what is a hook itself is there."""
    early = [each for each in manifests if "pre-install" in _hook(each)]
    for job in of_kind(early, "Job"):
        spec = job["spec"]["template"]["spec"]
        if "serviceAccountName" in spec:
            yield f"Job {job['metadata']['name']}: its ServiceAccount is not there yet"
        needs = {each["configMap"]["name"] for each in spec["volumes"] if "configMap" in each}
        if needs - {each["metadata"]["name"] for each in of_kind(early, "ConfigMap")}:
            yield f"Job {job['metadata']['name']}: its ConfigMap is not there yet"
    for each in early:
        if "hook-succeeded" not in each["metadata"]["annotations"].get("helm.sh/hook-delete-policy", ""):
            yield f"{each['kind']} {each['metadata']['name']}: stays after an uninstall"


def _topics(manifests: list[Manifest]) -> Iterator[str]:
    """Of Strimzi, and the Job that forgets them."""
    topics = of_kind(manifests, "KafkaTopic")
    names = [each["metadata"]["name"] for each in topics]
    if len(names) != len(set(names)):
        yield "two topics have one name"
    for each in topics:
        if each["metadata"].get("annotations", {}).get("helm.sh/resource-policy") != "keep":
            yield f"KafkaTopic {each['metadata']['name']} and its records go with the release"
        if "strimzi.io/cluster" not in each["metadata"]["labels"]:
            yield f"KafkaTopic {each['metadata']['name']} is of no Kafka"
    jobs = {each["spec"]["template"]["spec"]["containers"][0]["args"][0]: each for each in of_kind(manifests, "Job")}
    if topics and "topics" in jobs:
        yield "topics are made twice"
    (workers,) = of_kind(manifests, "StatefulSet")
    if "reset" in jobs and (_hook(jobs["reset"]) != "post-upgrade" or workers["spec"].get("replicas") != 0):
        yield "forgets a run while it runs"


def _hook(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("annotations", {}).get("helm.sh/hook", ""))


def _policies(manifests: list[Manifest]) -> Iterator[str]:
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        if budget["spec"].get("maxUnavailable") != 1 or "minAvailable" in budget["spec"]:
            yield "a drain takes several workers, or none"
    for policy in of_kind(manifests, "NetworkPolicy"):
        spec = policy["spec"]
        if set(spec["policyTypes"]) != {"Ingress", "Egress"} or not all(rule.get("ports") for rule in spec["egress"]):
            yield f"NetworkPolicy {policy['metadata']['name']} lets everything through"
        if any(not rule.get("from") for rule in spec.get("ingress", [])):
            yield f"NetworkPolicy {policy['metadata']['name']} lets everybody in"
    for scaled in of_kind(manifests, "HorizontalPodAutoscaler"):
        behavior = scaled["spec"]["behavior"]["scaleDown"]
        if [each["value"] for each in behavior["policies"]] != [1]:
            yield "several workers leave at once"
        if any(each["type"].lower() not in each for each in scaled["spec"]["metrics"]):
            yield "scales by a metric of another type than it says"
