"""The header that carries pins, written and read. Pure: text in, text out.

The rules:

* The header lists ``pin-sha256`` directives, then ``max-age``, ``includeSubDomains`` and
  ``report-uri`` (RFC 7469 §2.1). Directive names are case-insensitive. None but the pins may occur
  twice. Unknown directives and pins by another hash are ignored. A directive may be empty.
* ``max-age`` is a count of seconds in digits (RFC 7469 §2.1.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from certbot_pinkeep.core.errors import BadHeader
from certbot_pinkeep.core.pins import is_pin

_DIRECTIVE = re.compile(
    r'\s*(?P<name>[!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*(?:"(?P<quoted>[^"\\]*)"|'
    r"(?P<token>[!#$%&'*+.^_`|~0-9A-Za-z-]+))\s*)?(?:;|$)"
)


@dataclass(frozen=True)
class Header:
    """A Public-Key-Pins header's content (RFC 7469 §2.1).

    :ivar pins: in the order of the header
    :ivar max_age: seconds
    """

    pins: tuple[str, ...]
    max_age: int
    include_subdomains: bool = False
    report_uri: str | None = None


def write_header(header: Header) -> str:
    """Return the header's value (RFC 7469 §2.1)."""
    directives = [f'pin-sha256="{pin}"' for pin in header.pins]
    directives.append(f"max-age={header.max_age}")
    if header.include_subdomains:
        directives.append("includeSubDomains")
    if header.report_uri is not None:
        directives.append(f'report-uri="{header.report_uri}"')
    return "; ".join(directives)


def read_header(value: str) -> Header:
    """Read a header's value as a user agent does (RFC 7469 §2.1).

    :raises BadHeader: if its syntax is wrong, or max-age is missing
    """
    pins: list[str] = []
    others: dict[str, str] = {}
    for name, content in _directives(value):
        if name == "pin-sha256":
            if not is_pin(content):
                raise BadHeader(f"pin-sha256 is not the base64 of a SHA-256 digest: {content!r}")
            pins.append(content)
        elif name.startswith("pin-"):
            continue  # by a hash that is not known
        elif name in others:
            raise BadHeader(f"the directive {name} occurs twice")
        else:
            others[name] = content
    max_age = others.get("max-age", "")
    if not (max_age.isascii() and max_age.isdigit()):
        raise BadHeader(f"max-age is not a number of seconds: {max_age!r}")
    # Python reads no number of thousands of digits; twenty are for ever already.
    seconds = int(max_age) if len(max_age) <= 20 else 10**20
    return Header(tuple(pins), seconds, "includesubdomains" in others, others.get("report-uri"))


def _directives(value: str) -> list[tuple[str, str]]:
    found = []
    left = value
    while left := left.lstrip(" \t;"):  # empty directives are allowed
        match = _DIRECTIVE.match(left)
        if not match:
            raise BadHeader(f"not a directive: {left.strip()!r}")
        content = match["quoted"] if match["quoted"] is not None else match["token"] or ""
        found.append((match["name"].lower(), content))
        left = left[match.end() :]
    return found
