"""One run of certbot through several lineages: published once, whatever goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine import Machine

from certbot_pinkeep import rounds
from certbot_pinkeep.errors import ApacheFailed, BadPolicy, PinkeepError
from certbot_pinkeep.keyring import Keyring
from certbot_pinkeep.rounds import Round

NAMES = ("a.pin.test", "b.pin.test", "c.pin.test")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Three lineages."""
    found = Machine(tmp_path)
    for name in NAMES:
        found.issue(name)
    return found


def take_in(machine: Machine, one: Round, issued: bool = False, keyring: str = "shared") -> None:
    """All three have their turn."""
    for name in NAMES:
        chosen = machine.options(keyring)
        values = {**chosen.settings, "keyring": keyring}
        one.take_in(machine.look(name), values, chosen, lambda: None, False, issued)


def new_round(machine: Machine) -> Round:
    """As a process of certbot's has it."""
    return Round(str(machine.config), str(machine.work))


def test_all_is_published_at_once(machine: Machine) -> None:
    """Nothing before the end; then one reload, and all three keys are pinned."""
    one = new_round(machine)
    take_in(machine, one)
    assert one.waiting and not machine.snippet("shared").exists() and machine.apache.reloads == 0
    (report,) = one.finish()
    assert len(report.taken) == 3 and len(report.pins) == 5
    assert machine.apache.reloads == 1 and not one.waiting


def test_second_round_is_in_step(machine: Machine) -> None:
    """Each lineage has its stamp."""
    one = new_round(machine)
    take_in(machine, one)
    one.finish()
    for name in NAMES:
        values = {**machine.options("shared").settings, "keyring": "shared"}
        assert one.stamps.in_step(name, values, [])
        assert not one.stamps.in_step(name, {**values, "max-age": "1"}, [])


def test_g3_renewed_certificates_are_loaded_once_though_nothing_can_be_published(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reload, not one for each certificate; the error is not lost."""
    one = new_round(machine)
    take_in(machine, one)
    one.finish()
    before = machine.apache.reloads
    take_in(machine, one, issued=True)

    def refuse(keyring: Keyring) -> tuple[str, ...]:
        raise BadPolicy("no backup")

    monkeypatch.setattr(Keyring, "published_pins", refuse)
    with pytest.raises(BadPolicy):
        one.finish()
    assert machine.apache.reloads == before + 1


def test_g6_failures_of_several_keyrings_are_all_told(machine: Machine) -> None:
    """Each sentence once; a certificate is not loaded past a configuration that is broken."""
    one = new_round(machine)
    for name in NAMES[:2]:
        chosen = machine.options(name)
        one.take_in(machine.look(name), {**chosen.settings}, chosen, lambda: None, False, True)
    machine.apache.break_config()
    with pytest.raises(PinkeepError) as caught:
        one.finish()
    assert all(f"{name}.conf" in str(caught.value) for name in NAMES[:2])
    assert machine.apache.reloads == 0


def test_g6_reload_that_fails_is_told_once(machine: Machine) -> None:
    """It is one reload for both keyrings."""
    one = new_round(machine)
    for name in NAMES[:2]:
        chosen = machine.options(name)
        one.take_in(machine.look(name), {**chosen.settings}, chosen, lambda: None, False, False)
    machine.apache.stuck.touch()
    with pytest.raises(ApacheFailed):
        one.finish()


@pytest.mark.parametrize("everyone", [True, False])
def test_last_lineage_of_a_run(machine: Machine, everyone: bool) -> None:
    """In certbot's order; those of other installers do not count, unless all are ours."""
    text = machine.renewal(NAMES[2]).read_text()
    machine.renewal(NAMES[2]).write_text(text.replace("pinkeep", "apache"))
    expected = NAMES[2] if everyone else NAMES[1]
    assert rounds.last(str(machine.config), everyone) == expected


def test_no_lineage_is_the_last_where_there_is_none(tmp_path: Path) -> None:
    """Nor where a file cannot be read."""
    assert rounds.last(str(tmp_path), True) is None
