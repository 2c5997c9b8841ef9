"""Histories of one port's records, told look by look, and what a rollover has to wait for (G2, G13)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from certbot_pinkeep.core import rollover, times, zone
from certbot_pinkeep.core.errors import BadOption
from certbot_pinkeep.core.holdings import SETTLING
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.tlsa import Port, TlsaRecord, parse_ports, ports_of, record_of
from certbot_pinkeep.core.zone import Service
from certbot_pinkeep.core.zone_observations import (
    Answer,
    NameServer,
    OwnerObservation,
    PortObservation,
    Records,
)

T = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
PORT = Port("mail.example.com", 25, "smtp")
OTHER = Port("mail.example.com", 465)
A, B, C, X = (
    base64.b64encode(hashlib.sha256(letter.encode()).digest()).decode() for letter in "ABCX"
)
TTL = 3600
CA = TlsaRecord(2, 1, 1, "ab" * 32)
WHOLE = TlsaRecord(3, 0, 1, "cd" * 32)
LONGER = TlsaRecord(3, 1, 2, "ef" * 64)


def records(*pins: str) -> Records:
    """The records that carry pins."""
    return frozenset(map(record_of, pins))


def look(*shown: Records, ttl: int = TTL, error: str = "") -> OwnerObservation:
    """A look at the port's records: what each name server showed, and the error of one more."""
    servers = [NameServer(f"ns{n}.example.com", f"192.0.2.{n}", 1) for n, _ in enumerate(shown, 1)]
    answers = tuple(
        Answer(server, found, ttl) for server, found in zip(servers, shown, strict=True)
    )
    if error:
        servers.append(NameServer("ns9.example.com", "192.0.2.9", None, error))
    return OwnerObservation(PORT, PORT.owner, "example.com.", tuple(servers), answers)


def safe(ledger: Ledger, pin: str, hours: float) -> bool:
    """Whether a switch to the key of this pin is safe, so many hours after the start."""
    key = Key(pin, KeyKind("ecdsa", "secp256r1"), "backup", "keys/1.pem", T - timedelta(days=9))
    return rollover.safety(key, ledger, T + hours * HOUR, (PORT.host,)).at(T + hours * HOUR)


AB, ABC, BC = records(A, B), records(A, B, C), records(B, C)
#: How long a set with the TTL of an hour is held after it went.
HELD = 3
#: How long that is held which was there before the first look, if that found records.
UNKNOWN = 25

