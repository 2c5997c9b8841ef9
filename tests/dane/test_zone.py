"""Real name servers, each broken in one way: what is seen, and that it does not pass for a zone in order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from certbot_pinkeep.core.zone_observations import OwnerObservation, Records
from dane.world import FIRST, HOST, NEW, OLD, SECOND, TTL, Network, example, line
from lab import wait_for
from lab.name_servers import Zone

BOTH = frozenset({OLD, NEW})
ZONE = example(line(OLD), line(NEW))
NONE: Records = frozenset()
STALE = example(line(OLD))


class Signed:
    """A zone of two name servers, signed, and its parts."""

    def __init__(self, world: Network) -> None:
        self.world = world
        self.key = world.signer.make(ZONE.origin)
        self.ds = world.signer.ds(self.key)

    def file(self, zone: Zone = ZONE, **more: str) -> Path:
        """Sign a version of the zone, and return a file of its own."""
        signed = self.world.signer.sign(zone, self.key, **more)
        return signed.rename(self.world.folder / f"{len(list(self.world.folder.iterdir()))}.signed")


def sound(world: Network) -> None:
    """Nothing is wrong."""
    zone = Signed(world)
    for address in (FIRST, SECOND):
        world.serve(address, (ZONE, zone.file()))
    world.open(ZONE, ds=[zone.ds])


def silent(world: Network) -> None:
    """The second name server does not run."""
    zone = Signed(world)
    world.serve(FIRST, (ZONE, zone.file()))
    world.open(ZONE, ds=[zone.ds])


def lame(world: Network) -> None:
    """The second name server does not have the zone."""
    zone = Signed(world)
    world.serve(FIRST, (ZONE, zone.file()))
    world.serve(SECOND)
    world.open(ZONE, ds=[zone.ds])


def behind(world: Network) -> None:
    """The second name server does not have the next key's record yet."""
    zone = Signed(world)
    world.serve(FIRST, (ZONE, zone.file(example(*ZONE.lines, serial=2))))
    world.serve(SECOND, (ZONE, zone.file(STALE)))
    world.open(ZONE, ds=[zone.ds])


def expired(world: Network) -> None:
    """The second name server has signatures that ended yesterday."""
    zone = Signed(world)
    world.serve(FIRST, (ZONE, zone.file()))
    world.serve(SECOND, (ZONE, zone.file(begins="now-172800", ends="now-86400")))
    world.open(ZONE, ds=[zone.ds])


def bogus(world: Network) -> None:
    """The zone above knows another key."""
    zone = Signed(world)
    for address in (FIRST, SECOND):
        world.serve(address, (ZONE, zone.file()))
    world.open(ZONE, ds=[world.signer.ds(world.signer.make(ZONE.origin))])


def without_chain(world: Network) -> None:
    """The zone above knows no key."""
    zone = Signed(world)
    for address in (FIRST, SECOND):
        world.serve(address, (ZONE, zone.file()))
    world.open(ZONE)


def unsigned(world: Network) -> None:
    """The zone has no signatures."""
    file = world.folder / "plain"
    file.write_text(ZONE.text)
    for address in (FIRST, SECOND):
        world.serve(address, (ZONE, file))
    world.open(ZONE)


def credulous(world: Network) -> None:
    """The machine's resolver does not validate."""
    zone = Signed(world)
    for address in (FIRST, SECOND):
        world.serve(address, (ZONE, zone.file()))
    world.open(ZONE, ds=[zone.ds], validates=False)


def raised(world: Network) -> None:
    """Somebody gave the records a TTL of a week, at the second name server."""
    zone = Signed(world)
    world.serve(FIRST, (ZONE, zone.file()))
    week = example(line(OLD, ttl=604800), line(NEW, ttl=604800), serial=2)
    world.serve(SECOND, (ZONE, zone.file(week)))
    world.open(ZONE, ds=[zone.ds])


def deleted(world: Network) -> None:
    """Somebody deleted the records."""
    zone = Signed(world)
    for address in (FIRST, SECOND):
        world.serve(address, (ZONE, zone.file(example())))
    world.open(ZONE, ds=[zone.ds])


