"""Keys, their roles and their order: the rules at the top of the module."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.core import membership, staging
from certbot_pinkeep.core.errors import BadPolicy
from certbot_pinkeep.core.keyring import Key, Keyring, Member, RetireReason
from certbot_pinkeep.core.kinds import KeyKind
from simulated.values import DAY, EC, NOW, RSA, A, B, C, D, E, fake_pin, faulty, ring_key


def member(pin: str, name: str = "example.com") -> Member:
    """A lineage that serves this pin."""
    return Member(name, (name, f"www.{name}"), pin)


def ring(*keys: Key, serving: tuple[str, ...] = (A,)) -> Keyring:
    """A keyring whose lineages serve the given pins."""
    members = tuple(member(pin, f"{n}.example") for n, pin in enumerate(serving))
    return Keyring("ring", members, keys)


def roles(keyring: Keyring) -> dict[str, str]:
    """The role of each pin."""
    return {key.pin: key.role for key in keyring.keys}


ORDERS = {
    "served pins, then backups in the order of their use": (
        ring(ring_key(B), ring_key(A, "primary"), ring_key(C), ring_key(D, "retired")),
        (A, B, C),
    ),
    "after a rollover of one of two lineages, the new primary leads": (
        ring(ring_key(A, "in-service"), ring_key(B, "primary"), ring_key(C), serving=(A, B)),
        (B, A, C),
    ),
    "unserved keys type by type, each in its order": (
        ring(
            *(ring_key(B, kind=EC), ring_key(A, "primary", EC), ring_key(D, kind=RSA)),
            *(ring_key(C, "primary", RSA), ring_key(E, kind=RSA)),
            serving=(A, C),
        ),
        (A, C, D, E, B),
    ),
    "a primary that no lineage serves yet is the next key to be used": (
        ring(ring_key(B), ring_key(C, "primary"), ring_key(A, "in-service")),
        (A, C, B),
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_pins_are_published_in_the_order_of_their_use(name: str) -> None:
    """Those in service come first, and the primaries among them."""
    found, pins = ORDERS[name]
    assert found.published_pins() == pins


def test_g4_no_header_without_a_backup_that_is_not_in_service() -> None:
    """A served key alone, or two served keys, must not be published (RFC 7469 §4.3)."""
    alone = ring(ring_key(A, "primary"))
    both_served = ring(ring_key(A, "primary"), ring_key(B), serving=(A, B))
    retired = ring(ring_key(A, "primary"), ring_key(B, "retired"), ring_key(C, "compromised"))
    for found in (alone, both_served, retired):
        with pytest.raises(BadPolicy, match="backup"):
            found.published_pins()


@pytest.mark.parametrize(("kind", "other"), [(EC, RSA), (RSA, EC)])
def test_g4_each_key_type_needs_its_own_backup(kind: KeyKind, other: KeyKind) -> None:
    """A live pin of the other type, or its backup, is no backup for this one."""
    keys = [ring_key(A, "primary", kind), ring_key(B, "primary", other), ring_key(C, kind=kind)]
    with pytest.raises(BadPolicy, match=other.key_type):
        ring(*keys, serving=(A, B)).published_pins()
    complete = ring(*keys, ring_key(D, kind=other), serving=(A, B))
    assert set(complete.published_pins()) == {A, B, C, D}


@pytest.mark.parametrize(("reason", "kept"), [("asked", ""), ("lost", ""), ("revoked", "revoked")])
def test_retired_key_that_a_lineage_brings_is_in_service_again(
    reason: RetireReason, kept: str
) -> None:
    """What is revoked stays so; a key with another role keeps that."""
    gone = replace(ring_key(C, "retired"), retire_reason=reason)
    found = membership.with_joined(ring(ring_key(A, "primary"), ring_key(B), gone), ring_key(C))
    key = found.key(C)
    assert key is not None and (key.role, key.retire_reason) == ("in-service", kept)
    assert roles(membership.with_joined(found, ring_key(B))) == roles(found)
    alone = membership.with_joined(ring(gone), ring_key(C)).key(C)
    assert alone is not None and alone.role == "primary"


def test_served_backup_is_promoted() -> None:
    """A lineage serves a backup: it is primary now, and the old primary retires."""
    found = membership.with_member(
        ring(ring_key(A, "primary"), ring_key(B), ring_key(C)), member(B, "0.example")
    )
    assert roles(found) == {A: "retired", B: "primary", C: "backup"}
    assert found.published_pins() == (B, C)


def test_old_primary_stays_pinned_while_it_is_served() -> None:
    """Of two lineages one has rolled over: both keys are in service, until the other follows."""
    keys = (ring_key(A, "primary"), ring_key(B), ring_key(C))
    half = membership.with_member(ring(*keys, serving=(A, A)), member(B, "0.example"))
    assert roles(half) == {A: "in-service", B: "primary", C: "backup"}
    assert half.published_pins() == (B, A, C)
    assert roles(membership.with_member(half, member(B, "1.example")))[A] == "retired"


def test_promotion_leaves_the_other_key_type_alone() -> None:
    """An ECDSA rollover retires no RSA key."""
    found = membership.with_member(
        ring(
            ring_key(A, "primary", EC),
            ring_key(B, kind=EC),
            ring_key(C, "primary", RSA),
            ring_key(D, kind=RSA),
            serving=(A, C),
        ),
        member(B, "0.example"),
    )
    assert roles(found) == {A: "retired", B: "primary", C: "primary", D: "backup"}


def test_lineage_that_is_seen_again_keeps_its_place() -> None:
    """A lineage is listed once, with what was seen of it last."""
    found = ring(ring_key(A, "primary"), ring_key(B), serving=(A, A))
    again = membership.with_member(found, Member("0.example", ("new.example",), A, "ab"))
    assert [m.lineage for m in again.members] == ["0.example", "1.example"]
    assert again.members[0].hosts == ("new.example",)
    assert again.hosts == ("new.example", "1.example", "www.1.example")


def test_lower_backup_count_retires_the_last_ones() -> None:
    """The next one to be used stays; no key is dropped."""
    found = ring(ring_key(A, "primary"), ring_key(B), ring_key(C), ring_key(D))
    assert roles(staging.with_backup_count(found, 1)) == {
        A: "primary",
        B: "backup",
        C: "retired",
        D: "retired",
    }


def test_higher_backup_count_stages_spare_keys_before_new_ones() -> None:
    """A retired key that was never served comes back; only what then lacks has to be made."""
    fewer = staging.with_backup_count(ring(ring_key(A, "primary"), ring_key(B), ring_key(C)), 1)
    more = staging.with_backup_count(fewer, 3)
    assert roles(more) == {A: "primary", B: "backup", C: "backup"}
    assert more.published_pins() == (A, B, C)
    assert staging.missing_backups(more, 3) == {EC: 1}


@pytest.mark.parametrize(
    "spare",
    [
        ring_key(B, "retired", first_served=NOW - DAY),
        ring_key(B, "retired", path=None),
        ring_key(B, "retired", kind=KeyKind("ecdsa", "secp384r1")),
        ring_key(B, "retired", kind=RSA),
        ring_key(B, "compromised"),
    ],
    ids=["served before", "file in another folder", "other curve", "other type", "compromised"],
)
def test_key_that_is_no_spare_is_not_staged(spare: Key) -> None:
    """What was served, is not available, is of another kind or compromised is never staged again."""
    found = staging.with_backup_count(ring(ring_key(A, "primary"), spare), 2)
    assert found.key(B) == spare
    assert staging.missing_backups(found, 2) == {EC: 2}


def test_missing_backups_are_of_the_primarys_kind() -> None:
    """Per key type as many as lack, on the primary's curve or of its size."""
    found = ring(
        ring_key(A, "primary", KeyKind("ecdsa", "secp384r1")),
        ring_key(B, "primary", KeyKind("rsa", "4096")),
        ring_key(C, kind=KeyKind("rsa", "2048")),
        serving=(A, B),
    )
    assert staging.missing_backups(found, 2) == {
        KeyKind("ecdsa", "secp384r1"): 2,
        KeyKind("rsa", "4096"): 1,
    }
    assert found.key_types() == ("rsa", "ecdsa")


