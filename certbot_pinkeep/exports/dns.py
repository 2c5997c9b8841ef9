"""Write pins for DNS: TLSA records (RFC 6698). Pure.

The rules:

* A pin is the data of a ``3 1 1`` record (RFC 7671 §5.1): the same digest, in hexadecimal.
* The zone has the records of the present key and of the next keys side by side. So a rollover needs no
  change in DNS when it happens (RFC 7671 §8.1).
* Changes that you enter by hand name the records that must be there before. So you undo nobody's change.
* A wildcard is the first label of a name (RFC 4592 §2.1.1). So a name below a port's label has no wildcard.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from certbot_pinkeep.core.errors import BadExport
from certbot_pinkeep.core.zone_observations import Change, Records
from certbot_pinkeep.exports import Format, hosts
from certbot_pinkeep.exports.values import Pinned, Settings

#: With its last dot (RFC 1035 §2.3.4).
_LONGEST = 254


def _tlsa(pinned: Pinned, settings: Settings) -> str:
    """Write for a zone file, in its presentation form."""
    hosts.check_kept(pinned, "A zone")
    owners = [
        f"_{number}._{protocol}.{_plain(host)}."
        for host in hosts.named(pinned, "A zone")
        for number, _, protocol in (port.partition("/") for port in settings.ports)
    ]
    for owner in owners:
        if len(owner) > _LONGEST:
            raise BadExport(
                f"The name of this TLSA record is longer than {_LONGEST} characters: {owner}",
                "Name other hosts with --host.",
            )
    digests = [base64.b64decode(one.pin).hex() for one in pinned.pins]
    return "".join(f"{owner} IN TLSA 3 1 1 {one}\n" for owner in owners for one in digests)


def _plain(host: str) -> str:
    if "*" in host:
        raise BadExport(
            f"There is no TLSA record for {host}: DNS has no wildcard below a port.",
            "Name the hosts of the wildcard with --host.",
        )
    return host


tlsa = Format(_tlsa, "ports")


def records(changes: Sequence[Change]) -> str:
    """Write what is to be entered by hand, for an admin to read: the lines of a zone file."""
    return "".join(
        f"; Replace all TLSA records at {one.name} by these:\n"
        + _lines(f"{one.name} {one.ttl} IN TLSA", one.after)
        if one.after
        else f"; Delete all TLSA records at {one.name}\n"
        for one in changes
    )


def nsupdate(zone: str, changes: Sequence[Change]) -> str:
    """Write the same as one update for ``nsupdate``, which is made only if nobody changed the records.

    :param zone: the zone's name, with a dot at its end
    """
    return f"zone {zone}\n{''.join(map(_update, changes))}send\n"


def _update(change: Change) -> str:
    name = change.name
    before = _lines(f"prereq yxrrset {name} IN TLSA", change.before)
    return (
        (before or f"prereq nxrrset {name} IN TLSA\n")
        + f"update delete {name} IN TLSA\n"
        + _lines(f"update add {name} {change.ttl} IN TLSA", change.after)
    )


def _lines(head: str, found: Records) -> str:
    return "".join(f"{head} {one}\n" for one in sorted(found))
