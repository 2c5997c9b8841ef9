"""Pins for what speaks HTTP: the header, nginx, curl; and as JSON for everything else. Pure.

The rules:

* nginx's lines stand beside the sites' own, in ``http``: there they hold for every answer, whatever a
  server or a location does. What a site adds is one line that never changes.
* nginx sends no header that has no value: that keeps it from plain HTTP (RFC 7469 §2.2.2).
* The name of nginx's variable is the keyring's own, and another one for report-only pins: nginx refuses
  to start where a site uses one that is not there any more.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re

from zope.interface import implementer

from certbot_pinkeep import moments
from certbot_pinkeep.errors import BadExport
from certbot_pinkeep.exports import IExport, Pinned, Settings, hosts

#: The longest text between quotes that nginx reads, in bytes.
_LONGEST = 4094
#: The longest name of a variable with which nginx starts as it comes (its variables_hash_bucket_size is
#: 64, which takes 46 bytes).
_LONGEST_NAME = 40


@implementer(IExport)
class Header:
    """The header as it is sent (RFC 7469 §2.1)."""

    told = "the header's line"
    takes = ()

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """One line."""
        return f"{pinned.policy.header_name}: {pinned.policy.header_value}\n"


@implementer(IExport)
class Nginx:
    """A file for nginx's ``http`` block, which says what the sites are to add."""

    told = "a file for nginx's http block"
    takes = ()

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """The file."""
        policy, variable = pinned.policy, _variable(pinned)
        return (
            f"# Pins of the keyring {pinned.name} at {moments.text(pinned.now)}, by certbot-pinkeep.\n"
            "# Include this file in the http block; a file in /etc/nginx/conf.d as a rule is. Put this line\n"
            "# into each server block that is to send them, and into each location there that has\n"
            "# add_header lines of its own:\n"
            "#\n"
            f"#     add_header {policy.header_name} {variable} always;\n"
            "#\n"
            "# It sends nothing over plain HTTP. Export again after each change, and reload nginx.\n"
            f'map $https {variable} {{\n    default "";\n    on {_quoted(pinned)};\n}}\n'
        )


def _variable(pinned: Pinned) -> str:
    """The variable of a keyring. nginx knows letters of one case, digits and underscores."""
    prefix = f"pinkeep_{'report_only' if pinned.policy.report_only else 'pins'}_"
    name = re.sub("[^a-z0-9]", "_", pinned.name.lower())
    room = _LONGEST_NAME - len(prefix)
    if len(name) > room or not re.fullmatch("[a-z0-9.]+", pinned.name):
        # No other keyring may have the same one.
        digest = hashlib.sha256(pinned.name.encode()).hexdigest()[:8]
        name = f"{name[: room - len(digest) - 1]}_{digest}"
    return f"${prefix}{name}"


def _quoted(pinned: Pinned) -> str:
    value = pinned.policy.header_value
    if "$" in value:
        raise BadExport(
            "nginx takes a '$' for the beginning of a variable, and the report-uri has one: "
            f"{pinned.policy.report_uri}. Set another one with --pinkeep-report-uri. Nothing was written."
        )
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    if len(escaped) > _LONGEST:
        raise BadExport(
            f"nginx reads no more than {_LONGEST} bytes in one piece, and the header with "
            f"{len(pinned.pins)} pins is longer ({len(escaped)}). Have fewer with --pinkeep-backup-keys, or "
            "a shorter --pinkeep-report-uri. Nothing was written."
        )
    return f"'{escaped}'"


@implementer(IExport)
class Curl:
    """The value of ``curl --pinnedpubkey``: any one of the pins has to be served."""

    told = "the value of curl's --pinnedpubkey"
    takes = ()

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """One line."""
        hosts.check_sound(pinned, "curl")
        return ";".join(f"sha256//{one.pin}" for one in pinned.pins) + "\n"


@implementer(IExport)
class Json:
    """All that is published, for programs."""

    told = "all of it, for programs"
    takes = ()

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """The document; times are RFC 3339, UTC."""
        policy = pinned.policy
        document = {
            "version": 1,
            "keyring": pinned.name,
            "at": moments.text(pinned.now),
            "hosts": list(pinned.hosts),
            "max_age": policy.max_age,
            "include_subdomains": policy.include_subdomains,
            "report_uri": policy.report_uri,
            "report_only": policy.report_only,
            "pins": [
                {
                    "pin": one.pin,
                    "sha256": base64.b64decode(one.pin).hex(),
                    "key_type": one.key_type,
                    "role": one.role,
                }
                for one in pinned.pins
            ],
            "still_served": list(pinned.still_served),
        }
        return json.dumps(document, indent=2) + "\n"


header, nginx, curl, as_json = Header(), Nginx(), Curl(), Json()
