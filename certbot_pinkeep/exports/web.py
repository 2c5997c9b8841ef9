"""Pins for what speaks HTTP: the header, nginx, curl; and as JSON for everything else. Pure."""

from __future__ import annotations

import base64
import json

from zope.interface import implementer

from certbot_pinkeep import moments
from certbot_pinkeep.errors import BadExport
from certbot_pinkeep.exports import IExport, Pinned, Settings


@implementer(IExport)
class Header:
    """The header as it is sent (RFC 7469 §2.1)."""

    told = "the header's line"

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """One line."""
        return f"{pinned.policy.header_name}: {pinned.policy.header_value}\n"


@implementer(IExport)
class Nginx:
    """Lines for nginx's ``server``. A header without a value is not sent: that is what keeps it from
    plain HTTP (RFC 7469 §2.2.2)."""

    told = "lines to include in nginx's server block"

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """The snippet."""
        value = pinned.policy.header_value
        if "$" in value:
            raise BadExport(
                "nginx takes a '$' for the beginning of a variable, and the report-uri has one: "
                f"{pinned.policy.report_uri}. Set another one with --pinkeep-report-uri."
            )
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return (
            f"# Pins of the keyring {pinned.name} at {moments.text(pinned.now)}, by certbot-pinkeep.\n"
            "# Include it in the server block; a location with add_header lines of its own needs it,\n"
            "# too. Export it again after each change, and reload nginx.\n"
            'set $pinkeep_pins "";\n'
            f"if ($https = on) {{\n    set $pinkeep_pins '{quoted}';\n}}\n"
            f"add_header {pinned.policy.header_name} $pinkeep_pins always;\n"
        )


@implementer(IExport)
class Curl:
    """The value of ``curl --pinnedpubkey``: any one of the pins has to be served."""

    told = "the value of curl's --pinnedpubkey"

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """One line."""
        return ";".join(f"sha256//{one.pin}" for one in pinned.pins) + "\n"


@implementer(IExport)
class Json:
    """All that is published, for programs."""

    told = "all of it, for programs"

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
        }
        return json.dumps(document, indent=2) + "\n"


header, nginx, curl, as_json = Header(), Nginx(), Curl(), Json()
