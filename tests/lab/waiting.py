"""Waiting for the thing itself, with a deadline that only a broken lab reaches."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from lab.processes import LabError

T = TypeVar("T")

HOST = "127.0.0.1"

# Below the range from which Linux gives ports to outgoing connections (32768 and up), so that none
# of those takes a port between the moment it is found free and the moment its server binds it.
PORTS = range(20000, 32000)


def wait_for(condition: Callable[[], T], what: str, seconds: float = 30) -> T:
    """Return the first true result of ``condition``; where none comes in time, say what for."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} seconds in vain for {what}; last seen: {result!r}")
        time.sleep(0.02)


def accepts(port: int, host: str = HOST) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens, each another one."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    """Whether a server could bind the port, for TCP and for UDP, on every address."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
