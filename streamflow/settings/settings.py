"""Settings of a worker: environment variables that begin with STREAMFLOW_, one frozen model, every bound stated."""

import os
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streamflow.errors import SettingsError


class Settings(BaseSettings):
    """Every setting of a worker. `commit_interval_ms` is read from STREAMFLOW_COMMIT_INTERVAL_MS, and so on."""

    model_config = SettingsConfigDict(env_prefix="STREAMFLOW_", frozen=True, extra="ignore")

    brokers: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, separated by commas")
    kafka_tls: bool = Field(False, description="talk to Kafka over TLS; needed with SASL, see KAFKA_SASL_PLAINTEXT")
    kafka_ca_file: Path | None = Field(
        None, description="authorities (PEM) by which the brokers' certificates are checked; the system's when empty"
    )
    kafka_cert_file: Path | None = Field(None, description="our certificate (PEM, with its chain), for mutual TLS")
    kafka_key_file: Path | None = Field(None, description="its key (PEM)")
    kafka_key_password: SecretStr = Field(SecretStr(""), description="password of that key")
    kafka_sasl: Literal["none", "plain", "scram-sha-256", "scram-sha-512", "oauthbearer"] = Field(
        "none", description="how this program says to Kafka who it is"
    )
    kafka_username: str = Field("", description="user of plain and scram")
    kafka_password: SecretStr = Field(SecretStr(""), description="password of plain and scram")
    kafka_token_file: Path | None = Field(
        None, description="token of oauthbearer, read for each connection, renewed by somebody else"
    )
    kafka_token_url: str = Field("", description="or where oauthbearer gets tokens for client id and secret")
    kafka_client_id: str = Field("", description="client of oauthbearer")
    kafka_client_secret: SecretStr = Field(SecretStr(""), description="its secret")
    kafka_token_scope: str = Field("", description="scope that tokens are asked for with")
    client_rack: str = Field(
        "", description="zone of this worker; reads from replicas there when brokers have a replica.selector.class"
    )
    kafka_sasl_plaintext: bool = Field(False, description="allow SASL without TLS: credentials can be read on the way")
    application: str = Field(
        "streamflow", pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="prefix of consumer groups and transactional ids"
    )
    namespace: str = Field(
        "streamflow", pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="whose event bus this is: topic NAMESPACE.events"
    )
    events_detail: Literal["off", "lifecycle", "sampled", "every"] = Field(
        "lifecycle",
        description="what goes to the event bus: nothing; what happens to workers and tasks, dead letters and late "
        "rows summed up; also one in a hundred of the windows that close; all of them, and each dead letter by itself",
    )
    events_partitions: int = Field(1, ge=1, le=64, description="partitions of the bus when it is created")
    events_retention_ms: int = Field(
        90 * 86_400_000, ge=-1, description="how long events are kept, ms; -1 for ever; set when the bus is created"
    )
    audit_key: str = Field(
        "",
        pattern=r"^$|^(file|env):.+$",
        description="Ed25519 private key that seals the event bus, as file:PATH or env:NAME; empty: it is not sealed",
    )
    audit_seal_interval_ms: int = Field(
        10_000, ge=100, description="time after which events are sealed that came meanwhile, ms; or 1,000 of them"
    )
    alerts: bool = Field(False, description="judge rules over the metrics of all workers, and tell notifiers of alerts")
    alerts_file: Path | None = Field(
        None, description="YAML file of rules, notifiers and routes, the same on all workers of a namespace"
    )
    alerts_interval_ms: int = Field(
        10_000, ge=100, le=600_000, description="time between two samples of a worker, and two judgements, ms"
    )
    state_dir: Path = Field(Path("state"), description="folder of this worker's stores; never shared between workers")
    instance_id: str = Field("", description="stable name of the worker; static membership when set")
    http_host: str = Field("127.0.0.1", description="address the HTTP server binds")
    http_port: int = Field(8080, ge=0, le=65_535, description="port of the HTTP server; 0 takes a free one")
    advertised_url: str = Field(
        "", description="URL at which other workers reach this one; from host and port when empty"
    )
    http_tls_cert_file: Path | None = Field(None, description="certificate (PEM, with its chain) to serve HTTPS with")
    http_tls_key_file: Path | None = Field(None, description="its key (PEM, not encrypted)")
    http_ca_file: Path | None = Field(
        None, description="authorities (PEM) by which other workers' certificates are checked; the system's when empty"
    )
    http_anonymous: bool = Field(
        False,
        description="let everybody who reaches the HTTP server do everything; without keys and tokens that is "
        "refused on any address but the loopback",
    )
    api_keys_file: Path | None = Field(None, description="file of API keys, made by `streamflow keys`")
    oidc_issuer: str = Field("", description="OpenID provider whose tokens are taken, exactly as in their `iss`")
    oidc_audience: str = Field("", description="what their `aud` must have: the name of this service there")
    oidc_jwks_url: str = Field("", description="address of the provider's keys; from its discovery document when empty")
    oidc_algorithms: str = Field(
        "RS256",
        pattern=r"^(RS|PS|ES)(256|384|512)(,(RS|PS|ES)(256|384|512))*$",
        description="algorithms that are taken, separated by commas",
    )
    oidc_roles_claim: str = Field(
        "roles", pattern=r"^[A-Za-z0-9_.:/-]{1,200}$", description="claim with the grants; dots lead into objects"
    )
    oidc_skew_s: int = Field(30, ge=0, le=300, description="by how much the provider's clock may differ, s")
    caller_max_requests_per_s: int = Field(
        1_000,
        ge=1,
        description="requests per second that a worker takes from one key or subject; more are answered 429",
    )
    worker_secret: SecretStr = Field(
        SecretStr(""), description="what workers know one another by; needed with keys or tokens, the same for all"
    )
    otlp_endpoint: str = Field(
        "", description="where traces go, OTLP over HTTP, such as http://collector:4318/v1/traces; none when empty"
    )
    trace_ratio: float = Field(
        0.0, ge=0, le=1, description="share of HTTP publishes without a trace context that begin a trace"
    )
    replication_factor: int = Field(
        0,
        ge=0,
        le=9,
        description="replicas of topics that are created, of which 2 must be in sync from 3 on; 0: 3, or as many as "
        "there are brokers",
    )
    commit_interval_ms: int = Field(
        100, ge=1, le=60_000, description="time between checkpoints of a task under load, ms"
    )
    transaction_timeout_ms: int = Field(10_000, ge=1_000, le=900_000, description="Kafka aborts older transactions, ms")
    session_timeout_ms: int = Field(
        10_000, ge=6_000, le=300_000, description="silence after which a worker is gone, ms; Kafka's least is 6 s"
    )
    return_within_ms: int = Field(
        0,
        ge=0,
        le=300_000,
        description="how long partitions of a stopped worker with an `instance_id` wait for its return, ms; 0: others "
        "take them at once; less than Kafka's least session, 6 s, is as 0",
    )
    critical_path_first: bool = Field(
        False, description="while there is a backlog, inputs with more calls and hops behind them are read first"
    )
    fetch_max_bytes: int = Field(
        1 << 20, ge=1 << 10, le=64 << 20, description="bytes per partition and fetch: bound of a chunk"
    )
    pending_max_outputs: int = Field(
        200_000, ge=1_000, description="output records of a task that may wait for a commit"
    )
    pending_max_bytes: int = Field(64 << 20, ge=1 << 20, description="input bytes of a task that may wait for a commit")
    rocksdb_cache_bytes: int = Field(128 << 20, ge=8 << 20, description="block cache of all stores of the process")
    rocksdb_write_buffer_bytes: int = Field(128 << 20, ge=8 << 20, description="memtables of all stores of the process")
    stall_limit_ms: int = Field(
        60_000, ge=1_000, description="work waits and nothing moves: the worker ends after this, ms"
    )
    shutdown_deadline_ms: int = Field(30_000, ge=1_000, description="a stop that takes longer is forced, ms")
    models_dir: Path = Field(Path("models"), description="folder of model files, by digest; workers may share it")
    models_url: str = Field(
        "",
        description="object store of model files, such as `s3://bucket/models`, which models_dir is the cache of then; "
        "credentials and endpoint by the store's own variables (`AWS_…`)",
    )
    models_dir_max_bytes: int = Field(
        10 << 30, ge=1 << 20, description="with models_url: files kept in models_dir; the least used go first"
    )
    onnx_providers: str = Field(
        "CPUExecutionProvider",
        description="execution providers of onnxruntime in order of preference, separated by commas, such as "
        "`CUDAExecutionProvider,CPUExecutionProvider`; one that is not there is refused at the start",
    )
    capabilities: str = Field(
        "",
        pattern=r"^[a-z0-9_.-]*(, *[a-z0-9_.-]+)*$",
        description="what this worker has that nodes may require, as `gpu,avx512`, besides what it finds by looking",
    )
    models_max_bytes: int = Field(
        1 << 30, ge=1 << 20, description="model files whose models a worker holds loaded; the least used go first"
    )
    payloads_url: str = Field(
        "",
        description="where payload nodes keep payloads: an object store, such as `s3://bucket/payloads`, or a folder, "
        "`file:///mnt/payloads`, that all workers share; credentials by the store's own variables (`AWS_…`)",
    )
    snapshots_url: str = Field(
        "",
        description="where snapshots are kept: an object store, such as `s3://bucket/snapshots`, or a folder, "
        "`file:///mnt/snapshots`, that all workers share; credentials by the store's own variables (`AWS_…`)",
    )
    files_dir: Path = Field(Path("files"), description="folder that file sinks write below; workers must share it")
    body_max_bytes: int = Field(1 << 20, ge=1 << 10, le=64 << 20, description="largest HTTP body to publish")
    batch_max_events: int = Field(1_000, ge=1, le=100_000, description="events of one HTTP request to publish")
    topic_max_events_per_s: int = Field(
        200_000, ge=1, description="events per second that a worker takes for a topic over HTTP; more are answered 429"
    )
    outbound_hosts: str = Field(
        "*",
        description="hosts that nodes may call, separated by commas; `*` stands for anything, as in `*.example.com`",
    )
    outbound_networks: str = Field(
        "",
        description="inner networks that nodes may call, such as `10.1.0.0/16`, separated by commas; without "
        "encryption only these",
    )
    secrets_dir: Path | None = Field(None, description="folder of secrets that nodes refer to, one file each")
    live_max_clients: int = Field(
        1_000, ge=0, le=100_000, description="clients that may follow live tables of a worker; more are answered 503"
    )
    live_interval_ms: int = Field(
        50, ge=5, le=60_000, description="least time between two messages to a client of a live table, ms"
    )
    idempotency_window_ms: int = Field(
        600_000,
        ge=1_000,
        le=86_400_000,
        description="how long a publish with an Idempotency-Key is remembered, ms; the same on all workers",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe log line written")
    log_format: Literal["text", "json"] = Field("text", description="log lines for people or for programs")

    @property
    def named_capabilities(self) -> tuple[str, ...]:
        """`capabilities` one by one."""
        return tuple(each.strip() for each in self.capabilities.split(",") if each.strip())

    @field_validator("outbound_networks")
    @classmethod
    def _check_networks(cls, text: str) -> str:
        _networks(text)
        return text

    @property
    def outbound_networks_parsed(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`outbound_networks` as networks."""
        return _networks(self.outbound_networks)


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


#: Settings that are never shown, logged, or written down. Each may also come from a file: STREAMFLOW_…_FILE names it.
SECRETS = frozenset(name for name, field in Settings.model_fields.items() if field.annotation is SecretStr)
_SECRET_MAX_BYTES = 64 << 10


class SourceSettings(Settings):
    """How to reach the Kafka of another region: as Settings, from variables that begin with STREAMFLOW_SOURCE_."""

    model_config = SettingsConfigDict(env_prefix="STREAMFLOW_SOURCE_")


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, with overrides. Raises SettingsError naming every variable at fault."""
    return _load(Settings, overrides)


def load_source_settings(**overrides: object) -> Settings:
    """The same of another region's Kafka."""
    return _load(SourceSettings, overrides)


def _load(kind: type[Settings], overrides: dict[str, object]) -> Settings:
    prefix = kind.model_config["env_prefix"]
    try:
        given = _secrets_of_files(prefix) | {name: value for name, value in overrides.items() if value is not None}
        return kind(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [f"{prefix}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_url=False) if e["loc"]]
        raise SettingsError("; ".join(lines) or str(error)) from error


def _secrets_of_files(prefix: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in SECRETS:
        variable = f"{prefix}{name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if not path:
            continue
        if os.environ.get(variable):
            raise SettingsError(f"{variable} and {variable}_FILE are both set: leave one out")
        try:
            with Path(path).open() as file:
                found[name] = file.read(_SECRET_MAX_BYTES).strip()
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"{variable}_FILE: {path} cannot be read: {error}") from error
    return found


def settings_table() -> str:
    """Reference of all settings as a Markdown table."""
    rows = ["| variable | default | bounds | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = " " if field.default in ("", None) or name in SECRETS else field.default
        secret = " (secret: this or `…_FILE`)" if name in SECRETS else ""
        rows.append(
            f"| `STREAMFLOW_{name.upper()}` | `{default}` | {_bounds(field.metadata)} | {field.description}{secret} |"
        )
    return "\n".join(rows) + "\n"


def _bounds(constraints: Sequence[object]) -> str:
    """Of a number, in words."""
    least, most = (
        next((getattr(each, side) for each in constraints if hasattr(each, side)), None) for side in ("ge", "le")
    )
    if most is None:
        return "" if least is None else f"{least} or more"
    return f"{least} to {most}"
