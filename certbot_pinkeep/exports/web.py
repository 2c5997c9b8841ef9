"""Write pins for HTTP: the header, nginx and curl; and as JSON for all other programs. Pure.

The rule: nginx reads the same lines as in the snippet that pinkeep publishes (``core.nginx_map``).
"""

from __future__ import annotations

import base64
import json

from certbot_pinkeep.core import nginx_map, times
from certbot_pinkeep.core.errors import BadExport, BadPolicy
from certbot_pinkeep.exports import Format, hosts
from certbot_pinkeep.exports.values import Pinned, Settings


def _header(pinned: Pinned, settings: Settings) -> str:
    """Write the header as it is sent (RFC 7469 §2.1)."""
    return f"{pinned.policy.header_name}: {pinned.policy.header_value}\n"


def _nginx(pinned: Pinned, settings: Settings) -> str:
    """Write a file for nginx's ``http`` block, which says what the sites add."""
    policy = pinned.policy
    try:
        return (
            f"# Pins of the keyring {pinned.name} at {times.text(pinned.now)}, by certbot-pinkeep.\n"
            f"{nginx_map.told(pinned.name, policy)}"
            "# It sends nothing over plain HTTP. Export again after each change, and reload nginx.\n"
            f"{nginx_map.mapped(pinned.name, policy, pinned.hosts)}"
        )
    except BadPolicy as error:
        raise BadExport(error.what, error.why, run=error.run) from error


def _curl(pinned: Pinned, settings: Settings) -> str:
    """Write the value of ``curl --pinnedpubkey``: curl accepts a key with any of the pins."""
    hosts.check_sound(pinned, "curl")
    return ";".join(f"sha256//{one.pin}" for one in pinned.pins) + "\n"


def _json(pinned: Pinned, settings: Settings) -> str:
    """Write all that is published, for programs."""
    policy = pinned.policy
    document = {
        "version": 1,
        "keyring": pinned.name,
        "at": times.text(pinned.now),
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


header, nginx, curl, as_json = map(Format, (_header, _nginx, _curl, _json))
