"""G2: a host that sent pins before pinkeep came: its visitors are not locked out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certbot_pinkeep.core import earlier_headers, pins, rollover, staging
from certbot_pinkeep.core.errors import NotSafe
from certbot_pinkeep.core.header import Header, write_header
from certbot_pinkeep.core.observations import Headers, Stopped, TlsObservation
from certbot_pinkeep.core.pem import load_certificate, load_private_key
from certbot_pinkeep.core.policy import ENFORCED, REPORT_ONLY
from certbot_pinkeep.reports import status
from certbot_pinkeep.workflow import offline_backups, releases, requests
from certbot_pinkeep.workflow.offline_backups import Imported
from simulated.machine import Machine
from simulated.values import DAY, HOUR, NOW, A, certificate, csr_pem, make_pem, pin_of_key
from simulated.workflow import Workflow

NAME = "www.pin.test"
YEAR = 365 * DAY
SECONDS = int(YEAR.total_seconds())
OFFLINE = make_pem()


@dataclass
class Visited(Machine):
    """A machine whose hosts can be looked at.

    :ivar key: the key that is served
    :ivar headers: what is sent
    :ivar asked: the hosts that were looked at
    :ivar valid_for: the names of the certificate that is shown; empty: those that are asked for
    :ivar sends: the only host that sends the headers; empty: all do
    """

    root: Path
    key: bytes = field(default_factory=make_pem)
    headers: Headers = ()
    asked: list[str] = field(default_factory=list)
    latest_known: bool = True
    valid_for: tuple[str, ...] = ()
    sends: str = ""

    def __post_init__(self) -> None:
        super().__init__(self.root)

    @property
    def workflow(self) -> Workflow:
        return Workflow(str(self.config), str(self.work), self.glance)

    def glance(self, names: Sequence[str]) -> list[TlsObservation]:
        """What the hosts show."""
        self.asked += names
        if not self.latest_known:
            return [
                TlsObservation(
                    name, stopped="unreachable", error="nothing answers", address="192.0.2.1"
                )
                for name in names
            ]
        der = load_certificate(certificate(self.key, self.valid_for or names)).public_bytes(
            Encoding.DER
        )
        return [
            TlsObservation(name, der, self.headers if self.sends in ("", name) else ())
            for name in names
        ]

    def send(
        self, *listed: str, age: int = SECONDS, name: str = ENFORCED, subdomains: bool = False
    ) -> None:
        """Have the hosts send a header, behind what they send already."""
        value = write_header(Header(listed, age, subdomains))
        self.headers = (*self.headers, (name, value))

    def safe_from(self, now: datetime = NOW) -> datetime | None:
        """From when a rollover to a key that is here is safe."""
        state = self.state(NAME)
        keys = state.keyring.without_offline()
        return rollover.best_backup(keys, state.ledger, now, "ecdsa")[1].since


@pytest.fixture
def site(tmp_path: Path) -> Visited:
    """A site with a certificate, not pinned by pinkeep yet."""
    site = Visited(tmp_path)
    site.issue(NAME, site.key)
    return site


def test_g2_header_of_before_binds_as_a_policy(site: Visited) -> None:
    """Nobody is rolled over before it has run out; then it binds nobody any more."""
    site.send(pin_of_key(site.key), A)
    site.keep(NAME, NAME)
    with pytest.raises(NotSafe, match="2027-03-01"):
        requests.ask(site.workflow, NAME, NOW + HOUR)
    assert site.safe_from() == NOW + YEAR
    offline_backups.drop(site.workflow, NAME, A, NOW + HOUR)
    with pytest.raises(NotSafe, match="clients may hold pins without it until 2027-03-01"):
        requests.ask(site.workflow, NAME, NOW + HOUR)
    assert requests.ask(site.workflow, NAME, NOW + YEAR).ready


def test_g2_offline_backup_of_the_header_is_one(site: Visited) -> None:
    """Its pin is published at once. Its private key is asked for; with it the rollover is safe."""
    pin = pin_of_key(OFFLINE)
    site.send(pin_of_key(site.key), pin)
    site.keep(NAME, NAME)
    assert site.published(NAME).pins[-1] == pin
    assert staging.missing_backups(site.state(NAME).keyring, 2) == {}
    brought = Imported("offline.key", load_private_key(OFFLINE))
    offline_backups.add_private(site.workflow, NAME, brought, NOW + HOUR)
    assert requests.ask(site.workflow, NAME, NOW + HOUR).ready
    assert site.renew(NAME, NAME, NOW + 2 * HOUR) == pin


def test_g2_key_of_the_header_that_is_here_is_a_backup(site: Visited) -> None:
    """Its file is in keys/ already."""
    saved = site.workflow.folders.save_key(OFFLINE)
    site.send(pin_of_key(site.key), saved.pin)
    site.keep(NAME, NAME)
    key = site.state(NAME).keyring.key(saved.pin)
    assert key is not None and (key.role, key.path) == ("backup", saved.path)
    assert requests.ask(site.workflow, NAME, NOW + HOUR).ready


@pytest.mark.parametrize(
    ("what", "held"),
    [
        ("a key of somebody else's", timedelta(0)),
        ("report-only", timedelta(0)),
        ("max-age 0", timedelta(0)),
        ("the served key is not listed", timedelta(0)),
        ("no syntax", timedelta(0)),
        ("the first of two", YEAR),
        ("one pin", YEAR),
        ("the same pin twice", YEAR),
        ("for ever", timedelta(days=36500)),
    ],
)
def test_g2_which_headers_bind(site: Visited, what: str, held: timedelta) -> None:
    """A client takes the first header that it can read; it is believed with a key of ours only."""
    live = pin_of_key(site.key)
    if what == "a key of somebody else's":
        site.key = make_pem()
        site.send(pin_of_key(site.key), A, age=10**9)
    elif what == "report-only":
        site.send(live, A, name=REPORT_ONLY)
    elif what == "max-age 0":
        site.send(live, A, age=0)
    elif what == "the served key is not listed":
        site.send(pin_of_key(OFFLINE), A)
    elif what == "no syntax":
        site.headers = ((ENFORCED, "pin-sha256="),)
    elif what == "the first of two":
        site.send(live, A)
        site.send(live, A, age=1)
    elif what == "one pin":
        site.send(live)
    elif what == "the same pin twice":
        site.send(live, live)
    else:
        site.send(live, A, age=10**19)
    site.keep(NAME, NAME)
    state = site.state(NAME)
    last = max((one.binds_until(NOW) for one in state.ledger.imported), default=NOW)
    assert last == NOW + held or (held > YEAR and last > NOW + 90 * YEAR)
    if not held:
        assert requests.ask(site.workflow, NAME, NOW + 61 * DAY).ready
    assert pins.NOBODY not in site.published(NAME).pins


def test_g2_header_binds_until_it_is_seen_to_be_gone(site: Visited) -> None:
    """Every run looks again while it may be sent, and the first one that sees nothing is the last."""
    site.send(pin_of_key(site.key), A)
    assert not site.keep(NAME, NAME).settled
    assert not site.keep(NAME, NAME, NOW + DAY).settled
    assert site.safe_from(NOW + DAY) == NOW + DAY + YEAR
    site.latest_known = False
    assert not site.keep(NAME, NAME, NOW + 2 * DAY).settled
    site.latest_known, site.headers = True, ()
    assert site.keep(NAME, NAME, NOW + 3 * DAY).settled
    assert site.safe_from(NOW + 3 * DAY) == NOW + 3 * DAY + YEAR
    site.asked.clear()
    site.keep(NAME, NAME, NOW + 4 * DAY)
    assert site.asked == [] and site.safe_from(NOW + 4 * DAY) == NOW + 3 * DAY + YEAR


def test_g2_lineage_that_joins_keeps_its_key_if_its_host_sends_pins(site: Visited) -> None:
    """The first renewal of a second host is not issued for the shared key: its visitors do not know
    it."""
    site.issue("shared.pin.test", make_pem())
    site.keep("shared.pin.test", "shared")
    site.send(pin_of_key(site.key), A)
    assert site.handed(NAME, "shared", NOW + 90 * DAY).pin == pin_of_key(site.key)
    site.headers = ()
    assert site.handed(NAME, "shared", NOW + 90 * DAY).pin != pin_of_key(site.key)


def test_g2_host_that_a_lineage_newly_brings_is_looked_at(site: Visited) -> None:
    """The others are not looked at again."""
    site.keep(NAME, NAME)
    site.asked.clear()
    site.issue(NAME, site.key, (NAME, "new.pin.test", "*.pin.test", "192.0.2.1"))
    site.send(pin_of_key(site.key), A)
    site.keep(NAME, NAME, NOW + HOUR)
    assert site.asked == ["new.pin.test"]
    (entry,) = site.state(NAME).ledger.imported
    assert entry.hosts == ("new.pin.test",)


def test_g3_nothing_that_goes_wrong_in_looking_stops_anything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be seen is said, with the command that records earlier pins; it works."""

    class Broken(Visited):
        def glance(self, names: Sequence[str]) -> list[TlsObservation]:
            raise RuntimeError("broken")

    site = Broken(tmp_path)
    site.issue(NAME, site.key)
    with caplog.at_level(logging.WARNING):
        (enrolled,) = site.keep(NAME, NAME).enrolled
    assert caplog.messages == []
    (told,) = enrolled.told
    assert f"certbot-pinkeep release {NAME} add --channel header --label earlier --until" in told


