"""Backups that the admin brings: pinned by a CSR alone, encrypted or whole; asked for in their turn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import main
from certbot_pinkeep.core import rollover
from certbot_pinkeep.core.errors import BadBackup, Compromised, NotSafe
from certbot_pinkeep.core.key_and_csr import csr_request
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.pem import load_private_key
from certbot_pinkeep.storage import keys_and_csrs
from certbot_pinkeep.workflow import offline_backups, releases, requests
from simulated.machine import RSA_KEY, Machine
from simulated.values import (
    DAY,
    HOUR,
    NOW,
    A,
    B,
    C,
    encrypted,
    make_pem,
    mode_of,
    pem_of,
    pin_of_key,
    policy,
    resigned,
    ring_key,
    tree,
)

SITE = "pin.test"
TINY_EXPONENT = pem_of(rsa.generate_private_key(3, 2048))
PASSPHRASE = b"correct horse"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A pinned lineage with one backup of its own making."""
    found = Machine(tmp_path)
    found.issue(SITE)
    found.keep(SITE, SITE, backup_keys=1)
    return found


@pytest.fixture
def key() -> bytes:
    """A private key that is kept offline."""
    return make_pem()


def csr_of(key: bytes) -> bytes:
    """Its CSR."""
    return keys_and_csrs.make_csr(key, [SITE], must_staple=False)


