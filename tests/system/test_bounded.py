"""Bounded runs as a user starts them: they end, exactly, with several workers and after kill -9."""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from streamflow.checkpoint.progress import END_OF_TIME
from streamflow.cli.runs import round_of
from streamflow.cli.schedule import Rounds
from streamflow.runtime.hooks.groups import delete_group
from streamflow.runtime.rounds import Round
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology
from tests.ports import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, city: str?, amount: int}}
nodes:
  sales:   {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, watermark_delay: 1h, key: shop, partitions: 3}}
  known:   {{kind: filter, input: sales, where: city is not None}}
  by_city: {{kind: key_by, input: known, key: city}}
  totals:  {{kind: window, input: by_city, window: {{type: tumbling, size: 1m}}, aggregate: {{n: count(), total: sum(amount)}}}}
  out:     {{kind: sink, input: totals, topic: {name}.totals}}
"""


class Runs:
    """One topology on a Kafka, and its bounded runs."""

    def __init__(self, kafka: str, folder: Path, name: str) -> None:
        self.kafka, self.folder, self.name = kafka, folder, name
        (folder / "topology.yaml").write_text(_TOPOLOGY.format(name=name))
        self.processes: list[subprocess.Popen[bytes]] = []
        assert self.command("topics", "--create").wait(60) == 0

    def command(self, verb: str, *options: str, **environment: str) -> "subprocess.Popen[bytes]":
        variables = {
            **os.environ,
            **environment,
            "STREAMFLOW_BROKERS": self.kafka,
            "STREAMFLOW_STATE_DIR": str(self.folder / "state"),
            "STREAMFLOW_SESSION_TIMEOUT_MS": "6000",
        }
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "streamflow", verb, str(self.folder), *options],
                env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def run(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit code and report of a run that is let go to its end."""
        process = self.command("run", "--bounded", "--json", *options)
        out, _ = process.communicate(timeout=120)
        return process.returncode, json.loads(out) if out else {}

    def once(self, *options: str) -> dict[str, Any]:
        """Report of the next round of the schedule `daily`."""
        process = self.command("schedule", "daily", "--once", "--json", *options)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, self.log()
        return dict(json.loads(out))

    def next_round_while_asked_to_stop(self) -> Round | None:
        """What a schedule makes of a SIGTERM that comes while it begins a round."""
        spec = load_topology(self.folder)
        before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
        try:
            rounds = Rounds(load_settings(brokers=self.kafka), lambda number: round_of("daily", number).plan(spec))
            signal.raise_signal(signal.SIGTERM)
            return rounds.next(None, None)
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def topics(self, suffix: str) -> list[str]:
        """Topics of the topology with a suffix anywhere in their names."""

        async def act() -> list[str]:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
            await consumer.start()
            found = await consumer.topics()
            await consumer.stop()
            return sorted(name for name in found if name.startswith(self.name + ".") and suffix in name)

        return asyncio.run(act())

    def forget_records(self) -> None:
        """What Kafka does with offsets that nobody writes."""

        async def act() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
            await admin.start()
            for group, *_ in await admin.list_consumer_groups():
                if f".{self.name}." in group and group.endswith("#run"):
                    await delete_group(admin, group)
            await admin.close()

        asyncio.run(act())

    def log(self) -> str:
        return (self.folder / "log").read_text()[-3_000:]

    def publish(self, values: list[bytes]) -> None:
        async def act() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.kafka, linger_ms=5)
            await producer.start()
            sends = [
                await producer.send(f"{self.name}.sales", value, partition=i % 3) for i, value in enumerate(values)
            ]
            await asyncio.gather(*sends)
            await producer.stop()

        asyncio.run(act())

    def written(self, topic: str) -> int:
        """Offsets that a topic has given out."""

        async def act() -> int:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
            await consumer.start()
            places = [TopicPartition(topic, each) for each in range(3 if topic in await consumer.topics() else 0)]
            ends = await consumer.end_offsets(places) if places else {}
            await consumer.stop()
            return sum(ends.values())

        return asyncio.run(act())

    def wait_written(self, suffix: str, count: int) -> None:
        deadline = time.monotonic() + 60
        while self.written(self.name + suffix) < count:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def read(self, topic: str) -> list[dict[str, Any]]:
        """Everything committed in a topic."""

        async def act() -> list[dict[str, Any]]:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka, isolation_level="read_committed")
            await consumer.start()
            places = [TopicPartition(topic, each) for each in range(3 if topic in await consumer.topics() else 0)]
            if not places:
                await consumer.stop()
                return []
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            rows = []
            while any([await consumer.position(place) < ends[place] for place in places]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    rows += [json.loads(record.value) for record in records]
            await consumer.stop()
            return rows

        return asyncio.run(act())


@pytest.fixture
def runs(kafka: str, tmp_path: Path, unique: str) -> Iterator[Runs]:
    made = Runs(kafka, tmp_path, unique)
    yield made
    for process in made.processes:
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """kill -9 of a command and all its workers."""
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)  # it must not start workers again meanwhile
        for worker in workers_of(process):
            os.kill(worker, signal.SIGKILL)
        process.kill()
        process.wait()


