"""The credentials file for a zone, and the provider that it is for.

The rules:

* The file is one of certbot's for DNS plugins: lines ``dns_PROVIDER_OPTION = VALUE``. A file is for one
  provider.
* A file that other users can read is used, with a warning, as certbot does.
* No value of it is ever told, as it may be a secret (G7).
* What somebody else's provider does wrong is told as a sentence that names it.
"""

from __future__ import annotations

import logging
import os
import shlex
import stat
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import TypeVar

from configobj import ConfigObj, ConfigObjError
from zope.interface import implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from certbot_pinkeep.carriers.zones import GROUP, Change, IZone, Records
from certbot_pinkeep.core.errors import BadCredentials, NoDnspython, PinkeepError, ZoneRefused
from certbot_pinkeep.storage import atomic

logger = logging.getLogger(__name__)
T = TypeVar("T")
_PREFIX = "dns_"
_OURS = __name__.rpartition(".")[0]


def load(path: str) -> Zones:
    """Return the provider that a credentials file is for.

    :raises BadCredentials: if the file cannot be read or used, or names no provider that is installed
    """
    options = _read(path)
    points = {point.name: point for point in sorted(metadata.entry_points(group=GROUP), key=_rank)}
    found = {name: _for_provider(options, name) for name in points}
    named = [name for name, given in found.items() if given]
    if len(named) != 1:
        raise BadCredentials(
            f"The credentials file {path} cannot be used: {_which(options, named)}",
            f"Providers that are installed: {', '.join(sorted(points))}.",
        )
    return Zones(points[named[0]], path, found[named[0]])


@implementer(IZone)
class Zones:
    """A provider, made from a credentials file.

    :raises BadCredentials: if the provider cannot use the options, or cannot be used itself
    """

    def __init__(self, point: EntryPoint, path: str, options: Mapping[str, str]) -> None:
        self.name = point.name
        self._point = point
        try:
            self._provider = point.load()(options)
            verifyObject(IZone, self._provider)
        except NoDnspython:
            raise
        except BadCredentials as error:
            error.what = f"The credentials file {path} cannot be used: {error.what}"
            raise
        except Invalid as error:
            why = f"it does not provide IZone ({type(error).__name__})"
            raise BadCredentials(self._broken(why)) from None
        except Exception as error:  # whatever somebody else's module raises; it may tell a value
            why = f"it cannot be loaded ({type(error).__name__})"
            raise BadCredentials(self._broken(why)) from None

    def read(self, zone: str, names: Sequence[str]) -> Mapping[str, Records]:
        """Ask the provider for the records."""
        found = self._asked(lambda: dict(self._provider.read(zone, names)))
        if set(found) != set(names):
            raise ZoneRefused(self._broken("it did not give the records that it was asked for"))
        return found

    def change(self, zone: str, changes: Sequence[Change]) -> None:
        """Have the provider make the changes."""
        self._asked(lambda: self._provider.change(zone, changes))

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except PinkeepError:
            raise
        except Exception as error:  # whatever somebody else's provider raises; it may tell a value
            raise ZoneRefused(self._broken(f"it failed ({type(error).__name__})")) from None

    def _broken(self, why: str) -> str:
        return (
            f"The zone provider {self.name} is broken: {why}. Update or uninstall the package that "
            f"brings {self._point.value}."
        )


def _rank(point: EntryPoint) -> bool:
    """Return the names of ours stay ours, whatever else is installed: the last one counts."""
    return point.value.startswith(f"{_OURS}.")


def _read(path: str) -> dict[str, str]:
    """Read the options of a file.

    :raises BadCredentials: if it cannot be read, or has something else
    """
    try:
        content = atomic.read(path).decode("utf-8")
        _warn_if_open(path)
        parsed = ConfigObj(content.splitlines(), interpolation=False, raise_errors=True)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise BadCredentials(f"The credentials file {path} cannot be read: {why}.") from error
    except ConfigObjError as error:  # its text has the line, which may be a secret
        line = getattr(error, "line_number", None)
        raise BadCredentials(
            f"The credentials file {path} cannot be read: line {line} is not NAME = VALUE."
        ) from None
    for name, value in parsed.items():
        if not isinstance(value, str):
            raise BadCredentials(
                f"The credentials file {path} cannot be used: {name} is not one value.",
                "Put a value with commas in quotation marks.",
            )
    return dict(parsed)


def _warn_if_open(path: str) -> None:
    if stat.S_IMODE(os.stat(path).st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning(
            "Other users can read or change the credentials file %s.\nRun: chmod 600 %s",
            path,
            shlex.quote(path),
        )


def _for_provider(options: Mapping[str, str], name: str) -> dict[str, str]:
    prefix = f"{_PREFIX}{name.replace('-', '_')}_"
    return {key.removeprefix(prefix): one for key, one in options.items() if key.startswith(prefix)}


def _which(options: Mapping[str, str], named: Sequence[str]) -> str:
    if named:
        return f"it has options for several providers: {', '.join(named)}."
    for name in options:
        if name.startswith(_PREFIX):
            return f"its option {name} is for no provider that is installed."
    return "it has no option of the form dns_PROVIDER_OPTION."
