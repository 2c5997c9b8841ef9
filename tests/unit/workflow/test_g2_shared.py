"""Several lineages on one keyring: they join, leave, are deleted, and nobody is locked out."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import main
from certbot_pinkeep.core.errors import (
    ApacheFailed,
    NotCovered,
    NotSafe,
    OtherKeyring,
    TypeMissing,
    Unpinned,
)
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.storage import settings
from certbot_pinkeep.workflow import requests
from simulated.machine import RSA_KEY, Machine
from simulated.values import DAY, HOUR, NOW

EC = KeyKind("ecdsa", "secp256r1")
RSA = KeyKind("rsa", "2048")
KEYRING = "shared"
WWW, API, BARE = "www.pin.test", "api.pin.test", "pin.test"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without any pins."""
    return Machine(tmp_path)


@pytest.fixture
def shared(machine: Machine) -> Machine:
    """A machine on which www is alone on a keyring."""
    machine.issue(WWW)
    machine.keep(WWW, KEYRING)
    return machine


# Joining


def test_lineage_joins_with_the_key_that_it_has(shared: Machine) -> None:
    """It is in service, and pinned before the backups; the primary stays the shared one."""
    primary = shared.members(KEYRING)[WWW]
    own = shared.issue(API)
    report = shared.keep(API, KEYRING, NOW + DAY)
    assert report.pins[:2] == (primary, own) and len(report.pins) == 4
    assert (shared.role(KEYRING, primary), shared.role(KEYRING, own)) == ("primary", "in-service")
    assert shared.apache.reloads == 2


def test_next_renewal_is_issued_for_the_shared_key(shared: Machine) -> None:
    """Nobody holds pins at its names that lack it; its own key is retired with it."""
    primary = shared.members(KEYRING)[WWW]
    own = shared.issue(API)
    shared.keep(API, KEYRING, NOW + DAY)
    assert shared.renew(API, KEYRING, NOW + 2 * DAY) == primary
    assert shared.role(KEYRING, own) == "retired"
    assert own not in shared.published(KEYRING).pins


def test_lineage_without_pins_joins_by_its_renewal(shared: Machine) -> None:
    """It is issued for the shared key at once: nothing binds at its names."""
    primary = shared.members(KEYRING)[WWW]
    shared.issue(API)
    assert shared.handed(API, KEYRING, NOW + DAY).pin == primary


def test_new_certificate_is_issued_for_the_shared_key(shared: Machine) -> None:
    """At once, and its snippet needs no change."""
    before = shared.published(KEYRING)
    assert shared.new(API, KEYRING, NOW + DAY) == shared.members(KEYRING)[WWW]
    assert shared.published(KEYRING) == before
    assert set(shared.state(KEYRING).ledger.entries[-1].hosts) == {WWW, API}


def test_g2_lineage_that_was_pinned_by_another_keyring_keeps_its_key_until_that_has_run_out(
    shared: Machine,
) -> None:
    """Until the admin confirms that the new header is sent, the old one may be."""
    own = shared.issue(API)
    shared.keep(API, "old")
    report = shared.keep(API, KEYRING, NOW + DAY)
    assert report.enrolled[0].moved_from == "old" and own in report.pins
    assert own in shared.published("old").pins
    primary = shared.members(KEYRING)[WWW]
    for day in (2, 100, 1000):
        assert shared.handed(API, KEYRING, NOW + day * DAY).pin == own
    assert shared.handed(WWW, KEYRING, NOW + 1000 * DAY, rollover_days="never").pin == primary
    requests.confirm(shared.workflow, KEYRING, NOW + 1000 * DAY)
    assert API not in shared.members("old")
    assert shared.handed(API, KEYRING, NOW + 1059 * DAY, rollover_days="never").pin == own
    assert shared.handed(API, KEYRING, NOW + 1061 * DAY, rollover_days="never").pin == primary


def test_g2_what_the_old_keyring_serves_after_the_move_counts(shared: Machine) -> None:
    """Its header may be sent until it is confirmed that the new one is."""
    shared.issue(API)
    shared.keep(API, "old")
    shared.issue("other.test")
    shared.keep("other.test", "old")
    shared.keep(API, KEYRING, NOW + DAY)
    shared.keep("other.test", "old", NOW + 2 * DAY, max_age=100 * 86400)
    requests.confirm(shared.workflow, KEYRING, NOW + 3 * DAY)
    longest = max(e.policy.max_age for e in shared.state(KEYRING).ledger.imported)
    assert longest == 100 * 86400


