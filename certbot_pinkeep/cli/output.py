"""What the command prints, and its rules.

* The outcome on standard output; nothing else. A character that cannot be shown there is escaped.
* An error is one line on standard error: what happened, and why. If several things are wrong, each of them
  has a line. A command that helps follows on a line of its own. Warnings go there, too.
* "Nothing was changed." is said here and nowhere else: after an error of a command that changes files,
  if this run has changed none.
* Exit codes: 0 done, 1 refused or failed, 2 usage; those of ``check`` are its own. As the shell has
  them, 130 after Ctrl-C and 141 after a closed pipe. Neither is commented on.
"""

from __future__ import annotations

import io
import logging
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from certbot_pinkeep.core import text
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.storage import atomic, trust
from certbot_pinkeep.workflow.publish import Report

T = TypeVar("T")

FAILED = 1
#: Exit codes as the shell has them for SIGINT and SIGPIPE.
INTERRUPTED, UNREAD = 130, 141
_UNCHANGED = "Nothing was changed."
#: From so many items on, progress is shown.
_LONG = 200


def set_up() -> None:
    """Make every character printable, and give a place to streams that are closed."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def log_warnings() -> None:
    """Send warnings to standard error, certbot's own as well: programs read what is printed."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)


def flush() -> None:
    """Print what waits to be printed.

    :raises PinkeepError: if standard output cannot be written
    :raises BrokenPipeError: if nobody reads it
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PinkeepError(
            "All is done, but standard output cannot be written:", f"{error.strerror or error}."
        ) from error


def settle() -> None:
    """Print what waits to be printed; if that fails, keep Python from trying again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(error: PinkeepError | str, *, unchanged: bool = False) -> int:
    """Print an error.

    :param unchanged: whether the command would have changed files, and has changed none
    :returns: the exit code
    """
    if isinstance(error, str):
        error = PinkeepError(error)  # which is printable
    told, run, commands = str(error).partition("\nRun: ")
    if unchanged:
        told = text.joined(told, _UNCHANGED)
    lines = text.paragraphs(f"{told}{run}{commands}")
    print("\n".join([f"certbot-pinkeep: {lines[0]}", *lines[1:]]), file=sys.stderr)
    return FAILED


def tell(told: str) -> None:
    """Print what is on record before more is done. If nobody reads it, the rest is done all the same."""
    with suppress(OSError):
        print(text.escaped(told), flush=True)


def print_step(report: Report) -> None:
    """Tell what is published."""
    what = "no pins" if report.unpinned else f"{len(report.pins)} pins"
    where = f" in {report.snippet}" if report.snippet else ", and no server sends a header"
    waits = f", which {report.server.title} has yet to load" if report.pending else ""
    print(f"The keyring {report.keyring} is up to date: {what}{where}{waits}.")


def progress(items: Sequence[T]) -> Iterator[T]:
    """Yield keyrings; if they are many, show on a terminal how many of them are done."""
    shown = sys.stderr.isatty() and len(items) >= _LONG
    for number, item in enumerate(items):
        if shown and number % (_LONG // 10) == 0:
            print(f"\r{number} of {len(items)} keyrings", end="", file=sys.stderr, flush=True)
        yield item
    if shown:
        print(f"\r{'':40}\r", end="", file=sys.stderr, flush=True)


def is_printed(path: str) -> bool:
    """Say whether what is written to *path* goes to standard output."""
    try:
        return path == "-" or os.path.samestat(os.stat(path), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # there is no such file, or no standard output
        return False


def write(path: str, content: bytes) -> None:
    """Write a file that the admin asked for, whole or not at all.

    A link of root's or ours is followed. A device, or another thing that is no file, is written to, never
    replaced.

    :raises PinkeepError: if it cannot be written
    """
    try:
        target = trust.resolved(path)
        if _is_replaced(path):
            atomic.put(target, content, 0o644)
        else:
            atomic.write_through(path, content)
    except OSError as error:
        raise PinkeepError(
            f"-o {path!r}: this file cannot be written: {error.strerror}."
        ) from error


def _is_replaced(path: str) -> bool:
    """Say whether there is a file at *path*, or nothing at all."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True
