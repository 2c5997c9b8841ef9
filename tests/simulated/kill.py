"""A kill at any step that changes the disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

#: What changes the disk, in :mod:`os`; opening counts if it makes a file.
_STEPS = ("replace", "link", "symlink", "unlink", "mkdir", "open")


class Killed(BaseException):
    """The process ends here; no handler may tidy up after it."""


class Killer:
    """Lets a number of steps happen, then kills; after that all fail.

    :ivar dead: whether the process was killed
    """

    def __init__(self, steps: int | None) -> None:
        self.left = steps
        self.dead = False
        self._awake = True

    @contextlib.contextmanager
    def asleep(self) -> Iterator[None]:
        """Kill nobody meanwhile."""
        self._awake = False
        yield
        self._awake = True

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Count the steps of this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name in _STEPS:
                patch.setattr(os, name, self._counted(name))
            yield

    def _counted(self, name: str) -> Callable[..., Any]:
        function = getattr(os, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            if not self._awake or (name == "open" and not args[1] & os.O_CREAT):
                return function(*args, **kwargs)
            if self.dead or self.left == 0:
                self.dead = True
                raise Killed
            if self.left is not None:
                self.left -= 1
            return function(*args, **kwargs)

        return step
