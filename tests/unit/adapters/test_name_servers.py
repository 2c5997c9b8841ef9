"""What is made of answers of name servers that no name server in the lab gives."""

from __future__ import annotations

import errno
import itertools
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from dns.message import Message

from certbot_pinkeep.adapters import dns as adapter
from certbot_pinkeep.adapters import dns_session
from certbot_pinkeep.core.errors import NoDnspython
from certbot_pinkeep.core.tlsa import Port, TlsaRecord
from certbot_pinkeep.core.zone_observations import MailHost, OwnerObservation

PORT = Port("mail.example.com", 25, "smtp")
OLD, NEW = TlsaRecord(3, 1, 1, "aa" * 32), TlsaRecord(3, 1, 1, "bb" * 32)
RESOLVER, ABOVE, FIRST, SECOND = "192.0.2.53", "192.0.2.1", "192.0.2.11", "192.0.2.12"
RRSIG = "RRSIG TLSA 13 5 {ttl} 2027{end}000000 20260101000000 1 example.com. aaaa"
DELEGATION = [
    "example.com. 300 NS ns1.example.com.",
    "example.com. 300 NS ns2.example.com.",
]
ADDRESSES = [f"ns1.example.com. 300 A {FIRST}", f"ns2.example.com. 300 A {SECOND}"]
ZONE = [
    "example.com. 300 SOA ns1.example.com. admin.example.com. 7 3600 600 86400 60",
    *DELEGATION,
    f"{PORT.owner} 300 TLSA {OLD}",
]
PARENT = ["com. 300 NS ns.com.", f"ns.com. 300 A {ABOVE}"]
#: What a name server does with a question; ``None``: it answers from its lines.
Way = Callable[[Message], Message | None]


def refuse(question: Message) -> Message:
    """Refuse to answer."""
    answer = dns.message.make_response(question)
    answer.set_rcode(dns.rcode.REFUSED)
    return answer


def say_nothing(question: Message) -> Message:
    """Never answer."""
    raise dns.exception.Timeout


def talk_nonsense(question: Message) -> Message:
    """Answer with what is no answer."""
    raise dns.message.ShortHeader


def answer_for_above(question: Message) -> Message:
    """Say with authority that the zone above has nothing there."""
    answer = answered(question, [])
    soa = "ns.com. admin.com. 7 3600 600 86400 60"
    answer.authority.append(dns.rrset.from_text("com.", 300, "IN", "SOA", soa))
    return answer


def disclaim(lines: list[str]) -> Way:
    """Answer without authority."""

    def answer(question: Message) -> Message:
        made = answered(question, lines)
        made.flags &= ~dns.flags.AA
        return made

    return answer


def once(way: Way, kind: str, after: int = 0) -> Way:
    """Behave so at one question of a kind only, after so many others."""
    numbers = itertools.count()

    def answer(question: Message) -> Message | None:
        its = question.question[0].rdtype == dns.rdatatype.from_text(kind)
        return way(question) if its and next(numbers) == after else None

    return answer


def answered(question: Message, lines: list[str]) -> Message:
    """Answer with authority from the lines of a zone file."""
    made = dns.message.make_response(question)
    made.flags |= dns.flags.AA
    asked = question.question[0]
    kinds = {asked.rdtype, dns.rdatatype.CNAME, dns.rdatatype.RRSIG}
    for line in lines:
        owner, ttl, kind, rest = line.split(" ", 3)
        rrset = dns.rrset.from_text(owner, int(ttl), "IN", kind, rest)
        if rrset.name == asked.name and rrset.rdtype in kinds:
            same = [one for one in made.answer if one.rdtype == rrset.rdtype]
            for one in same:
                one.add(rrset[0])
            made.answer += [] if same else [rrset]
    return made