def test_g3_dry_run_looks_at_nothing(site: Visited) -> None:
    """Not even if a lineage is to join."""
    site.issue("shared.pin.test", make_pem())
    site.keep("shared.pin.test", "shared")
    site.asked.clear()
    live = site.look(NAME)
    site.workflow.handover(live, "shared", live.names, NOW + 90 * DAY, dry_run=True)
    assert site.asked == []


@pytest.mark.parametrize("how", ["key", "CSR"])
def test_g2_offline_backup_of_another_kind_is_taken_as_it_is(site: Visited, how: str) -> None:
    """The header does not say of what kind it is. Its key says so, as does its CSR."""
    other = make_pem(ec.SECP384R1())
    pin = pin_of_key(other)
    site.send(pin_of_key(site.key), pin)
    site.keep(NAME, NAME)
    if how == "key":
        brought = Imported("offline.key", load_private_key(other))
        offline_backups.add_private(site.workflow, NAME, brought, NOW)
    else:
        offline_backups.add_public(site.workflow, NAME, csr_pem(other, [NAME]), "offline.csr", NOW)
    key = site.state(NAME).keyring.key(pin)
    assert key is not None and key.kind.detail == "secp384r1"


@pytest.mark.parametrize("where", ["brought along", "archive", "keys", "another certificate"])
def test_g2_every_key_that_is_here_proves_the_header(site: Visited, where: str) -> None:
    """Live or not: whoever has its private half is this machine."""
    served, live = make_pem(), site.key
    if where == "archive":
        site.issue(NAME, served)
        site.issue(NAME, live)
    elif where == "keys":
        site.workflow.folders.save_key(served)
    elif where == "another certificate":
        site.issue("old.pin.test", served, (NAME,))
    workflow = site.workflow
    if where == "brought along":
        workflow.imported = {pin_of_key(served): served}
    site.key = served
    site.send(pin_of_key(served), A)
    enrolled = workflow.enrol(site.look(NAME), site.options(NAME), NOW)
    assert "already sends a Public-Key-Pins header" in enrolled.told[0]
    assert pin_of_key(served) not in enrolled.told[0] and A in enrolled.told[0]
    assert site.safe_from() == NOW  # to that key, which is a backup from now on
    key = site.state(NAME).keyring.key(pin_of_key(served))
    assert key is not None and key.path is not None


