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

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any

from zope.interface import Interface, implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from certbot_pinkeep.core import hostnames, options
from certbot_pinkeep.core.errors import BadExport as BadExport
from certbot_pinkeep.core.text import short
from certbot_pinkeep.exports.values import Pin as Pin
from certbot_pinkeep.exports.values import Pinned as Pinned
from certbot_pinkeep.exports.values import Settings as Settings

GROUP = "certbot_pinkeep.exports"


class IExport(Interface):  # type: ignore[misc, unused-ignore]
    """A format for pins. An attribute ``takes`` lists the names of the :class:`Settings` that the format
    knows. Without that attribute it may know all of them."""

    def render(pinned: Pinned, settings: Settings) -> str:  # type: ignore[empty-body]
        """Write the export.

        :raises BadExport: if the consumer would refuse it
        """


@implementer(IExport)
class Format:
    """A format of ours.

    :param render: writes it, as :meth:`IExport.render`
    :param takes: the settings that it knows
    """

    def __init__(self, render: Callable[[Pinned, Settings], str], *takes: str) -> None:
        self.render = render
        self.takes = takes


def names() -> list[str]:
    """Return the names of all formats, sorted."""
    return sorted({point.name for point in metadata.entry_points(group=GROUP)})


def load(name: str) -> Any:
    """Load the format of this name, which provides :class:`IExport`.

    :raises BadExport: if there is none, or it cannot be used
    """
    return _loaded(_point(name))


def _loaded(point: EntryPoint) -> Any:
    with _answering(point, "cannot be loaded"):
        form = point.load()
        verifyObject(IExport, form)
    return form


def taken(name: str) -> tuple[str, ...]:
    """Return the names of the :class:`Settings` that the format of this name knows.

    :raises BadExport: if there is no such format, or it cannot be used
    """
    point = _point(name)
    form = _loaded(point)
    with _answering(point, "failed"):
        return tuple(getattr(form, "takes", [field.name for field in fields(Settings)]))


def render(name: str, pinned: Pinned, settings: Settings) -> str:
    """Write what is pinned in the format of this name.

    :raises BadExport: if the consumer would refuse it, or the format cannot be used
    """
    _check(pinned)
    point = _point(name)
    form = _loaded(point)
    with _answering(point, "failed"):
        text = form.render(pinned, settings)
    try:
        str.encode(text)
    except (TypeError, UnicodeEncodeError):
        raise BadExport(
            f"--format {name!r}: the format is broken: its answer is no text."
        ) from None
    return str(text)


def _check(pinned: Pinned) -> None:
    """Check that a consumer cannot misread a value.

    :raises BadExport: if a consumer can
    """
    for host in pinned.hosts:
        if hostnames.host(host) != host:
            raise BadExport(
                f"{short(host)!r} is not the name of a host.",
                "Name the hosts to pin with --host.",
            )
    uri = pinned.policy.report_uri
    if uri is not None and not options.is_report_uri(uri):
        raise BadExport(
            f"The report-uri {short(uri)!r} cannot be exported.",
            "Give another URI with --pinkeep-report-uri.",
        )


@contextmanager
def _answering(point: EntryPoint, failed: str) -> Iterator[None]:
    """Name the format if it fails.

    :param failed: how it fails, as a part of a sentence
    :raises BadExport: if it refuses, or fails
    """
    try:
        yield
    except (BadExport, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever somebody else's module raises, or that it ends
        told = " ".join(str(error).split()) or "no reason given"
        why = f"it {failed} ({type(error).__name__}: {told})"
        if isinstance(error, Invalid):
            why = f"it does not provide IExport ({told})"
        raise BadExport(
            f"--format {point.name!r}: the format is broken: {why}.",
            f"The format comes from {point.value}. Update or uninstall the package that brings it.",
        ) from error


def _point(name: str) -> EntryPoint:
    found = list(metadata.entry_points(group=GROUP).select(name=name))
    if not found:
        raise BadExport(
            f"--format {name!r}: there is no such format.", f"Formats: {', '.join(names())}."
        )
    # No other package can take the name of a format of ours.
    return min(found, key=lambda one: not one.value.startswith(f"{__name__}."))