def workers_of(process: "subprocess.Popen[bytes]") -> list[int]:
    """Ids of the worker processes of a command."""
    return [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def sales(count: int, seed: int = 1) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    return [
        {
            "time": 1_000_000_000_000 + i * 20 + chance.randrange(60_000),
            "shop": f"s{i % 7}",
            "city": chance.choice(["Rome", "Oslo", "Bonn", None]),
            "amount": chance.randrange(100),
        }
        for i in range(count)
    ]


def encoded(events: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


def totals(events: list[dict[str, Any]]) -> dict[tuple[str, int], tuple[int, int]]:
    """What the windows must be: (city, start) -> (n, total)."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for event in events:
        if event["city"] is not None:
            place = (event["city"], event["time"] // 60_000 * 60_000)
            count, total = found.get(place, (0, 0))
            found[place] = (count + 1, total + event["amount"])
    return found


def given(rows: list[dict[str, Any]]) -> list[tuple[tuple[str, int], tuple[int, int]]]:
    return sorted(((row["city"], row["start"]), (row["n"], row["total"])) for row in rows)


def test_a_run_ends_with_every_window_closed_and_counts_everything_once(runs: Runs) -> None:
    events = sales(3_000)
    runs.publish([*encoded(events), b"not json"])
    code, report = runs.run("--strict")
    assert code == 3, runs.log()
    assert given(runs.read(f"{runs.name}.totals.bounded")) == sorted(totals(events).items())
    nodes = {(each["stage"], each["node"]): each for each in report["nodes"]}
    known = sum(event["city"] is not None for event in events)
    assert (nodes["sales", "sales"]["rows_in"], nodes["sales", "sales"]["rows_dead"]) == (3_001, 1)
    assert (nodes["sales", "known"]["rows_in"], nodes["sales", "known"]["rows_out"]) == (3_000, known)
    assert nodes["by_city", "totals"]["rows_out"] == len(totals(events)) == report["tables"][0]["results"]
    assert report["completed"] is True
    assert report["dead_letters"] == {"decode": 1}
    assert sum(each["end"] - each["start"] for each in report["sources"]) == 3_001
    assert runs.read(f"{runs.name}.totals") == [], "a run of its own touches nothing of the live one"
    before = runs.topics("")
    looking = runs.command("debug", "--from", "earliest", "--count", "20", "--json")
    out, _ = looking.communicate(timeout=60)
    seen = [json.loads(line) for line in out.splitlines()]
    assert (looking.returncode, len(seen), runs.topics("")) == (0, 20, before), runs.log()
    assert all(each["value"] in events for each in seen)
    assert sum(step["node"] == "totals" for each in seen for step in each["steps"]) == sum(
        each["value"]["city"] is not None for each in seen
    )


def test_the_lag_of_time_leaves_the_metrics_at_the_end(runs: Runs) -> None:
    runs.publish(encoded(sales(300)))
    # Some tenths of a second lie between the end and the stop: a slow machine may look away just then.
    assert any(_is_seen_at_its_end(runs, f"run-{number}") for number in range(5))


def _is_seen_at_its_end(runs: Runs, name: str) -> bool:
    port, at_end = free_port(), False
    process = runs.command("run", "--bounded", "--json", "--port", str(port), "--into", name)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        while process.poll() is None:
            try:
                view = client.get(f"/v1/topologies/{runs.name}").json()
                text = client.get("/metrics").text
            except httpx.TransportError:
                time.sleep(0.01)
                continue
            found = re.findall(r"^streamflow_watermark_lag_seconds{.*} (.*)$", text, re.MULTILINE)
            assert all(float(lag) > 0 for lag in found)
            ended = [(task["watermark"] or 0) >= END_OF_TIME for task in view["tasks"]]
            if ended and all(ended):
                at_end = True
                assert found == []
    assert process.returncode == 0, runs.log()
    return at_end


def test_a_run_that_is_killed_goes_on_to_the_same_end_whatever_was_published_since(runs: Runs) -> None:
    events = sales(150_000)
    runs.publish(encoded(events))
    slow = {"STREAMFLOW_FETCH_MAX_BYTES": "16384"}
    process = runs.command("run", "--bounded", "--processes", "2", **slow)
    runs.wait_written(".by_city.repartition.bounded", 1_000)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    runs.wait_written(".by_city.repartition.bounded", 20_000)
    kill(process)
    assert runs.written(f"{runs.name}.totals.bounded") == 0, "windows close at the end, which it must not have reached"
    assert runs.run("--from", "2001-09-09")[0] == 2, "a run that has begun keeps its start"
    before = runs.written(f"{runs.name}.by_city.repartition.bounded")
    stopped = runs.command("run", "--bounded", "--json", **slow)
    runs.wait_written(".by_city.repartition.bounded", before + 1_000)
    stopped.send_signal(signal.SIGTERM)
    out, _ = stopped.communicate(timeout=60)
    assert (stopped.returncode, json.loads(out)["completed"]) == (75, False), "stopped in order, before its end"
    runs.publish(encoded(sales(500, seed=2)))
    code, report = runs.run("--processes", "2")
    assert code == 0, runs.log()
    assert given(runs.read(f"{runs.name}.totals.bounded")) == sorted(totals(events).items())
    assert {each["node"]: each["rows_in"] for each in report["nodes"]}["sales"] == len(events)
    again, repeated = runs.run()
    assert (again, repeated["nodes"]) == (0, report["nodes"]), "a run at its end says so again"


def test_rounds_of_a_schedule_read_everything_once_also_when_one_is_killed(runs: Runs) -> None:
    parts = [sales(300, seed) for seed in (1, 2, 3)]
    wanted = [sorted(totals(part).items()) for part in parts]
    runs.publish(encoded(parts[0]))
    assert runs.once()["completed"] is True
    assert given(runs.read(f"{runs.name}.totals.daily")) == wanted[0]
    assert runs.topics(".daily-") == [], "what a round alone has is gone with it"
    runs.publish(encoded(parts[1]))
    assert runs.next_round_while_asked_to_stop() is None, "it has begun, and waits for the next who calls"
    process = runs.command("schedule", "daily", "--once")
    runs.wait_written(".by_city.repartition.daily-2", 1)
    kill(process)
    runs.publish(encoded(parts[2]))
    report = runs.once()
    assert (report["run"], sum(each["end"] - each["start"] for each in report["sources"])) == ("daily-2", 300)
    assert given(runs.read(f"{runs.name}.totals.daily")) == sorted(wanted[0] + wanted[1])
    process = runs.command("schedule", "daily", "--every", "1s")
    runs.wait_written(".totals.daily", runs.written(f"{runs.name}.totals.daily") + len(wanted[2]))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (0, 75), runs.log()
    assert given(runs.read(f"{runs.name}.totals.daily")) == sorted(wanted[0] + wanted[1] + wanted[2])
    runs.forget_records()
    assert runs.command("schedule", "daily", "--once").wait(60) == 2, runs.log()
    assert "where it ended is not known any more" in " ".join(runs.log().split())
    assert runs.command("reset", "--into", "daily", "--yes").wait(60) == 0, runs.log()
    assert runs.topics(".daily") == []
