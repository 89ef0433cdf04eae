"""The embedded broker: it finds ports, says what is wrong, and ends with whoever started it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamflow.errors import ExternalError
from streamflow.runtime.embedded import broker as embedded
from streamflow.runtime.embedded.broker import EmbeddedBroker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the guard needs Linux")
def test_a_broker_ends_with_the_process_that_started_it_even_when_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from streamflow.runtime.embedded.broker import EmbeddedBroker\n"
        "broker = EmbeddedBroker.start(pathlib.Path(sys.argv[1]))\n"
        "print(broker.process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    assert _is_running(pid)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    deadline = time.monotonic() + 60
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _is_running(pid)


def test_a_port_that_somebody_takes_first_is_replaced_and_a_chosen_one_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(ExternalError, match=f"somebody listens on 127.0.0.1:{taken}"):
            EmbeddedBroker.start(tmp_path / "one", taken)
        offered = iter([taken])
        free_port = embedded._free_port
        monkeypatch.setattr(embedded, "_free_port", lambda other_than=0: next(offered, 0) or free_port(other_than))
        monkeypatch.setattr(embedded, "_is_taken", lambda port: False)  # the race: it looked free
        broker = EmbeddedBroker.start(tmp_path / "two")
    try:
        assert broker.port != taken
    finally:
        broker.stop()


def test_a_restart_keeps_port_and_cluster_and_damaged_data_is_told_with_the_log(tmp_path: Path) -> None:
    broker = EmbeddedBroker.start(tmp_path)
    port, cluster = broker.port, broker._cluster_id()
    broker.kill()
    broker.restart()
    assert (broker.port, broker._cluster_id()) == (port, cluster)
    broker.stop()
    meta = tmp_path / "logs" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(ExternalError, match=r"did not start(.|\n)*node") as caught:
        EmbeddedBroker.start(tmp_path)
    assert "7" in str(caught.value)