#: The first looks at a port, told as below.
FIRST: dict[str, tuple[dict[float, OwnerObservation | Records], float | None]] = {
    "nobody looked": ({}, None),
    "seen everywhere, and what was there before is unknown": ({0: look(ABC, ABC)}, UNKNOWN),
    "an authority alone binds to no key": ({0: look(records() | {CA})}, UNKNOWN),
    "a foreign key beside ours": ({0: look(ABC | records(X))}, UNKNOWN),
    "no records, so that nobody pins there": ({0: look(frozenset())}, HELD),
    "no records, and ours a moment later": (
        {0: look(frozenset()), 0.1: ABC, 0.2: look(ABC)},
        HELD,
    ),
    "records, and a name server that cannot be asked": (
        {0: look(ABC, error="it does not answer"), 7: look(ABC, ABC)},
        7 + UNKNOWN,
    ),
}
#: A history: by the hour, a look that was over then, or records that are about to be written. Then from which
#: hour on a switch to C is safe; ``None``: never, as far as is known. Days before, there were no records.
HISTORIES: dict[str, tuple[dict[float, OwnerObservation | Records], float | None]] = {
    "not on the second name server": ({0: look(ABC, AB)}, None),
    "then on both": ({0: look(ABC, AB), 5: look(ABC, ABC)}, 5 + HELD),
    "one of many processes behind an address is stale": (
        {0: look(AB), 5: replace(look(ABC), answers=(*look(ABC).answers, *look(AB).answers))},
        None,
    ),
    "a name server cannot be asked": ({0: look(ABC, ABC, error="it does not answer")}, None),
    "it can be asked again later": (
        {0: look(ABC, error="it does not answer"), 7: look(ABC, ABC)},
        7 + HELD,
    ),
    "written, and not seen yet": ({0: look(AB), 5: ABC}, None),
    "written, and seen": ({0: look(AB), 5: ABC, 5.1: look(ABC)}, 5.1 + HELD),
    "forgotten again": ({0: look(AB), 5: ABC, 5.1: look(ABC), 50: look(AB)}, None),
    "and back": (
        {0: look(AB), 5: ABC, 5.1: look(ABC), 50: look(ABC, AB), 51: look(ABC, ABC)},
        51 + HELD,
    ),
    "a longer digest, which clients heed alone": (
        {0: look(ABC | {LONGER}), 9: look(ABC | {LONGER})},
        None,
    ),
    "a longer digest that is gone": ({0: look(ABC | {LONGER}), 9: look(ABC)}, 9 + HELD),
    "a TTL that was raised by hand": (
        {0: look(AB), 5: look(AB, ttl=10 * TTL), 6: look(ABC)},
        6 + 21,
    ),
    "a TTL that is longer on one server": (
        {
            0: replace(
                look(AB, AB, ttl=10 * TTL),
                answers=(*look(AB, ttl=10 * TTL).answers, *look(AB, AB).answers[1:]),
            ),
            6: look(ABC),
        },
        6 + 21,
    ),
    "gone where it could be asked, and later everywhere": (
        {0: look(AB, ttl=10 * TTL), 5: look(ABC, error="it does not answer"), 6: look(ABC)},
        6 + 21,
    ),
    "a TTL that is longer on one server, beside an authority": (
        {
            0: replace(
                look(AB | {CA}, ttl=10 * TTL),
                answers=(*look(AB | {CA}, ttl=10 * TTL).answers, *look(AB).answers),
            ),
            6: look(ABC),
        },
        6 + 21,
    ),
    "written again, and not seen again yet": (
        {0: look(AB), 1: ABC, 2: look(ABC, AB), 3: AB, 4: look(ABC)},
        None,
    ),
    "written, and the records taken away after that": (
        {0: look(AB), 1: AB | records(X), 2: frozenset(), 3: look(frozenset())},
        3 + HELD,
    ),
    "gone while the clock is set back": (
        {0: look(AB), 48: look(AB, AB | records(X)), 24: look(ABC)},
        None,
    ),
    "and still gone later": (
        {0: look(AB), 48: look(AB, error="refused"), 24: look(ABC), 49: look(ABC)},
        49 + HELD,
    ),
    "deleted by hand": ({0: look(AB), 5: look(frozenset())}, 5 + HELD),
    "an authority beside it does": ({0: look(AB | {CA})}, None),
    "a whole certificate binds to what is unknown": ({0: look(frozenset({WHOLE}))}, None),
    "a foreign key": ({0: look(records(X))}, None),
}


def told(history: dict[float, OwnerObservation | Records], *, first: bool = False) -> Ledger:
    """The ledger after a history.

    :param first: whether nobody looked before
    """
    ttl, new = timedelta(seconds=TTL), T if first else T - 48 * HOUR
    ledger = zone.with_new_ports(Ledger(), (), [PORT], ttl=ttl, at=new)
    if not first:
        ledger = zone.with_looked(ledger, look(frozenset()), ttl, new).prune(T)
    for hour, event in history.items():
        at = T + hour * HOUR
        if isinstance(event, OwnerObservation):
            ledger = zone.with_looked(ledger, event, ttl, at)
        else:
            ledger = zone.with_written(ledger, PORT, event, ttl, at)
    return ledger


@pytest.mark.parametrize("name", [*FIRST, *HISTORIES])
def test_g2_g13_rollover_waits_for_what_was_seen(name: str) -> None:
    """It is safe when every set that a resolver may hold has the key, and not a moment before."""
    history, since = (FIRST | HISTORIES)[name]
    ledger = told(history, first=name in FIRST)
    if since is None:
        assert not safe(ledger, C, 10**5)
    else:
        assert not safe(ledger, C, since - 0.01)
        assert safe(ledger, C, since)


def test_g5_what_was_written_and_never_came_ends_with_what_came_later() -> None:
    """A kill between record and update: the set stays on record until a later one is everywhere."""
    ledger = told({0: look(AB), 1: AB | records(X), 2: look(AB)})
    assert any(X in one.pins and not one.replaced for one in ledger.zone)
    later = told({0: look(AB), 1: AB | records(X), 2: look(AB), 3: ABC, 4: look(ABC)})
    assert [set(one.pins) for one in later.zone if not one.replaced] == [{A, B, C}]
    undone = told({0: look(AB), 1: AB | records(X), 2: ABC, 3: look(ABC, AB), 4: look(AB)})
    assert [set(one.pins) for one in undone.zone if not one.replaced] == [{A, B}]


