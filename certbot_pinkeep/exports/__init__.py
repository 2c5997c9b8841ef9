"""What is pinned, in the forms that consumers other than Apache take.

The rules:

* All forms say the same: the pins of the policy that is published now, all of them, in its order.
  So a release that carries an export carries what the ledger says that it does.
* What a consumer would refuse, or take for more than is pinned, is refused here.
* While Apache may still serve a key that is not among the pins, what is used elsewhere is not given
  them: it would be locked out at once.
* A form is an object that provides :class:`IExport`, found by its name in the entry point group
  ``certbot_pinkeep.exports``. Others can add theirs; the names of ours stay ours.
* What somebody else's form does wrong is told as a sentence that names it.
* A form that is told what it does not know says so. One that does not say what it knows may know all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any

from zope.interface import Attribute, Interface
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


#: The names of what a form may be told beside.
SETTINGS = tuple(field.name for field in fields(Settings))


class IExport(Interface):  # type: ignore[misc, unused-ignore]
    """A form in which pins are exported. Where it has an attribute ``takes``, that lists the names of
    the :class:`Settings` that it knows; else it may know them all."""

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
    """Those of the settings that are given which the form of this name does not know.

    :param given: names of :class:`Settings`
    :raises BadExport: when there is no such form, or it cannot be used
    """
    takes = _asked(name, lambda form: tuple(getattr(form, "takes", SETTINGS)))
    return [setting for setting in given if setting not in takes]


def render(name: str, pinned: Pinned, settings: Settings) -> str:
    """What is pinned, in the form of this name.

    :raises BadExport: when the consumer would refuse it, or the form cannot be used
    """
    _check(pinned)
    text = _asked(name, lambda form: form.render(pinned, settings))
    if not _is_text(text):
        raise BadExport(
            f"--format {name!r}: the format is broken: it gave no text. Nothing was written."
        )
    return str(text)


def _check(pinned: Pinned) -> None:
    """See that nothing of it can be read as something else than what it is.

    :raises BadExport: when something can
    """
    hosts.check_names(pinned)
    uri = pinned.policy.report_uri
    if uri is not None and not options.is_report_uri(uri):
        raise BadExport(
            f"The report-uri {short(uri)!r} is none that can be exported. Give another one with "
            "--pinkeep-report-uri. Nothing was written."
        )


def _asked(name: str, ask: Callable[[Any], Any]) -> Any:
    """What a form answers.

    :raises BadExport: when it refuses, or cannot be used
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
            f"--format {name!r}: there is no such format. Formats: {', '.join(names())}. Nothing was "
            "written."
        )
    # The names of ours stay ours, whatever else is installed.
    return min(found, key=lambda one: not one.value.startswith(f"{__name__}."))


def _broken(point: EntryPoint, why: str) -> BadExport:
    return BadExport(
        f"--format {point.name!r}: the format is broken: {why}. It comes from {point.value}; update or "
        "uninstall the package that brings it. Nothing was written."
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no reason given"
