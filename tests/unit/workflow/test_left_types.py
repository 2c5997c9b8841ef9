"""A key type whose last certificate is gone leaves the pins; one that is to come stays (G2, G4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_pinkeep.core.errors import BadBackup, TypeMissing
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.workflow import offline_backups
from simulated.machine import RSA_KEY, Machine
from simulated.values import DAY, NOW, RSA


@pytest.fixture
def both(tmp_path: Path) -> Machine:
    """Two certificates on one keyring, one RSA and one ECDSA."""
    machine = Machine(tmp_path)
    machine.issue("rsa.test", RSA_KEY)
    machine.keep("rsa.test", "ring")
    machine.issue("ec.test")
    machine.keep("ec.test", "ring", NOW + DAY)
    return machine


def types(machine: Machine) -> set[KeyType]:
    """The types of the keys that are published."""
    keyring = machine.state("ring").keyring
    keys = [keyring.key(pin) for pin in machine.published("ring").pins]
    return {key.kind.key_type for key in keys if key}


def test_g2_type_leaves_with_its_last_certificate(both: Machine) -> None:
    """Its certificate was deleted. A client that noted the pins of before accepts what is served."""
    before = both.published("ring").pins
    assert types(both) == {"rsa", "ecdsa"}
    both.delete("rsa.test")
    both.keep("ec.test", "ring", NOW + 2 * DAY)
    assert types(both) == {"ecdsa"} and len(both.published("ring").pins) == 3
    assert both.members("ring")["ec.test"] in before
    roles = {key.role for key in both.state("ring").keyring.keys if key.kind.key_type == "rsa"}
    assert roles == {"retired"}


def test_g2_type_leaves_once_its_last_certificate_is_of_another(both: Machine) -> None:
    """It was renewed with the other type's key."""
    ring = both.state("ring").keyring
    primary = ring.primary("ecdsa")
    assert primary is not None
    key = (both.config / str(primary.path)).read_bytes()
    both.issue("rsa.test", key)
    both.keep("rsa.test", "ring", NOW + 2 * DAY, pinned=True)
    assert types(both) == {"ecdsa"}


def test_g2_everything_stays_with_the_last_certificate_of_all(both: Machine) -> None:
    """Clients hold the pins, and a new certificate needs a key that they accept."""
    before = both.published("ring").pins
    for name in ("rsa.test", "ec.test"):
        both.delete(name)
    both.workflow.publish("ring", NOW + 2 * DAY)
    assert set(both.published("ring").pins) == set(before)


def test_g2_type_comes_back_in_advance(both: Machine) -> None:
    """Clients may lack it by then, so it is pinned before the certificate is issued."""
    both.delete("rsa.test")
    both.keep("ec.test", "ring", NOW + 2 * DAY)
    with pytest.raises(TypeMissing):
        both.new("rsa.test", "ring", NOW + 3 * DAY, "rsa", RSA, hosts=("ec.test",))
    assert types(both) == {"rsa", "ecdsa"}
    both.keep("ec.test", "ring", NOW + 4 * DAY)
    assert types(both) == {"rsa", "ecdsa"}


def test_g4_type_that_is_staged_in_advance_can_be_dropped(both: Machine) -> None:
    """By its first key; once it is served, that is no backup."""
    rsa_primary = both.state("ring").keyring.primary("rsa")
    assert rsa_primary is not None
    with pytest.raises(BadBackup, match="it is primary"):
        offline_backups.drop(both.workflow, "ring", rsa_primary.pin, NOW + 2 * DAY)
    both.delete("rsa.test")
    both.keep("ec.test", "ring", NOW + 2 * DAY)
    with pytest.raises(TypeMissing):
        both.new("rsa.test", "ring", NOW + 3 * DAY, "rsa", RSA, hosts=("ec.test",))
    staged = both.state("ring").keyring.primary("rsa")
    assert staged is not None and staged.pin != rsa_primary.pin
    for _ in range(2):  # a run that was killed before it published is no error
        assert (
            offline_backups.drop(both.workflow, "ring", staged.pin, NOW + 4 * DAY).pin == staged.pin
        )
    both.workflow.publish("ring", NOW + 4 * DAY)
    assert types(both) == {"ecdsa"}
    with pytest.raises(BadBackup):
        offline_backups.drop(both.workflow, "ring", staged.pin, NOW + 5 * DAY)