def test_backup_that_is_in_service_does_not_count() -> None:
    """A served backup is no backup any more (RFC 7469 §4.3)."""
    found = ring(ring_key(A, "primary"), ring_key(B), ring_key(C), serving=(A, B))
    assert staging.missing_backups(found, 2) == {EC: 1}


def test_first_service_is_noted_once() -> None:
    """The earliest known time stays."""
    found = ring(ring_key(A, "primary"), ring_key(B)).served_since({A: NOW}, NOW)
    assert found.served_since({A: NOW + DAY}, NOW) == found
    first: list[datetime | None] = [key.first_served for key in found.keys]
    assert first == [NOW, None]


def test_loaded_certificate_is_noted_for_its_lineage_only() -> None:
    """What Apache has loaded is known lineage by lineage."""
    found = ring(ring_key(A, "primary"), serving=(A, A)).loaded("1.example", "ab")
    assert [m.loaded for m in found.members] == [None, "ab"]


def test_look_ups_of_what_is_not_there() -> None:
    """No key, lineage or primary is found if there is none."""
    empty = Keyring("ring")
    assert empty.key(A) is None and empty.member("x") is None and empty.primary("rsa") is None
    assert empty.key_types() == () and staging.missing_backups(empty, 2) == {}


FULL = ring(
    ring_key(A, "primary", EC),
    ring_key(B, kind=EC),
    ring_key(C, kind=EC),
    ring_key(D, "primary", RSA),
    ring_key(E, kind=RSA),
    serving=(A, D),
)


