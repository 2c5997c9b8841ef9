"""Real name servers are given changes: made as one, and never over somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from certbot_pinkeep.carriers.zones import Change
from certbot_pinkeep.carriers.zones.powerdns import PowerDns as Api
from certbot_pinkeep.carriers.zones.rfc2136 import Rfc2136
from certbot_pinkeep.core.errors import ZoneRefused
from certbot_pinkeep.core.tlsa import TlsaRecord
from certbot_pinkeep.core.zone_observations import Records
from certbot_pinkeep.exports import dns as written
from dane.world import FIRST, NEW, OLD, OWNER, SECOND, TTL, Network, example, line
from lab import LabError, wait_for
from lab.name_servers import API, API_KEY, KEY, SECRET, Bind, Knot, PowerDns, Zone

HERS = TlsaRecord(2, 1, 1, "cc" * 32)
OTHER = "_465._tcp.mail.example.test."
ZONE = example(line(OLD), servers={"ns1.example.test": [FIRST]})
NONE: Records = frozenset()
TSIG = {"name": KEY, "secret": SECRET, "algorithm": "HMAC-SHA256"}


def nsupdate(world: Network, script: str) -> None:
    """Make an update as an admin does, by a program that is not ours."""
    file = world.folder / "script"
    file.write_text(script)
    world.ns.run(["nsupdate", "-y", f"hmac-sha256:{KEY}:{SECRET}", str(file)]).check()


def by_nsupdate(world: Network) -> None:
    """Somebody adds a record."""
    nsupdate(
        world, f"server {FIRST}\nzone {ZONE.origin}\nupdate add {OWNER} 300 TLSA {HERS}\nsend\n"
    )


def by_pdnsutil(world: Network) -> None:
    """Somebody adds a record."""
    folder = str(world.folder / "pdns")
    tool = ["pdnsutil", "--config-dir", folder, "add-record", ZONE.name]
    world.ns.run([*tool, OWNER.removesuffix(f".{ZONE.origin}"), "TLSA", str(HERS)]).check()


def bind(world: Network, zone: Zone = ZONE, *, signed: bool = True) -> None:
    """A BIND that signs by itself."""
    file = world.folder / "zone"
    file.write_text(zone.text)
    changed = Bind.changed(zone, file, signed=signed)
    world.start(Bind(world.ns, world.folder / "bind", [FIRST], [changed]))


def knot(world: Network, zone: Zone = ZONE) -> None:
    """A Knot DNS that signs by itself."""
    world.start(Knot(world.ns, world.folder / "knot", FIRST, [zone]))


def powerdns(world: Network, zone: Zone = ZONE) -> None:
    """A PowerDNS with a database."""
    world.start(PowerDns(world.ns, world.folder / "pdns", FIRST, [zone], caches=False))


@dataclass(frozen=True)
class Provider:
    """A name server, how pinkeep changes it, and how others do."""

    start: Callable[[Network], None]
    zone: Rfc2136 | Api
    others: Callable[[Network], None]


@dataclass
class Inside:
    """A provider, called where the name server is."""

    world: Network
    zone: Rfc2136 | Api

    def read(self, *names: str) -> dict[str, Records]:
        """Read records."""
        found = self._call(lambda: self.zone.read(ZONE.origin, names))
        assert isinstance(found, dict)
        return found

    def change(self, *changes: Change, zone: str = ZONE.origin) -> str:
        """Make changes; what is told if they are refused."""
        return str(self._call(lambda: self.zone.change(zone, changes)))

    def _call(self, function: Callable[[], object]) -> object:
        def told() -> object:
            try:
                return function() or ""
            except ZoneRefused as error:
                return str(error)

        return self.world.ns.call(told)


RFC2136 = Rfc2136({"server": FIRST, **TSIG})
PROVIDERS = {
    "bind": Provider(bind, RFC2136, by_nsupdate),
    "knot": Provider(knot, RFC2136, by_nsupdate),
    "powerdns": Provider(powerdns, Api({"api_url": API, "api_key": API_KEY}), by_pdnsutil),
}


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_g9_a_change_is_made_whole_and_only_to_what_was_read(
    provider: Provider, world: Network
) -> None:
    """All names of a zone change at once, or none if somebody else changed one of them meanwhile."""
    provider.start(world)
    zone = Inside(world, provider.zone)
    both = frozenset({OLD, NEW})
    assert zone.read(OWNER, OTHER) == {OWNER: {OLD}, OTHER: NONE}
    assert not zone.change(
        Change(OWNER, frozenset({OLD}), both, TTL), Change(OTHER, NONE, frozenset({NEW}), TTL)
    )
    assert zone.read(OWNER, OTHER) == {OWNER: both, OTHER: {NEW}}
    provider.others(world)
    told = zone.change(
        Change(OTHER, frozenset({NEW}), both, TTL), Change(OWNER, both, frozenset({NEW}), TTL)
    )
    assert "are not the ones that were read: somebody else changed them meanwhile" in told
    assert zone.read(OWNER, OTHER) == {OWNER: both | {HERS}, OTHER: {NEW}}
    told = zone.change(Change(OTHER, NONE, both, TTL))
    assert "somebody else" in told
    assert not zone.change(
        Change(OWNER, both | {HERS}, frozenset({HERS}), TTL),
        Change(OTHER, frozenset({NEW}), NONE, TTL),
    )
    assert zone.read(OWNER, OTHER) == {OWNER: {HERS}, OTHER: NONE}


WILD = example(
    *(line(one, "*._tcp.mail.example.test.") for one in (OLD, HERS)),
    "mail A 127.0.0.1",
    "* A 127.0.0.2",
    servers={"ns1.example.test": [FIRST]},
)
SERVERS = {
    "bind": (partial(bind, zone=WILD), RFC2136),
    "bind-unsigned": (partial(bind, zone=WILD, signed=False), RFC2136),
    "knot": (partial(knot, zone=WILD), RFC2136),
    "powerdns": (partial(powerdns, zone=WILD), PROVIDERS["powerdns"].zone),
}


@pytest.mark.parametrize(("start", "provider"), SERVERS.values(), ids=SERVERS)
def test_g2_g9_records_of_a_wildcard_are_replaced_at_the_port_alone(
    start: Callable[[Network], None], provider: Rfc2136 | Api, world: Network
) -> None:
    """The wildcard stays, and what it has for the port stays with the port; nor does it come back there."""
    start(world)
    zone = Inside(world, provider)
    before = zone.read(OWNER)[OWNER]  # PowerDNS tells what is at the name itself
    after = before | {OLD, NEW}
    assert before in (NONE, {OLD, HERS})
    assert not zone.change(Change(OWNER, before, after, TTL))
    assert served(world, OWNER) == after and served(world, OTHER) == {OLD, HERS}
    assert not zone.change(Change(OWNER, after, before | {NEW}, TTL))
    told = zone.change(Change(OWNER, before | {NEW}, NONE, TTL))
    assert "the wildcard *._tcp.mail.example.test. would take their place" in told
    assert served(world, OWNER) == before | {NEW}


@pytest.mark.parametrize(("start", "provider"), SERVERS.values(), ids=SERVERS)
def test_g2_no_host_loses_its_addresses_to_its_records(
    start: Callable[[Network], None], provider: Rfc2136 | Api, world: Network
) -> None:
    """A host that a wildcard stands for exists once there is a name below it, and has no address then."""
    start(world)
    zone, name = Inside(world, provider), "_25._tcp.web.example.test."
    told = zone.change(Change(name, zone.read(name)[name], frozenset({NEW}), TTL))
    assert "(web.example.test.) has its addresses from a wildcard" in told
    assert addresses(world, "web.example.test.") == ["127.0.0.2"]
    alias = "_dane.example.test."
    assert not zone.change(Change(alias, NONE, frozenset({NEW}), TTL))


def served(world: Network, name: str) -> Records:
    """The TLSA records that the name server shows."""
    lines = [one.split(maxsplit=3) for one in dug(world, name, "TLSA")]
    return frozenset(
        TlsaRecord(int(a), int(b), int(c), data.replace(" ", "").lower()) for a, b, c, data in lines
    )


def addresses(world: Network, name: str) -> list[str]:
    """The addresses that the name server shows."""
    return dug(world, name, "A")


def dug(world: Network, name: str, kind: str) -> list[str]:
    """What dig prints."""
    done = world.ns.run(["dig", f"@{FIRST}", "+short", name, kind]).check()
    return done.stdout.splitlines()


NOT_THIS_KEY = "it does not know this TSIG key, or the secret or algorithm is wrong"
NOT_HERE = "it does not take changes to this zone, or not with this TSIG key"
REFUSALS: dict[str, tuple[str, Rfc2136 | Api, str, str]] = {
    "bind-secret": ("bind", Rfc2136({"server": FIRST, **TSIG, "secret": "AAAA"}), "", NOT_THIS_KEY),
    "bind-key": ("bind", Rfc2136({"server": FIRST, **TSIG, "name": "other"}), "", NOT_THIS_KEY),
    "bind-zone": ("bind", RFC2136, "other.test.", NOT_HERE),
    "knot-secret": ("knot", Rfc2136({"server": FIRST, **TSIG, "secret": "AAAA"}), "", NOT_THIS_KEY),
    "knot-zone": ("knot", RFC2136, "other.test.", NOT_HERE),
    "powerdns-key": (
        *("powerdns", Api({"api_url": API, "api_key": "wrong"}), ""),
        "it does not know this API key",
    ),
    "powerdns-zone": (
        *("powerdns", PROVIDERS["powerdns"].zone, "other.test."),
        "it does not have this zone",
    ),
}


@pytest.mark.parametrize(("name", "wrong", "zone", "why"), REFUSALS.values(), ids=REFUSALS)
def test_g9_what_the_credentials_do_not_allow_is_told(
    name: str, wrong: Rfc2136 | Api, zone: str, why: str, world: Network
) -> None:
    """A wrong secret, key or zone is told as such, and the records stay."""
    provider = PROVIDERS[name]
    provider.start(world)
    owner = f"_25._tcp.{zone}" if zone else OWNER
    change = Change(owner, NONE if zone else frozenset({OLD}), frozenset({NEW}), TTL)
    assert why in Inside(world, wrong).change(change, zone=zone or ZONE.origin)
    assert Inside(world, provider.zone).read(OWNER) == {OWNER: {OLD}}


def test_the_script_for_nsupdate_does_what_pinkeep_would(world: Network) -> None:
    """The script for admins makes the same change, and refuses what pinkeep would refuse."""
    bind(world)
    change = Change(OWNER, frozenset({OLD}), frozenset({OLD, NEW}), TTL)
    new = Change(OTHER, NONE, frozenset({NEW}), TTL)
    script = f"server {FIRST}\n{written.nsupdate(ZONE.origin, [change, new])}"
    nsupdate(world, script)
    zone = Inside(world, RFC2136)
    assert zone.read(OWNER, OTHER) == {OWNER: {OLD, NEW}, OTHER: {NEW}}
    with pytest.raises(LabError, match="XRRSET"):
        nsupdate(world, script)


def test_g13_a_change_counts_when_all_name_servers_show_it(world: Network) -> None:
    """A change to a signed zone comes to its secondary, and is seen there, signed and valid."""
    zone = example(line(OLD))
    (world.folder / "zone").write_text(zone.text)
    first = Bind(
        world.ns, world.folder / "first", [FIRST], [Bind.changed(zone, world.folder / "zone")]
    )
    key = world.signer.make_for(zone, first)
    world.start(first)
    second = Bind(world.ns, world.folder / "second", [SECOND], [Bind.followed(zone, FIRST)])
    world.open(zone, ds=[world.signer.ds(key)])
    change = Change(OWNER, frozenset({OLD}), frozenset({OLD, NEW}), TTL)
    assert not Inside(world, RFC2136).change(change)
    (look,) = world.look()
    assert [one.records for one in look.answers] == [change.after]
    assert (look.agreed, len(look.errors)) == (None, 1)
    world.start(second)
    wait_for(lambda: world.look()[0].agreed == change.after, "both name servers to have the change")
    assert world.look()[0].security.valid
