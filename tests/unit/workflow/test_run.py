"""One run of certbot through several lineages: published once, whatever goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_pinkeep.core.errors import BadPolicy, PinkeepError
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.workflow import run
from certbot_pinkeep.workflow.publish import Failure
from certbot_pinkeep.workflow.run import Run
from simulated.machine import RSA_KEY, Machine
from simulated.workflow import take_turn

NAMES = ("a.pin.test", "b.pin.test", "c.pin.test")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Three lineages."""
    found = Machine(tmp_path)
    for name in NAMES:
        found.issue(name)
    return found


def enrol(machine: Machine, one: Run, issued: bool = False, keyring: str = "shared") -> None:
    """All three have their turn."""
    for name in NAMES:
        chosen = machine.options(keyring)
        values = {**chosen.settings, "keyring": keyring}
        take_turn(one, machine.look(name), values, chosen, issued=issued)


def renew(machine: Machine) -> None:
    """Each has a new certificate for the key that it has."""
    for name in NAMES:
        machine.issue(name, Path(machine.look(name).key_path).read_bytes())


def shared(machine: Machine) -> dict[str, object]:
    """The options of the shared keyring as text."""
    return {**machine.options("shared").settings, "keyring": "shared"}


def new_run(machine: Machine) -> Run:
    """As a process of certbot's has it."""
    return Run(str(machine.config), str(machine.work))


def finished(machine: Machine) -> Run:
    """A run in which all three had their turn, and were published."""
    one = new_run(machine)
    enrol(machine, one)
    one.finish()
    return one


def test_all_is_published_at_once(machine: Machine) -> None:
    """Nothing before the end; then one reload, and all three keys are pinned."""
    one = new_run(machine)
    enrol(machine, one)
    assert one.waiting and not machine.snippet("shared").exists() and machine.apache.reloads == 0
    (report,) = one.finish()
    assert len(report.enrolled) == 3 and len(report.pins) == 5
    assert machine.apache.reloads == 1 and not one.waiting


def test_second_run_is_up_to_date(machine: Machine) -> None:
    """Each lineage has its note."""
    one = finished(machine)
    for name in NAMES:
        values = {**machine.options("shared").settings, "keyring": "shared"}
        assert one.cache.is_up_to_date(name, values, [])
        assert not one.cache.is_up_to_date(name, {**values, "max-age": "1"}, [])