def test_g2_compromised_key_proves_nothing(site: Visited) -> None:
    """Another owner could block rollovers for ever."""
    site.issue("other.test", site.key)
    site.keep("other.test", "other.test")
    assert site.workflow.sent_at((NAME,)) == earlier_headers.Found(without=(NAME,))
    requests.note_revoked(site.workflow, pin_of_key(site.key), NOW, compromised=True)
    site.send(pin_of_key(site.key), A)
    assert site.workflow.sent_at((NAME,)) == earlier_headers.Found(foreign=(NAME,))


def test_g2_host_behind_a_certificate_for_another_name_sends_nothing(site: Visited) -> None:
    """It falls into another virtual host, and no client notes anything there (RFC 7469 §2.5)."""
    site.valid_for = ("default.pin.test",)
    site.send(pin_of_key(site.key), A)
    (enrolled,) = site.keep(NAME, NAME).enrolled
    assert enrolled.told == () and site.state(NAME).ledger.imported == ()
    site.valid_for = ("*.pin.test",)
    seen = site.workflow.sent_at((NAME,))
    assert seen is not None and list(seen.sent.values()) == [(NAME,)]


def test_g2_header_of_its_own_is_no_earlier_one(site: Visited) -> None:
    """Nothing is said of it, also if it is seen with the key of a minute ago after a rollover; and
    if it comes in place of the earlier one, that has ended."""
    site.send(pin_of_key(site.key), pin_of_key(OFFLINE))
    site.keep(NAME, NAME)
    own, site.headers = site.published(NAME), ()
    site.send(*own.pins, age=own.max_age)
    brought = Imported("offline.key", load_private_key(OFFLINE))
    offline_backups.add_private(site.workflow, NAME, brought, NOW + HOUR)
    requests.ask(site.workflow, NAME, NOW + HOUR)
    # Apache serves the key of before while its renewal has its turn.
    handed = site.handed(NAME, NAME, NOW + DAY)
    site.issue(NAME, handed.key_pem)
    report = site.keep(NAME, NAME, NOW + DAY)
    assert site.asked and [enrolled.told for enrolled in report.enrolled] == [()]
    assert report.settled
    (entry,) = site.state(NAME).ledger.imported
    assert entry.binds_until(NOW) == NOW + DAY + YEAR


