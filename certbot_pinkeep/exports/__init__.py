"""Pins in the formats of consumers other than the header: apps, zones, other servers.

The rules:

* All formats have the same pins: all pins of the policy that is published now, in its order. So a release
  that carries an export carries the pins that the ledger has for the release.
* pinkeep refuses an export that the consumer would refuse, or read as more than is pinned.
* If Apache may still serve a key that is not among the pins, no other consumer gets the pins: they would
  lock that consumer out at once.
* A format is an object that provides :class:`IExport`. Its name is in the entry point group
  ``certbot_pinkeep.exports``. Other packages can add formats, but cannot take the name of ours.
* If another package's format fails, the error names that format.
* A format that gets a setting that it does not know says so. A format without ``takes`` may know all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any

from zope.interface import Interface
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import BadExport as BadExport
from certbot_pinkeep.core.text import short
from certbot_pinkeep.exports import hosts
from certbot_pinkeep.exports.values import Pin as Pin
from certbot_pinkeep.exports.values import Pinned as Pinned
from certbot_pinkeep.exports.values import Settings as Settings

GROUP = "certbot_pinkeep.exports"


#: The names of the settings that a format may take.
SETTINGS = tuple(field.name for field in fields(Settings))


class IExport(Interface):  # type: ignore[misc, unused-ignore]
    """A format for pins. An attribute ``takes`` lists the names of the :class:`Settings` that the format
    knows. Without that attribute it may know all of them."""

    def render(pinned: Pinned, settings: Settings) -> str:  # type: ignore[empty-body]
        """Write the export.

        :raises BadExport: if the consumer would refuse it
        """


def names() -> list[str]:
    """Return the names of all formats, sorted."""
    return sorted({point.name for point in metadata.entry_points(group=GROUP)})


def load(name: str) -> Any:
    """Load the format of this name, which provides :class:`IExport`.

    :raises BadExport: if there is none, or it cannot be used
    """
    point = _point(name)
    try:
        form = point.load()
        verifyObject(IExport, form)
    except KeyboardInterrupt:
        raise
    except Invalid as error:
        raise _broken(point, f"it does not provide IExport ({_line(error)})") from error
    except BaseException as error:  # whatever somebody else's module raises, or that it ends
        raise _broken(
            point, f"it cannot be loaded ({type(error).__name__}: {_line(error)})"
        ) from error
    return form


def unknown(name: str, given: Iterable[str]) -> list[str]:
    """Return the given settings that the format of this name does not know.

    :param given: names of :class:`Settings`
    :raises BadExport: if there is no such format, or it cannot be used
    """
    takes = _asked(name, lambda form: tuple(getattr(form, "takes", SETTINGS)))
    return [setting for setting in given if setting not in takes]


def render(name: str, pinned: Pinned, settings: Settings) -> str:
    """Write what is pinned in the format of this name.

    :raises BadExport: if the consumer would refuse it, or the format cannot be used
    """
    _check(pinned)
    text = _asked(name, lambda form: form.render(pinned, settings))
    if not _is_text(text):
        raise BadExport(f"--format {name!r}: the format is broken: its answer is no text.")
    return str(text)


def _check(pinned: Pinned) -> None:
    """Check that a consumer cannot misread a value.

    :raises BadExport: if a consumer can
    """
    hosts.check_names(pinned)
    uri = pinned.policy.report_uri
    if uri is not None and not options.is_report_uri(uri):
        raise BadExport(
            f"The report-uri {short(uri)!r} cannot be exported.",
            "Give another URI with --pinkeep-report-uri.",
        )


def _asked(name: str, ask: Callable[[Any], Any]) -> Any:
    """Return what a format answers.

    :raises BadExport: if it refuses, or cannot be used
    """
    form = load(name)
    try:
        return ask(form)
    except (BadExport, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever somebody else's form raises, or that it ends
        why = f"it failed ({type(error).__name__}: {_line(error)})"
        raise _broken(_point(name), why) from error


def _is_text(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _point(name: str) -> EntryPoint:
    found = list(metadata.entry_points(group=GROUP).select(name=name))
    if not found:
        raise BadExport(
            f"--format {name!r}: there is no such format.", f"Formats: {', '.join(names())}."
        )
    # No other package can take the name of a format of ours.
    return min(found, key=lambda one: not one.value.startswith(f"{__name__}."))


def _broken(point: EntryPoint, why: str) -> BadExport:
    return BadExport(
        f"--format {point.name!r}: the format is broken: {why}.",
        f"The format comes from {point.value}. Update or uninstall the package that brings it.",
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no reason given"