def test_g3_renewed_certificates_are_loaded_once_though_nothing_can_be_published(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reload, not one for each certificate; the error is not lost."""
    one = finished(machine)
    before = machine.apache.reloads
    renew(machine)
    enrol(machine, one, issued=True)

    def refuse(keyring: Keyring) -> tuple[str, ...]:
        raise BadPolicy("no backup")

    monkeypatch.setattr(Keyring, "published_pins", refuse)
    with pytest.raises(BadPolicy):
        one.finish()
    assert machine.apache.reloads == before + 1


def test_g6_failures_of_several_keyrings_are_all_told(machine: Machine) -> None:
    """Each sentence once; a certificate is not loaded past a configuration that is broken."""
    one = new_run(machine)
    for name in NAMES[:2]:
        chosen = machine.options(name)
        take_turn(one, machine.look(name), {**chosen.settings}, chosen, issued=True)
    machine.apache.break_config()
    with pytest.raises(PinkeepError) as caught:
        one.finish()
    assert all(f"{name}.conf" in str(caught.value) for name in NAMES[:2])
    assert machine.apache.reloads == 0


def test_g6_reload_that_fails_is_told_once(machine: Machine) -> None:
    """It is one reload for both keyrings."""
    one = new_run(machine)
    for name in NAMES[:2]:
        chosen = machine.options(name)
        take_turn(one, machine.look(name), {**chosen.settings}, chosen)
    machine.apache.stuck.touch()
    with pytest.raises(PinkeepError, match=r"- Keyrings a\.pin\.test, b\.pin\.test: ") as told:
        one.finish()
    assert str(told.value).count("could not be reloaded") == 1


@pytest.mark.parametrize("everyone", [True, False])
def test_last_lineage_of_a_run(machine: Machine, everyone: bool) -> None:
    """In certbot's order; those of other installers do not count, unless all are ours."""
    text = machine.renewal(NAMES[2]).read_text()
    machine.renewal(NAMES[2]).write_text(text.replace("pinkeep", "apache"))
    expected = NAMES[2] if everyone else NAMES[1]
    assert run.Run(str(machine.config), str(machine.work)).last(lambda: everyone) == expected


def test_no_lineage_is_the_last_if_there_is_none(tmp_path: Path) -> None:
    """Nor if a file cannot be read."""
    assert run.Run(str(tmp_path), str(tmp_path)).last(lambda: True) == ""


def test_g6_apache_is_not_reloaded_for_another_keyring_after_its_test_failed(
    machine: Machine,
) -> None:
    """Its certificate waits as well: the configuration is broken for both. Mended, both are loaded."""
    one = new_run(machine)
    for name in NAMES[:2]:
        take_one(machine, one, name)
    one.finish()
    before = machine.apache.reloads
    machine.issue(NAMES[1], Path(machine.look(NAMES[1]).key_path).read_bytes())
    machine.apache.break_config()
    take_one(machine, one, NAMES[0], max_age=5)
    take_one(machine, one, NAMES[1])
    with pytest.raises(PinkeepError, match=r"- Keyring b\.pin\.test: "):
        one.finish()
    assert machine.apache.reloads == before


def test_g3_certificate_is_loaded_if_only_the_other_keyring_is_at_fault(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apache's configuration passes its test without the other's change."""
    one = new_run(machine)
    for name in NAMES[:2]:
        take_one(machine, one, name)
    one.finish()
    before = machine.apache.reloads
    machine.issue(NAMES[1], Path(machine.look(NAMES[1]).key_path).read_bytes())
    (machine.config / "pinkeep" / f"{NAMES[0]}.conf").write_bytes(b"junk")
    one.publisher.notice(NAMES[:1])
    take_one(machine, one, NAMES[1])
    with pytest.raises(PinkeepError, match="damaged"):
        one.finish()
    assert machine.apache.reloads == before + 1


def take_one(machine: Machine, one: Run, name: str, **values: object) -> None:
    """A lineage on a keyring of its own has its turn."""
    chosen = machine.options(name, **values)
    take_turn(one, machine.look(name), {**chosen.settings}, chosen)


def test_g2_type_that_is_live_already_is_published_with_the_others(machine: Machine) -> None:
    """Its key and its backups, once, at the end."""
    one = finished(machine)
    before = machine.apache.reloads
    machine.issue("r.pin.test", RSA_KEY, (NAMES[0],))
    chosen = machine.options("shared")
    enrol(machine, one, issued=True)
    live, values = machine.look("r.pin.test"), {**chosen.settings, "keyring": "shared"}
    take_turn(one, live, values, chosen)
    assert one.waiting and machine.apache.reloads == before
    (report,) = one.finish()
    assert len(report.enrolled) == 4 and machine.apache.reloads == before + 1
    kinds = {key.kind.key_type for key in machine.state("shared").keyring.keys}
    assert kinds == {"rsa", "ecdsa"} and len(machine.published("shared").pins) == 8


@pytest.mark.parametrize("subdomains", [True, False])
def test_certificate_that_appears_below_is_looked_for(machine: Machine, subdomains: bool) -> None:
    """If subdomains are covered: plain certbot makes it, and pinkeep has to tell."""
    chosen = machine.options("shared", include_subdomains=subdomains)
    values = {**chosen.settings, "keyring": "shared"}
    one = new_run(machine)
    for name in NAMES:
        take_turn(one, machine.look(name), values, chosen)
    one.finish()
    assert one.cache.is_up_to_date(NAMES[0], values, [])
    machine.issue("below.a.pin.test")
    assert one.cache.is_up_to_date(NAMES[0], values, []) == (not subdomains)


def test_g2_certificates_are_not_loaded_together_with_one_that_clients_refuse(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be published, and one of the renewed certificates has a key that is not pinned."""
    one = finished(machine)
    before = machine.apache.reloads
    renew(machine)
    enrol(machine, one, issued=True)
    machine.issue(NAMES[1])
    one.loader.note(NAMES[1], "shared", shared(machine), issued=True)
    failure = Failure("shared", BadPolicy("no backup"))
    monkeypatch.setattr(one.publisher, "publish_all", lambda *given: ([], [failure]))
    with pytest.raises(BadPolicy):
        one.finish()
    assert machine.apache.reloads == before


def test_renewal_file_that_was_changed_is_looked_at(machine: Machine) -> None:
    """It may name another installer now, which would make a new key."""
    one = finished(machine)
    chosen = machine.options("shared")
    values = {**chosen.settings, "keyring": "shared"}
    assert one.cache.is_up_to_date(NAMES[0], values, [])
    path = machine.renewal(NAMES[0])
    path.write_text(path.read_text().replace("pinkeep", "none"))
    assert not one.cache.is_up_to_date(NAMES[0], values, [])
