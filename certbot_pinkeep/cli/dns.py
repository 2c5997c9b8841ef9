"""``certbot-pinkeep dns``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import context
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.core import rollover, times, zone
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.text import escaped
from certbot_pinkeep.core.tlsa import TlsaRecord, record_of, short
from certbot_pinkeep.core.zone_observations import Answer, OwnerObservation, PortObservation
from certbot_pinkeep.exports import dns
from certbot_pinkeep.workflow import zone as zones
from certbot_pinkeep.workflow.workspace import Workspace
from certbot_pinkeep.workflow.zone import Outcome

_HELP = "bring the zone up to date now, and say what every name server and port shows"
_MORE = (
    "pinkeep looks at the TLSA records on every authoritative name server, and at the key of every port of "
    "--pinkeep-tlsa. With --pinkeep-dns-credentials it writes what the zone lacks. Without them it prints "
    "the records that you enter yourself."
)
_EXAMPLE = """\
  certbot-pinkeep pin mail.example.com --tlsa 25,465,993
  certbot-pinkeep dns mail.example.com
  certbot-pinkeep dns mail.example.com --dry-run
"""


def add(commands: Commands) -> None:
    command = add_command(commands, "dns", _HELP, _EXAMPLE, run=_run, writes=True, more=_MORE)
    add_name(command)
    command.add_argument(
        "--dry-run", action="store_true", help="only look; write neither records nor what was seen"
    )
    command.add_argument(
        "--gone",
        metavar="HOST:PORT",
        help="instead, record that the records of a port are gone, whose name servers are gone for good",
    )


def _run(parsed: argparse.Namespace) -> int:
    with context.at_work(parsed) as (workspace, name):
        state = context.load_one(workspace, name)
        if parsed.gone is not None:
            until = zones.forget(workspace, name, parsed.gone, clock.now())
            told = f"The records of {parsed.gone} are on record as gone."
            print(f"{told} Resolvers may hold them until {times.text(until)}.")
            return 0
        outcome = zones.bring_up_to_date(workspace, name, clock.now(), dry_run=parsed.dry_run)
        if outcome is None:
            raise PinkeepError(
                f"The keyring {name} has no ports whose keys are pinned in a zone.",
                "Name them, and pin the certificate with them.",
                run=f"certbot-pinkeep pin {shlex.quote(state.keyring.example)} --tlsa 25,465",
            )
        state = state if parsed.dry_run else context.load_one(workspace, name)
    lines = [*_table(outcome), *_told(outcome, dry_run=parsed.dry_run)]
    lines += _safe(state) if not parsed.dry_run else []
    print(escaped("\n".join(lines)))
    error = outcome.error()
    if error is None:
        return 0
    error.run = ""  # it names this command, which has just told all that there is
    raise error


def tell_step(workspace: Workspace, name: str) -> PinkeepError | None:
    """Bring the zone of a keyring up to date, if it has one, and tell it in a line.

    :returns: what the admin has to see to
    """
    outcome = zones.bring_up_to_date(workspace, name, clock.now())
    if outcome is None:
        return None
    error = outcome.error()
    ports = ", ".join(map(str, outcome.listed))
    if error is None and not outcome.want.pins:
        left = "left the zone. Resolvers may hold them for a while."
        if outcome.missing:
            left = "are deleted. Not every name server knows that yet."
        print(f"The records {left}")
    elif error is None and outcome.missing:
        print(f"The records for {ports} are written. Not every name server has them yet.")
    elif error is None:
        print(f"The zone pins the keys of {ports}.")
    return error


def _table(outcome: Outcome) -> list[str]:
    """Write what each name server and each port shows, a line each."""
    names = {record_of(pin): f"pin {short(pin)}" for pin in outcome.want.known}
    lines = ["Name servers:"]
    for look in outcome.looks:
        lines.append(f"  {look.port.owner}{_alias(look)}, {_secure(look)}")
        for server in look.servers:
            serial = f", serial {server.serial}" if server.serial is not None else ""
            lines.append(f"    {server}{serial}{f': {server.error}' if server.error else ''}")
            for answer in look.answers:
                if (answer.server.name, answer.server.address) == (server.name, server.address):
                    shown = ", ".join(names.get(one, str(one)) for one in _sorted(outcome, answer))
                    lines.append(f"      {shown or 'no records'} (TTL {answer.ttl})")
        lines += [f"    {look.error}"] if look.error else []
    return [*lines, "Ports:", *(f"  {_port(one)}" for one in outcome.ports)]


def _sorted(outcome: Outcome, answer: Answer) -> list[TlsaRecord]:
    """Order records as the keyring has its pins, and others after them."""
    order = {record_of(pin): place for place, pin in enumerate(outcome.want.pins)}
    return sorted(answer.records, key=lambda one: (order.get(one, len(order)), one))


def _alias(look: OwnerObservation) -> str:
    return "" if look.name == look.port.owner else f" -> {look.name}"


def _secure(look: OwnerObservation) -> str:
    security = look.security
    if not look.answers:
        return "nobody knows whether signed (DNSSEC)"
    if not security.signed:
        return "not signed (DNSSEC), so that mail servers ignore it"
    ends = f" until {times.text(security.expires)}" if security.expires else ""
    valid = {True: ", valid", False: ", INVALID", None: ""}[security.valid]
    return f"signed{ends}{valid}{f' ({security.why})' if security.why else ''}"


def _port(one: PortObservation) -> str:
    shown = ", ".join(f"pin {short(pin)}" for pin in one.pins)
    return f"{one.where}: {'; '.join(filter(None, (shown, one.error)))}"


def _told(outcome: Outcome, *, dry_run: bool) -> Iterable[str]:
    """Say what was written, what is to be entered, and what stays."""
    changes = [change for some in outcome.changes.values() for change in some]
    if outcome.written:
        yield f"Written: {', '.join(change.name for change in changes)}"
    elif changes:
        yield (
            "The zone needs these records:" if not dry_run else "The zone would get these records:"
        )
        yield dns.records(changes)
        yield "As a script for nsupdate:"
        yield from (dns.nsupdate(origin, some) for origin, some in outcome.changes.items())
    for look in outcome.looks:
        every = {record for answer in look.answers for record in answer.records}
        for record in zone.foreign(every, outcome.want):
            yield f"{look.port.owner} has a record that is not the keyring's, and stays: {record}"
    for one in outcome.missing:
        if one.waits:
            yield f"Not there yet: {one}"


def _safe(state: State) -> Iterable[str]:
    """Say from when a rollover is safe, and what holds it back."""
    now = clock.now()
    verdict = rollover.last(rollover.decide_all(state.keyring, state.ledger, now))
    if verdict.at(now):
        yield "A rollover is safe now."
    elif verdict.since is not None:
        yield f"A rollover is safe from {times.text(verdict.since)}: {verdict.why}."
    else:
        yield f"A rollover is not safe yet: {verdict.why}."
