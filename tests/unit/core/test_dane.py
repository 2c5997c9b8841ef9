"""What clients do with records and certificates: the worst of it, from which checks and rollovers follow."""

from __future__ import annotations

import base64
import hashlib

import pytest

from certbot_pinkeep.core import dane
from certbot_pinkeep.core.dane import Certificate
from certbot_pinkeep.core.tlsa import TlsaRecord, record_of


def certificate(name: str) -> Certificate:
    """A certificate with made-up parts."""
    key = name.encode()
    pin = base64.b64encode(hashlib.sha256(key).digest()).decode()
    return Certificate(pin, key, b"whole " + key)


OWN, AUTHORITY, OTHER, FOREIGN = map(certificate, ("own", "authority", "other", "foreign"))
CHAIN = (OWN, AUTHORITY)
ALONE = (Certificate(OWN.pin),)


def record(kind: str, of: Certificate = OWN) -> TlsaRecord:
    """A record of a kind such as ``3 1 1`` that a certificate matches."""
    usage, selector, matching = map(int, kind.split())
    data = of.key if selector else of.whole
    written = [data.hex(), hashlib.sha256(data).hexdigest(), hashlib.sha512(data).hexdigest()]
    return TlsaRecord(usage, selector, matching, written[matching])


#: Records, and what clients do: with the whole chain, with the next certificate for its key, if only the pin
#: is known.
SETS: dict[str, tuple[list[TlsaRecord], str, str, str]] = {
    "none": ([], "unheeded", "unheeded", "unheeded"),
    "its key": ([record("3 1 1")], "accepted", "accepted", "accepted"),
    "another key": ([record("3 1 1", OTHER)], "refused", "refused", "refused"),
    "both": ([record("3 1 1", OTHER), record("3 1 1")], "accepted", "accepted", "accepted"),
    "its certificate": ([record("3 0 1")], "accepted", "refused", "unknown"),
    "a longer digest of another key": (
        [record("3 1 1"), record("3 1 2", OTHER)],
        "refused",
        "refused",
        "unknown",
    ),
    "a longer digest of its key": (
        [record("3 1 1", OTHER), record("3 1 2")],
        "refused",
        "refused",
        "refused",
    ),
    "each digest of its key": (
        [record("3 1 1"), record("3 1 2")],
        "accepted",
        "accepted",
        "unknown",
    ),
    "a longer digest of something else": (
        [record("3 1 1"), record("3 0 2", OTHER), record("2 1 2", OTHER)],
        "accepted",
        "accepted",
        "accepted",
    ),
    "the whole key beside a longer digest": (
        [record("3 1 0"), record("3 1 2", OTHER)],
        "accepted",
        "accepted",
        "unknown",
    ),
    "a longer digest alone, which some do not know": (
        [record("3 1 2")],
        "accepted",
        "accepted",
        "unknown",
    ),
    "its authority": ([record("2 1 1", AUTHORITY)], "accepted", "accepted", "unknown"),
    "another authority": ([record("2 1 1", OTHER)], "refused", "refused", "unknown"),
    "an authority that the record has": ([record("2 0 0", OTHER)], "unknown", "unknown", "unknown"),
    "usage 1 of another key, which few mail servers heed": (
        [record("1 1 1", OTHER)],
        "refused",
        "refused",
        "refused",
    ),
    "usage 0, which may be known": ([record("0 1 1", OTHER)], "unknown", "unknown", "unknown"),
    "usage 1 of its key beside usage 3 of another": (
        [record("1 1 1"), record("3 1 1", OTHER)],
        "refused",
        "refused",
        "refused",
    ),
    "a digest that is too short": (
        [TlsaRecord(3, 1, 1, "aa" * 31)],
        "unheeded",
        "unheeded",
        "unheeded",
    ),
    "a digest that nobody knows": (
        [record("3 1 1"), TlsaRecord(3, 1, 7, "aa" * 99)],
        "accepted",
        "accepted",
        "accepted",
    ),
    "a usage and a selector that nobody knows": (
        [TlsaRecord(4, 1, 1, "aa" * 32), TlsaRecord(3, 2, 1, "aa" * 32)],
        "unheeded",
        "unheeded",
        "unheeded",
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_g2_what_clients_do(name: str) -> None:
    """With what a server shows, after the next renewal, and as far as it is known without a look."""
    records, now, renewed, unseen = SETS[name]
    found = [dane.verdict(records, one) for one in (CHAIN, (OWN.renewed(), AUTHORITY), ALONE)]
    assert found == [now, renewed, unseen]


def test_g2_pins_that_clients_accept_are_those_that_nothing_outranks() -> None:
    """A rollover relies on them, so nothing else in the set may be needed."""
    pins, longer = [record("3 1 1"), record("3 1 1", OTHER)], record("3 1 2")
    for records, accepted, outranking in (
        (pins, {OWN.pin, OTHER.pin}, []),
        ([*pins, record("3 0 2"), record("2 1 2", AUTHORITY)], {OWN.pin, OTHER.pin}, []),
        ([*pins, longer], set(), [longer]),
        ([*pins, TlsaRecord(3, 1, 2, "ab")], {OWN.pin, OTHER.pin}, []),
        ([longer, record_of(FOREIGN.pin)], set(), [longer]),
        ([longer], set(), []),
    ):
        assert dane.accepted_pins(records) == accepted and dane.outranking(records) == outranking
