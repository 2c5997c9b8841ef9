"""The pins as nginx reads them: maps with the hosts and the header, and the line that a site adds. Pure.

The rules:

* nginx's lines stand beside the sites' own, in ``http``: there they hold for every answer, whatever a
  server or a location does. What a site adds is one line that never changes.
* nginx sends no header that has no value: that keeps it from plain HTTP (RFC 7469 §2.2.2), and from other
  hosts than the keyring's (§2.3.1). So the line is right in a block that answers for other hosts, too.
* nginx's ``$host`` is in lower case, without a port and a dot at its end. ``*.`` stands for one label.
* The names of nginx's variables are the keyring's own, one for pins and one for report-only pins.
* The hosts are patterns: nginx's tables of exact names have a length that an admin would have to set.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from certbot_pinkeep.core import hostnames
from certbot_pinkeep.core.errors import BadPolicy
from certbot_pinkeep.core.policy import ENFORCED, REPORT_ONLY, Policy

#: The longest text between quotes that nginx reads, in bytes.
_LONGEST = 4094
#: The longest name of a variable with which nginx starts by default (variables_hash_bucket_size 64 takes 46
#: bytes).
_LONGEST_NAME = 40
#: The longest pattern that pinkeep writes. nginx reads no word of 4096 bytes.
_LONGEST_PATTERN = 3000
_HOSTS = "pinkeep_hosts_"
PREFIXES = {ENFORCED: "pinkeep_pins_", REPORT_ONLY: "pinkeep_report_only_"}


def told(name: str, policy: Policy) -> str:
    """Return where a file with the pins of the keyring *name* belongs, and what the sites add, as
    comments."""
    return (
        "# Include this file in the http block; a file in /etc/nginx/conf.d as a rule is. Put this line\n"
        "# into each server block that is to send them, and into each location there that has\n"
        "# add_header lines of its own:\n"
        "#\n"
        f"#     add_header {policy.header_name} {variable(name, policy.header_name)} always;\n"
        "#\n"
    )


def mapped(name: str, policy: Policy, hosts: Iterable[str]) -> str:
    """Return what nginx reads of the pins of the keyring *name*.

    :param hosts: at which nginx sends them
    :raises BadPolicy: if nginx would refuse it, or read something else
    """
    at = _variable(_HOSTS, name)
    lines = "".join(
        f'    "~^(?:{one})$" 1;\n' for one in hostnames.patterns(hosts, _LONGEST_PATTERN)
    )
    pins = _map(
        f'"$https{at}"', variable(name, policy.header_name), f"    on1 {_quoted(policy)};\n"
    )
    return _map("$host", at, lines) + pins


def empty(name: str, header: str) -> str:
    """Return what nginx reads of a header that it does not send."""
    return _map("$https", variable(name, header), "")


def _map(source: str, variable: str, lines: str) -> str:
    return f'map {source} {variable} {{\n    default "";\n{lines}}}\n'


def variable(name: str, header: str) -> str:
    """Return the variable of a keyring with the value of a header."""
    return _variable(PREFIXES[header], name)


def _variable(prefix: str, name: str) -> str:
    """Name a variable of a keyring. nginx knows letters of one case, digits and underscores."""
    found = re.sub("[^a-z0-9]", "_", name.lower())
    room = _LONGEST_NAME - len(prefix)
    if len(found) > room or not re.fullmatch("[a-z0-9.]+", name):
        # No other keyring may have the same one.
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        found = f"{found[: room - len(digest) - 1]}_{digest}"
    return f"${prefix}{found}"


def _quoted(policy: Policy) -> str:
    value = policy.header_value
    if "$" in value:
        raise BadPolicy(
            "nginx takes a '$' for the beginning of a variable, and the report-uri has one: "
            f"{policy.report_uri}. Set another one with --pinkeep-report-uri."
        )
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    if len(escaped) > _LONGEST:
        raise BadPolicy(
            f"nginx reads no more than {_LONGEST} bytes in one piece, and the header with "
            f"{len(policy.pins)} pins is longer ({len(escaped)}). Have fewer with --pinkeep-backup-keys, or "
            "a shorter --pinkeep-report-uri."
        )
    return f"'{escaped}'"