def test_g2_set_that_is_on_record_twice_is_held_for_the_longer_time() -> None:
    """Two keyrings saw it at a host that one of them has now; then it is written again."""
    here, there = told({0: look(AB)}), told({0: look(AB, ttl=10 * TTL), 1: look(AB)})
    ledger = here.with_imported(there, (PORT.host,))
    ledger = zone.with_written(ledger, PORT, AB, HOUR, T + HOUR)
    ledger = zone.with_looked(ledger, look(ABC), HOUR, T + 2 * HOUR)
    ledger = zone.with_written(ledger, PORT, ABC, HOUR, T + 2 * HOUR)
    ledger = zone.with_looked(ledger, look(ABC), HOUR, T + 2 * HOUR)
    assert [one.ttl for one in ledger.zone if set(one.pins) == {A, B}] == [10 * HOUR]


def test_g2_what_another_keyring_saw_ends_once() -> None:
    """Until a host has moved for good, each run adds again what the other keyring knows of it."""
    there = told({0: look(AB), 1: look(AB, ttl=10 * TTL)})
    ledger = Ledger()
    for hour in (2, 3):
        ledger = ledger.with_imported(there, (PORT.host,))
        ledger = zone.with_looked(ledger, look(ABC), HOUR, T + hour * HOUR)
    (gone,) = [one for one in ledger.zone if set(one.pins) == {A, B}]
    assert (gone.replaced, gone.ttl) == (T + 2 * HOUR, 10 * HOUR)


def test_g13_records_are_the_ports_however_tls_starts_there() -> None:
    """An admin who corrects ``2525`` to ``2525/smtp`` means the port that has the records already."""
    ledger = told({0: look(AB)})
    (corrected,) = ports_of(parse_ports("mail.example.com:25/tls"), ())
    assert zone.looked_at([corrected], ledger) == (corrected,)
    ledger = zone.with_looked(ledger, replace(look(ABC), port=corrected), HOUR, T + HOUR)
    assert safe(ledger, C, 1 + HELD)


def test_g13_name_server_without_an_answer_may_show_anything() -> None:
    """No answer is no empty answer."""
    short = replace(look(ABC, ABC), answers=look(ABC).answers)
    assert short.agreed is None and "ns2.example.com (192.0.2.2): it gave no answer" in short.errors
    alias = [replace(one, zone="elsewhere.example.") for one in short.servers[1:]]
    assert not replace(short, servers=(*short.servers[:1], *alias)).errors
    assert not safe(zone.with_looked(Ledger(), short, HOUR, T), C, 10**5)


def test_g13_records_of_a_port_are_unknown_when_it_comes_onto_the_list() -> None:
    """Later they are known, also if there are none: nothing waits for ever."""
    new = zone.with_new_ports(Ledger(), (), [PORT], ttl=HOUR, at=T)
    assert [one.is_placeholder for one in new.zone] == [True]
    empty = zone.with_looked(new, look(frozenset()), HOUR, T + HOUR).prune(T + 9 * HOUR)
    services = zone.served((), [PORT], [seen(PORT, X)], T + HOUR)
    assert zone.with_new_ports(empty, services, [PORT], ttl=HOUR, at=T + 9 * HOUR) == empty
    assert safe(empty, C, 9)


def test_g10_ttl_of_a_name_server_is_one_that_a_keyring_file_can_hold() -> None:
    """A TTL that no record can have makes no keyring file unreadable."""
    for shown in (AB, frozenset()):
        ledger = zone.with_unseen(Ledger(), [PORT], HOUR, T)
        ledger = zone.with_looked(ledger, look(shown, ttl=(1 << 32) - 1), HOUR, T)
        assert ledger.zone and all(one.ttl < times.LONGEST for one in ledger.zone)


def test_settling_time_is_an_hour() -> None:
    """The table above reckons with it: twice the TTL of an hour, and the settling time."""
    assert SETTLING == HOUR and 2 * timedelta(seconds=TTL) + SETTLING == HELD * HOUR


def keyring(live: str, primary: str, *backups: str) -> Keyring:
    """A keyring whose certificate has one key, while another one may be primary."""
    kind = KeyKind("ecdsa", "secp256r1")
    roles = {primary: "primary"} | dict.fromkeys(backups, "backup")
    keys = tuple(
        Key(pin, kind, roles.get(pin, "retired"), f"keys/{pin[:4]}.pem", T)  # type: ignore[arg-type]
        for pin in dict.fromkeys((live, primary, *backups))
    )
    return Keyring("ring", (Member("mail.example.com", (PORT.host,), live),), keys)


def seen(port: Port, *pins: str, error: str = "") -> PortObservation:
    """What one address of a port shows."""
    return PortObservation(port, "192.0.2.25", pins, error)