class Network:
    """Name servers by their addresses.

    :ivar limits: how many questions over UDP a name server answers; it drops the others
    :ivar filtered: the name servers that nobody reaches over TCP; ``in_vain`` counts who tried
    """

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {
            RESOLVER: [*PARENT, *DELEGATION, *ADDRESSES, *ZONE],
            ABOVE: list(DELEGATION),
            FIRST: list(ZONE),
            SECOND: list(ZONE),
        }
        self.ways: dict[str, Way] = {}
        self.asked: list[str] = []
        self.limits: dict[str, int] = {}
        self.filtered: set[str] = set()
        self.in_vain = 0
        self.dropped = 0

    def exchange(self, question: Message, address: str, seconds: float, protocol: str) -> Message:
        """Answer a question."""
        if protocol == "tcp" and address in self.filtered:
            self.in_vain += 1
            raise dns.exception.Timeout
        limit = self.limits.get(address) if protocol == "udp" else None
        if limit is not None and self.asked.count(address) >= limit:
            self.dropped += 1
            raise dns.exception.Timeout
        self.asked.append(address)
        way = self.ways.get(address)
        own = way(question) if way else None
        answer = own or answered(question, self.lines[address])
        return dns.message.from_wire(answer.to_wire())


THERE = dns.name.from_text("_25._tcp.mx.example.com.")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """A zone with two name servers, in order."""
    made = Network()
    monkeypatch.setattr(dns_session, "exchange", made.exchange)
    monkeypatch.setattr(dns_session, "_resolvers", lambda: (RESOLVER,))
    return made


def look() -> OwnerObservation:
    """Look at the port's records."""
    (seen,) = adapter.look([PORT])
    return seen


def test_a_zone_in_order_is_seen_whole(network: Network) -> None:
    """Both name servers are asked eight times, and agree."""
    seen = look()
    assert (seen.agreed, seen.errors, seen.zone) == (frozenset({OLD}), (), "example.com.")
    assert [(one.name, one.address, one.serial) for one in seen.servers] == [
        ("ns1.example.com", FIRST, 7),
        ("ns2.example.com", SECOND, 7),
    ]
    # The name servers, the keys, and eight times each the serial and the records.
    assert [network.asked.count(one) for one in (FIRST, SECOND)] == [18, 18]


def test_g13_what_a_name_server_drops_is_asked_for_again_over_tcp(network: Network) -> None:
    """One that limits its rate is seen whole, and after the first drop it is spared."""
    network.limits = {FIRST: 3, SECOND: 3}
    assert (look().agreed, look().errors) == (frozenset({OLD}), ())
    assert network.dropped < 18


def test_g13_a_packet_that_is_lost_if_tcp_is_filtered_costs_no_look(network: Network) -> None:
    """One question is lost; over TCP nobody tries more often than questions are under way."""
    lost = once(say_nothing, "TLSA")
    network.ways[SECOND] = lost
    network.filtered = {SECOND}
    seen = look()
    assert (seen.agreed, seen.errors) == (frozenset({OLD}), ())
    assert network.in_vain <= 4


NS2 = f"ns2.example.com ({SECOND}): "
ODDITIES: Mapping[str, tuple[str, Way, str]] = {
    "silent": (SECOND, say_nothing, f"{NS2}it did not answer within 1.5 seconds"),
    "nonsense": (SECOND, talk_nonsense, f"{NS2}its answer cannot be read (ShortHeader)"),
    "no authority": (SECOND, disclaim(ZONE), f"{NS2}it is not authoritative for example.com."),
    "the zone above": (
        *(SECOND, answer_for_above),
        f"{NS2}it does not have the zone example.com., and answers for the one above",
    ),
    "one refusal of eight": (
        *(SECOND, once(refuse, "TLSA")),
        f"{NS2}it answered 7 of 8 times: it does not answer for example.com.: REFUSED",
    ),
    "one refusal of its serial": (
        *(SECOND, once(refuse, "SOA")),
        f"{NS2}it answered 8 of 9 times: it does not answer for example.com.: REFUSED",
    ),
    "silent zone above": (
        *(ABOVE, say_nothing),
        "the name servers of com. do not answer: it did not answer within 1.5 seconds",
    ),
    "silent resolver": (
        *(RESOLVER, say_nothing),
        f"the resolver {RESOLVER} failed: it did not answer within 3 seconds",
    ),
}


