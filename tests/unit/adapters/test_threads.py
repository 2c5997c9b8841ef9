"""A call has a time limit, whatever it does, also while Python ends."""

from __future__ import annotations

import signal
import socket
import threading

import pytest

from certbot_pinkeep.adapters import threads


@pytest.fixture(params=["in a thread", "while Python ends"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a thread can be started."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    if request.param != "in a thread":
        monkeypatch.setattr(threading.Thread, "start", start)


def test_g3_a_server_that_never_comes_to_an_end_holds_nobody(ends: None) -> None:
    """Each byte of it would begin a time limit anew that holds for a single reading."""
    here, there = socket.socketpair()
    before = signal.getsignal(signal.SIGALRM)

    def read() -> None:
        while here.recv(1):
            there.sendall(b".")

    with here, there:
        there.sendall(b".")
        with pytest.raises(TimeoutError):
            threads.in_time(read, 0.05)
    assert signal.getsignal(signal.SIGALRM) == before


def test_a_call_in_time_returns_and_raises_as_it_does(ends: None) -> None:
    """Also what is no ordinary error."""
    assert threads.in_time(lambda: 7, 10) == 7
    with pytest.raises(KeyboardInterrupt):
        threads.in_time(lambda: _raise(KeyboardInterrupt()), 10)


def _raise(error: BaseException) -> None:
    raise error
