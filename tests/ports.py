"""Ports for the processes of a test."""

import random
import socket
from contextlib import ExitStack

# Below those that a system hands out by itself (32768 and more on Linux): what somebody connects from in between
# cannot take a port that waits for its process, nor the next ones, which a supervisor counts up to. Embedded brokers
# have 20,000 and more.
_LOWEST, _HIGHEST = 12_000, 20_000
_ATTEMPTS = 100


def free_port(in_a_row: int = 1) -> int:
    """The first of `in_a_row` ports, one after the other, that nobody has."""
    for _ in range(_ATTEMPTS):
        first = random.SystemRandom().randrange(_LOWEST, _HIGHEST - in_a_row)
        with ExitStack() as probes:
            try:
                for port in range(first, first + in_a_row):
                    probe = probes.enter_context(socket.socket())
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    message = f"no {in_a_row} free ports between {_LOWEST} and {_HIGHEST} after {_ATTEMPTS} attempts"
    raise OSError(message)


def free_ports(count: int) -> list[int]:
    """Ports nobody has, all different."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found, key=lambda _port: random.SystemRandom().random())