@pytest.mark.parametrize(("address", "way", "told"), ODDITIES.values(), ids=ODDITIES)
def test_g13_an_odd_answer_counts_as_unseen(
    address: str, way: Way, told: str, network: Network
) -> None:
    """One answer that does not count is enough: nothing is agreed on, and the error says why."""
    network.ways[address] = way
    seen = look()
    assert (seen.errors, seen.agreed) == ((told,), None)


def test_g13_a_name_server_without_an_address_counts_as_unseen(network: Network) -> None:
    """A name server whose host has no address is told."""
    network.lines[RESOLVER].remove(ADDRESSES[1])
    assert look().errors == ("ns2.example.com: it has no address",)


def test_g13_an_address_that_the_resolver_fails_to_tell_counts_as_unseen(network: Network) -> None:
    """It has the IPv4 address of a name server, and fails for IPv6: another one may be stale there."""
    host, aaaa = dns.name.from_text("ns2.example.com."), dns.rdatatype.AAAA
    network.ways[RESOLVER] = lambda one: (
        refuse(one) if (one.question[0].name, one.question[0].rdtype) == (host, aaaa) else None
    )
    assert look().errors == (
        "ns2.example.com: its addresses are not all known: "
        f"the resolver {RESOLVER} failed: it answered REFUSED",
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (dns_session.NoRoute(errno.ENETUNREACH, ""), ()),
        (OSError(errno.EHOSTUNREACH, "No route to host"), (f"{NS2[:-2]}: No route to host",)),
    ],
    ids=["here", "elsewhere"],
)
def test_g13_only_an_address_without_a_route_from_here_is_passed_over(
    error: OSError, told: tuple[str, ...], network: Network
) -> None:
    """If another machine says that an address is out of reach, others may reach it: it counts as unseen."""

    def fail(question: Message) -> Message:
        raise error

    network.lines[RESOLVER].append(f"ns2.example.com. 300 A {FIRST}")
    network.ways[SECOND] = fail
    assert look().errors == told


def test_g13_a_look_that_shows_other_records_counts(network: Network) -> None:
    """A set of records that was shown once in eight looks is seen, whoever else shows another one."""
    other = [*ZONE[:-1], f"{PORT.owner} 900 TLSA {NEW}"]
    network.ways[SECOND] = once(lambda question: answered(question, other), "TLSA")
    assert dict(look().sets) == {frozenset({OLD}): 300, frozenset({NEW}): 900}


def test_g13_an_address_that_shows_several_serials_is_asked_more_often(network: Network) -> None:
    """Several processes stand behind it, of which one is stale: it is looked for."""
    old = [ZONE[0].replace(" 7 ", " 6 "), *ZONE[1:-1], f"{PORT.owner} 900 TLSA {NEW}"]

    def stale(question: Message) -> Message:
        return answered(question, old)

    ways = (once(stale, "SOA"), once(stale, "TLSA", 30))
    network.ways[SECOND] = lambda one: ways[0](one) or ways[1](one)
    seen = look()
    assert dict(seen.sets) == {frozenset({OLD}): 300, frozenset({NEW}): 900}
    assert [one.serial for one in seen.servers] == [7, 6]


def test_g13_the_largest_ttl_on_the_way_counts(network: Network) -> None:
    """The TTL of an alias counts, and the one that a signature was made for."""
    alias = [*ZONE[:-1], f"{PORT.owner} 1200 CNAME _dane.example.com."]
    target = [f"_dane.example.com. 60 TLSA {OLD}"]
    network.lines |= {FIRST: [*alias, *target], SECOND: [*alias, *target]}
    assert (look().name, look().sets) == ("_dane.example.com.", ((frozenset({OLD}), 1200),))
    signed = f"_dane.example.com. 60 {RRSIG.format(ttl=7200, end='0303')}"
    network.lines[SECOND].append(signed)
    assert look().sets == ((frozenset({OLD}), 7200),)


