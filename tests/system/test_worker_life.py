"""How workers begin and end: one per state folder, none without its supervisor, no restart that cannot help."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streamflow.runtime.exit_codes import EXIT_REFUSED
from tests.ports import free_port
from tests.system.test_worker import _TOPOLOGY, Product, _sale, product

__all__ = ["product"]
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def test_a_second_worker_on_a_state_folder_refuses_and_touches_nothing(
    product: Product, kafka: str, tmp_path: Path
) -> None:
    product.start(0)
    token = product.publish([_sale(1_000 + i) for i in range(50)])["token"]
    product.query("totals", after=token)
    stores = sorted((tmp_path / "state-0").rglob("CURRENT"))
    before = [(path, path.stat().st_ino) for path in stores]
    assert before
    folder = {"STREAMFLOW_STATE_DIR": str(tmp_path / "state-0"), "STREAMFLOW_SHUTDOWN_DEADLINE_MS": "1000"}
    product.launch(1, **folder)
    assert product.workers.pop(1).wait(60) == EXIT_REFUSED
    log = (tmp_path / "worker-1.log").read_text()
    assert f"process {product.workers[0].pid} works with the state in" in log
    assert "--state-dir" in log
    assert [(path, path.stat().st_ino) for path in stores] == before
    token = product.publish([_sale(1_100)])["token"]
    assert product.query("totals", key="Rome", after=token).json()["rows"][0]["value"]["n"] == 51
    # One that follows a worker which is stopping waits for its end.
    first = product.workers.pop(0)
    first.send_signal(signal.SIGTERM)
    product.launch(1, STREAMFLOW_STATE_DIR=str(tmp_path / "state-0"))
    assert first.wait(60) == 0
    product.wait_ready(1)
    token = product.publish([_sale(1_200)], 1)["token"]
    assert product.query("totals", 1, key="Rome", after=token).json()["rows"][0]["value"]["n"] == 52


def _supervise(kafka: str, folder: Path, processes: int) -> "subprocess.Popen[bytes]":
    variables = {
        **os.environ,
        "STREAMFLOW_BROKERS": kafka,
        "STREAMFLOW_STATE_DIR": str(folder / "state"),
        "STREAMFLOW_HTTP_PORT": str(free_port(in_a_row=processes)),
        "STREAMFLOW_SESSION_TIMEOUT_MS": "6000",
    }
    command = [sys.executable, "-m", "streamflow", "run", str(folder), "--processes", str(processes)]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)


def _wait_for(folder: Path, text: str, count: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (folder / "log").read_text().count(text) < count:
        assert time.monotonic() < deadline, (folder / "log").read_text()[-3_000:]
        time.sleep(0.1)


def _children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in found.split()]


def test_workers_stop_in_order_when_their_supervisor_is_killed(kafka: str, tmp_path: Path, unique: str) -> None:
    (tmp_path / "topology.yaml").write_text(_TOPOLOGY.format(name=unique))
    supervisor = _supervise(kafka, tmp_path, 2)
    workers: list[int] = []
    try:
        _wait_for(tmp_path, f"worker of topology {unique} runs", 2, 60)
        workers = _children(supervisor.pid)
        assert len(workers) == 2
        supervisor.kill()
        supervisor.wait()
        _wait_for(tmp_path, "the supervisor is gone", 2, 60)
        _wait_for(tmp_path, " stopped", 2, 60)
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        supervisor.kill()
        for worker in workers:
            if Path(f"/proc/{worker}").exists():
                os.kill(worker, signal.SIGKILL)


def test_ctrl_c_in_a_terminal_is_one_stop_in_order(kafka: str, tmp_path: Path, unique: str) -> None:
    (tmp_path / "topology.yaml").write_text(_TOPOLOGY.format(name=unique))
    supervisor = _supervise(kafka, tmp_path, 1)
    try:
        _wait_for(tmp_path, f"worker of topology {unique} runs", 1, 60)
        os.killpg(supervisor.pid, signal.SIGINT)  # as a terminal does it: to everybody in the foreground
        assert supervisor.wait(60) == 0
        _wait_for(tmp_path, " stopped", 1, 0)
    finally:
        supervisor.kill()


def test_topics_that_do_not_fit_end_everything_at_once(kafka: str, tmp_path: Path, unique: str) -> None:
    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_topics([NewTopic(f"{unique}.by_city.repartition", 7, 1)])
        await admin.close()

    (tmp_path / "topology.yaml").write_text(_TOPOLOGY.format(name=unique))
    asyncio.run(create())
    supervisor = _supervise(kafka, tmp_path, 1)
    try:
        assert supervisor.wait(60) == EXIT_REFUSED
    finally:
        supervisor.kill()
    log = (tmp_path / "log").read_text()
    assert "has 7 partitions, the plan needs 3" in log
    assert "starting it again" not in log
    assert "Unclosed" not in log