def leaves(keyring: Keyring) -> dict[str, str]:
    """List why each key is to be retired."""
    return {key.pin: key.retire_reason for key in keyring.keys if key.retire_reason}


def forced(keyring: Keyring) -> set[str]:
    """The keys that the admin chose."""
    return {key.pin for key in keyring.keys if key.forced}


def test_request_is_about_the_primaries() -> None:
    """Of every key type, and of no backup; a revocation that was noted before stays the reason."""
    assert leaves(FULL.mark_for_retirement()) == {A: "asked", D: "asked"}
    assert leaves(FULL.with_revoked(A).mark_for_retirement()) == {A: "revoked", D: "asked"}
    assert roles(FULL.mark_for_retirement()) == roles(FULL)


def test_revocation_is_the_stronger_reason() -> None:
    """A key that is left on the admin's request is a revoked one as soon as it is revoked."""
    assert leaves(FULL.mark_for_retirement().with_revoked(D)) == {A: "asked", D: "revoked"}
    assert FULL.with_revoked("unknown") == FULL


def test_g2_another_primary_serves_the_request() -> None:
    """After the rollover nothing is left to be left: the new primary stays. That it was forced
    is over if no lineage is still to follow."""
    found = membership.with_member(
        FULL.mark_for_retirement().with_forced(C), member(C, "0.example")
    )
    primary = found.primary("ecdsa")
    assert primary is not None
    assert (primary.pin, primary.retire_reason, primary.forced) == (C, "", False)
    assert leaves(found) == {A: "asked", D: "asked"} and forced(found) == set()


def test_g2_key_that_was_left_is_not_staged_again() -> None:
    """Not even one that, as far as is known, was never served."""
    found = staging.with_backup_count(
        membership.with_member(FULL.mark_for_retirement(), member(B, "0.example")), 3
    )
    assert roles(found)[A] == "retired"
    assert staging.missing_backups(found, 3)[EC] == 2


@pytest.mark.parametrize("pin", [A, B])
def test_compromised_key_has_no_role_any_more(pin: str) -> None:
    """Neither primary nor backup, whatever was asked of it before, and never staged again."""
    found = FULL.mark_for_retirement().with_forced(B).with_compromised(pin)
    key = found.key(pin)
    assert key is not None and (key.role, key.retire_reason, key.forced) == (
        "compromised",
        "",
        False,
    )
    again = staging.with_backup_count(
        staging.with_backup_count(staging.with_backup_count(found, 5), 1), 5
    )
    assert roles(again)[pin] == "compromised"
    assert found.primary("ecdsa") == (None if pin == A else found.key(A))
    assert pin not in [key.pin for key in again.backups("ecdsa")]


def test_compromised_key_stays_pinned_while_it_is_served() -> None:
    """The live certificate is for it still; once it is not, its pin goes."""
    found = FULL.with_compromised(A)
    assert found.published_pins() == (D, A, E, B, C)
    assert found.key_types() == ("rsa", "ecdsa") and found.kind("ecdsa") == EC
    after = membership.with_member(found, member(B, "0.example"))
    assert A not in after.published_pins() and roles(after)[A] == "compromised"
    assert roles(after)[B] == "primary"


