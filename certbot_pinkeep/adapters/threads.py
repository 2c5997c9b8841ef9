"""Threads for looks, also while Python ends.

The rules:

* While Python ends, nobody can start a thread. Certbot's last steps happen then. So the pool makes each call
  itself, one after the other.
* If somebody interrupts a look, nobody waits for its threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Pool(ThreadPoolExecutor):
    """Threads, as long as any can be started."""

    _left = False

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

    def leave(self) -> None:
        """Take no more calls, and wait for none."""
        self._left = True
        self.shutdown(wait=False, cancel_futures=True)