def test_g13_key_leaves_the_zone_only_when_every_port_was_seen_to_serve_its_successor() -> None:
    """After the rollover from A to B: 465 was not reloaded, then could not be seen, then serves B."""
    ring, ports = keyring(B, B, C), (PORT, OTHER)
    services = zone.served((), ports, [seen(PORT, A), seen(OTHER, A)], T - HOUR)
    for shown, left in (
        ([seen(PORT, B), seen(OTHER, A)], False),
        ([seen(PORT, B), seen(OTHER, error="it takes no connection")], False),
        ([seen(PORT, B), seen(OTHER, B), replace(seen(OTHER, A), address="192.0.2.26")], False),
        ([seen(PORT, B), seen(OTHER, B)], True),
    ):
        services = zone.served(services, ports, shown, T)
        ring = replace(ring, keys=(*keyring(A, B, C).keys,))
        want = zone.wanted(ring, services, ports, T)
        after, why = zone.records_after(ABC | {CA}, want, services[0])
        assert (A not in want.pins, why) == (left, "")
        assert after == (BC | {CA} if left else ABC | {CA})


def test_g13_records_that_bind_are_seen_before_they_are_written_over() -> None:
    """An authority alone binds to no key; a set that one name server shows is on record."""
    for before, shown, waits in (
        (ABC, look(AB), True),
        (ABC, look(error="it does not answer"), True),
        (ABC, look(AB, ABC), False),
        (frozenset({CA}), look(AB), False),
        (frozenset(), look(error="it does not answer"), False),
    ):
        assert bool(zone.unseen([shown], {PORT.owner: before})) == waits


def test_g13_no_record_goes_before_every_port_was_seen() -> None:
    """What a port serves that nobody has seen yet may be any key of the keyring."""
    ring = replace(keyring(A, B, C), members=keyring(B, B, C).members)
    services = zone.served((), (PORT, OTHER), [seen(PORT, B), seen(OTHER, error="refused")], T)
    want = zone.wanted(ring, services, (PORT, OTHER), T)
    assert zone.records_after(ABC, want, services[0])[0] == ABC
    services = zone.served(services, (PORT, OTHER), [seen(PORT, B), seen(OTHER, B)], T)
    want = zone.wanted(ring, services, (PORT, OTHER), T)
    assert zone.records_after(ABC, want, services[0])[0] == BC


@pytest.mark.parametrize(
    ("before", "shown", "after"),
    [
        pytest.param(frozenset(), [seen(PORT, A)], ABC, id="it serves the keyring's key"),
        pytest.param(frozenset(), [seen(PORT, X)], frozenset(), id="it serves a foreign key"),
        pytest.param(frozenset(), [seen(PORT, A, X)], frozenset(), id="it serves one more"),
        pytest.param(frozenset(), [seen(PORT, error="refused")], frozenset(), id="unseen"),
        pytest.param(frozenset({CA}), [seen(PORT, A)], ABC | {CA}, id="an authority alone"),
        pytest.param(records(X), [seen(PORT, X)], ABC | records(X), id="there are records"),
        pytest.param(records(X, A), [seen(PORT, error="refused")], ABC | records(X), id="broken"),
    ],
)
def test_g2_port_gets_its_first_records_only_with_the_keys_that_it_serves(
    before: Records, shown: list[PortObservation], after: Records
) -> None:
    """Records that lack what a port serves would keep mail from it; more records never do."""
    services = zone.served((), [PORT], shown, T)
    want = zone.wanted(keyring(A, A, B, C), services, [PORT], T)
    found, why = zone.records_after(before, want, services[0])
    assert found == after and bool(why) == (before == after)


def test_g2_port_gets_its_first_records_only_if_it_was_seen_just_now() -> None:
    """What it served a month ago may have changed since."""
    services = zone.served((), [PORT], [seen(PORT, A)], T)
    later = T + 30 * 24 * HOUR
    services = zone.served(services, [PORT], [seen(PORT, error="refused")], later)
    want = zone.wanted(keyring(A, A, B, C), services, [PORT], later)
    assert zone.records_after(frozenset(), want, services[0])[0] == frozenset()