def test_g2_move_of_a_host_frees_no_other_host(shared: Machine) -> None:
    """The keyring that it has left pins its own host as before."""
    for name in (API, "other.test"):
        shared.issue(name)
        shared.keep(name, "old")
    shared.keep(API, KEYRING, NOW + DAY)
    with pytest.raises(OtherKeyring, match="old"):
        shared.new("another", KEYRING, NOW + DAY, hosts=("other.test",))


def test_move_can_be_taken_back(shared: Machine) -> None:
    """The lineage draws on the first keyring again, with the key that both have."""
    own = shared.issue(API)
    shared.keep(API, "old")
    shared.keep(API, KEYRING, NOW + DAY)
    shared.keep(API, "old", NOW + 2 * DAY)
    assert shared.workflow.store.keyring_of(API) == "old"
    requests.confirm(shared.workflow, "old", NOW + 3 * DAY)
    assert shared.members("old") == {API: own} and API not in shared.members(KEYRING)


def test_g5_move_that_was_killed_halfway_is_completed(
    shared: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keyring that the lineage comes from is told by the next run."""
    shared.issue(API)
    shared.keep(API, "old")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("certbot_pinkeep.workflow.move.note_left", _kill)
        shared.keep(API, KEYRING, NOW + DAY)
    shared.keep(API, KEYRING, NOW + 2 * DAY)
    (member,) = shared.state("old").keyring.members
    assert member.transferred == KEYRING


def _kill(*_: object) -> None:
    raise KeyboardInterrupt


# Leaving by deletion


def test_deleted_lineage_leaves_at_the_next_publication(shared: Machine) -> None:
    """Its key retires; its hosts stay bound."""
    own = shared.issue(API)
    shared.keep(API, KEYRING)
    shared.delete(API)
    report = shared.keep(WWW, KEYRING, NOW + DAY)
    assert report.dropped == (API,) and own not in report.pins
    with pytest.raises(OtherKeyring, match=f"--pinkeep-keyring {KEYRING}"):
        shared.new(API, API, NOW + 2 * DAY)


def test_g2_host_of_a_deleted_lineage_is_free_when_nobody_is_bound(shared: Machine) -> None:
    """Sixty days after its pins were served last."""
    shared.issue(API)
    shared.keep(API, KEYRING)
    shared.delete(API)
    shared.keep(WWW, KEYRING, NOW + DAY)
    assert shared.new(API, API, NOW + 62 * DAY) not in shared.published(KEYRING).pins


def test_last_lineage_leaves_its_keys_for_a_new_one(shared: Machine) -> None:
    """A new certificate of the keyring has its primary."""
    primary = shared.members(KEYRING)[WWW]
    shared.delete(WWW)
    (said,) = requests.note_deleted(shared.workflow, NOW + DAY)
    assert "the last certificate" in said and f"--pinkeep-keyring {KEYRING}" in said
    assert shared.new(WWW, KEYRING, NOW + DAY) == primary


def test_nothing_is_said_if_nothing_was_deleted(shared: Machine) -> None:
    """Nor if no client holds pins any more, but that."""
    assert requests.note_deleted(shared.workflow, NOW) == []


# The same host twice, subdomains


def test_g2_second_keyring_for_a_host_is_refused(shared: Machine) -> None:
    """Before anything is written; both are named."""
    shared.issue("again", hosts=(WWW,))
    with pytest.raises(OtherKeyring) as caught:
        shared.keep("again", "second")
    assert KEYRING in str(caught.value) and "second" in str(caught.value)
    assert shared.workflow.store.names() == [KEYRING]


@pytest.mark.parametrize("wild", ["*.pin.test", WWW.upper()])
def test_g2_second_keyring_for_a_host_is_refused_to_new_certificates(
    shared: Machine, wild: str
) -> None:
    """Also if a wildcard stands for the host."""
    with pytest.raises(OtherKeyring):
        shared.new("again", "second", NOW, hosts=(wild,))


def test_g2_subdomains_are_not_covered_while_another_key_serves_one(machine: Machine) -> None:
    """The header goes without includeSubDomains until the other lineage has joined."""
    machine.issue(BARE)
    machine.issue(API)
    with pytest.raises(NotCovered, match=API):
        machine.keep(BARE, KEYRING, include_subdomains=True)
    assert not machine.published(KEYRING).include_subdomains
    machine.keep(API, KEYRING, NOW + HOUR, include_subdomains=True)
    assert machine.published(KEYRING).include_subdomains


def test_uncovered_subdomain_is_told_beside_a_reload_that_failed(machine: Machine) -> None:
    """Neither of the two is kept for the next run."""
    machine.issue(BARE)
    machine.issue(API)
    machine.apache.stuck.touch()
    workflow = machine.workflow
    workflow.enrol(machine.look(BARE), machine.options(KEYRING, include_subdomains=True), NOW)
    reports, failures = workflow.publish_all([KEYRING], NOW)
    assert not reports
    assert [type(failure.error) for failure in failures] == [ApacheFailed, NotCovered]


def test_g2_new_lineage_below_covered_hosts_needs_the_keyring(machine: Machine) -> None:
    """On another one it is neither issued nor adopted; it joins with the key that it has, and its next
    renewal is for the one that clients accept."""
    machine.issue(BARE)
    machine.keep(BARE, KEYRING, include_subdomains=True)
    with pytest.raises(OtherKeyring):
        machine.new(API, API, NOW + DAY)
    own = machine.issue(API)
    with pytest.raises(OtherKeyring):
        machine.keep(API, API, NOW + DAY)
    machine.keep(API, KEYRING, NOW + DAY, include_subdomains=True)
    assert own in machine.published(KEYRING).pins  # it may be served already
    primary = machine.members(KEYRING)[BARE]
    assert machine.renew(API, KEYRING, NOW + DAY, include_subdomains=True) == primary


def test_g2_covered_lineage_that_came_later_is_loud_and_changes_nothing(machine: Machine) -> None:
    """Clients hold includeSubDomains: leaving it out would not help them."""
    machine.issue(BARE)
    machine.keep(BARE, KEYRING, include_subdomains=True)
    machine.issue(API)
    with pytest.raises(NotCovered, match="goes on with it"):
        machine.keep(BARE, KEYRING, NOW + DAY, include_subdomains=True, max_age=60)
    published = machine.published(KEYRING)
    assert published.include_subdomains and published.max_age == 60


# Rolling over


def test_g2_every_key_in_service_stays_pinned(shared: Machine) -> None:
    """A rollover reaches the lineages one renewal at a time."""
    old = shared.new(API, KEYRING, NOW)
    assert shared.members(KEYRING) == {WWW: old, API: old}
    requests.ask(shared.workflow, KEYRING, NOW + DAY)
    new = shared.renew(WWW, KEYRING, NOW + DAY)
    assert new != old and shared.role(KEYRING, old) == "in-service"
    assert shared.published(KEYRING).pins[:2] == (new, old)
    assert shared.renew(API, KEYRING, NOW + 2 * DAY) == new
    assert shared.role(KEYRING, old) == "retired"
    assert old not in shared.published(KEYRING).pins


def test_rollover_by_age_at_every_renewal_takes_the_others_along(shared: Machine) -> None:
    """A lineage that does not serve the primary yet gets the primary, not another backup."""
    old = shared.new(API, KEYRING, NOW)
    new = shared.renew(WWW, KEYRING, NOW + DAY, rollover_days=0)
    assert new != old
    assert shared.renew(API, KEYRING, NOW + 2 * DAY, rollover_days=0) == new


def test_g2_forced_rollover_takes_all_lineages_along(shared: Machine) -> None:
    """That nobody accepts it was said before."""
    shared.new(API, KEYRING, NOW)
    for name in (WWW, API):
        shared.keep(name, KEYRING, NOW + HOUR, backup_keys=1)
    requests.ask(shared.workflow, KEYRING, NOW + DAY)
    shared.renew(WWW, KEYRING, NOW + DAY, backup_keys=1)
    shared.renew(API, KEYRING, NOW + DAY, backup_keys=1)
    with pytest.raises(NotSafe):
        requests.ask(shared.workflow, KEYRING, NOW + 2 * DAY)
    requests.ask(shared.workflow, KEYRING, NOW + 2 * DAY, force=True)
    forced = shared.renew(WWW, KEYRING, NOW + 2 * DAY, backup_keys=1)
    assert shared.renew(API, KEYRING, NOW + 3 * DAY, backup_keys=1) == forced


def test_g2_other_lineage_with_a_foreign_key_stops_the_reload(shared: Machine) -> None:
    """Apache would load its certificate, too."""
    shared.new(API, KEYRING, NOW)
    shared.issue(API)
    before = shared.apache.reloads
    shared.issue(WWW, shared.workflow.folders.find_key(shared.members(KEYRING)[WWW]).pem)  # type: ignore[union-attr]
    with pytest.raises(Unpinned, match=API):
        shared.keep(WWW, KEYRING, NOW + DAY)
    assert shared.apache.reloads == before


# Two types


def test_types_have_primaries_and_backups_of_their_own(shared: Machine) -> None:
    """In service first, then the backups, each type's in its order."""
    ec = shared.members(KEYRING)[WWW]
    rsa = shared.issue(API, RSA_KEY)
    report = shared.keep(API, KEYRING)
    keyring = shared.state(KEYRING).keyring
    staged = [key.pin for kind in ("rsa", "ecdsa") for key in keyring.backups(kind)]
    assert report.pins == (ec, rsa, *staged) and len(staged) == 4


def test_g2_second_type_for_the_same_host_waits_until_it_is_pinned(shared: Machine) -> None:
    """Its keys are staged and published; the certificate is issued when nobody lacks them."""
    with pytest.raises(TypeMissing, match="2026-04-30T12:00:00Z"):
        shared.new("www-rsa", KEYRING, NOW, "rsa", RSA, (WWW,))
    primary = shared.state(KEYRING).keyring.primary("rsa")
    assert primary is not None and primary.pin in shared.published(KEYRING).pins
    assert len(shared.published(KEYRING).pins) == 6
    with pytest.raises(NotSafe, match="2026-04-30T12:00:00Z"):
        shared.new("www-rsa", KEYRING, NOW + 59 * DAY, "rsa", RSA, (WWW,))
    assert shared.new("www-rsa", KEYRING, NOW + 61 * DAY, "rsa", RSA, (WWW,)) == primary.pin


def test_g2_second_type_that_is_live_already_joins_with_its_key(shared: Machine) -> None:
    """Its host may serve it already: it is pinned at once, with backups of its type."""
    own = shared.issue("www-rsa", RSA_KEY, (WWW,))
    shared.keep("www-rsa", KEYRING)
    assert own in shared.published(KEYRING).pins and len(shared.published(KEYRING).pins) == 6
    assert shared.role(KEYRING, own) == "primary"
    assert shared.handed("www-rsa", KEYRING, NOW + DAY).pin == own


def test_type_that_nobody_asked_for_is_the_one_that_is_there(shared: Machine) -> None:
    """Nobody asks for certbot's default type."""
    assert shared.new(API, KEYRING, NOW, "rsa") == shared.members(KEYRING)[WWW]


def test_new_type_for_a_host_without_pins_is_made_at_once(shared: Machine) -> None:
    """It joins as the primary of its type."""
    handed = shared.workflow.handover_new(API, KEYRING, "rsa", (API,), False, NOW, kind=RSA)
    assert handed is None


# Options


def test_options_belong_to_the_keyring(shared: Machine) -> None:
    """The last change counts, also if pinkeep 0.1 stored another value for one of its lineages."""
    shared.new(API, KEYRING, NOW)
    with shared.renewal(API).open("a") as file:
        file.write("pinkeep_max_age = 98\n")
    shared.keep(WWW, KEYRING, NOW + HOUR, max_age=99)
    assert "pinkeep_" not in shared.renewal(API).read_text()
    values = settings.values(shared.workflow.store, API, {"keyring": KEYRING, "max-age": None}, {})
    assert values["max-age"] == "99"


def test_options_from_before_do_not_count_for_the_keyring_that_is_joined(shared: Machine) -> None:
    """What is given with the joining itself does."""
    store = shared.workflow.store
    given = {"keyring": KEYRING, "max-age": None, "backup-keys": "3"}
    values = settings.values(store, API, given, {"max-age": "77"})
    assert (values["max-age"], values["backup-keys"]) == (None, "3")


# Lineages that others renew


@pytest.mark.parametrize("below", [True, False])
def test_g2_hook_is_loud_about_a_covered_lineage_of_another_installer(
    machine: Machine,
    below: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its new certificate is refused by who holds the pins; one that is not covered is let be."""
    machine.issue(BARE)
    machine.keep(BARE, KEYRING, include_subdomains=True)
    name = API if below else "api.elsewhere.test"
    machine.issue(name)
    machine.renewal(name).write_text(machine.renewal(name).read_text().replace("pinkeep", "apache"))
    monkeypatch.setenv("RENEWED_LINEAGE", str(machine.config / "live" / name))
    monkeypatch.setattr(clock, "now", lambda: NOW + HOUR)
    code = main.main(["deploy-hook", "--work-dir", str(machine.work)])
    out, err = capsys.readouterr()
    assert code == (1 if below else 0)
    assert (f"--pinkeep-keyring {KEYRING}" in err) is below
    assert not out or below
