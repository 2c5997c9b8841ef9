"""What a check tells of a zone and of its ports; a sound one is silent."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certbot_pinkeep.check import zone_rules
from certbot_pinkeep.check.findings import Severity
from certbot_pinkeep.check.zone_rules import SeenZone
from certbot_pinkeep.core.dane import Certificate
from certbot_pinkeep.core.tlsa import Port, TlsaRecord, record_of
from certbot_pinkeep.core.zone_observations import Answer, MailHost, OwnerObservation, Security
from certbot_pinkeep.workflow import requests
from simulated.values import DAY, NOW, fake_pin
from simulated.zone import MailMachine

NAME = "mail.example.com"
SMTP = Port(NAME, 25, "smtp")
SOUND = Security(True, True, "", NOW + 9 * DAY)


def seen(tmp_path: Path, trouble: Callable[[MailMachine], object]) -> SeenZone:
    """A zone that was sound, after some trouble."""
    machine = MailMachine(tmp_path, NAME, (SMTP,), "ns1", "ns2")
    machine.run(NOW)
    trouble(machine)
    outcome = machine.step(NOW, dry_run=True)
    assert outcome is not None
    looks = tuple(replace(look, security=SOUND) for look in outcome.looks)
    return SeenZone(
        machine.state(NAME), outcome.want, looks, outcome.ports, outcome.missing, outcome.errors
    )


def told(zone: SeenZone) -> list[tuple[str, str]]:
    """How bad each finding is, and where it is."""
    return [(one.severity.name, one.where) for one in zone_rules.check(zone, NOW)]


def drop(machine: MailMachine, server: str, *pins: str) -> None:
    """Take records away from one name server, by hand."""
    there = machine.zone.servers[server]
    there[SMTP.owner] -= frozenset(map(record_of, pins))


def backups(machine: MailMachine) -> list[str]:
    """The pins of the backups, the next one first."""
    return [key.pin for key in machine.state(NAME).keyring.backups("ecdsa")]


def lose_next(machine: MailMachine) -> None:
    """A rollover is asked for, and a name server loses the next key."""
    requests.ask(machine.workflow, NAME, NOW, when_safe=True)
    drop(machine, "ns2", backups(machine)[0])


NS2 = f"ns2 (192.0.2.1), {SMTP.owner}"


@pytest.mark.parametrize(
    ("trouble", "findings"),
    [
        pytest.param(lambda m: None, [], id="sound"),
        pytest.param(lambda m: drop(m, "ns2", m.live), [("CRITICAL", NS2)], id="key is missing"),
        pytest.param(
            lambda m: drop(m, "ns2", m.live, *backups(m)), [("CRITICAL", NS2)], id="all are missing"
        ),
        pytest.param(
            lambda m: drop(m, "ns2", backups(m)[1]), [("WARNING", NS2)], id="a backup is missing"
        ),
        pytest.param(lose_next, [("CRITICAL", NS2)], id="the next key is missing"),
        pytest.param(
            lambda m: drop(m, "ns2", *backups(m)), [("CRITICAL", NS2)], id="one record only"
        ),
        pytest.param(
            lambda m: m.loaded.update({SMTP: (fake_pin("x"),)}),
            [("CRITICAL", f"ns1 (192.0.2.1), {SMTP.owner}"), ("CRITICAL", NS2)],
            id="a foreign key",
        ),
        pytest.param(
            lambda m: m.zone.silent.add("ns2"), [("UNKNOWN", str(SMTP))], id="a silent server"
        ),
        pytest.param(
            lambda m: m.loaded.clear(), [("UNKNOWN", f"{SMTP} (192.0.2.25)")], id="a silent port"
        ),
    ],
)
def test_g13_what_is_wrong_is_told_where_it_is(
    tmp_path: Path, trouble: Callable[[MailMachine], object], findings: list[tuple[str, str]]
) -> None:
    """Each once, as bad as it is."""
    assert told(seen(tmp_path, trouble)) == findings


def changed(zone: SeenZone, **changes: object) -> SeenZone:
    """The same zone, with something else in its look."""
    look: OwnerObservation = replace(zone.looks[0], **changes)  # type: ignore[arg-type]
    return replace(zone, looks=(look,))


@pytest.mark.parametrize(
    ("security", "findings"),
    [
        (Security(False), ["WARNING"]),
        (Security(False, False, "the zone is not signed"), ["WARNING"]),
        (replace(SOUND, valid=None, why="no resolver here validates"), ["WARNING"]),
        (replace(SOUND, valid=False, why="they are bogus"), ["CRITICAL"]),
        (replace(SOUND, expires=NOW + 2 * DAY), ["WARNING"]),
        (replace(SOUND, expires=NOW + 2 * DAY + timedelta(seconds=1)), []),
        (replace(SOUND, expires=NOW), ["CRITICAL"]),
    ],
)
def test_signatures(tmp_path: Path, security: Security, findings: list[str]) -> None:
    """Unsigned, unknown, bogus, about to end, not yet, and at their end."""
    zone = changed(seen(tmp_path, lambda m: None), security=security)
    assert told(zone) == [(one, "example.com.") for one in findings]


def test_resolver_that_lacks_the_key_is_critical(tmp_path: Path) -> None:
    """So it is if an older set is held, though every name server has the new one."""
    zone = seen(tmp_path, lambda m: None)
    assert not told(changed(zone, resolver=zone.looks[0].agreed))
    old = frozenset(map(record_of, (fake_pin("old"), fake_pin("older"))))
    (one,) = told(changed(zone, resolver=old))
    assert one == ("CRITICAL", f"this machine's resolver, {SMTP.owner}")


def test_records_that_only_the_resolver_holds_still_are_told_by_nobody(tmp_path: Path) -> None:
    """After ``unpin`` no name server has records, and a resolver holds them until their TTL has run out."""
    zone = seen(tmp_path, lambda m: None)
    (look,) = zone.looks
    gone = tuple(replace(one, records=frozenset()) for one in look.answers)
    assert not told(changed(zone, answers=gone, resolver=look.agreed))


@pytest.mark.parametrize(
    ("changes", "todo"),
    [
        pytest.param({}, "Start its server", id="refused"),
        pytest.param({"routed": False}, f"another address of {NAME}", id="no route"),
        pytest.param({"address": ""}, "look up the name", id="no address"),
    ],
)
def test_port_that_is_not_seen_names_what_helps(
    tmp_path: Path, changes: dict[str, Any], todo: str
) -> None:
    """Nobody can start a server to which there is no way."""
    zone = seen(tmp_path, lambda m: m.loaded.clear())
    zone = replace(zone, ports=(replace(zone.ports[0], **changes),), missing=())
    (found,) = zone_rules.check(zone, NOW)
    assert todo in found.todo


def test_stale_serial_is_told_also_around_zero(tmp_path: Path) -> None:
    """Serials are compared as RFC 1982 has it, within one zone: an alias may lead to another one."""
    zone = seen(tmp_path, lambda m: None)
    one, two = zone.looks[0].servers
    for serials, found in (((1, 2), [one]), ((2**32 - 1, 3), [one]), ((7, 7), [])):
        servers = tuple(replace(s, serial=n) for s, n in zip((one, two), serials, strict=True))
        assert told(changed(zone, servers=servers)) == [("WARNING", str(s)) for s in found]
    apart = (
        replace(one, serial=1, zone="example.com."),
        replace(two, serial=2, zone="example.net."),
    )
    assert not told(changed(zone, servers=apart))


def test_other_mx_host_without_records_is_told(tmp_path: Path) -> None:
    """Not one of a domain of which no host has any, and not one that could not be asked."""
    hosts = (
        MailHost("example.com", NAME, True),
        MailHost("example.com", "mx2.example.com", False),
        MailHost("example.com", "mx3.example.com", None),
        MailHost("example.org", "mx.example.org", False),
    )
    zone = replace(seen(tmp_path, lambda m: None), mail_hosts=hosts)
    assert told(zone) == [("WARNING", "mx2.example.com")]
    assert all(one.severity is Severity.WARNING for one in zone_rules.check(zone, NOW))


KEY = b"key"
PIN = base64.b64encode(hashlib.sha256(KEY).digest()).decode()
SHOWN = Certificate(PIN, KEY, b"whole")
WHOLE = TlsaRecord(3, 0, 1, hashlib.sha256(SHOWN.whole).hexdigest())
LONGER = TlsaRecord(3, 1, 2, "ab" * 64)
SHORT, OURS, NEXT = TlsaRecord(3, 1, 1, "ab"), record_of(PIN), record_of(fake_pin("next"))


@pytest.mark.parametrize(
    ("records", "findings"),
    [
        pytest.param({OURS, NEXT}, [], id="sound"),
        pytest.param({OURS, NEXT, LONGER}, ["CRITICAL"], id="a longer digest of another key"),
        pytest.param({WHOLE, NEXT}, ["CRITICAL"], id="no more after the next renewal"),
        pytest.param({WHOLE, OURS}, [], id="the certificate, and its key"),
        pytest.param({SHORT}, ["CRITICAL", "WARNING"], id="nobody understands it"),
        pytest.param({TlsaRecord(2, 1, 1, "ab" * 32)}, ["CRITICAL"], id="another authority"),
    ],
)
def test_g13_what_clients_refuse_is_critical(
    tmp_path: Path, records: set[TlsaRecord], findings: list[str]
) -> None:
    """Whatever the reason: by these records, mail does not come, or will not after a renewal."""
    zone = seen(tmp_path, lambda m: None)
    (port,) = zone.ports
    authority = Certificate(fake_pin("authority"), b"authority", b"authority")
    port = replace(port, pins=(PIN,), chains=((SHOWN, authority),))
    server = zone.looks[0].servers[0]
    zone = changed(
        replace(zone, ports=(port,), missing=()),
        answers=(Answer(server, frozenset(records), 3600),),
        servers=(server,),
    )
    assert sorted(one for one, _ in told(zone)) == findings