@pytest.mark.parametrize(
    ("others", "shown", "after"),
    [
        pytest.param(frozenset(), seen(PORT, A), frozenset(), id="ours alone"),
        pytest.param(frozenset(), seen(PORT, error="refused"), frozenset(), id="unseen"),
        pytest.param(records(X), seen(PORT, A), ABC | records(X), id="a foreign key beside"),
        pytest.param({CA, WHOLE}, seen(PORT, A), ABC | {CA, WHOLE}, id="an authority beside"),
        pytest.param(records(X), seen(PORT, X), records(X), id="it serves the foreign key"),
        pytest.param(records(X), seen(PORT, A, X), ABC | records(X), id="it serves both"),
        pytest.param(records(X), seen(PORT, X, error="cut"), ABC | records(X), id="half seen"),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_g2_g9_leaving_takes_only_our_own_records_away(
    others: Records, shown: PortObservation, after: Records, listed: bool
) -> None:
    """Foreign ones stay; ours do if the foreign ones alone would keep mail from the port."""
    ring, services = keyring(A, A, B, C), zone.served((), [PORT], [shown], T)
    want = zone.wanted(ring, services, [PORT] if listed else (), T, leaves=listed)
    found, why = zone.records_after(ABC | others, want, services[0] if listed else None)
    if not listed and others:
        after = ABC | others  # nobody knows what it serves
    assert found == after and bool(why) == (found == ABC | others)
    assert zone.records_after(records(X), want, services[0]) == (records(X), "")


def test_missing_names_the_server_and_what_it_lacks() -> None:
    """The admin reads which name server is behind, and with which record."""
    services = (Service(PORT, (A,), T),)
    want = zone.wanted(keyring(A, A, B, C), services, [PORT], T)
    assert not zone.missing(look(ABC, ABC), want, services[0], {})
    (one,) = zone.missing(look(ABC, AB), want, services[0], {})
    assert "ns2.example.com (192.0.2.2)" in str(one) and C[:12] in str(one)
    assert not one.waits
    assert zone.missing(look(ABC, AB), want, services[0], {PORT: ABC})[0].waits
    (one,) = zone.missing(look(ABC, error="it does not answer"), want, services[0], {})
    assert "ns9.example.com (192.0.2.9): it does not answer" in str(one).lower()
    (one,) = zone.missing(look(ABC | {LONGER}), want, services[0], {})
    assert "Delete the 3 1 2 record." in str(one) and not one.waits


def test_look_is_due_once_a_day_or_while_something_is_pending() -> None:
    """A port that was never seen is looked at in every run; so is a zone that lacks a record."""
    services, ring = (Service(PORT, (A,), T),), keyring(A, A, B, C)

    def due(ledger: Ledger, hours: float, *ports: Port, ring: Keyring = ring) -> bool:
        known = frozenset(key.pin for key in ring.keys)
        at, ports = T + hours * HOUR, ports or (PORT,)
        return zone.is_due(ring.published_pins(), known, services, ports, ledger=ledger, now=at)

    rolled = keyring(A, B, C)
    rolled = replace(rolled, members=(replace(rolled.members[0], pin=B),))

    assert not due(told({0: look(ABC)}), 23)
    assert not due(told({0: look(ABC | {CA} | records(X))}), 23)
    assert due(told({0: look(ABC)}), 24)
    assert due(told({0: look(ABC)}), -1)
    assert due(told({0: look(ABC)}), 1, PORT, OTHER)
    assert due(told({0: look(AB), 1: ABC}), 2)
    assert due(told({0: look(AB)}), 2)
    assert due(told({0: look(ABC)}), 2, ring=rolled)
    assert due(told({0: look(frozenset())}), 2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("25", [("mail.example.com", 25, "smtp"), ("example.com", 25, "smtp")]),
        ("mail.example.com:imaps", [("mail.example.com", 993, "tls")]),
        ("example.com:5269", [("example.com", 5269, "xmpp-server")]),
        ("example.com:2525/smtp", [("example.com", 2525, "smtp")]),
        ("none", []),
        ("", []),
    ],
)  # fmt: skip
def test_ports_of_an_option(text: str, found: list[tuple[str, int, str]]) -> None:
    """Wildcards and addresses have no records."""
    hosts = ("mail.example.com", "example.com", "*.example.com", "192.0.2.1", "2001:db8::1")
    assert [(p.host, p.number, p.start) for p in ports_of(parse_ports(text), hosts)] == found


@pytest.mark.parametrize(
    "text", ["0", "65536", "smtpx", "25;26", "*.a.test:25", "25/ftp", "a b:25"]
)
def test_g10_bad_port_is_named(text: str) -> None:
    """So is the option."""
    with pytest.raises(BadOption, match="--pinkeep-tlsa"):
        parse_ports(text)


def test_host_that_is_not_the_keyrings_is_told() -> None:
    """Its certificates are others': nothing of it would ever be safe."""
    ports, strange = zone.listed_ports(
        parse_ports("a.test:25,b.test:25,25"), ("a.test", "*.c.test")
    )
    assert ports == (Port("a.test", 25, "smtp"),) and [one.host for one in strange] == ["b.test"]
    ports, strange = zone.listed_ports(parse_ports("x.c.test:25"), ("*.c.test",))
    assert ports == (Port("x.c.test", 25, "smtp"),) and not strange
