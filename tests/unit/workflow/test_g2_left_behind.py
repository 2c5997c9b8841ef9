"""What moves, deletions and lost files leave behind: nobody is locked out, and no host for ever."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certbot_pinkeep.adapters import clock, lineage
from certbot_pinkeep.cli import main
from certbot_pinkeep.core.errors import (
    BadKey,
    BadOption,
    Compromised,
    DamagedState,
    NotAccepted,
    NotCovered,
    OtherKeyring,
    PinkeepError,
    TypeMissing,
    Unpinned,
)
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.workflow import requests
from simulated.machine import RSA_KEY, Machine
from simulated.values import DAY, HOUR, NOW, A, B, foreign_certificate, make_pem, pem_of, policy

RSA = KeyKind("rsa", "2048")
WWW, API, BARE, OTHER = "www.pin.test", "api.pin.test", "pin.test", "other.test"
YEAR = 400 * DAY


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without any pins."""
    return Machine(tmp_path)


@pytest.fixture
def pair(machine: Machine) -> Machine:
    """Two lineages that serve the primary of the keyring ``one``."""
    machine.issue(WWW)
    machine.keep(WWW, "one")
    machine.new(API, "one", NOW)
    return machine


@pytest.fixture
def renamed(pair: Machine) -> Machine:
    """Both have moved to ``two``, which was confirmed."""
    for name in (WWW, API):
        pair.keep(name, "two", NOW + DAY, pinned=True)
    requests.confirm(pair.workflow, "two", NOW + 2 * DAY)
    return pair


# Hosts become free


def test_time_at_a_host_ends_when_apache_has_loaded_what_is_published_without_it() -> None:
    """Though the policy is the same: it goes on at the others."""
    book = Ledger().record(policy(A, B), NOW, (WWW, API)).confirm(NOW)
    book = book.record(policy(A, B), NOW + DAY, (WWW,))
    assert [entry.hosts for entry in book.entries] == [(WWW, API), (WWW,)] and book.pending
    assert any(entry.binds_at((API,)) and entry.replaced is None for entry in book.entries)
    book = book.confirm(NOW + 2 * DAY).prune(NOW + 62 * DAY)
    assert [entry.hosts for entry in book.entries] == [(WWW,)]


def test_host_of_a_deleted_lineage_is_free_once_nobody_holds_its_pins(pair: Machine) -> None:
    """Also if its key was the shared one, so that the pins are the same without it."""
    pair.delete(API)
    pair.keep(WWW, "one", NOW + DAY, pinned=True)
    with pytest.raises(OtherKeyring):
        pair.new(API, API, NOW + 60 * DAY)
    assert pair.new(API, API, NOW + 62 * DAY) not in pair.published("one").pins


def test_g3_old_keyring_lets_go_of_what_has_moved(renamed: Machine) -> None:
    """A name more, another type, a new certificate after a deletion: the new one decides alone."""
    pem = Path(renamed.look(WWW).key_path).read_bytes()
    renamed.issue(WWW, pem, (WWW, "new.pin.test"))
    renamed.keep(WWW, "two", NOW + 3 * DAY, pinned=True)
    with pytest.raises(TypeMissing):
        renamed.new("api-rsa", "two", NOW + 3 * DAY, "rsa", RSA, (API,))
    renamed.delete(API)
    assert renamed.new(API, "two", NOW + 3 * DAY) == renamed.members("two")[WWW]
    renamed.keep(WWW, "three", NOW + 4 * DAY, pinned=True)
    assert renamed.state("one").ledger.entries == () and renamed.state("one").keyring.members == ()


def test_lineage_that_is_deleted_while_it_moves_can_come_back(pair: Machine) -> None:
    """To the keyring that it was moving to; the sentence at its deletion names that one only."""
    pair.keep(API, "two", NOW + DAY, pinned=True)
    pair.delete(API)
    told = requests.note_deleted(pair.workflow, NOW + 2 * DAY)
    assert len(told) == 1 and "--pinkeep-keyring two" in told[0]
    pair.keep(WWW, "one", NOW + 2 * DAY, pinned=True)
    assert pair.new(API, "two", NOW + 2 * DAY) == pair.members("two")[API]