def test_g13_an_alias_that_is_made_of_another_has_that_ones_ttl_and_signature(
    network: Network,
) -> None:
    """A name server makes a CNAME of a DNAME, without a signature of its own."""
    above = "_tcp.mail.example.com."
    made = [
        f"{above} 7200 DNAME _tcp.mx.example.com.",
        f"{above} 7200 {RRSIG.format(ttl=9000, end='0303').replace('TLSA', 'DNAME')}",
        f"{PORT.owner} 0 CNAME _25._tcp.mx.example.com.",
    ]
    target = [
        "_25._tcp.mx.example.com.",
        f"60 TLSA {OLD}",
        f"60 {RRSIG.format(ttl=60, end='0303')}",
    ]

    def answer(question: Message) -> Message | None:
        if question.question[0].name != dns.name.from_text(PORT.owner):
            return None
        found = dns.message.make_response(question)
        found.flags |= dns.flags.AA
        found.answer += [
            dns.rrset.from_text(owner, int(ttl), "IN", kind, rest)
            for owner, ttl, kind, rest in (one.split(" ", 3) for one in made)
        ]
        return found

    for address in (FIRST, SECOND):
        network.ways[address] = answer
        network.lines[address] += [f"{target[0]} {one}" for one in target[1:]]
    assert look().sets == ((frozenset({OLD}), 9000),)
    assert look().security.signed


def test_g13_records_that_clients_heed_at_the_name_of_an_alias_count_as_unseen(
    network: Network,
) -> None:
    """A host is an alias: clients look first where it leads to (RFC 7671 §7), unless pinkeep does, too."""
    network.lines[RESOLVER].append("mail.example.com. 300 CNAME mx.example.com.")
    assert look().errors == ()
    network.lines[RESOLVER].append(f"_25._tcp.mx.example.com. 300 TLSA {NEW}")
    assert look().errors == (
        "mail.example.com is an alias (CNAME) of mx.example.com, and clients heed the records of "
        "mx.example.com:25 first; pin that host instead",
    )
    assert adapter.look([PORT, Port("mx.example.com", 25, "smtp")])[0].errors == ()


def test_g13_what_cannot_be_told_at_the_name_of_an_alias_counts_as_unseen(
    network: Network,
) -> None:
    """The resolver fails where the host's alias leads to: clients may heed records there."""
    network.lines[RESOLVER].append("mail.example.com. 300 CNAME mx.example.com.")
    network.ways[RESOLVER] = lambda question: (
        refuse(question) if question.question[0].name == THERE else None
    )
    assert look().errors == (
        "mail.example.com is an alias (CNAME) of mx.example.com, and the records of mx.example.com:25 "
        f"cannot be looked at, which clients heed first: the resolver {RESOLVER} failed: it answered "
        "REFUSED",
    )


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ((PORT.owner, PORT.owner), f"the aliases from {PORT.owner} on lead nowhere"),
        (("a.example.com.", "b.example.com."), f"{PORT.owner} is an alias of several names"),
    ],
    ids=["circle", "several"],
)
def test_g13_aliases_that_lead_nowhere_are_told(
    targets: tuple[str, str], told: str, network: Network
) -> None:
    """A circle of aliases ends, and name servers that do not agree on an alias are told."""
    for address, target in zip((FIRST, SECOND), targets, strict=True):
        network.lines[address] = [*ZONE[:-1], f"{PORT.owner} 300 CNAME {target}"]
    assert look().error == told


def test_the_last_of_several_signatures_counts_and_the_first_of_several_servers(
    network: Network,
) -> None:
    """While keys are changed, a set has two signatures; a name server may have older ones."""
    for address, ends in ((FIRST, ("0601", "0201")), (SECOND, ("0501", "0401"))):
        network.lines[address] += [
            f"{PORT.owner} 300 {RRSIG.format(ttl=300, end=end)}" for end in ends
        ]
    assert look().security.expires == datetime(2027, 5, 1, tzinfo=timezone.utc)


