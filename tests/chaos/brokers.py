"""Three brokers, of which some are lost: topics get three replicas, two in sync, and what is acknowledged stays.

    python -m tests.chaos --brokers 3

One broker after the other is ended by kill -9 and comes back; then two at once, which leaves too few replicas and no
majority of controllers: nothing can be written, publishers are asked to come back (503, Retry-After) until the workers end and wait for Kafka
(no connection), and it goes on when they are back.
"""

import asyncio
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.embedded.broker import EmbeddedBroker, new_cluster_id
from streamflow.runtime.topics import partition_counts
from streamflow.settings.settings import load_settings
from tests.chaos.attacks import Attack
from tests.chaos.harness import Run
from tests.chaos.orders import START_MS
from tests.ports import free_ports

_PROPERTIES = {
    "default.replication.factor": "3",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "min.insync.replicas": "2",
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
}
_PUBLISHED = 20
#: A broker is away for so long at least, two of them are, and results come again after so long at most; seconds.
_AWAY_S, _GONE_S, _BACK_S = 12.0, 30.0, 180.0


def start_brokers(folder: Path, count: int) -> list[EmbeddedBroker]:
    """Brokers of one cluster, each a controller too."""
    ports = free_ports(2 * count)
    cluster, controllers = new_cluster_id(), tuple(ports[count:])
    brokers = [
        EmbeddedBroker(folder / f"broker-{node}", port, _PROPERTIES, None, cluster, node, controllers)
        for node, port in enumerate(ports[:count], start=1)
    ]
    with ThreadPoolExecutor(count) as pool:  # none answers before the majority is there
        list(pool.map(EmbeddedBroker.restart, brokers))
    return brokers


@dataclass
class Losses:
    """What was seen: longest time without a result after each loss, answers to publishers while two were gone."""

    standing_s: list[float] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    is_asked_back: bool = False
    published: dict[str, int] = field(default_factory=dict)

    @property
    def is_exact(self) -> bool:
        """Whether what was published while two brokers were away is there once."""
        return len(self.published) == _PUBLISHED and set(self.published.values()) == {1}

    def __str__(self) -> str:
        stood = ", ".join(f"{each:.1f}" for each in self.standing_s)
        return f"stood for {stood} s; publishers heard {self.answers}, with Retry-After: {self.is_asked_back}"


def loss_attack(brokers: list[EmbeddedBroker], losses: Losses) -> Attack:
    """Each broker in turn, then two together while somebody publishes over HTTP."""

    async def attack(run: Run) -> None:
        await asyncio.sleep(5)
        for broker in brokers:
            await asyncio.to_thread(broker.kill)
            run.delivered["broker kill"] += 1
            losses.standing_s.append(await _standing_s(run))
            await asyncio.to_thread(broker.restart)
            await _results_flow(run)
        for broker in brokers[:2]:
            await asyncio.to_thread(broker.kill)
            run.delivered["broker kill"] += 1
        publishing = asyncio.create_task(_publish(run, losses))
        await asyncio.sleep(_GONE_S)
        with ThreadPoolExecutor(2) as pool:
            await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(pool, b.restart) for b in brokers[:2]))
        await _results_flow(run)
        await publishing

    return attack


async def _standing_s(run: Run) -> float:
    """The longest time without a result until they flow again, the broker still away."""
    began = changed = time.monotonic()
    longest, count = 0.0, len(run.outputs)
    while (now := time.monotonic()) < began + _AWAY_S or now > changed + 1:
        assert now < began + _BACK_S, "no results come while a broker is away"
        await asyncio.sleep(0.05)
        longest = max(longest, time.monotonic() - changed)
        if len(run.outputs) != count:
            count, changed = len(run.outputs), time.monotonic()
    return longest


async def _results_flow(run: Run) -> None:
    count, deadline = len(run.outputs), time.monotonic() + _BACK_S
    while len(run.outputs) < count + 10:
        assert time.monotonic() < deadline, "no results come after a broker is back"
        await asyncio.sleep(0.2)


async def _publish(run: Run, losses: Losses) -> None:
    """Orders over HTTP, each until it is taken; the same key makes a repetition safe. Too small for any result."""
    wanted = [f"lost-{number}" for number in range(_PUBLISHED)]
    async with httpx.AsyncClient(timeout=180) as client:
        for account in wanted:
            order = {"time": START_MS, "account": account, "region": "none", "amount": 0}
            for attempt in itertools.count():
                url = f"http://127.0.0.1:{run.slots[attempt % len(run.slots)].port}/v1/topics/orders.in/events"
                try:
                    answer = await client.post(
                        url, params={"key": account}, json=order, headers={"Idempotency-Key": account}
                    )
                except httpx.TransportError as error:  # the worker ended, and starts again
                    said, wait_s = type(error).__name__, 1.0
                else:
                    said, wait_s = str(answer.status_code), float(answer.headers.get("retry-after", 1))
                    losses.is_asked_back |= said == "503" and "retry-after" in answer.headers
                losses.answers[said] = losses.answers.get(said, 0) + 1
                if said == "200":
                    break
                await asyncio.sleep(wait_s)
    losses.published = await _found(run, wanted)


async def _found(run: Run, accounts: list[str]) -> dict[str, int]:
    """How often each of the accounts is in the source topic."""
    counts = dict.fromkeys(accounts, 0)
    settings = load_settings(brokers=run.bootstrap)
    for partition in range((await partition_counts(settings, ["orders.in"]))["orders.in"]):
        async with CommittedLog(settings, "orders.in", partition) as log:
            async for record in log.records():
                if (account := (record.key or b"").decode()) in counts:
                    counts[account] += 1
    return counts