def test_last_lineage_that_is_deleted_names_the_way_to_be_forgotten(machine: Machine) -> None:
    """Nothing else would end its pins: nobody publishes any more."""
    machine.issue(WWW)
    machine.keep(WWW, WWW)
    machine.delete(WWW)
    (told,) = requests.note_deleted(machine.workflow, NOW + DAY)
    assert f"certbot-pinkeep unpin {WWW}" in told
    requests.unpin(machine.workflow, WWW, NOW + DAY)
    machine.workflow.publish(WWW, NOW + DAY)
    assert machine.new("again", "again", NOW + 62 * DAY, hosts=(WWW,))


def test_keyring_without_lineages_can_be_unpinned_with_a_single_pin(machine: Machine) -> None:
    """Its key is compromised and its certificate gone: max-age=0 is sent with the last pins."""
    machine.issue(WWW)
    machine.keep(WWW, WWW, backup_keys=1)
    machine.delete(WWW)
    requests.ask(machine.workflow, WWW, NOW + HOUR, compromised=True)
    requests.unpin(machine.workflow, WWW, NOW + HOUR)
    machine.workflow.publish(WWW, NOW + HOUR)
    assert machine.published(WWW).max_age == 0


# Moves


def test_g2_what_the_old_keyring_publishes_meanwhile_counts(machine: Machine) -> None:
    """Its header goes on being sent at the moved host until the new one's is confirmed."""
    old = machine.issue("c.test")
    machine.keep("c.test", "one")
    for name in ("a.test", "d.test"):
        machine.new(name, "one", NOW)
    at = NOW + 70 * DAY
    requests.ask(machine.workflow, "one", at)
    first = machine.renew("c.test", "one", at)
    machine.keep("c.test", "two", at + DAY, pinned=True)
    requests.confirm(machine.workflow, "two", at + 2 * DAY)
    at += 140 * DAY
    machine.keep("d.test", "one", at, pinned=True)
    machine.keep("a.test", "two", at, pinned=True)
    machine.renew("d.test", "one", at + DAY)
    requests.ask(machine.workflow, "one", at + 70 * DAY)
    machine.renew("d.test", "one", at + 70 * DAY)
    assert first not in machine.published("one").pins
    assert machine.handed("a.test", "two", at + 71 * DAY).pin == old


def test_confirm_is_not_held_up_by_a_deleted_twin(pair: Machine) -> None:
    """The command that it would name could not work."""
    pem = Path(pair.look(WWW).key_path).read_bytes()
    pair.issue("twin", pem, (WWW,))
    pair.keep("twin", "one", NOW + HOUR)
    pair.keep(WWW, "two", NOW + DAY, pinned=True)
    pair.delete("twin")
    assert "has left the keyring one" in requests.confirm(pair.workflow, "two", NOW + 2 * DAY)


# Other keys for pinned hosts


def test_g2_host_that_is_added_is_looked_at_before_anything_is_issued(pair: Machine) -> None:
    """One of another keyring's, or one below a host that is pinned with its subdomains."""
    machine = pair
    machine.issue(OTHER)
    machine.keep(OTHER, OTHER)
    live, at = machine.look(OTHER), NOW + DAY
    with pytest.raises(OtherKeyring):
        machine.workflow.handover(live, OTHER, (OTHER, API), at)
    machine.keep(WWW, "one", at, pinned=True, include_subdomains=True)
    with pytest.raises(OtherKeyring):
        machine.workflow.handover(live, OTHER, (OTHER, f"x.{WWW}"), at)
    assert machine.workflow.handover(live, OTHER, (OTHER, "free.test"), at).pin == live.pin


def test_g2_two_keyrings_cannot_begin_with_one_host_by_reporting_only(machine: Machine) -> None:
    """Once both were enforced, each would lock the other's clients out."""
    machine.issue(WWW)
    machine.issue("twin", hosts=(WWW,))
    machine.keep(WWW, WWW, report_only=True)
    with pytest.raises(OtherKeyring):
        machine.keep("twin", "twin", report_only=True)