def test_forced_backup_comes_first_of_its_type() -> None:
    """It is the next one to be used, so fewer backups do not retire it."""
    found = FULL.with_forced(C)
    assert [key.pin for key in found.backups("ecdsa")] == [C, B] and forced(found) == {C}
    assert roles(staging.with_backup_count(found, 1))[C] == "backup"
    assert {key.pin for key in found.keys} == {key.pin for key in FULL.keys}


@pytest.mark.parametrize(
    ("choices", "chosen"), [((C, B), {B}), ((C, E), {C, E}), ((A, "unknown"), set())]
)
def test_one_backup_of_each_type_can_be_forced(choices: tuple[str, ...], chosen: set[str]) -> None:
    """A second choice takes the place of the first one. A primary is in use already."""
    found = FULL
    for pin in choices:
        found = found.with_forced(pin)
    assert forced(found) == chosen and (chosen or found == FULL)


def test_g4_lost_backup_is_no_backup_until_it_is_there_again() -> None:
    """It is retired, forced or not, and another one is to be made; its path is kept."""
    found = staging.without_lost(faulty(FULL.with_forced(C), C, A))
    lost = found.key(C)
    assert lost is not None and (lost.role, lost.forced) == ("retired", False)
    assert lost.path == FULL.keys[0].path
    assert found.primary("ecdsa") == FULL.key(A)
    assert roles(staging.with_backup_count(found, 2))[C] == "retired"
    assert roles(staging.with_backup_count(faulty(found), 2))[C] == "backup"
    assert staging.missing_backups(found, 2)[EC] == 1 and C not in found.published_pins()


def test_keyring_without_some_keys() -> None:
    """Keys whose files are lost are left out, all else stays."""
    found = FULL.without([B, E, "unknown"])
    assert [key.pin for key in found.keys] == [A, C, D] and found.members == FULL.members
    assert FULL.without([]) == FULL


Change = tuple[str, int, int]
CHANGES = st.lists(
    st.tuples(st.sampled_from(["count", "serve"]), st.integers(1, 4), st.integers(0, 9)),
    max_size=12,
)


@given(CHANGES, st.booleans())
def test_g4_g5_any_history_keeps_all_keys_and_a_backup(
    changes: list[Change], two_types: bool
) -> None:
    """Backup counts and rollovers in any order. No key is ever lost, and the roles stay sound. What was
    promised stays pinned, and a header can always be published."""
    keys = [ring_key(fake_pin(0), "primary", EC)]
    serving = [fake_pin(0)]
    if two_types:
        keys.append(ring_key(fake_pin(1), "primary", RSA))
        serving.append(fake_pin(1))
    found = ring(*keys, serving=tuple(serving))
    made, wanted = 2, 2
    for action, number, choice in [("count", 2, 0), *changes]:
        before = found
        if action == "count":
            wanted = number
        else:
            lineage = found.members[choice % len(found.members)]
            own = found.key(lineage.pin)
            assert own is not None
            published = [
                pin
                for pin in found.published_pins()
                if (key := found.key(pin)) and key.kind == own.kind
            ]
            served = published[number % len(published)]
            found = membership.with_member(found, Member(lineage.lineage, lineage.hosts, served))
            found = found.served_since({served: NOW}, NOW)
        found = staging.with_backup_count(found, wanted)
        for kind, count in staging.missing_backups(found, wanted).items():
            for _ in range(count):
                made += 1
                found = found.with_keys([ring_key(fake_pin(made), kind=kind)])

        assert {key.pin for key in before.keys} <= {key.pin for key in found.keys}
        assert max(Counter(key.pin for key in found.keys).values()) == 1
        live = {m.pin for m in found.members}
        listed = found.published_pins()
        assert set(listed[: len(live)]) == live
        assert len(set(listed)) == len(listed) >= 2
        for kind in (EC, RSA) if two_types else (EC,):
            primaries = [k for k in found.keys if k.kind == kind and k.role == "primary"]
            assert len(primaries) == 1
            backups = [k.pin for k in found.backups(kind.key_type) if k.pin not in live]
            assert len(backups) == wanted and set(backups) <= set(listed)
        for key in found.keys:
            assert key.role not in ("retired", "backup") or key.pin not in live