def undelegated(world: Network) -> None:
    """The zone itself names a third name server, which does not run; the zone above does not."""
    servers = {**ZONE.servers, "ns3.example.test": ["127.0.1.3"]}
    zone, inside = Signed(world), example(*ZONE.lines, servers=servers)
    for address in (FIRST, SECOND):
        world.serve(address, (ZONE, zone.file(inside)))
    world.open(ZONE, ds=[zone.ds])


def forgotten(world: Network) -> None:
    """The zone above names a third name server, which does not run; the zone itself does not."""
    servers = {**ZONE.servers, "ns3.example.test": ["127.0.1.3"]}
    zone, outside = Signed(world), example(servers=servers)
    for address in (FIRST, SECOND):
        world.serve(address, (ZONE, zone.file()))
    world.open(outside, ds=[zone.ds])


#: What a look at a sound zone has.
SOUND: dict[str, object] = {
    "errors": (),
    "sets": {BOTH},
    "ttl": TTL,
    "serials": {1},
    "valid": (True, True, ""),
    "lasts": True,
    "resolver": BOTH,
}


def seen(look: OwnerObservation) -> dict[str, object]:
    """What a look has that a sound zone has not."""
    safe, now = look.security, datetime.now(timezone.utc)
    found: dict[str, object] = {
        "errors": look.errors,
        "sets": {records for records, _ in look.sets},
        "ttl": max((ttl for _, ttl in look.sets), default=0),
        "serials": {one.serial for one in look.servers if not one.error},
        "valid": (safe.signed, safe.valid, safe.why.partition(": ")[0]),
        "lasts": safe.expires is not None and safe.expires > now + timedelta(days=7),
        "resolver": look.resolver,
    }
    return {key: value for key, value in found.items() if value != SOUND[key]}


BOGUS = "the resolver finds the signatures bogus"
NO_CHAIN = "no chain of trust leads to the zone (is its DS record missing?)"
CREDULOUS = "the resolver of this machine does not validate signatures"
NO_THIRD = ("ns3.example.test (127.0.1.3): nothing answers there",)
REFUSED = f"ns2.example.test ({SECOND}): it does not answer for example.test.: REFUSED"
FAULTS: list[tuple[Callable[[Network], None], dict[str, object]]] = [
    (sound, {}),
    (silent, {"errors": (f"ns2.example.test ({SECOND}): nothing answers there",)}),
    (lame, {"errors": (REFUSED,)}),
    (behind, {"sets": {BOTH, frozenset({OLD})}, "serials": {1, 2}}),
    (expired, {"lasts": False}),
    (bogus, {"valid": (True, False, BOGUS), "resolver": None}),
    (without_chain, {"valid": (True, None, NO_CHAIN)}),
    (unsigned, {"valid": (False, False, "the zone is not signed"), "lasts": False}),
    (credulous, {"valid": (True, None, CREDULOUS)}),
    (raised, {"ttl": 604800, "serials": {1, 2}}),
    (deleted, {"sets": {NONE}, "ttl": 60, "resolver": NONE}),
    (undelegated, {"errors": NO_THIRD}),
    (forgotten, {"errors": NO_THIRD}),
]


