"""A network to break: a TCP proxy between each worker and the broker, and a broker that can be bounced.

Each worker has a listener of the broker to itself, which advertises the address of the worker's proxy; so one worker can be
cut off while it lives, and everybody else goes on.
"""

import asyncio
import random
from pathlib import Path

from streamflow.runtime.embedded.broker import EmbeddedBroker
from tests.chaos.attacks import Attack
from tests.chaos.harness import STALL_S, Run
from tests.ports import free_ports


class Proxy:
    """Forwards connections to a port, unless it is told not to."""

    def __init__(self, port: int, target: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._port, self._target = port, target
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        self.reset()

    async def stall(self, seconds: float) -> None:
        """Nothing passes in either direction, new connections neither, and nobody is told."""
        self._flows.clear()
        await asyncio.sleep(seconds)
        self._flows.set()

    def reset(self) -> None:
        """Break every connection; what was on its way may have arrived or not."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except OSError:  # one side is gone
            pass
        finally:
            self._writers -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        writer.transport.abort()


def proxied_broker(folder: Path, workers: int) -> tuple[EmbeddedBroker, list[Proxy]]:
    """A broker with one proxied listener per worker, besides the direct one."""
    port, *others = free_ports(1 + 2 * workers)
    inner, outer = others[:workers], others[workers:]
    names = [f"WORKER{number}" for number in range(workers)]
    direct = f"PLAINTEXT://127.0.0.1:{port}"
    properties = {
        "listeners": ",".join([direct, *(f"{n}://127.0.0.1:{p}" for n, p in zip(names, inner, strict=True))]),
        "advertised.listeners": ",".join(
            [direct, *(f"{n}://127.0.0.1:{p}" for n, p in zip(names, outer, strict=True))]
        ),
        "listener.security.protocol.map": ",".join(f"{n}:PLAINTEXT" for n in ("PLAINTEXT", "CONTROLLER", *names)),
        "inter.broker.listener.name": "PLAINTEXT",
    }
    broker = EmbeddedBroker.start(folder, port, properties=properties)
    return broker, [Proxy(out, into) for out, into in zip(outer, inner, strict=True)]


def network_attack(proxies: list[Proxy], rounds: int, gap_s: float = 4.0) -> Attack:
    """In turn: a worker is cut off beyond its session, its connections are reset some times in a row."""

    async def attack(run: Run) -> None:
        chance = random.Random(run.seed)
        for number in range(rounds):
            await asyncio.sleep(gap_s)
            proxy = proxies[number % len(proxies)]
            if number % 2 == 0:
                await proxy.stall(STALL_S)
                run.delivered["network stall"] += 1
            else:
                for _ in range(5):
                    await asyncio.sleep(chance.uniform(0, 0.3))
                    proxy.reset()
                    run.delivered["network reset"] += 1

    return attack


def bounce_attack(broker: EmbeddedBroker, bounces: int, gap_s: float = 5.0) -> Attack:
    """The broker is stopped in order and by kill -9 in turn, and comes back on the same data."""

    async def attack(run: Run) -> None:
        for number in range(bounces):
            await asyncio.sleep(gap_s)
            how = broker.kill if number % 2 == 0 else broker.stop
            await asyncio.to_thread(how)
            await asyncio.sleep(1)
            await asyncio.to_thread(broker.restart)
            run.delivered["broker bounce"] += 1

    return attack