@pytest.mark.parametrize(
    ("then", "safe"),
    [
        ("down", 60 * DAY),
        ("its own header", 60 * DAY),
        ("no header", timedelta(0)),
        ("an earlier header", YEAR + DAY),
        ("the admin says so", timedelta(0)),
    ],
)
def test_g2_host_that_could_not_be_seen_is_not_safe(
    site: Visited, then: str, safe: timedelta
) -> None:
    """What it sent before is unknown, so every run looks again. Until it is seen, or the admin says so, no
    rollover is safe for the default max-age. Renewals go on."""
    site.latest_known = False
    assert not site.keep(NAME, NAME).settled
    with pytest.raises(NotSafe, match=r"unknown: clients may hold .* until 2026-04-30") as told:
        requests.ask(site.workflow, NAME, NOW + HOUR)
    words = f"release {NAME} end --channel header --label not-seen"
    assert f"\nRun: certbot-pinkeep {words}\n" in str(told.value)
    assert words in status.as_text([site.state(NAME)], NOW + HOUR)
    if then == "its own header":
        own = site.published(NAME)
        site.send(*own.pins, age=own.max_age)
    elif then == "an earlier header":
        site.send(pin_of_key(site.key), A)
    elif then == "the admin says so":
        releases.end(site.workflow, releases.ReleaseRequest(NAME, "header", "not-seen"), NOW + HOUR)
    site.latest_known = then not in ("down", "the admin says so")
    site.asked.clear()
    report = site.keep(NAME, NAME, NOW + DAY)
    assert bool(site.asked) == (then != "the admin says so")
    assert report.settled == (safe == timedelta(0))
    assert max(site.safe_from(NOW + DAY) or NOW, NOW) == NOW + safe
    assert site.handed(NAME, NAME, NOW + 2 * DAY).pin == pin_of_key(site.key)


