"""What is pinned, in the forms that consumers other than Apache take.

The rules:

* All forms say the same: the pins of the policy that is published now, all of them, in its order.
  So a release that carries an export carries what the ledger says that it does.
* What a consumer would refuse, or understand as something else, is refused here.
* A form is an object that provides :class:`IExport`, found by its name in the entry point group
  ``certbot_pinkeep.exports``. Others can add theirs; the names of ours stay ours.
* What somebody else's form does wrong is told as a sentence that names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any

from zope.interface import Attribute, Interface
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from certbot_pinkeep.errors import BadExport
from certbot_pinkeep.keyring import Role
from certbot_pinkeep.pins import KeyType
from certbot_pinkeep.policy import Policy

GROUP = "certbot_pinkeep.exports"


@dataclass(frozen=True)
class Pin:
    """A pin that is published.

    :ivar pin: base64 of SHA-256 (RFC 7469 §2.4)
    :ivar role: of its key; ``in-service`` also for a primary that is served
    """

    pin: str
    key_type: KeyType
    role: Role


@dataclass(frozen=True)
class Pinned:
    """What a keyring publishes.

    :ivar name: the keyring's
    :ivar hosts: the names that are pinned, in lower case; one may begin with ``*.``
    :ivar policy: as it is served; its pins are in the order in which they are published
    :ivar pins: the same pins, with what is known of their keys
    :ivar now: when that was so
    """

    name: str
    hosts: tuple[str, ...]
    policy: Policy
    pins: tuple[Pin, ...]
    now: datetime


@dataclass(frozen=True)
class Settings:
    """What a form may be told beside.

    :ivar ports: for DNS: ``PORT/tcp`` or ``PORT/udp``
    :ivar expires: the day from which an app is to stop pinning; ``None``: never
    """

    ports: tuple[str, ...] = ("443/tcp",)
    expires: date | None = None


class IExport(Interface):  # type: ignore[misc, unused-ignore]
    """A form in which pins are exported."""

    told = Attribute("what it is, in a few words")

    def render(pinned: Pinned, settings: Settings) -> str:  # type: ignore[empty-body]
        """The export.

        :raises BadExport: when the consumer would refuse it
        """


def names() -> list[str]:
    """The forms that can be asked for, sorted."""
    return sorted({point.name for point in metadata.entry_points(group=GROUP)})


def load(name: str) -> Any:
    """The form of this name, which provides :class:`IExport`.

    :raises BadExport: when there is none, or it cannot be used
    """
    found = list(metadata.entry_points(group=GROUP).select(name=name))
    if not found:
        raise BadExport(
            f"--format {name!r}: there is no such format. Formats: {', '.join(names())}."
        )
    # The names of ours stay ours, whatever else is installed.
    point = min(found, key=lambda one: not one.value.startswith(f"{__name__}."))
    try:
        form = point.load()
        verifyObject(IExport, form)
    except Invalid as error:
        raise _broken(point, f"it does not provide IExport ({_line(error)})") from error
    except Exception as error:  # whatever somebody else's module raises
        raise _broken(
            point, f"it cannot be loaded ({type(error).__name__}: {_line(error)})"
        ) from error
    return form


def render(name: str, pinned: Pinned, settings: Settings) -> str:
    """What is pinned, in the form of this name.

    :raises BadExport: when the consumer would refuse it, or the form cannot be used
    """
    form = load(name)
    try:
        text = form.render(pinned, settings)
    except BadExport:
        raise
    except Exception as error:  # whatever somebody else's form raises
        point = next(iter(metadata.entry_points(group=GROUP).select(name=name)))
        raise _broken(point, f"it failed ({type(error).__name__}: {_line(error)})") from error
    if not isinstance(text, str):
        raise BadExport(f"--format {name!r}: the format is broken: it gave no text.")
    return text


def _broken(point: EntryPoint, why: str) -> BadExport:
    return BadExport(
        f"--format {point.name!r}: the format is broken: {why}. It comes from {point.value}; update or "
        "uninstall the package that brings it."
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no reason given"
