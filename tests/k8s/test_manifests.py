"""The chart's manifests, and that the tests notice what is wrong with others."""

import re
from pathlib import Path

import pytest

from streamflow.deploy.chart_files import chart_files
from streamflow.metrics.families import Metrics
from tests.k8s.inspection import complaints, of_kind, read
from tests.k8s.toolbox import CHART, helm_template, mutant


def test_values_and_their_schema_are_in_step_with_the_models() -> None:
    for name, text in chart_files().items():
        assert (CHART / name).read_text() == text, "run `make chart`"


def test_dashboards_and_alerts_use_metrics_that_exist() -> None:
    exposed = {sample for family in Metrics().registry.collect() for sample in _samples(family.name, family.type)}
    texts = [path.read_text() for path in (CHART / "files").rglob("*.*")]
    assert len(texts) == 3
    for text in texts:
        used = set(re.findall(r"\b(?:streamflow|process|python)_\w+", text))
        assert len(used) > 5
        assert used <= exposed


def _samples(name: str, kind: str) -> list[str]:
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(kind, [""])
    return [name + ending for ending in endings]


def test_the_chart_is_good() -> None:
    assert list(complaints()) == []


@pytest.mark.parametrize("mode", ["none", "hpa", "keda"])
def test_what_scales_is_there_when_it_is_on_and_never_takes_away_what_it_does_not_see(mode: str) -> None:
    values, names = CHART / "ci" / "full-values.yaml", ("--set", f"autoscaling.mode={mode}")
    objects = read(helm_template(values, CHART, *names, "--set", "topology.inputTopics={a}").stdout)
    hpas, keda = of_kind(objects, "HorizontalPodAutoscaler"), of_kind(objects, "ScaledObject")
    (workers,) = of_kind(objects, "StatefulSet")
    assert (len(hpas), len(keda)) == {"none": (0, 0), "hpa": (1, 0), "keda": (0, 1)}[mode]
    assert ("replicas" in workers["spec"]) == (mode == "none"), "nobody else says how many there are"
    # Without the metric Kubernetes' autoscaler leaves the number as it is; KEDA does what its fallback says.
    assert all(each["spec"]["metrics"][0]["type"] == "External" for each in hpas)
    assert all(each["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher" for each in keda)


def test_workers_go_to_their_pool_with_the_sidecar_of_a_mesh() -> None:
    (workers,) = of_kind(read(helm_template(CHART / "ci" / "full-values.yaml").stdout), "StatefulSet")
    pod = workers["spec"]["template"]
    assert pod["metadata"]["annotations"]["sidecar.istio.io/inject"] == "true"
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["spec"]["tolerations"] == [{"key": "streams", "operator": "Exists"}]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("replicas=5", "replicas: 5 workers for 4 partitions"),
        ("autoscaling.mode=hpa,autoscaling.maxReplicas=5", "maxReplicas: 5 workers for 4 partitions"),
        ("autoscaling.mode=hpa,autoscaling.minReplicas=5", "minReplicas is above maxReplicas"),
        ("autoscaling.mode=keda", "topology.inputTopics"),
        ("autoscaling.mode=both", "autoscaling/mode"),
        ("topology.path=", "give its `files`"),
        ("topology.name=Readings", "topology/name"),
        ("ingress.enabled=true", "ingress.hosts"),
        ("settings.http_anonymous=false", "say who may use the API"),
        ("settings.api_keys_file=/k", "refer to a Secret that has it"),
        ("settings.worker_secret=x", "'worker_secret' not allowed"),
        ("strimzi.cluster=main", "topology.topics: Strimzi needs"),
        ("resetJob.enabled=true", "resetJob.enabled: workers must be gone first"),
        ("resetJob.enabled=true,replicas=0,autoscaling.mode=hpa", "resetJob.enabled: workers must be gone first"),
        ("settings.files_dir=/x", "'files_dir' not allowed"),
        ("ingress.enabled=true", "everybody would be admin"),
        ("settings.brokers=", "settings/brokers"),
        ("settings.session_timeout_ms=1", "minimum: got 1, want 6,000"),
        ("settings.http_port=1", "'http_port' not allowed"),
        ("settings.brokerz=k", "'brokerz' not allowed"),
        ("secretEnv[0].name=A,secretEnv[0].value=b", "'value' not allowed"),
        ("image.digest=latest", "image/digest"),
    ],
)
def test_values_that_cannot_be_are_refused_with_their_place(option: str, message: str) -> None:
    done = helm_template(CHART / "ci" / "least-values.yaml", CHART, "--set", option)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ([], []),
        (["otlp_endpoint=http://collector:4318/v1/traces", "kafka_token_url=https://login.test/token"], [[443, 4318]]),
        (["models_url=s3://bucket/models"], [[443]]),
        (["otlp_endpoint=http://collector/v1/traces", "oidc_jwks_url=https://login.test:8443/keys", "alerts=true"], [[80, 443, 587, 8443]]),
    ],
)  # fmt: skip
def test_egress_is_to_dns_to_kafka_to_other_workers_and_to_what_settings_name(
    options: list[str], more: list[list[int]]
) -> None:
    given = [part for option in options for part in ("--set", f"settings.{option}")]
    manifests = read(helm_template(CHART / "ci" / "least-values.yaml", CHART, *given).stdout)
    policy = next(each for each in of_kind(manifests, "NetworkPolicy") if each["metadata"]["name"] == "readings")
    ports = [sorted({port["port"] for port in rule["ports"]}) for rule in policy["spec"]["egress"]]
    assert ports == [[53], [9092], [8080], *more]