def test_g8_damaged_keyring_file_still_stands_for_its_hosts(pair: Machine) -> None:
    """The copy tells them; a new certificate for another host is none of its business."""
    (pair.config / "pinkeep" / "one.conf").write_bytes(b"junk")
    with pytest.raises(DamagedState):
        pair.new("again", "again", NOW + DAY, hosts=(WWW,))
    pair.new(OTHER, OTHER, NOW + DAY)


@pytest.mark.parametrize("kind", ["rsa-1024", "ed25519"])
def test_g2_subdomain_with_a_key_that_cannot_be_pinned_is_not_covered(
    machine: Machine, kind: str
) -> None:
    """Just that key can never be among the pins."""
    machine.issue(BARE)
    machine.issue(API)
    path = machine.config / "live" / API / "cert.pem"
    path.write_bytes(foreign_certificate(kind, API))
    with pytest.raises(NotCovered, match=API):
        machine.keep(BARE, BARE, include_subdomains=True)
    assert not machine.published(BARE).include_subdomains


def test_g2_member_with_a_key_that_cannot_be_pinned_is_not_loaded_by_others(pair: Machine) -> None:
    """Apache would serve it."""
    (pair.config / "live" / API / "cert.pem").write_bytes(foreign_certificate("rsa-1024", API))
    before = pair.apache.reloads
    with pytest.raises(Unpinned, match=rf"1024 bits[\s\S]*--cert-name {API} --force-renewal"):
        pair.keep(WWW, "one", NOW + DAY, pinned=True, max_age=5)
    assert pair.apache.reloads == before


def test_glance_takes_a_key_of_any_kind(tmp_path: Path) -> None:
    """Its pin is a pin, too."""
    path = tmp_path / "cert.pem"
    path.write_bytes(foreign_certificate("ed25519", API))
    names, pin, _ = lineage.glance(str(path))
    assert names == (API,) and len(pin) == 44


# Types that serve nothing yet


@pytest.fixture
def staged(pair: Machine) -> Machine:
    """RSA keys were staged in advance; they are safe in sixty days."""
    with pytest.raises(TypeMissing):
        pair.new("www-rsa", "one", NOW + 70 * DAY, "rsa", RSA, (WWW,))
    return pair


def test_staged_type_does_not_hold_up_a_rollover_of_the_served_one(staged: Machine) -> None:
    """Nor is it asked to roll over."""
    asked = requests.ask(staged.workflow, "one", NOW + 71 * DAY)
    assert asked.ready
    keys = staged.state("one").keyring
    assert {key.kind.key_type for key in keys.keys if key.retire_reason} == {"ecdsa"}


def test_staged_type_is_not_compromised_with_the_served_one(staged: Machine) -> None:
    """Nobody has seen its key."""
    requests.ask(staged.workflow, "one", NOW + 71 * DAY, compromised=True)
    primary = staged.state("one").keyring.primary("rsa")
    assert primary is not None and primary.role == "primary"


def test_type_is_all_that_there_is_if_nothing_is_served() -> None:
    """A keyring without lineages."""
    assert Keyring("x").served_types() == ()


# Files that are lost, options that are told


def test_g2_lost_keyring_file_of_several_lineages(machine: Machine) -> None:
    """Whichever comes first: the pins of all of them stay published, whatever their type."""
    names = ("a.test", "b.test", "c.test")
    for name in names:
        machine.issue(name)
        machine.keep(name, "one")
    machine.issue("r.test", RSA_KEY)
    machine.keep("r.test", "one")
    before = set(machine.published("one").pins)
    (machine.config / "pinkeep" / "one.conf").unlink()
    for path in (machine.work / "pinkeep").rglob("*.conf"):
        path.unlink()
    machine.keep("b.test", "one", NOW + DAY, pinned=True)
    assert before <= set(machine.published("one").pins)
    for name in ("a.test", "c.test", "r.test"):
        machine.keep(name, "one", NOW + DAY, pinned=True)
    assert before <= set(machine.published("one").pins)


