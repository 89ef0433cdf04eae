"""Values of the Helm chart: one model, of which values.yaml and values.schema.json are made (`make chart`).

What would contradict itself cannot be said: one `mode` chooses between HPA and KEDA, and between PodMonitor and
ServiceMonitor. Settings of the worker are those of `Settings`, with its types, bounds and descriptions.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from streamflow.settings.settings import SECRETS, Settings

#: Settings that follow from the pod; the chart sets them itself.
OF_THE_POD = frozenset(
    {"http_host", "http_port", "advertised_url", "instance_id", "state_dir", "files_dir", "models_dir"}
)
#: Where the chart asks for something else than a worker on somebody's desk: see docs/decisions/0018-deploy.md.
_SETTINGS = {"brokers": "", "replication_factor": 3, "log_format": "json"}

Anything = dict[str, Any]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTP]i?)?$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
Text = Annotated[str, Field(min_length=1)]


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Image(_Values):
    """Which image the workers run."""

    repository: Text = Field("streamflow", description="the product, or an image with your topology in it")
    tag: str = Field("", description="the chart's appVersion when empty")
    digest: str = Field("", pattern=r"^(sha256:[0-9a-f]{64})?$", description="goes before the tag")
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field("IfNotPresent", description="when to pull it")
    pull_secrets: list[Name] = Field([], description="names of Secrets of the registry")


class Topic(_Values):
    """A topic that the topology needs."""

    name: Text
    partitions: int = Field(ge=1)
    config: dict[str, str] = {}


class Topology(_Values):
    """What the release runs. `streamflow deploy values TOPOLOGY` writes this part."""

    name: str = Field("", pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="name of the topology, as in its file")
    path: str = Field("", description="its folder in the image, when it is there and not in `files`")
    files: dict[str, str] = Field({}, description="its files by name, at most 900 KiB in all")
    binaries: dict[str, str] = Field({}, description="others, in base64; they count among the 900 KiB")
    partitions: int = Field(4, ge=1, le=10_000, description="most partitions of an input; more workers would idle")
    input_topics: list[Text] = Field([], description="topics the workers read, for scaling by lag")
    topics: list[Topic] = Field([], description="all topics it needs, for Strimzi")


class Storage(_Values):
    """Volume of each worker. The truth is in Kafka: a lost volume costs the time of a restore."""

    size: Quantity = Field("10Gi", description="never changed by an upgrade: Kubernetes refuses")
    storage_class_name: str = Field("", description="the cluster's default when empty")
    when_deleted: Literal["Retain", "Delete"] = Field("Retain", description="claims after `helm uninstall`")
    when_scaled: Literal["Retain", "Delete"] = Field("Retain", description="claims of workers that scaling took away")


class Resources(_Values):
    """Of each worker. No limit of CPU: a throttled worker misses heartbeats."""

    cpu: Quantity = Field("1", description="request; one worker uses one core")
    memory: Quantity = Field("1Gi", description="request and limit; `streamflow deploy values` estimates it")
    extended: dict[str, Quantity] = Field({}, description="others, as `nvidia.com/gpu: 1`; what nodes require")


class Service(_Values):
    """Service for publishing and queries."""

    type: Literal["ClusterIP", "LoadBalancer", "NodePort"] = Field("ClusterIP", description="kind of Service")
    port: int = Field(80, ge=1, le=65_535, description="its port")
    annotations: dict[str, str] = Field({}, description="for clouds and meshes")


class IngressHost(_Values):
    """One host of the Ingress."""

    host: Text
    path: Text = "/"


class Ingress(_Values):
    """Off: whoever reaches it needs a key or token then, see docs/security.md."""

    enabled: bool = Field(False, description="only with `settings.api_keys_file` or `settings.oidc_issuer`")
    class_name: str = Field("", description="the cluster's default when empty")
    annotations: dict[str, str] = Field({}, description="for the controller")
    hosts: list[IngressHost] = Field([], description="`{host, path}`")
    tls: list[Anything] = Field([], description="as in Kubernetes")


class TopicsJob(_Values):
    """Job that creates the missing topics before the workers start."""

    enabled: bool = Field(True, description="workers create what is missing too, when they may")
    hook: bool = Field(True, description="a hook of Helm; false makes a plain Job, for Argo CD and Flux")
    deadline_seconds: int = Field(300, ge=10, description="after this the install fails")


class Strimzi(_Values):
    """Topics as KafkaTopics of Strimzi, and no topics Job. They stay when the release goes: they hold the data."""

    cluster: str = Field("", description="name of the Kafka; no KafkaTopics when empty")
    api_version: Text = Field("kafka.strimzi.io/v1", description="v1beta2 for Strimzi before 0.49")
    namespace: str = Field("", description="where its topic operator looks; the release's when empty")


class ResetJob(_Values):
    """Forgets offsets, internal topics and tables (`streamflow reset`), once per upgrade. With `replicas: 0` only."""

    enabled: bool = Field(False, description="switch it off again before workers start")
    deadline_seconds: int = Field(300, ge=10, description="the last workers count as alive for a session time-out")


class SharedVolumes(_Values):
    """Claims that exist and that all workers mount (ReadWriteMany)."""

    files: str = Field("", description="what file sinks write; without it they write to the volume of each worker")
    models: str = Field("", description="model files by digest")


class SecretEnv(_Values):
    """An environment variable from a Secret that exists already."""

    name: Text
    secret: Name
    key: Text


class SecretFiles(_Values):
    """A Secret that exists already, mounted as files."""

    secret: Name
    path: Annotated[str, Field(pattern=r"^/")]


class ServiceAccount(_Values):
    """Without a token: workers do not talk to Kubernetes."""

    create: bool = Field(True, description="else `name` is one that exists")
    name: str = Field("", description="of the release when empty")
    annotations: dict[str, str] = Field({}, description="for workload identity")


class Spread(_Values):
    """How workers are spread."""

    zone: Literal["ScheduleAnyway", "DoNotSchedule", "none"] = Field("ScheduleAnyway", description="over zones")
    host: Literal["ScheduleAnyway", "DoNotSchedule", "none"] = Field("ScheduleAnyway", description="over nodes")


class Keda(_Values):
    """Of mode `keda`."""

    polling_seconds: int = Field(15, ge=1, description="between looks at the lag")
    authentication: str = Field("", description="name of a TriggerAuthentication")


class Autoscaling(_Values):
    """By lag. Moves state: one worker at a time, and down only after a while."""

    mode: Literal["none", "hpa", "keda"] = Field("none", description="who scales; then `replicas` is not rendered")
    min_replicas: int = Field(1, ge=1, description="least workers")
    max_replicas: int = Field(4, ge=1, description="most workers, never above `topology.partitions`")
    lag_per_worker: int = Field(50_000, ge=1, description="records of lag that one worker shall have")
    down_after_seconds: int = Field(600, ge=0, le=3_600, description="least load for so long before a worker goes")
    metric: Text = Field("streamflow_lag_records", description="external metric of mode `hpa`, label `topology`")
    keda: Keda = Field(default_factory=Keda, description="of mode `keda`")


class NetworkPolicy(_Values):
    """Only what is needed: HTTP from clients and other workers, DNS, Kafka."""

    enabled: bool = Field(True, description="only a network plugin that knows policies enforces them")
    clients: list[Anything] = Field([{"podSelector": {}}], description="peers that may use HTTP, metrics included")
    kafka_ports: list[int] = Field([], description="ports of all brokers; those of settings.brokers when empty")
    kafka_peers: list[Anything] = Field([], description="where the brokers are; anywhere when empty")
    extra_egress: list[Anything] = Field([], description="rules for nodes that call others")


class Monitoring(_Values):
    """For Prometheus operator and Grafana."""

    mode: Literal["none", "pod", "service"] = Field("none", description="PodMonitor, ServiceMonitor, or neither")
    interval: Text = Field("30s", description="between scrapes")
    labels: dict[str, str] = Field({}, description="what your Prometheus selects monitors and rules by")
    rules: bool = Field(False, description="PrometheusRule with alerts")
    dashboards: bool = Field(False, description="ConfigMap with dashboards")
    dashboard_labels: dict[str, str] = Field({"grafana_dashboard": "1"}, description="what Grafana's sidecar looks for")


class ChartValues(_Values):
    """All values of the chart."""

    name_override: str = Field("", description="name of all objects; the release's when empty")
    image: Image = Field(default_factory=Image)
    topology: Topology = Field(default_factory=Topology)
    settings: Anything = Field(_SETTINGS, description="settings of the worker by name: docs/settings.md")
    replicas: int = Field(2, ge=0, le=10_000, description="workers; ignored when something scales them")
    resources: Resources = Field(default_factory=Resources)
    storage: Storage = Field(default_factory=Storage)
    service: Service = Field(default_factory=Service)
    ingress: Ingress = Field(default_factory=Ingress)
    topics_job: TopicsJob = Field(default_factory=TopicsJob)
    strimzi: Strimzi = Field(default_factory=Strimzi)
    reset_job: ResetJob = Field(default_factory=ResetJob)
    shared_volumes: SharedVolumes = Field(default_factory=SharedVolumes)
    secret_env: list[SecretEnv] = Field([], description="`{name, secret, key}`: variables from Secrets that exist")
    secret_files: list[SecretFiles] = Field([], description="`{secret, path}`: Secrets that exist, as files")
    env: dict[str, str] = Field({}, description="other variables; nothing secret")
    autoscaling: Autoscaling = Field(default_factory=Autoscaling)
    disruption_budget: bool = Field(True, description="one worker at a time leaves by draining")
    spread: Spread = Field(default_factory=Spread)
    network_policy: NetworkPolicy = Field(default_factory=NetworkPolicy)
    monitoring: Monitoring = Field(default_factory=Monitoring)
    service_account: ServiceAccount = Field(default_factory=ServiceAccount)
    start_seconds: int = Field(300, ge=30, description="a worker that does not answer for so long is started again")
    pre_stop_seconds: int = Field(5, ge=0, le=60, description="still serving while Services forget the worker")
    pod_labels: dict[str, str] = Field({}, description="of workers")
    pod_annotations: dict[str, str] = Field({}, description="of workers")
    node_selector: dict[str, str] = Field({}, description="as in Kubernetes")
    tolerations: list[Anything] = Field([], description="as in Kubernetes")
    affinity: Anything = Field({}, description="as in Kubernetes")
    priority_class_name: str = Field("", description="as in Kubernetes")
    extra_objects: list[Anything] = Field([], description="other objects of the release; templates are filled in")
    global_: Anything = Field({}, alias="global", description="of charts that contain this one")


def values_schema() -> dict[str, Any]:
    """JSON schema of the values, with the settings of the worker in it."""
    schema = ChartValues.model_json_schema()
    settings = Settings.model_json_schema()["properties"]
    schema["properties"]["settings"] = {
        "type": "object",
        "description": schema["properties"]["settings"]["description"],
        "additionalProperties": False,
        "required": ["brokers"],
        "properties": {name: rule for name, rule in settings.items() if name not in OF_THE_POD | SECRETS},
    }
    schema["properties"]["settings"]["properties"]["brokers"]["minLength"] = 1
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_without_titles(schema)}


def _without_titles(node: Any) -> Any:
    """The schema without pydantic's titles, which only repeat the names."""
    if isinstance(node, dict):
        return {key: _without_titles(value) for key, value in node.items() if key != "title"}
    return [_without_titles(each) for each in node] if isinstance(node, list) else node
