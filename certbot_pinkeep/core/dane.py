"""What clients do with the TLSA records of a port and the certificates that its server shows. Pure.

The rules:

* A client heeds the records that it understands: of a usage, a selector and a digest that it knows, with data
  of that digest's length (RFC 7671 §4, §5). The others are as if they were not there.
* Of each usage and selector it heeds one digest alone, the longest that it knows. Records with whole data
  (matching type 0) count beside it (RFC 7671 §9).
* If one of the records that it heeds matches, it accepts the server. If none matches, it refuses. If it heeds
  none, it goes on without pins (RFC 7672 §2.2).
* A record of usage 1 or 3 is about the server's own certificate. A record of usage 0 or 2 is about an
  authority's. The server has to show that one, unless the client knows it already.
* Clients differ: all know SHA-256, and some SHA-512. Mail servers heed the usages 2 and 3 (RFC 7672 §3.1.3);
  some of them, and other clients, heed all four. What one of them refuses counts as refused.
* Whether the signatures of the zone are valid is not asked here. Nor is what usages 0 and 1 ask for besides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from certbot_pinkeep.core.tlsa import TlsaRecord, record_of

#: ``unheeded``: no client heeds any of the records. ``unknown``: it depends on what was not seen.
Verdict = Literal["refused", "unknown", "accepted", "unheeded"]
_WORST_FIRST: tuple[Verdict, ...] = ("refused", "unknown", "accepted", "unheeded")
_WHOLE = 0
_DIGESTS: dict[int, Callable[[bytes], str]] = {
    _WHOLE: bytes.hex,
    1: lambda data: hashlib.sha256(data).hexdigest(),
    2: lambda data: hashlib.sha512(data).hexdigest(),
}
_LENGTHS = {1: 64, 2: 128}
#: The usages and the digests that a client knows.
_CLIENTS = tuple((usages, known) for usages in ((2, 3), (0, 1, 2, 3)) for known in ((1,), (1, 2)))
_SELECTORS = (0, 1)
_ANOTHER = b"another certificate"


@dataclass(frozen=True)
class Certificate:
    """A certificate that a server shows.

    :ivar pin: of its key
    :ivar key: the key, as DER; empty: only its pin is known
    :ivar whole: all of it, as DER; empty: it is not known
    """

    pin: str
    key: bytes = b""
    whole: bytes = b""

    def renewed(self) -> Certificate:
        """Return the next one for the same key."""
        return replace(self, whole=_ANOTHER)


#: A server's own certificate, and those of the authorities that it shows. Alone: they were not seen.
Chain = tuple[Certificate, ...]


def verdict(records: Iterable[TlsaRecord], chain: Chain) -> Verdict:
    """Return what clients do, the worst of it."""
    given = tuple(records)
    found = {_verdict(_heeded(given, *client), chain) for client in _CLIENTS}
    return next(one for one in _WORST_FIRST if one in found)


def accepted_pins(records: Iterable[TlsaRecord]) -> frozenset[str]:
    """Return the pins of the keys that all clients accept, whatever the certificate."""
    return _accepted_pins(frozenset(records))


@lru_cache(maxsize=1024)
def _accepted_pins(records: frozenset[TlsaRecord]) -> frozenset[str]:
    """Do the same. Name servers mostly show the same records again."""
    pins = {pin for record in records if (pin := record.pin)}
    return frozenset(
        pin for pin in pins if verdict(records, (Certificate(pin).renewed(),)) == "accepted"
    )


def outranking(records: Iterable[TlsaRecord]) -> list[TlsaRecord]:
    """Return the records beside which some clients heed no pin of the same set, sorted."""
    given = tuple(records)
    pins = [one for one in given if one.pin]
    heeded = _heeded(given, *_CLIENTS[-1])
    kinds = {(one.usage, one.selector) for one in pins if one not in heeded}
    return sorted(one for one in heeded if (one.usage, one.selector) in kinds and one.matching)


def _heeded(
    records: Sequence[TlsaRecord], usages: Sequence[int], digests: Sequence[int]
) -> list[TlsaRecord]:
    """Return the records that a client heeds."""
    usable = [one for one in records if one.usage in usages and _is_usable(one, digests)]
    longest: dict[tuple[int, int], int] = {}
    for one in usable:
        kind = one.usage, one.selector
        longest[kind] = max(one.matching, longest.get(kind, _WHOLE))
    return [one for one in usable if one.matching in (_WHOLE, longest[one.usage, one.selector])]


def _is_usable(record: TlsaRecord, digests: Sequence[int]) -> bool:
    if record.selector not in _SELECTORS:
        return False
    if record.matching == _WHOLE:
        return bool(record.data)
    return record.matching in digests and len(record.data) == _LENGTHS[record.matching]


def _verdict(heeded: Sequence[TlsaRecord], chain: Chain) -> Verdict:
    if not heeded:
        return "unheeded"
    found = [_matches(one, chain) for one in heeded]
    if True in found:
        return "accepted"
    return "unknown" if None in found else "refused"


def _matches(record: TlsaRecord, chain: Chain) -> bool | None:
    """Return whether a record matches; ``None``: that is not known."""
    if record.usage in (1, 3):
        return _is_of(record, chain[0])
    if any(_is_of(record, one) for one in chain[1:]):
        return True
    # A client may know the authority already, or from the record itself.
    known = record.usage == 0 or record.matching == _WHOLE
    return None if known or len(chain) == 1 else False


def _is_of(record: TlsaRecord, one: Certificate) -> bool | None:
    data = one.key if record.selector else one.whole
    if data:
        return _DIGESTS[record.matching](data) == record.data
    if record.selector and record.matching == 1:
        return record_of(one.pin).data == record.data
    return None