def public_of(key: bytes) -> bytes:
    """Its public key."""
    return (
        load_private_key(key)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def sealed(key: bytes) -> bytes:
    """It, encrypted."""
    return encrypted(key, PASSPHRASE)


def brought(key: bytes, keep: bytes | None = None) -> offline_backups.Imported:
    """It, as the admin brings it."""
    return offline_backups.Imported("offline.key", load_private_key(key), keep)


def add_offline(machine: Machine, key: bytes, now: object = None) -> str:
    """Pin it by its CSR, and publish."""
    added = offline_backups.add_public(machine.workflow, SITE, csr_of(key), "offline.csr", NOW)
    machine.workflow.publish(SITE, NOW)
    return added.pin


def turn_comes(machine: Machine) -> None:
    """Use up the backup before it; it is day 100, and all clients know all pins."""
    requests.ask(machine.workflow, SITE, NOW + 90 * DAY)
    machine.renew(SITE, SITE, NOW + 90 * DAY, backup_keys=1)


# The rule


def ring(*keys: tuple[str, str | None]) -> Keyring:
    """A keyring with a primary that is served and too old."""
    primary = ring_key(A, "primary", first_served=NOW - 800 * DAY)
    staged = tuple(ring_key(pin, path=path) for pin, path in keys)
    return Keyring("r", (Member(SITE, (SITE,), A),), (primary, *staged), 730)


KNOWN = Ledger().record(policy(A, B, C), NOW - 100 * DAY).confirm(NOW - 100 * DAY)


def test_backup_that_is_offline_is_asked_for_in_its_turn() -> None:
    """The primary goes on, though a later one is available."""
    decision = rollover.decide(ring((B, None), (C, "keys/1")), KNOWN, NOW, "ecdsa")
    assert decision.key is not None and decision.key.pin == A and decision.held
    assert decision.best is not None and decision.best.pin == B
    assert decision.safety.cause == "offline" and "not on this machine" in decision.safety.why


def test_backup_that_is_offline_waits_for_its_turn() -> None:
    """The one before it is used."""
    decision = rollover.decide(ring((C, "keys/1"), (B, None)), KNOWN, NOW, "ecdsa")
    assert decision.rolls_over and decision.key is not None and decision.key.pin == C


def test_g3_compromised_key_is_left_for_the_next_one_available() -> None:
    """The renewal must not fail for a key that is offline."""
    keyring = ring((B, None), (C, "keys/1")).with_compromised(A)
    decision = rollover.decide(keyring, KNOWN, NOW, "ecdsa")
    assert decision.key is not None and decision.key.pin == C


def test_g3_if_no_other_is_safe_the_key_is_asked_for() -> None:
    """The available one would lock clients out."""
    book = Ledger().record(policy(A, B), NOW - 100 * DAY).confirm(NOW - 100 * DAY)
    keyring = ring((B, None), (C, "keys/1")).with_compromised(A)
    decision = rollover.decide(keyring, book, NOW, "ecdsa")
    assert decision.key is None and decision.best is not None and decision.best.pin == B


# Bringing them


@pytest.mark.parametrize("form", [csr_of, public_of])
def test_csr_or_public_key_is_enough_to_pin(machine: Machine, key: bytes, form: object) -> None:
    """It is the last pin, and no backup of our making makes room for it."""
    assert callable(form)
    before = machine.published(SITE).pins
    offline_backups.add_public(machine.workflow, SITE, form(key), "offline.csr", NOW)
    machine.workflow.publish(SITE, NOW)
    assert machine.published(SITE).pins == (*before, pin_of_key(key))
    machine.keep(SITE, SITE, NOW + DAY, pinned=True, backup_keys=1)
    assert machine.published(SITE).pins == (*before, pin_of_key(key))


def test_renewal_keeps_the_key_and_asks_until_the_key_is_imported(
    machine: Machine, key: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Then it is issued for it."""
    pin = add_offline(machine, key)
    turn_comes(machine)
    present = machine.members(SITE)[SITE]
    with pytest.raises(NotSafe, match=r"certbot-pinkeep backup pin\.test add --key FILE"):
        requests.ask(machine.workflow, SITE, NOW + 100 * DAY)
    requests.ask(machine.workflow, SITE, NOW + 100 * DAY, when_safe=True)
    assert machine.handed(SITE, SITE, NOW + 100 * DAY, backup_keys=1).pin == present
    assert f"the private key of its next backup, with the pin {pin}" in caplog.text
    assert "certbot-pinkeep backup pin.test add --key FILE" in caplog.text
    offline_backups.add_private(machine.workflow, SITE, brought(key), NOW + 100 * DAY)
    assert (
        "rolls the keyring pin.test over"
        in requests.due(machine.workflow, SITE, NOW + 100 * DAY)[0]
    )
    assert machine.renew(SITE, SITE, NOW + 100 * DAY, backup_keys=1) == pin
    assert machine.role(SITE, pin) == "primary"


def test_g7_brought_key_is_closed_and_nowhere_else(machine: Machine, key: bytes) -> None:
    """One file in keys/, 0600; the keyring file has its path only."""
    pin = add_offline(machine, key)
    offline_backups.add_private(machine.workflow, SITE, brought(key), NOW)
    found = machine.state(SITE).keyring.key(pin)
    assert found is not None and found.path is not None
    path = machine.config / found.path
    assert path.read_bytes() == key and mode_of(path) == 0o600
    body = key.splitlines()[1]
    holders = [
        one for one in machine.config.rglob("*") if one.is_file() and body in one.read_bytes()
    ]
    assert holders == [path]


def test_another_key_than_the_one_waited_for_is_refused(machine: Machine, key: bytes) -> None:
    """Unless the admin says that it is one more."""
    pin = add_offline(machine, key)
    before = tree(machine.config)
    with pytest.raises(BadBackup, match=f"waits for the private key of {pin}".replace("+", r"\+")):
        offline_backups.add_private(machine.workflow, SITE, brought(make_pem()), NOW)
    assert tree(machine.config) == before
    added = offline_backups.add_private(machine.workflow, SITE, brought(make_pem()), NOW, new=True)
    assert machine.role(SITE, added.pin) == "backup"


def test_added_backup_stays_beyond_the_wanted_count(machine: Machine, key: bytes) -> None:
    """The count is of those that are made."""
    added = offline_backups.add_private(machine.workflow, SITE, brought(key), NOW)
    machine.keep(SITE, SITE, NOW + DAY, pinned=True, backup_keys=1)
    assert machine.role(SITE, added.pin) == "backup"
    assert len(machine.published(SITE).pins) == 3


def test_encrypted_backup_stays_so_until_it_is_opened(machine: Machine, key: bytes) -> None:
    """Its file is closed; when its turn has come it is asked for, and opened."""
    pem = sealed(key)
    added = offline_backups.add_private(machine.workflow, SITE, brought(key, pem), NOW)
    machine.workflow.publish(SITE, NOW)
    path = machine.config / added.encrypted
    assert added.path is None and path.read_bytes() == pem and mode_of(path) == 0o600
    turn_comes(machine)
    with pytest.raises(NotSafe, match=f"is encrypted, in {added.encrypted}"):
        requests.ask(machine.workflow, SITE, NOW + 100 * DAY)
    offline_backups.add_private(machine.workflow, SITE, brought(key), NOW + 100 * DAY)
    requests.ask(machine.workflow, SITE, NOW + 100 * DAY)
    assert machine.renew(SITE, SITE, NOW + 100 * DAY, backup_keys=1) == added.pin
    assert path.read_bytes() == pem


def test_g3_lost_primary_is_not_replaced_by_what_is_offline(machine: Machine, key: bytes) -> None:
    """The renewal goes on with the live key."""
    add_offline(machine, key)
    turn_comes(machine)
    present = machine.members(SITE)[SITE]
    found = machine.state(SITE).keyring.key(present)
    assert found is not None and found.path is not None
    (machine.config / found.path).unlink()
    assert machine.handed(SITE, SITE, NOW + 100 * DAY, backup_keys=1).pin == present


def test_g3_compromised_key_with_the_backup_offline(machine: Machine, key: bytes) -> None:
    """The renewal fails, asks for the key, and says what is left if that is lost: another backup,
    and who is locked out by it until when."""
    pin = add_offline(machine, key)
    turn_comes(machine)
    with pytest.raises(Compromised) as caught:
        requests.ask(machine.workflow, SITE, NOW + 100 * DAY, compromised=True)
    assert pin in str(caught.value) and "add --key FILE" in str(caught.value)
    told = str(caught.value)
    assert f"\nRun: certbot-pinkeep backup {SITE} drop {pin}\n" in told
    (here,) = [one.pin for one in machine.state(SITE).keyring.backups("ecdsa") if one.path]
    assert f"with the pin {here}." in told and f"rollover {SITE} --now --force" in told
    assert "This rollover locks out clients that noted the pins served" in told
    with pytest.raises(Compromised, match="add --key FILE"):
        machine.handed(SITE, SITE, NOW + 100 * DAY, backup_keys=1)
    offline_backups.add_private(machine.workflow, SITE, brought(key), NOW + 100 * DAY)
    assert machine.renew(SITE, SITE, NOW + 100 * DAY, backup_keys=1) == pin


def test_forced_rollover_takes_one_that_is_available(machine: Machine, key: bytes) -> None:
    """What cannot be handed over cannot be forced."""
    pin = add_offline(machine, key)
    turn_comes(machine)
    requests.ask(machine.workflow, SITE, NOW + 91 * DAY, force=True)
    assert machine.handed(SITE, SITE, NOW + 91 * DAY, backup_keys=1).pin != pin


def test_backup_whose_file_is_lost_is_brought_again(machine: Machine, key: bytes) -> None:
    """It is the same backup, in its old place; until then it is none."""
    added = offline_backups.add_private(machine.workflow, SITE, brought(key), NOW)
    before = [(one.pin, one.created, one.added) for one in machine.state(SITE).keyring.keys]
    assert added.path is not None
    (machine.config / added.path).unlink()
    again = offline_backups.add_private(machine.workflow, SITE, brought(key), NOW + HOUR)
    assert again.pin == added.pin and again.path is not None
    assert (machine.config / again.path).read_bytes() == key
    after = machine.state(SITE).keyring.keys
    assert [(one.pin, one.created, one.added) for one in after] == before


def test_backup_whose_file_was_away_for_a_while_is_one_again(machine: Machine, key: bytes) -> None:
    """As the error promised."""
    added = offline_backups.add_private(machine.workflow, SITE, brought(key), NOW)
    assert added.path is not None
    path = machine.config / added.path
    path.rename(machine.config / "away")
    machine.keep(SITE, SITE, NOW + HOUR, pinned=True, backup_keys=1)
    assert machine.role(SITE, added.pin) == "retired"
    (machine.config / "away").rename(path)
    machine.keep(SITE, SITE, NOW + DAY, pinned=True, backup_keys=1)
    assert machine.role(SITE, added.pin) == "backup" and added.pin in machine.published(SITE).pins


def test_g2_backup_that_a_release_carries_is_one_again_when_its_file_is_back(
    machine: Machine,
) -> None:
    """Beside the one that took its place: clients and apps may know of either."""
    carried = releases.add(
        machine.workflow, releases.ReleaseRequest(SITE, "ios", "1", NOW + 365 * DAY), NOW
    ).pins
    (staged,) = machine.state(SITE).keyring.backups("ecdsa")
    assert staged.path is not None
    (machine.config / staged.path).rename(machine.config / "away")
    machine.keep(SITE, SITE, NOW + HOUR, pinned=True, backup_keys=1)
    assert staged.pin not in machine.published(SITE).pins
    (machine.config / "away").rename(machine.config / staged.path)
    machine.keep(SITE, SITE, NOW + DAY, pinned=True, backup_keys=1)
    machine.keep(SITE, SITE, NOW + 2 * DAY, pinned=True, backup_keys=1)
    assert staged.pin in machine.published(SITE).pins and len(machine.published(SITE).pins) == 3
    requests.ask(machine.workflow, SITE, NOW + 70 * DAY)
    assert machine.renew(SITE, SITE, NOW + 70 * DAY, backup_keys=1) == staged.pin == carried[1]


def test_lost_backup_is_not_what_the_command_promises(
    machine: Machine, at_noon: None, key: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is due is told of the backups that are there."""
    requests.ask(machine.workflow, SITE, NOW, when_safe=True)
    (staged,) = machine.state(SITE).keyring.backups("ecdsa")
    assert staged.path is not None
    (machine.config / staged.path).unlink()
    given = tmp_path / "offline.csr"
    given.write_bytes(csr_of(key))
    assert run(machine, "add", "--csr", str(given)) == 0
    assert staged.pin not in capsys.readouterr().out


def test_backup_of_a_kind_that_is_in_service_is_taken(tmp_path: Path) -> None:
    """The CA has taken it before: it is one of the admin's own."""
    machine = Machine(tmp_path)
    machine.issue(SITE, make_pem(ec.SECP521R1()))
    machine.keep(SITE, SITE)
    pem = make_pem(ec.SECP521R1())
    assert offline_backups.add_private(machine.workflow, SITE, brought(pem), NOW).pin == pin_of_key(
        pem
    )


def test_g5_what_was_recorded_and_not_published_is_no_error(machine: Machine, key: bytes) -> None:
    """The same call again publishes it: Apache's configuration was broken, or a run was killed."""
    pem = make_pem()
    for again in range(2):
        assert offline_backups.add_private(
            machine.workflow, SITE, brought(key), NOW
        ).pin == pin_of_key(key)
        offline_backups.add_public(machine.workflow, SITE, csr_of(pem), "offline.csr", NOW)
        assert again == 1 or pin_of_key(pem) not in machine.published(SITE).pins
    machine.workflow.publish(SITE, NOW)
    with pytest.raises(BadBackup, match="already"):
        offline_backups.add_private(machine.workflow, SITE, brought(key), NOW)
    with pytest.raises(BadBackup, match="already"):
        offline_backups.add_public(machine.workflow, SITE, csr_of(pem), "offline.csr", NOW)
    for _ in range(2):
        assert offline_backups.drop(machine.workflow, SITE, pin_of_key(pem), NOW).pin == pin_of_key(
            pem
        )
    machine.workflow.publish(SITE, NOW)
    with pytest.raises(BadBackup, match="it is retired"):
        offline_backups.drop(machine.workflow, SITE, pin_of_key(pem), NOW)


def test_g1_csrs_of_a_backup_are_saved_with_it(machine: Machine, key: bytes) -> None:
    """Those of a brought one, and those of the one that takes a dropped one's place."""

    def lacking() -> list[str]:
        saved = machine.workflow.folders.saved_csrs()
        staged = [one.pin for one in machine.state(SITE).keyring.backups("ecdsa")]
        return [pin for pin in staged if csr_request(pin, (SITE,), must_staple=False) not in saved]

    offline_backups.add_private(machine.workflow, SITE, brought(key), NOW)
    assert not lacking()
    _, staged, _ = machine.state(SITE).keyring.keys
    offline_backups.drop(machine.workflow, SITE, staged.pin, NOW)
    assert not lacking()


def test_key_that_is_known_by_its_csr_and_is_here_is_not_offline(machine: Machine) -> None:
    """One that was dropped comes back with its file."""
    _, staged = machine.state(SITE).keyring.keys
    pem = machine.workflow.load_key(staged).pem
    offline_backups.drop(machine.workflow, SITE, staged.pin, NOW)
    added = offline_backups.add_public(machine.workflow, SITE, csr_of(pem), "my.csr", NOW)
    assert added.path == staged.path and not added.offline


def test_g3_number_of_an_encrypted_backup_is_not_given_to_another_key(
    machine: Machine, key: bytes
) -> None:
    """Its file may only be away for a while."""
    sealed_one = offline_backups.add_private(machine.workflow, SITE, brought(key, sealed(key)), NOW)
    (machine.config / sealed_one.encrypted).unlink()
    other = offline_backups.add_private(machine.workflow, SITE, brought(make_pem()), NOW, new=True)
    assert other.path != sealed_one.encrypted


def test_g4_backups_are_imported_and_dropped_while_the_keys_are_away(
    machine: Machine, key: bytes
) -> None:
    """What the admin asks for is done, and no number of a key that may come back is used."""
    _, staged = machine.published(SITE).pins
    away = {path: path.read_bytes() for path in (machine.config / "keys").iterdir()}
    for path in away:
        path.unlink()
    added = offline_backups.add_private(machine.workflow, SITE, brought(key), NOW)
    offline_backups.drop(machine.workflow, SITE, staged, NOW)
    assert not any(path.exists() for path in away)
    machine.workflow.publish(SITE, NOW)
    assert added.pin in machine.published(SITE).pins and staged not in machine.published(SITE).pins


def test_g3_backup_that_the_ca_does_not_take_is_passed_over_in_this_run(
    machine: Machine, key: bytes
) -> None:
    """The present key goes on; the admin is told by whom it is a backup."""
    added = offline_backups.add_private(machine.workflow, SITE, brought(key), NOW)
    machine.workflow.publish(SITE, NOW)
    turn_comes(machine)
    now, present = NOW + 200 * DAY, machine.members(SITE)[SITE]
    requests.ask(machine.workflow, SITE, now)
    live = machine.look(SITE)
    chosen = machine.options(SITE, backup_keys=1)

    def handed(*csr_rejected: str) -> str:
        pins_ = frozenset(csr_rejected)
        return machine.workflow.handover(
            live, SITE, live.names, now, chosen=chosen, csr_rejected=pins_
        ).pin

    assert handed() == added.pin and requests.backup_of(machine.workflow, added.pin) == [SITE]
    rest = [one.pin for one in machine.state(SITE).keyring.backups("ecdsa")]
    assert handed(*rest) == present == handed(*rest, present)
    assert requests.backup_of(machine.workflow, present) == []


# Dropping them


def test_g2_backup_that_a_certificate_has_already_is_not_dropped(machine: Machine) -> None:
    """Certbot renewed for it, and was killed before the keyring was told."""
    _, staged = machine.published(SITE).pins
    requests.ask(machine.workflow, SITE, NOW + 90 * DAY)
    handed = machine.handed(SITE, SITE, NOW + 90 * DAY, backup_keys=1)
    assert handed.pin == staged
    machine.issue(SITE, handed.key_pem)
    before = tree(machine.config)
    with pytest.raises(BadBackup, match=r"the certificate of pin\.test is issued for it already"):
        offline_backups.drop(machine.workflow, SITE, staged, NOW + 90 * DAY)
    assert tree(machine.config) == before


@pytest.mark.parametrize(("gone", "dropped"), [(0, 1), (1, 0)])
def test_g3_lost_backup_is_no_way_out(tmp_path: Path, gone: int, dropped: int) -> None:
    """The other one is the only one, whichever comes first in turn."""
    machine = Machine(tmp_path)
    machine.issue(SITE)
    machine.keep(SITE, SITE)
    staged = machine.state(SITE).keyring.backups("ecdsa")
    requests.ask(machine.workflow, SITE, NOW + 90 * DAY, compromised=True, when_safe=True)
    lost = staged[gone].path
    assert lost is not None
    (machine.config / lost).unlink()
    with pytest.raises(BadBackup, match="the only backup that locks nobody out"):
        offline_backups.drop(machine.workflow, SITE, staged[dropped].pin, NOW + 90 * DAY)
    assert machine.handed(SITE, SITE, NOW + 90 * DAY).pin == staged[dropped].pin


def test_g3_what_is_forced_is_the_key_that_is_announced(machine: Machine, key: bytes) -> None:
    """Also while the backup that is kept offline is not safe yet."""
    added = offline_backups.add_public(
        machine.workflow, SITE, csr_of(key), "my.csr", NOW + 10 * DAY
    )
    machine.workflow.publish(SITE, NOW + 10 * DAY)
    requests.ask(machine.workflow, SITE, NOW + 61 * DAY)
    machine.renew(SITE, SITE, NOW + 61 * DAY, backup_keys=1)
    now = NOW + 62 * DAY
    with pytest.raises(Compromised) as caught:
        requests.ask(machine.workflow, SITE, now, compromised=True)
    (here,) = [one for one in machine.state(SITE).keyring.backups("ecdsa") if one.path]
    told = str(caught.value)
    assert f"the key with the pin {here.pin}. This rollover" in told
    assert added.pin not in told.partition("least bad")[2]
    asked = requests.ask(machine.workflow, SITE, now, force=True)
    assert asked.told[0] in told and here.pin in asked.told[1]


def test_g3_only_way_out_of_a_compromised_key_is_not_dropped(machine: Machine) -> None:
    """The next renewal would fail."""
    _, staged = machine.published(SITE).pins
    requests.ask(machine.workflow, SITE, NOW + 90 * DAY, compromised=True)
    with pytest.raises(BadBackup, match="the only backup that locks nobody out"):
        offline_backups.drop(machine.workflow, SITE, staged, NOW + 90 * DAY)
    assert machine.renew(SITE, SITE, NOW + 90 * DAY, backup_keys=1) == staged


def test_dropped_backup_leaves_the_pins_and_is_not_staged_again(machine: Machine) -> None:
    """Another one is made in its place; its file stays, and it can come back."""
    _, pin = machine.published(SITE).pins
    path = machine.state(SITE).keyring.key(pin)
    assert path is not None and path.path is not None
    offline_backups.drop(machine.workflow, SITE, pin, NOW + HOUR)
    machine.workflow.publish(SITE, NOW + HOUR)
    assert pin not in machine.published(SITE).pins and len(machine.published(SITE).pins) == 2
    machine.keep(SITE, SITE, NOW + DAY, pinned=True, backup_keys=3)
    assert pin not in machine.published(SITE).pins
    pem = (machine.config / path.path).read_bytes()
    offline_backups.add_private(machine.workflow, SITE, brought(pem), NOW + DAY)
    machine.workflow.publish(SITE, NOW + DAY)
    assert pin in machine.published(SITE).pins


def test_g4_last_backup_is_dropped_for_a_new_one(machine: Machine, key: bytes) -> None:
    """Never a header without a backup."""
    add_offline(machine, key)
    for pin in machine.published(SITE).pins[1:]:
        offline_backups.drop(machine.workflow, SITE, pin, NOW + HOUR)
        machine.workflow.publish(SITE, NOW + HOUR)
        assert len(machine.published(SITE).pins) >= 2


# Refusals


def test_g10_what_cannot_be_a_backup_is_refused_and_nothing_written(
    machine: Machine, key: bytes
) -> None:
    """The option and the file are named, and why."""
    primary = machine.members(SITE)[SITE]
    served = (machine.config / "live" / SITE / "privkey.pem").read_bytes()
    _, staged = machine.published(SITE).pins
    csr, request = bytearray(csr_of(key)), x509.load_pem_x509_csr(csr_of(key))
    csr[-60:-50] = b"AAAAAAAAAA"
    before = tree(machine.config)
    table = [
        (b"nonsense", "neither a CSR nor a public key"),
        (bytes(csr), "signature|neither"),
        (resigned(request.tbs_certrequest_bytes, key, hashes.SHA1()), "it is signed with SHA1"),
        (key, "but a private key: give it as --key"),
        (machine.look(SITE).certificates()[0], "but a certificate; 'openssl x509"),
        (request.public_bytes(serialization.Encoding.DER), "openssl req -inform DER"),
        (csr_of(make_pem(ec.SECP521R1())), "ECDSA secp521r1 key, which public CAs do not take"),
        (public_of(TINY_EXPONENT), "RSA 2048 key, which public CAs do not take"),
        (csr_of(RSA_KEY), "RSA key, and the keyring pin.test has ECDSA keys"),
        (csr_of(served), "serves that key already"),
    ]
    for pem, why in table:
        with pytest.raises(BadBackup, match=why) as caught:
            offline_backups.add_public(machine.workflow, SITE, pem, "my.csr", NOW)
        assert "--csr 'my.csr'" in str(caught.value)
    for pin in (primary, "nonsense"):
        with pytest.raises(BadBackup, match=r"is no backup of the keyring pin\.test") as caught:
            offline_backups.drop(machine.workflow, SITE, pin, NOW)
        assert staged in str(caught.value)
    assert tree(machine.config) == before


def test_g3_compromised_key_is_no_backup(machine: Machine, key: bytes) -> None:
    """Also if another keyring knows of it."""
    machine.issue("other.test", key)
    machine.keep("other.test", "other")
    requests.ask(machine.workflow, "other", NOW, compromised=True)
    with pytest.raises(BadBackup, match="compromised"):
        offline_backups.add_public(machine.workflow, SITE, csr_of(key), "my.csr", NOW)


def test_key_that_was_served_and_left_is_no_backup(machine: Machine) -> None:
    """It was left for a reason."""
    first = (machine.config / "live" / SITE / "privkey.pem").read_bytes()
    turn_comes(machine)
    with pytest.raises(BadBackup, match="served that key before and left it"):
        offline_backups.add_private(machine.workflow, SITE, brought(first), NOW + 100 * DAY)


# The command


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands at NOW."""
    monkeypatch.setattr(clock, "now", lambda: NOW)


def run(machine: Machine, *words: str) -> int:
    """Run the command on the machine."""
    dirs = ["--config-dir", str(machine.config), "--work-dir", str(machine.work)]
    return main.main(["backup", SITE, *words, *dirs])


def test_command_adds_lists_opens_and_drops(
    machine: Machine,
    at_noon: None,
    key: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The life of an encrypted backup, with its passphrase in a file."""
    pin, secret = pin_of_key(key), tmp_path / "secret"
    secret.write_bytes(PASSPHRASE + b"\n")
    given = tmp_path / "sealed.pem"
    given.write_bytes(sealed(key))
    opens = ("--passphrase-file", str(secret))
    assert run(machine, "add", "--key", str(given), "--keep-encrypted", *opens) == 0
    assert f"{pin} is a backup of the keyring" in capsys.readouterr().out
    assert run(machine, "list") == 0
    listed = capsys.readouterr().out
    assert f"{pin}  ECDSA secp256r1  encrypted in keys/" in listed and "in keys/" in listed
    assert main.main(["status", SITE, "--config-dir", str(machine.config)]) == 0
    assert "its private key is encrypted" in capsys.readouterr().out
    kept = str(machine.config / (machine.state(SITE).keyring.key(pin) or ring_key(A)).encrypted)
    assert run(machine, "add", "--key", kept, *opens) == 0
    capsys.readouterr()
    assert run(machine, "list") == 0 and "encrypted" not in capsys.readouterr().out
    assert run(machine, "drop", pin) == 0
    assert pin not in machine.published(SITE).pins


def test_g7_of_a_file_with_more_in_it_only_the_encrypted_key_is_kept(
    machine: Machine, at_noon: None, key: bytes, tmp_path: Path
) -> None:
    """A private key beside it must not lie open in a file that is said to be encrypted."""
    secret, given = tmp_path / "secret", tmp_path / "both.pem"
    secret.write_bytes(PASSPHRASE + b"\n")
    given.write_bytes(b"a remark\n" + sealed(key) + make_pem())
    opens = ("--passphrase-file", str(secret))
    assert run(machine, "add", "--key", str(given), "--keep-encrypted", *opens) == 0
    found = machine.state(SITE).keyring.key(pin_of_key(key))
    assert found is not None and found.encrypted
    kept = (machine.config / found.encrypted).read_bytes()
    assert load_private_key(kept, PASSPHRASE) and kept.count(b"BEGIN") == 1


def test_key_that_was_encrypted_in_the_old_form_is_opened(
    machine: Machine, at_noon: None, key: bytes, tmp_path: Path
) -> None:
    """As older programs write it."""
    secret, given = tmp_path / "secret", tmp_path / "old.pem"
    secret.write_bytes(PASSPHRASE + b"\n")
    form = serialization.PrivateFormat.TraditionalOpenSSL
    given.write_bytes(pem_of(load_private_key(key), PASSPHRASE, form))
    opens = ("--passphrase-file", str(secret))
    assert run(machine, "add", "--key", str(given), *opens) == 0
    assert machine.role(SITE, pin_of_key(key)) == "backup"


def test_g1_nothing_is_dropped_while_certbot_is_at_work(
    machine: Machine, at_noon: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may have been handed that key a moment ago."""
    _, staged = machine.published(SITE).pins
    holds = (
        "import sys; from certbot import util; util.lock_dir_until_exit(sys.argv[1]); "
        "print(flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", holds, str(machine.config)]
    before = machine.store_text(SITE)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as certbot:
        assert certbot.stdout is not None and certbot.stdout.readline()
        assert run(machine, "drop", staged) == 1
        assert "Certbot is at work in" in capsys.readouterr().err
        certbot.communicate()
    assert machine.store_text(SITE) == before
    assert run(machine, "drop", staged) == 0


def test_g6_drop_that_cannot_be_published_says_that_it_is_on_record(
    machine: Machine, at_noon: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once Apache is mended, the same call publishes it."""
    _, staged = machine.published(SITE).pins
    machine.apache.break_config()
    assert run(machine, "drop", staged) == 1
    told = capsys.readouterr()
    assert f"{staged} is no backup" in told.out and "configuration" in told.err
    machine.apache.mend_config()
    assert run(machine, "drop", staged) == 0 and staged not in machine.published(SITE).pins


@pytest.mark.parametrize("ends", [EOFError, KeyboardInterrupt])
def test_g10_no_passphrase_is_given(
    machine: Machine,
    at_noon: None,
    key: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ends: type[BaseException],
) -> None:
    """Ctrl-D and Ctrl-C at the question change nothing."""

    def asked(_: str) -> str:
        raise ends

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", asked)
    given = tmp_path / "sealed.pem"
    given.write_bytes(sealed(key))
    before = tree(machine.config)
    assert run(machine, "add", "--key", str(given)) == 1
    assert "You gave no passphrase. Nothing was changed." in capsys.readouterr().err
    assert tree(machine.config) == before


@pytest.mark.parametrize("passphrase", [None, b"wrong"])
def test_g7_g10_key_that_cannot_be_opened(
    machine: Machine,
    at_noon: None,
    key: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    passphrase: bytes | None,
) -> None:
    """One line, which quotes no secret; nothing is written."""
    given, secret = tmp_path / "sealed.pem", tmp_path / "secret"
    given.write_bytes(sealed(key))
    secret.write_bytes(passphrase or b"")
    more = ("--passphrase-file", str(secret)) if passphrase else ()
    before = tree(machine.config)
    assert run(machine, "add", "--key", str(given), *more) == 1
    told = capsys.readouterr().err
    assert "passphrase" in told and told.count("\n") == 1 and "wrong" not in told
    assert tree(machine.config) == before


def test_g10_key_that_is_not_encrypted_cannot_be_kept_so(
    machine: Machine, at_noon: None, key: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how to encrypt it."""
    given = tmp_path / "plain.pem"
    given.write_bytes(key)
    assert run(machine, "add", "--key", str(given), "--keep-encrypted") == 1
    assert "openssl pkcs8 -topk8" in capsys.readouterr().err


def test_g10_file_that_cannot_be_read(
    machine: Machine, at_noon: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The option and the file are named."""
    missing = os.path.join(str(tmp_path), "missing")
    assert run(machine, "add", "--csr", missing) == 1
    assert f"--csr {missing!r}: the file cannot be read" in capsys.readouterr().err