def test_an_upgrade_of_the_chart_alone_restarts_nothing(tmp_path: Path) -> None:
    newer = mutant(tmp_path, "Chart.yaml", "version: 0.1.0\nappVersion", "version: 0.2.0\nappVersion")
    values = CHART / "ci" / "full-values.yaml"
    before, after = (of_kind(read(helm_template(values, chart).stdout), "StatefulSet") for chart in (CHART, newer))
    assert before[0]["spec"] == after[0]["spec"]
    assert before[0]["metadata"]["labels"] != after[0]["metadata"]["labels"]


_MUTANTS = {
    "replicas fixed beside an HPA": ("statefulset.yaml", '{{- if eq .Values.autoscaling.mode "none" }}', "{{- if true }}"),
    "chart version in pods": ("statefulset.yaml", 'labels:\n        {{- include "streamflow.selector"', 'labels:\n        {{- include "streamflow.labels"'),
    "chart version in claims": ("statefulset.yaml", 'labels: {{- include "streamflow.selector" . | nindent 10', 'labels: {{- include "streamflow.labels" . | nindent 10'),
    "ordered start": ("statefulset.yaml", "podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady"),
    "no sum of the topology": ("statefulset.yaml", "streamflow/topology-sum", "streamflow/sum"),
    "ready while restoring": ("statefulset.yaml", "path: /readyz", "path: /healthz"),
    "killed while restoring": ("statefulset.yaml", "livenessProbe:\n            httpGet: {path: /healthz", "livenessProbe:\n            httpGet: {path: /readyz"),
    "short grace": ("_worker.tpl", "{{- add .Values.preStopSeconds (div (add $deadline 999) 1000) 10 -}}", "30"),
    "state in the root": ("statefulset.yaml", "{name: state, mountPath: /var/lib/streamflow}", "{name: state, mountPath: /data}"),
    "no identity": ("statefulset.yaml", "value: $(POD_NAME)}", 'value: ""}'),
    "same spread twice": ("statefulset.yaml", '"topology.kubernetes.io/zone"', '"kubernetes.io/hostname"'),
    "misspelt field": ("statefulset.yaml", "terminationGracePeriodSeconds", "terminationGraceSeconds"),
    "address of the Service": ("statefulset.yaml", "{{ $name }}-workers.$(POD_NAMESPACE)", "{{ $name }}.$(POD_NAMESPACE)"),
    "restoring workers are not found": ("services.yaml", "publishNotReadyAddresses: true", "publishNotReadyAddresses: false"),
    "Service selects nothing": ("services.yaml", "app.kubernetes.io/component: worker", "app.kubernetes.io/component: workers"),
    "root": ("_worker.tpl", "runAsNonRoot: true\nrunAsUser: 10001", "runAsUser: 0"),
    "writable root": ("_worker.tpl", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
    "capabilities": ("_worker.tpl", "drop: [ALL]", "drop: [NET_RAW]"),
    "token": ("_worker.tpl", "automountServiceAccountToken: false", "automountServiceAccountToken: true"),
    "service links": ("_worker.tpl", "enableServiceLinks: false", "enableServiceLinks: true"),
    "large numbers as floats": ("_worker.tpl", "{{ int64 . }}", "{{ . }}"),
    "hook needs a later account": ("topics-job.yaml", "restartPolicy: Never", 'restartPolicy: Never\n      serviceAccountName: {{ include "streamflow.name" . }}'),
    "hook stays": ("topics-job.yaml", "before-hook-creation,hook-succeeded", "before-hook-creation"),
    "budget too wide": ("disruption-budget.yaml", "maxUnavailable: 1", "maxUnavailable: 2"),
    "budget blocks drains": ("disruption-budget.yaml", "maxUnavailable: 1", "minAvailable: 1"),
    "metric of a wrong type": ("autoscaling.yaml", "type: External\n      external:", "type: External\n      pods:"),
    "two leave at once": ("autoscaling.yaml", "{type: Pods, value: 1, periodSeconds: 60}", "{type: Pods, value: 2, periodSeconds: 60}"),
    "everybody may come in": ("networkpolicy.yaml", "      from:\n", "      # from:\n"),
    "all ports outside": ("networkpolicy.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]"),
    "schema of KEDA": ("autoscaling.yaml", "pollingInterval:", "pollingSeconds:"),
    "schema of PodMonitor": ("monitoring.yaml", "podMetricsEndpoints", "endpoints"),
    "files only in the pod": ("statefulset.yaml", '"/var/lib/streamflow/files"', '"/tmp/files"'),
    "models only in the pod": ("statefulset.yaml", '"/mnt/models"', '"/models"'),
    "claim without a mount": ("statefulset.yaml", "- {name: {{ $use }}, mountPath: /mnt/{{ $use }}}", "- {name: tmp, mountPath: /mnt/{{ $use }}}"),
    "rack of the region": ("statefulset.yaml", "labels['topology.kubernetes.io/zone']", "labels['topology.kubernetes.io/region']"),
    "two racks": ("statefulset.yaml", "{{- if not .Values.settings.client_rack }}", "{{- if true }}"),
    "topics go with the release": ("kafka-topics.yaml", "helm.sh/resource-policy: keep", "helm.sh/resource-policy: delete"),
    "two topics of one name": ("kafka-topics.yaml", '(sha256sum .name | trunc 8)', '"topic"'),
    "topics of no Kafka": ("kafka-topics.yaml", "strimzi.io/cluster", "strimzi.io/kafka"),
    "schema of KafkaTopic": ("kafka-topics.yaml", "topicName:", "name:"),
    "topics made twice": ("topics-job.yaml", "(not .Values.strimzi.cluster)", "true"),
    "forgets before the workers go": ("reset-job.yaml", "helm.sh/hook: post-upgrade", "helm.sh/hook: pre-upgrade"),
    "no account": ("serviceaccount.yaml", "{{- if .Values.serviceAccount.create -}}", "{{- if false -}}"),
}  # fmt: skip


@pytest.mark.parametrize("name", _MUTANTS)
def test_a_worse_chart_is_noticed(name: str, tmp_path: Path) -> None:
    path, old, new = _MUTANTS[name]
    assert any(complaints(mutant(tmp_path, f"templates/{path}", old, new)))
