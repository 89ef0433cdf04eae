"""A stop while a worker begins, and what must not keep it from ending."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError

from streamflow.bus.audit.keys import Signer
from streamflow.plan.planner import make_plan
from streamflow.runtime.blocked import task_is_at
from streamflow.runtime.sealer import Sealer
from streamflow.runtime.worker import Worker
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology


def test_a_worker_that_waits_for_kafka_stops_when_it_is_asked_to(root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "STREAMFLOW_STATE_DIR": str(tmp_path), "STREAMFLOW_HTTP_PORT": "0"}
    command = [sys.executable, "-m", "streamflow", "run", str(root / "topologies" / "flights"), "--worker"]
    said = tmp_path / "log"
    with said.open("wb") as out:
        worker = subprocess.Popen(
            [*command, "--brokers", "127.0.0.1:1"], env=environment, cwd=root, stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + 60
        while "does not answer yet" not in said.read_text():
            assert worker.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(60)
    finally:
        worker.kill()
    text = said.read_text()
    assert (code, "Traceback" in text, "Unclosed" in text) == (0, False, False), text


class _Cut(Sealer):
    """Sealing as it goes when Kafka goes away: whatever is asked of it fails, also at the end."""

    async def _seal_on(self) -> None:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            raise KafkaConnectionError("no broker") from None


def test_a_sealer_whose_last_seal_fails_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_KEY", Signer.new().private_pem().decode())

    async def main() -> None:
        sealer = _Cut(load_settings(audit_key="env:AUDIT_KEY"))
        await sealer.start()
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await sealer.stop()

    asyncio.run(main())


def test_where_a_stop_stands_is_found_behind_what_it_waits_for_together() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    async def stop() -> None:
        await asyncio.gather(asyncio.sleep(0), asyncio.create_task(stuck()))

    async def main() -> None:
        stopping = asyncio.create_task(stop())
        for _ in range(3):
            await asyncio.sleep(0)
        found = [each.rpartition(" ")[2] for each in task_is_at(stopping).split(" > ")]
        assert found == ["stop", "stuck", "wait"]
        stopping.cancel()

    asyncio.run(main())


class _Companion:
    """Ends when the others end, too."""

    def __init__(self, ending: asyncio.Barrier) -> None:
        self._ending = ending

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Wait for the others."""
        await self._ending.wait()


def test_what_lives_beside_the_tasks_ends_together(root: Path, tmp_path: Path) -> None:
    """Each may need its bound when Kafka is away; one after the other they need more time than a stop has."""

    async def main() -> None:
        spec = load_topology(root / "topologies" / "flights")
        worker = Worker(make_plan(spec), load_settings(state_dir=tmp_path), "http://w", spec)
        ending = asyncio.Barrier(3)
        worker.companions += [_Companion(ending) for _ in range(3)]
        async with asyncio.timeout(60):
            await worker._shut_down()

    asyncio.run(main())