def test_g2_host_without_a_header_by_choice_need_not_be_seen(site: Visited) -> None:
    """A mail server has no site: with ``--pinkeep-header none`` nothing is waited for."""
    site.latest_known = False
    report = site.keep(NAME, NAME, header="none")
    assert report.settled and [enrolled.told for enrolled in report.enrolled] == [()]
    assert site.state(NAME).ledger.releases == ()


def test_g2_lineage_joins_with_its_key_if_its_host_cannot_be_seen(site: Visited) -> None:
    """The first renewal for the shared key waits until its visitors are known to take it."""
    site.issue("shared.pin.test", make_pem())
    site.keep("shared.pin.test", "shared")
    site.latest_known = False
    assert site.handed(NAME, "shared", NOW + 90 * DAY).pin == pin_of_key(site.key)


def test_g2_key_that_is_brought_is_not_held_back_by_an_unseen_host(site: Visited) -> None:
    """Clients pin it already, says the admin."""
    site.latest_known = False
    workflow = site.workflow
    workflow.imported = {pin_of_key(OFFLINE): OFFLINE}
    workflow.enrol(site.look(NAME), site.options(NAME), NOW)
    workflow.pin_key(NAME, OFFLINE, NOW)
    workflow.publish_all([NAME], NOW)
    assert site.renew(NAME, NAME, NOW + HOUR) == pin_of_key(OFFLINE)


@pytest.mark.parametrize(
    ("names", "subdomains", "here", "held"),
    [
        ((NAME,), True, True, True),
        (("*.pin.test",), True, True, True),
        ((f"a.{NAME}",), True, True, True),
        ((NAME,), False, True, False),
        ((NAME,), True, False, False),
        (("otherpin.test",), True, True, False),
    ],
    ids=["below", "wildcard", "further below", "without", "not ours", "beside"],
)
def test_g2_header_that_a_host_above_sends_with_include_subdomains_binds(
    tmp_path: Path, names: tuple[str, ...], subdomains: bool, here: bool, held: bool
) -> None:
    """The host below is pinned first; clients hold the pins of the one above for it."""
    site = Visited(tmp_path, sends="pin.test")
    site.issue(NAME, site.key, names)
    if here:
        site.issue("above", site.key, ("pin.test",))
    site.send(pin_of_key(site.key), A, subdomains=subdomains)
    site.keep(NAME, NAME)
    assert (site.safe_from() == NOW + YEAR) == held
    assert ("pin.test" in site.asked) == (here and "other" not in names[0])
    if held:
        assert site.workflow.keyring_at(("pin.test",), NOW) == NAME
        site.headers = ()
        site.keep(NAME, NAME, NOW + DAY)
        assert site.state(NAME).ledger.sending(NOW + DAY) == ()


def test_g2_host_above_that_could_not_be_seen_is_told_and_stays_free(tmp_path: Path) -> None:
    """It is not pinned with the one below, whose own name alone counts as unknown."""
    site = Visited(tmp_path, latest_known=False)
    site.issue(NAME, site.key)
    site.issue("above", site.key, ("pin.test",))
    (enrolled,) = site.keep(NAME, NAME).enrolled
    assert "pin.test" in " ".join(enrolled.told)
    assert site.state(NAME).ledger.sending(NOW) == (NAME,)
    assert site.workflow.keyring_at(("pin.test",), NOW) is None


@pytest.mark.parametrize("stopped", ["", "http"])
def test_g2_host_that_shows_a_certificate_and_no_answer_was_not_seen(stopped: Stopped) -> None:
    """What it sends is in the answer; the certificate alone says nothing of pins."""
    der = load_certificate(certificate(make_pem(), ["a.test"])).public_bytes(Encoding.DER)
    shown = TlsObservation("a.test", der, stopped=stopped, address="192.0.2.1")
    found = earlier_headers.found(["a.test"], [shown], lambda pin: True)
    seen, unseen = ((), ("a.test",)) if stopped else (("a.test",), ())
    assert (found.without, found.silent) == (seen, unseen)