def test_g5_lineage_joins_while_the_keys_are_away(pair: Machine) -> None:
    """A folder that is not mounted: once it is back, its keys are backups as before."""
    keys, before = pair.config / "keys", pair.published("one").pins
    keys.rename(pair.config / "away")
    new = pair.issue(OTHER)
    pair.keep(OTHER, "one", NOW + DAY)
    assert new in pair.published("one").pins
    shutil.rmtree(keys)
    (pair.config / "away").rename(keys)
    for name in (OTHER, *pair.members("one")):
        pair.keep(name, "one", NOW + 2 * DAY)
    assert set(before) <= set(pair.published("one").pins)


def test_g10_reports_do_not_go_to_a_host_of_another_lineage(pair: Machine) -> None:
    """The keyring covers it."""
    with pytest.raises(BadOption, match="--pinkeep-report-uri"):
        pair.keep(WWW, "one", NOW + DAY, pinned=True, report_uri=f"https://{API}/r")
    assert pair.published("one").report_uri is None


def _killed(*given: object) -> None:
    raise KeyboardInterrupt


def test_hook_lets_a_lineage_join_as_new(pair: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certbot notes installer and keyring before the hook runs: that is no sign of earlier pins."""
    monkeypatch.setattr(clock, "now", lambda: NOW + DAY)
    pair.issue(OTHER)
    pair.issue(OTHER)
    content = pair.renewal(OTHER).read_text()
    given = [f"pinkeep_{name} = {pair.apache.configtest[0]}" for name in ("configtest_command",)]
    given += [f"pinkeep_reload_command = {pair.apache.reload[0]}", "pinkeep_keyring = one"]
    pair.renewal(OTHER).write_text(content + "\n".join(given) + "\n")
    monkeypatch.setenv("RENEWED_LINEAGE", str(pair.config / "live" / OTHER))
    words = ["--config-dir", str(pair.config), "--work-dir", str(pair.work)]
    assert main.main(["deploy-hook", *words]) == 0
    assert OTHER in pair.members("one")
    assert pair.state("one").ledger.uncertain is None


def test_recommended_renewal_is_for_a_key_that_can_join(pair: Machine) -> None:
    """Also if the primary is compromised: for the backup that is safe."""
    requests.ask(pair.workflow, "one", NOW + 70 * DAY, compromised=True)
    own = pair.issue(OTHER, make_pem())
    handed = pair.handed(OTHER, "one", NOW + 70 * DAY)
    assert handed.pin != own and handed.pin in pair.published("one").pins


def test_small_key_stays_out(machine: Machine) -> None:
    """As before: it cannot be pinned."""
    machine.issue(WWW)
    small = pem_of(rsa.generate_private_key(65537, 1024))
    with pytest.raises(BadKey):
        machine.issue(API, small)


# Forced choices


def test_g2_forced_choice_is_not_about_who_joins_later(pair: Machine) -> None:
    """Its clients were not announced: it keeps its key until the shared one is safe there."""
    requests.ask(pair.workflow, "one", NOW + 70 * DAY)
    pair.renew(WWW, "one", NOW + 70 * DAY)
    pair.keep(API, "one", NOW + 70 * DAY, pinned=True)
    requests.ask(pair.workflow, "one", NOW + 71 * DAY, force=True)
    forced = pair.renew(WWW, "one", NOW + 71 * DAY)
    own = pair.issue(OTHER)
    pair.keep(OTHER, "own", NOW + 72 * DAY)
    pair.keep(OTHER, "one", NOW + 73 * DAY, pinned=True)
    assert pair.handed(OTHER, "one", NOW + 74 * DAY).pin == own != forced


def test_forced_choice_holds_until_all_have_followed(pair: Machine) -> None:
    """Those that were announced follow at once; then it is over."""
    requests.ask(pair.workflow, "one", NOW + DAY, force=True)
    forced = pair.renew(WWW, "one", NOW + DAY)
    key = pair.state("one").keyring.key(forced)
    assert key is not None and pair.renew(API, "one", NOW + 2 * DAY) == forced
    key = pair.state("one").keyring.key(forced)
    assert key is not None and not key.forced


def test_g3_g8_compromised_key_of_a_member_is_not_left_blindly(pair: Machine) -> None:
    """While the record is blind nothing is known to be safe: the renewal fails, and says so."""
    own = pair.issue(OTHER)
    pair.keep(OTHER, "one", NOW + HOUR)
    state = pair.state("one")
    compromised = state.keyring.with_compromised(own)
    blind = state.ledger.with_uncertainty("it was lost", NOW + 90 * DAY)
    pair.workflow.store.save(replace(state, keyring=compromised, ledger=blind))
    with pytest.raises(Compromised):
        pair.handed(OTHER, "one", NOW + DAY)


# What the rules of sharing guard


def test_g2_names_that_are_added_count(machine: Machine) -> None:
    """A lineage is to follow to the shared key, with one more host. Clients of that host know neither key."""
    machine.issue(WWW)
    machine.keep(WWW, "one")
    machine.issue(OTHER)
    machine.keep(OTHER, "one", NOW + HOUR)
    machine.issue(API)
    machine.keep(API, "two", NOW + HOUR)
    machine.keep(API, "one", NOW + DAY, pinned=True)
    requests.confirm(machine.workflow, "one", NOW + DAY)
    live, at = machine.look(OTHER), NOW + 2 * DAY
    shared = machine.members("one")[WWW]
    assert machine.workflow.handover(live, "one", (OTHER,), at).pin == shared
    with pytest.raises(NotAccepted, match=API):
        machine.workflow.handover(live, "one", (OTHER, API), at)


def test_g2_certificate_on_another_keyring_is_not_covered(machine: Machine) -> None:
    """Its key is among the pins today, and need not be tomorrow."""
    pem = make_pem()
    machine.issue(API, pem)
    machine.keep(API, API)
    machine.issue(BARE, pem)
    with pytest.raises(NotCovered, match=API):
        machine.keep(BARE, BARE, NOW + HOUR, include_subdomains=True)


def test_g3_compromised_key_stays_so_in_the_keyring_that_it_comes_to(machine: Machine) -> None:
    """It is never handed over again there either."""
    machine.issue(WWW)
    machine.keep(WWW, "one")
    own = machine.issue(API)
    machine.keep(API, "two")
    requests.ask(machine.workflow, "two", NOW + HOUR, compromised=True)
    machine.keep(API, "one", NOW + DAY, pinned=True)
    assert machine.role("one", own) == "compromised"


def test_g2_confirm_waits_for_a_twin_that_stays_behind(pair: Machine) -> None:
    """Its header goes on being sent at the same host."""
    pem = Path(pair.look(WWW).key_path).read_bytes()
    pair.issue("twin", pem, (WWW,))
    pair.keep("twin", "one", NOW + HOUR)
    pair.keep(WWW, "two", NOW + DAY, pinned=True)
    with pytest.raises(PinkeepError, match="--cert-name twin"):
        requests.confirm(pair.workflow, "two", NOW + 2 * DAY)


def test_g5_move_that_was_killed_and_taken_up_again_after_a_renewal(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both keyrings have the lineage, and the new one has published nothing: it goes on with the key
    of the renewal, which clients accept."""
    machine.issue(API)
    machine.keep(API, "one")
    with monkeypatch.context() as patch:
        patch.setattr("certbot_pinkeep.workflow.move.note_left", _killed)
        with pytest.raises(KeyboardInterrupt):
            machine.keep(API, "two", NOW + HOUR, pinned=True)
    requests.ask(machine.workflow, "one", NOW + 70 * DAY)
    handed = machine.handed(API, "one", NOW + 70 * DAY)
    machine.issue(API, handed.key_pem)
    machine.keep(API, "one", NOW + 70 * DAY, pinned=True)
    machine.keep(API, "two", NOW + 71 * DAY, pinned=True)
    assert machine.members("two") == {API: handed.pin}
    assert machine.published("two").pins[0] == handed.pin
    assert machine.state("one").keyring.member(API) == replace(
        machine.state("two").keyring.members[0], loaded=None, transferred="two"
    )
