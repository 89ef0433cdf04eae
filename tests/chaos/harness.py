"""The chaos harness: worker processes on a real Kafka, killed and stalled while a model watches.

A run publishes orders at a steady pace, lets a plan of faults loose on the workers, starts every dead worker again, reads
the results with read_committed while it all happens, and at the end compares results and tables with the model.
"""

import asyncio
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streamflow.bus.audit.keys import Signer
from streamflow.plan.planner import make_plan
from streamflow.runtime.topics import ensure_topics
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology
from tests.chaos.bus import bus_faults
from tests.chaos.orders import CLOSING, ORDERS, Verdict
from tests.chaos.scenario import Scenario
from tests.ports import free_ports

SESSION_MS = 6_000
STALL_S = 8.0
EXIT_REFUSED = 78
_SETTLE_S = 240.0
_READY_S = 120.0
#: Nothing more comes: what is lost by then is lost.
_QUIET_S = 60.0
_TABLE_S = 60.0
_FIRED_S = 90.0
#: What a worker writes when a fault point fires, and when the broker refuses its batch.
_FIRED = re.compile(rb"fault point (\w+): (crash|stall)")
_REFUSED = b"within the known limits is refused"


@dataclass
class Slot:
    """A worker's place: its process, its folder and port, and the faults its next life begins with."""

    number: int
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    faults: str = ""
    deaths: int = 0
    refusals: int = 0
    without_disk: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it has a process that has not ended."""
        return self.process is not None and self.process.poll() is None


@dataclass
class Run:
    """One chaos run. `say` is told what happens."""

    bootstrap: str
    folder: Path
    orders: list[dict[str, Any]]
    pace_per_s: int
    seed: int
    say: Callable[[str], None]
    mistake: str = ""
    workers: int = 3
    scenario: Scenario = ORDERS
    #: Where each worker finds the broker, when not all find it at `bootstrap`.
    routes: list[str] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    #: Signals that reached a living process.
    delivered: Counter[str] = field(default_factory=Counter)
    _stalled: set[int] = field(default_factory=set)

    async def execute(self, attack: Callable[["Run"], Any]) -> Verdict:
        """Run the attack while orders flow; the verdict."""
        self.say(
            f"seed {self.seed}, {len(self.orders)} orders or more, {self.workers} workers, mistake {self.mistake or 'none'}"
        )
        (self.folder / "audit.pem").write_bytes(Signer.new().private_pem())
        settings = load_settings(brokers=self.bootstrap, audit_key=self._audit_key)
        await ensure_topics(make_plan(load_topology(self.scenario.topology)), settings)
        self.slots = [Slot(number, port) for number, port in enumerate(free_ports(self.workers))]
        tasks = [asyncio.create_task(self._keep_alive()), asyncio.create_task(self._read())]
        try:
            await self._until_serving()
            attacker = asyncio.create_task(attack(self))
            await self._publish(attacker)
            await self._publish_closing()
            expected = self.scenario.expected(self.orders)
            verdict = await self._settled(expected)
            verdict.refused = sum(slot.refusals for slot in self.slots)
            if verdict.is_exact and self.scenario.table:
                verdict.table_wrong = await self._compare_table(expected)
                verdict.bus_wrong = await bus_faults(settings, self.outputs)
            return verdict
        finally:
            for slot in self.slots:
                if slot.process is not None and slot.is_alive:
                    slot.process.send_signal(signal.SIGCONT)
                    slot.process.kill()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- workers ------------------------------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        while True:
            for slot in self.slots:
                if not slot.is_alive:
                    if slot.process is not None:
                        slot.deaths += 1
                        slot.refusals += slot.process.returncode == EXIT_REFUSED
                    slot.process = self._spawn(slot)
            await asyncio.sleep(0.3)

    def _log_of(self, slot: Slot) -> Path:
        return self.folder / f"worker-{slot.number}.log"

    def _spawn(self, slot: Slot) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "STREAMFLOW_BROKERS": self.routes[slot.number] if self.routes else self.bootstrap,
            "STREAMFLOW_STATE_DIR": str(self._state_of(slot)),
            "STREAMFLOW_HTTP_PORT": str(slot.port),
            "STREAMFLOW_SESSION_TIMEOUT_MS": str(SESSION_MS),
            "STREAMFLOW_TRANSACTION_TIMEOUT_MS": "20000",
            "STREAMFLOW_FAULTS": slot.faults,
            "STREAMFLOW_MISTAKE": self.mistake,
            "STREAMFLOW_ALLOW_MISTAKES": "1" if self.mistake else "0",
            "STREAMFLOW_LOG_LEVEL": "warning",
            "STREAMFLOW_EVENTS_DETAIL": "every",
            "STREAMFLOW_AUDIT_KEY": self._audit_key,
            "STREAMFLOW_AUDIT_SEAL_INTERVAL_MS": "500",
        }
        if slot.without_disk:
            shutil.rmtree(self._state_of(slot), ignore_errors=True)
        slot.faults, slot.without_disk = "", False
        with self._log_of(slot).open("ab") as log:
            command = [sys.executable, "-m", "streamflow", "run", str(self.scenario.topology), "--worker"]
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    @property
    def _audit_key(self) -> str:
        return f"file:{self.folder / 'audit.pem'}"

    def _state_of(self, slot: Slot) -> Path:
        return self.folder / f"worker-{slot.number}"

    async def living(self, chance: random.Random) -> Slot:
        """A worker whose process lives and is not stopped by us."""
        while True:
            slots = [slot for slot in self.slots if slot.is_alive and slot.number not in self._stalled]
            if slots:
                return chance.choice(slots)
            await asyncio.sleep(0.1)

    def kill(self, slot: Slot) -> None:
        """kill -9, counted when there was somebody to kill."""
        if slot.process is not None and slot.is_alive:
            slot.process.send_signal(signal.SIGKILL)
            self.delivered["kill"] += 1

    async def stall(self, slot: Slot, seconds: float) -> None:
        """SIGSTOP, longer than the session lasts, then SIGCONT."""
        process = slot.process
        if process is not None and slot.is_alive:
            process.send_signal(signal.SIGSTOP)
            self.delivered["stall"] += 1
            self._stalled.add(slot.number)
            await asyncio.sleep(seconds)
            process.send_signal(signal.SIGCONT)
            self._stalled.discard(slot.number)

    def restart_with(self, slot: Slot, faults: str, *, without_disk: bool = False) -> None:
        """Its next life, which begins now, has these faults armed, and must restore everything when `without_disk`."""
        slot.faults, slot.without_disk = faults, without_disk
        if slot.process is not None and slot.is_alive:
            slot.process.kill()

    def fired(self) -> Counter[str]:
        """How often each fault fired, as `point crash` or `point stall`: what the workers wrote, not what was armed."""
        found: Counter[str] = Counter()
        for slot in self.slots:
            found.update(b" ".join(each).decode() for each in _FIRED.findall(self._log_of(slot).read_bytes()))
        return found

    def broker_refusals(self) -> int:
        """How often a worker's batch was refused by the broker."""
        return sum(self._log_of(slot).read_bytes().count(_REFUSED) for slot in self.slots)

    async def until_fired(self, fault: str, count: int) -> bool:
        """Wait until a fault has fired `count` times, 90 s at most; whether it has."""
        deadline = time.monotonic() + _FIRED_S
        while self.fired()[fault] < count:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.2)
        return True

    def report(self) -> str:
        """What really happened: signals that reached somebody, faults that fired."""
        counts = {"deaths": sum(slot.deaths for slot in self.slots), **self.delivered, **self.fired()}
        return ", ".join(f"{name} {count}" for name, count in counts.items())

    async def _until_serving(self) -> None:
        deadline = time.monotonic() + _READY_S
        async with httpx.AsyncClient() as client:
            while time.monotonic() < deadline:
                try:
                    answers = [await client.get(f"http://127.0.0.1:{slot.port}/readyz") for slot in self.slots]
                    if all(answer.status_code == 200 for answer in answers):
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.2)
        raise AssertionError(f"the workers were not ready within {_READY_S:.0f} s, see the logs in {self.folder}")

    # -- events -------------------------------------------------------------------------------------------------------

    async def _publish(self, attacker: "asyncio.Task[None]") -> None:
        """All orders at a steady pace, and more while the attack lasts: a fault fires only when there is work."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            request_timeout_ms=240_000,  # brokers may be away for a while
        )
        await producer.start()
        started, step = time.monotonic(), max(1, self.pace_per_s // 20)
        try:
            for start in itertools.count(0, step):
                if start >= len(self.orders) and attacker.done():
                    break
                missing = start + step - len(self.orders)  # a whole step: what is left of one would never be published
                if missing > 0:
                    self.orders += self.scenario.make(missing, self.seed, len(self.orders))
                for order in self.orders[start : start + step]:
                    for topic, key, body in self.scenario.records(order):
                        await producer.send(topic, orjson.dumps(body), key=key.encode())
                ahead = (start + step) / self.pace_per_s - (time.monotonic() - started)
                await asyncio.sleep(max(0.0, ahead))
            await attacker
        finally:
            await producer.stop()

    async def _publish_closing(self) -> None:
        """Push every source partition's time past all windows, so that all of them close."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all")
        await producer.start()
        for topic, partition, key, body in self.scenario.closing(self.orders):
            await producer.send_and_wait(topic, orjson.dumps(body), key=key.encode(), partition=partition)
        await producer.stop()

    async def _read(self) -> None:
        """Results as a consumer of ours sees them, while everything happens."""
        consumer = AIOKafkaConsumer(
            *self.scenario.read,
            bootstrap_servers=self.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            async for record in consumer:
                self.outputs.append(orjson.loads(record.value) | {"_topic": record.topic})
        finally:
            await consumer.stop()

    async def _settled(self, expected: Any) -> Verdict:
        """Wait until every window has come, or nothing more comes; then a little longer, for duplicates."""
        deadline, count, quiet_since = time.monotonic() + _SETTLE_S, -1, time.monotonic()
        while time.monotonic() < deadline:
            verdict: Verdict = self.scenario.judge(self.outputs, expected)
            if len(self.outputs) != count:
                count, quiet_since = len(self.outputs), time.monotonic()
            if (
                not verdict.lost
                or time.monotonic() - quiet_since > _QUIET_S
                or any(slot.refusals > 1 for slot in self.slots)
            ):
                break
            await asyncio.sleep(0.5)
        await asyncio.sleep(3)
        settled: Verdict = self.scenario.judge(self.outputs, expected)
        return settled

    async def _compare_table(self, expected: Any) -> list[tuple[str, int]]:
        """Rows of the table over HTTP, gathered from all workers, that differ from the model."""
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        cursor: str | None = None
        url = f"http://127.0.0.1:{self.slots[0].port}/v1/topologies/orders/tables/{self.scenario.table}"
        deadline = time.monotonic() + _TABLE_S
        async with httpx.AsyncClient(timeout=10) as client:
            while True:
                parameters = {"limit": "1000"} | ({"cursor": cursor} if cursor else {})
                try:
                    answer = await client.get(url, params=parameters)
                    problem = answer.text if answer.status_code == 503 else ""
                except httpx.TransportError as error:  # a worker that ended by a fault starts again
                    problem = repr(error)
                if problem:
                    assert time.monotonic() < deadline, f"the table did not answer for {_TABLE_S:.0f} s: {problem}"
                    await asyncio.sleep(0.5)
                    continue
                body = answer.json()
                rows |= {(row["key"], row["start"]): row["value"] for row in body["rows"] if row["key"] != CLOSING}
                cursor = body["cursor"]
                if cursor is None:
                    break
        found = {key: (v["n"], v["total"], v["least"], v["most"]) for key, v in rows.items()}
        return sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))

    async def limit_record_size(self, size: int) -> None:
        """Let the broker refuse results: the shape of a send that fails within a transaction."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        resource = ConfigResource(ConfigResourceType.TOPIC, "orders.totals", {"max.message.bytes": str(size)})
        await admin.alter_configs([resource])
        await admin.close()
        self.delivered[f"limit of {size} bytes"] += 1


def new_run(
    bootstrap: str,
    folder: Path,
    count: int,
    pace_per_s: int,
    seed: int,
    say: Callable[[str], None],
    mistake: str = "",
    scenario: Scenario = ORDERS,
) -> Run:
    """A run over fresh orders."""
    folder.mkdir(parents=True, exist_ok=True)
    orders = scenario.make(count, seed, 0)
    return Run(bootstrap, folder, orders, pace_per_s, seed, say, mistake, scenario=scenario)
