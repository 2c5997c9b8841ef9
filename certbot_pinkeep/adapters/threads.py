"""Threads for looks, also while Python ends.

The rules:

* While Python ends, nobody can start a thread. Certbot's last steps happen then. So the pool makes each call
  itself, one after the other.
* If somebody interrupts a look, nobody waits for its threads.
* A call of somebody else's code has a time limit for all of it, whatever a server sends when. If no thread
  can be started, the system's alarm ends the call.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import FrameType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
#: A wait does not see an interruption that comes right before: no wait may be long.
_GLANCE = 0.5


class Pool(ThreadPoolExecutor):
    """Threads, as long as any can be started. At the end of a ``with`` nobody waits for them."""

    _left = False

    def __init__(self, together: int = 64) -> None:
        super().__init__(together)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a call made."""
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError:
            if self._left:
                raise
        made: Future[Any] = Future()
        try:
            made.set_result(fn(*args, **kwargs))
        except Exception as error:
            made.set_exception(error)
        return made

    def __exit__(self, *_: object) -> None:
        self._left = True
        self.shutdown(wait=False, cancel_futures=True)


def results(futures: Sequence[Future[T]]) -> list[T]:
    """Wait for all futures, and return their results in order."""
    while wait(futures, _GLANCE).not_done:
        pass
    return [future.result() for future in futures]


def in_time(call: Callable[[], T], seconds: float) -> T:
    """Return what a call returns, or raise what it raises.

    :raises TimeoutError: if the call takes longer; it is left behind, and may still come to its end
    """
    made: Future[T] = Future()

    def run() -> None:
        try:
            made.set_result(call())
        except BaseException as error:  # for the thread that waits
            made.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # Python ends
        return _with_alarm(call, seconds)
    while thread.is_alive() and seconds > 0:
        thread.join(min(_GLANCE, seconds))
        seconds -= _GLANCE
    if not made.done():
        raise TimeoutError
    return made.result()


def _with_alarm(call: Callable[[], T], seconds: float) -> T:
    if threading.current_thread() is not threading.main_thread():
        return call()

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