@pytest.mark.parametrize(("fault", "told"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_g13_each_fault_of_a_zone_is_seen(
    fault: Callable[[Network], None], told: dict[str, object], world: Network
) -> None:
    """Each fault is seen as what it is, and a sound zone shows none."""
    fault(world)
    (look,) = world.look()
    found = seen(look)
    if fault in (behind, expired):  # the resolver took in whatever it was given first
        found.pop("resolver", None)
        found.pop("valid", None)
    assert found == told


def test_g13_a_stale_process_behind_the_same_address_is_seen(world: Network) -> None:
    """Two processes share an address; what only one of them shows is seen, too."""
    ports = (25, 465, 587, 993)
    owners = [f"_{number}._tcp.{HOST}." for number in ports]
    old = example(*(line(OLD, owner) for owner in owners), servers={"ns1.example.test": [FIRST]})
    new = example(*old.lines, *(line(NEW, owner) for owner in owners), servers=old.servers)
    for name, zone in (("stale", old), ("fresh", new)):
        file = world.folder / f"{name}.zone"
        file.write_text(zone.text)
        world.serve(FIRST, (zone, file), name=name)
    world.open(old)
    # Eight looks of one port miss one of the processes once in 128 times, those of all four never.
    shown = {records for look in world.look(*ports) for records, _ in look.sets}
    assert shown == {frozenset({OLD}), BOTH}


def test_g13_an_alias_is_followed_on_all_name_servers(world: Network) -> None:
    """An alias leads to another zone; a name server of either that is behind is seen."""
    alias = f"_25._tcp.{HOST}. CNAME _dane.other.test."
    zone = example(alias, servers={"ns1.example.test": [FIRST]})
    there = {"ns1.other.test": ["127.0.1.3"], "ns2.other.test": ["127.0.1.4"]}
    fresh = example(
        *(line(one, "_dane.other.test.") for one in (OLD, NEW)), servers=there, name="other.test"
    )
    stale = example(*fresh.lines[:1], servers=there, name="other.test")
    for address, one in ((FIRST, zone), ("127.0.1.3", fresh), ("127.0.1.4", stale)):
        (world.folder / f"{address}.zone").write_text(one.text)
        world.serve(address, (one, world.folder / f"{address}.zone"))
    world.open(zone, fresh)
    (look,) = world.look()
    assert (look.name, look.zone, look.errors) == ("_dane.other.test.", "other.test.", ())
    assert {answer.server.address: answer.records for answer in look.answers} == {
        "127.0.1.3": BOTH,
        "127.0.1.4": frozenset({OLD}),
    }
    assert {server.address for server in look.servers} == {FIRST, "127.0.1.3", "127.0.1.4"}


@pytest.mark.parametrize(
    ("addresses", "routed", "asked"),
    [
        (["2001:db8::53"], True, {"2001:db8::53": ""}),
        (["2001:db8::53"], False, {"2001:db8::53": "this machine has no route to it"}),
        ([SECOND, "2001:db8::53"], False, {SECOND: ""}),
    ],
    ids=["only-ipv6", "only-ipv6-without-a-route", "both-without-a-route"],
)
def test_g13_ipv6_counts_if_nothing_else_answers(
    addresses: list[str], routed: bool, asked: dict[str, str], world: Network
) -> None:
    """A name server that has IPv6 only counts as unseen on a machine without it; one with both does not."""
    zone = example(line(OLD), servers={"ns1.example.test": [FIRST], "ns2.example.test": addresses})
    (world.folder / "zone").write_text(zone.text)
    for address in (FIRST, *addresses):
        if routed or ":" not in address:
            world.serve(address, (zone, world.folder / "zone"))
    world.open(zone)
    (look,) = world.look()
    assert {one.address: one.error for one in look.servers} == {FIRST: "", **asked}
    assert (look.agreed is None) == any(asked.values())


@pytest.mark.parametrize(
    "limit",
    ["responses-per-second 2; slip 2;", "responses-per-second 5; slip 0;"],
    ids=["cut", "dropped"],
)
def test_g13_a_name_server_that_limits_its_rate_is_seen_whole(limit: str, world: Network) -> None:
    """BIND cuts or drops most of the looks over UDP: they are made again over TCP, for all ports.

    It limits this machine's resolver as well, which has found all after a few looks.
    """
    ports = (25, 465, 587, 993)
    lines = [line(one, f"_{number}._tcp.{HOST}.") for number in ports for one in (OLD, NEW)]
    zone = example(*lines, servers={"ns1.example.test": [FIRST]})
    (world.folder / "zone").write_text(zone.text)
    world.serve(FIRST, (zone, world.folder / "zone"), options=f"rate-limit {{ {limit} }};")
    world.open(zone, forgets=False)
    wait_for(lambda: {one.agreed for one in world.look(*ports)} == {BOTH}, "all to be seen")


def test_g13_an_alias_of_all_names_below_another_is_followed(world: Network) -> None:
    """A DNAME in a signed zone: what name servers make of it has no signature of its own, and is valid."""
    zone = example(
        "_tcp.mail 7200 DNAME _tcp.other.example.test.",
        line(OLD, "_25._tcp.other.example.test."),
        servers={"ns1.example.test": [FIRST]},
    )
    signed = Signed(world)
    world.serve(FIRST, (zone, signed.file(zone)))
    world.open(zone, ds=[signed.ds])
    (look,) = world.look()
    assert (look.name, look.sets) == (
        "_25._tcp.other.example.test.",
        ((frozenset({OLD}), 7200),),
    )
    assert (look.security.signed, look.security.valid) == (True, True)