def test_a_serial_that_began_anew_is_the_newer_one(network: Network) -> None:
    """Of the serials that one address shows, the oldest is told (RFC 1982)."""
    wrapped = [ZONE[0].replace(" 7 ", " 4294967290 "), *ZONE[1:]]
    network.ways[SECOND] = once(lambda question: answered(question, wrapped), "SOA")
    assert [one.serial for one in look().servers] == [7, 4294967290]


def test_the_time_limit_ends_all_looks(network: Network) -> None:
    """After the time limit nobody is asked any more, and what is missing is told."""
    (seen,) = adapter.look([PORT], seconds=0)
    assert (network.asked, seen.errors) == (
        [],
        (f"the resolver {RESOLVER} failed: it took longer than 0 seconds",),
    )


def test_a_name_that_no_zone_can_have_is_told(network: Network) -> None:
    """A host's name that leaves no place for the port is an error of that port alone."""
    label = "a" * 60
    long = Port(f"{label}.{label}.{label}.{label}.com", 25)
    seen = adapter.look([long, PORT])
    assert [one.error for one in seen] == ["no zone can have so long a name", ""]


def test_dnspython_is_asked_for_by_those_who_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ports nothing is imported; with some, a missing dnspython is an error that says what to run."""
    monkeypatch.delattr("certbot_pinkeep.adapters.name_servers", raising=False)
    monkeypatch.setitem(sys.modules, "certbot_pinkeep.adapters.name_servers", None)
    assert adapter.look([]) == []
    with pytest.raises(NoDnspython, match="Run: apt install python3-dnspython"):
        adapter.look([PORT])


def test_what_nobody_showed_is_not_called_unsigned(network: Network) -> None:
    """Without an answer of a name server it is not known whether the zone is signed."""
    network.ways |= {FIRST: refuse, SECOND: refuse}
    assert (look().security.valid, look().security.why) == (None, "no name server answered")


def test_other_mail_hosts_of_the_domain_are_found(network: Network) -> None:
    """All MX hosts of a domain are found if one of them is looked at; of another domain, none."""
    network.lines[RESOLVER] += [
        "example.com. 300 MX 10 mail.example.com.",
        "example.com. 300 MX 20 mx.example.net.",
        "mail.example.com. 300 MX 10 elsewhere.example.net.",
    ]
    here, bare = ("example.com", "mail.example.com"), ("example.com", "mx.example.net")
    assert adapter.mail_hosts([look()]) == [MailHost(*here, True), MailHost(*bare, False)]
    tlsa = dns.rdatatype.TLSA
    network.ways[RESOLVER] = lambda one: refuse(one) if one.question[0].rdtype == tlsa else None
    assert MailHost(*here, None) in adapter.mail_hosts([OwnerObservation(PORT, PORT.owner)])
    assert adapter.mail_hosts([OwnerObservation(Port("mail.example.com", 465), "")]) == []


@pytest.fixture
def cutting(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A name server on this machine that cuts each answer over UDP, and gives it over TCP."""
    with ExitStack() as open_:
        tcp = open_.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = tcp.getsockname()[1]
        udp = open_.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", port))
        monkeypatch.setattr(dns_session, "PORT", port)

        def serve() -> None:
            wire, client = udp.recvfrom(4096)
            cut = dns.message.make_response(dns.message.from_wire(wire))
            cut.flags |= dns.flags.TC
            udp.sendto(cut.to_wire(), client)
            connection, _ = tcp.accept()
            with connection:
                wire = connection.recv(4096)[2:]
                whole = answered(dns.message.from_wire(wire), ZONE).to_wire()
                connection.sendall(len(whole).to_bytes(2, "big") + whole)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield "127.0.0.1"
        serving.join(10)


def test_an_answer_that_was_cut_is_asked_for_again(cutting: str) -> None:
    """An answer that does not fit into a packet comes over TCP."""
    question = dns.message.make_query(PORT.owner, "TLSA")
    assert len(dns_session.exchange(question, cutting, 10).answer) == 1
