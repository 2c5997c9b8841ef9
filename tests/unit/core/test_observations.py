"""Which hosts are looked at."""

from __future__ import annotations

from dataclasses import replace

from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.observations import (
    Target,
    targets,
)
from simulated.seen import (
    HOST,
    RING,
)
from simulated.values import (
    EC,
    RSA,
    A,
    B,
    D,
    E,
    ring_key,
)

TYPES = Keyring(
    RING,
    (Member(HOST, (HOST, "*.example.com", "192.0.2.1"), A), Member("rsa", (HOST,), D)),
    (ring_key(A, "primary", EC), ring_key(B, kind=EC), ring_key(D, "primary", RSA), ring_key(E)),
)


def test_hosts_are_looked_at_by_name_and_key_type() -> None:
    """A wildcard as one label below it, an address not at all; both types if there are two."""
    assert targets(TYPES) == [
        Target(HOST, key_types=("ecdsa", "rsa")),
        Target("pinkeep-check.example.com", optional=True, guessed=True),
    ]
    moved = replace(TYPES, members=tuple(replace(m, transferred="other") for m in TYPES.members))
    assert targets(moved) == []


def test_wildcard_is_looked_at_all_the_same_if_there_is_no_other_name() -> None:
    """Else a keyring would be sound of which nothing was looked at."""
    member = replace(TYPES.members[0], hosts=("*.example.com", "192.0.2.1"))
    assert targets(replace(TYPES, members=(member,))) == [
        Target("pinkeep-check.example.com", optional=False, guessed=True)
    ]
