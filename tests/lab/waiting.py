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

# Below the range from which Linux gives ports to outgoing connections (32768 and up).
PORTS = range(20000, 32000)


def wait_for(condition: Callable[[], T], what: str, seconds: float = 30) -> T:
    """Return the first true result of ``condition``; if none comes in time, say what for."""
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


class Ports:
    """Ports that stay reserved until :meth:`release`, each for a server of the lab to listen on.

    A bound socket that does not listen keeps every other lab away. A server that asks for ``SO_REUSEADDR``
    can listen there: certbot's, Pebble's and Apache's do.
    """

    def __init__(self, count: int) -> None:
        self._held: list[socket.socket] = []
        for port in random.sample(PORTS, len(PORTS)):
            if len(self._held) == count:
                break
            self._try(port)

    @property
    def numbers(self) -> list[int]:
        """The port numbers."""
        return [held.getsockname()[1] for held in self._held]

    def release(self) -> None:
        """Give the ports back."""
        while self._held:
            self._held.pop().close()

    def _try(self, port: int) -> None:
        holder = socket.socket()
        try:
            holder.bind((HOST, port))
        except OSError:
            holder.close()
            return
        # Only now: two reservations that both asked for it beforehand would both succeed.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.append(holder)
