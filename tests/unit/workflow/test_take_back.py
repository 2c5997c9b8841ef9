"""What was asked for can be taken back, and pinning can be left for good (G2)."""

from __future__ import annotations

import pytest

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.cli import main
from certbot_pinkeep.core.errors import Compromised, NotSafe, PinkeepError, Unpinned
from certbot_pinkeep.workflow import requests
from simulated.machine import Site
from simulated.values import DAY, NOW, make_pem, tree

AT = NOW + 20 * DAY
SAFE_FROM = "2026-05-10T12:00:00Z"  # day 70, if a rollover was on day 10


def undo(world: Site) -> str:
    """Take back what was asked for, on day 20."""
    return requests.take_back(world.workflow, world.name, AT)


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize("when_safe", [False, True])
@pytest.mark.parametrize("force", [False, True])
def test_g2_rollover_that_is_taken_back_does_not_happen(
    world: Site, unsafe: bool, when_safe: bool, force: bool
) -> None:
    """Neither now nor when it is safe; the record is as it was before."""
    if unsafe:
        world.roll_over(10)
    old, before = world.look().pin, world.state()
    if unsafe and not (when_safe or force):
        with pytest.raises(NotSafe):
            world.ask(when_safe=when_safe, force=force)
        return
    world.ask(when_safe=when_safe, force=force)
    assert "is not asked to roll over" in undo(world)
    after = world.state()
    assert after.keyring.members == before.keyring.members
    assert after.ledger.entries == before.ledger.entries
    assert set(after.keyring.keys) == set(before.keyring.keys)
    assert world.next_pin(21) == world.next_pin(400) == old


def test_compromise_cannot_be_taken_back(world: Site) -> None:
    """The key is never handed over again; what is forced is not forced any more."""
    world.roll_over(10)
    old, new = world.published().pins
    world.ask(compromised=True, force=True)
    assert world.next_pin(21) == new
    assert SAFE_FROM in undo(world)
    assert (world.key_of(old).role, world.key_of(new).forced) == ("compromised", False)
    with pytest.raises(Compromised):
        world.next_pin(21)
    assert world.next_pin(70) == new


def test_revocation_cannot_be_taken_back(world: Site) -> None:
    """The CA says so, not the admin."""
    old, new = world.published().pins
    requests.note_revoked(world.workflow, old, AT, compromised=False)
    assert new in undo(world)
    assert world.key_of(old).retire_reason == "revoked" and world.next_pin(21) == new


def test_taking_back_what_was_not_asked_for_changes_no_decision(world: Site) -> None:
    """It is no error; of a keyring that is not there it is one."""
    assert "is not asked to roll over" in undo(world)
    assert world.next_pin(21) == world.look().pin
    with pytest.raises(PinkeepError, match="elsewhere"):
        requests.take_back(world.workflow, "elsewhere", AT)


def test_g2_force_that_locks_nobody_out_forces_nothing(world: Site) -> None:
    """Nobody was announced: if that changes before the renewal, it is held."""
    new = world.published().pins[1]
    asked = world.ask(force=True)
    assert asked.ready and "This rollover locks nobody out." in asked.told
    assert not world.key_of(new).forced
    world.file.unlink()
    assert world.next_pin(21) == world.look().pin


def test_g2_force_without_a_backup_records_nothing(world: Site) -> None:
    """There is nothing to roll over to."""
    world.file_of(world.published().pins[1]).unlink()
    before = tree(world.config, world.work)
    with pytest.raises(NotSafe):
        world.ask(force=True)
    assert tree(world.config, world.work) == before


def test_command_takes_back(
    world: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``rollover NAME --undo``: one sentence, and no error."""
    world.roll_over(10)
    world.ask(force=True)
    new = world.published().pins[1]
    assert world.key_of(new).forced
    monkeypatch.setattr(clock, "now", lambda: AT)
    folders = ["--config-dir", str(world.config), "--work-dir", str(world.work)]
    assert main.main(["rollover", world.name, "--undo", *folders]) == 0
    said = capsys.readouterr()
    assert "is not asked to roll over" in said.out and said.err == ""
    assert not world.key_of(new).forced


@pytest.mark.parametrize("other", ["--when-safe", "--force", "--now", "--compromised"])
def test_command_takes_back_nothing_else_at_once(
    world: Site, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of them contradict each other: usage."""
    before = tree(world.config, world.work)
    folders = ["--config-dir", str(world.config), "--work-dir", str(world.work)]
    with pytest.raises(SystemExit) as caught:
        main.main(["rollover", world.name, "--undo", other, *folders])
    assert caught.value.code == 2 and "--undo" in capsys.readouterr().err
    assert tree(world.config, world.work) == before


# Once pinning was left


@pytest.fixture
def left(world: Site) -> Site:
    """Nobody holds pins any more: pinning was left on day 20."""
    requests.unpin(world.workflow, world.name, AT)
    world.run(20)
    world.run(100)
    text = world.snippet.read_text()
    assert apache.read_policy(text) is None
    return world


def test_g2_foreign_key_is_no_error_once_pinning_was_left(left: Site) -> None:
    """Nobody refuses it: it is the keyring's primary from now on, and saved as such."""
    old = left.look().pin
    left.issue(make_pem())
    report = left.run(101)
    assert report.unpinned
    pin = left.look().pin
    assert (left.key_of(pin).role, left.key_of(old).role) == ("primary", "retired")
    assert left.key_pem(pin) == left.key
    before = left.tree()
    left.run(102)
    assert left.tree() == before
    assert left.next_pin(103) == pin


def test_g2_foreign_key_can_be_pinned_again(left: Site) -> None:
    """It leads the new header; the keys that were pinned before are none that go on."""
    old = left.look().pin
    left.issue(make_pem())
    left.run(101)
    requests.unpin(left.workflow, left.name, NOW + 102 * DAY, undo=True)
    left.run(102)
    pins = left.published().pins
    assert pins[0] == left.look().pin and old not in pins and len(pins) == 2
    assert left.published().max_age == 60 * 86400


def test_g2_foreign_key_is_an_error_while_somebody_holds_pins(world: Site) -> None:
    """Pinning is being left, but clients refuse the key until their pins have run out."""
    requests.unpin(world.workflow, world.name, AT)
    world.run(20)
    world.issue(make_pem())
    with pytest.raises(Unpinned):
        world.run(21)
    world.run(100)
    assert world.key_of(world.look().pin).role == "primary"
