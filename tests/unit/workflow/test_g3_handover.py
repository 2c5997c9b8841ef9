"""What a renewal is issued for when the CA is asked whether the old certificate is revoked (G3)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from certbot_pinkeep.adapters import revocation
from certbot_pinkeep.adapters.revocation import Answer
from certbot_pinkeep.core.errors import BadKey, Compromised, DamagedState, NotSafe
from certbot_pinkeep.core.key_and_csr import KeyAndCsr
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.storage.store import Store
from simulated.machine import Site
from simulated.values import DAY, NOW, make_pem, pin_of_key, tree
from simulated.workflow import Workflow

REVOKED, COMPROMISED = Answer(True, "superseded"), Answer(True, "keyCompromise")
GOOD, UNKNOWN, NOBODY = Answer(False), Answer(None, why="it does not answer"), Answer(None)
SAFE_FROM = "2026-05-10T12:00:00Z"  # day 70
Says = Callable[[Answer], None]


@pytest.fixture
def ca_says(monkeypatch: pytest.MonkeyPatch) -> Says:
    """Makes the CA give an answer on the live certificate."""

    def say(answer: Answer) -> None:
        monkeypatch.setattr(revocation, "look", lambda certificate, chain, now: answer)

    say(NOBODY)
    return say


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A lineage that pinkeep has not seen yet."""
    return Site(tmp_path)


def options(site: Site, rollover_days: int | None = 730) -> Options:
    """One backup, and an Apache that is always there."""
    return Options(
        site.name,
        backup_keys=1,
        rollover_days=rollover_days,
        configtest=(),
        reload=(("/bin/true",),),
    )


@pytest.fixture
def safe(site: Site) -> Site:
    """A lineage that is pinned with one backup, which all clients know."""
    site.keep(options(site))
    return site


@pytest.fixture
def unsafe(safe: Site) -> Site:
    """The same, rolled over on day 10: the new backup is safe from day 70 on."""
    safe.issue(safe.key_pem(safe.published().pins[1]))
    safe.keep(options(safe), NOW + 10 * DAY)
    return safe


def renewed(
    site: Site,
    days: int = 20,
    dry_run: bool = False,
    asked: bool = False,
    chosen: Options | None = None,
) -> KeyAndCsr:
    """What a renewal is issued for."""
    workflow = Workflow(str(site.config), str(site.work))
    at = NOW + days * DAY
    given = {"dry_run": dry_run, "asked": asked, "chosen": chosen}
    return workflow.handover(site.look(), site.name, site.names, at, **given)


def leave_of(site: Site, pin: str) -> tuple[str, str]:
    """The role of a key, and why it is to be left."""
    key = site.state().keyring.key(pin)
    assert key is not None
    return key.role, key.retire_reason


def test_ca_is_asked_for_the_live_certificate(safe: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its chain, once for each renewal, at the time that it is."""
    asked: list[tuple[bytes, bytes, datetime]] = []

    def look(certificate: bytes, chain: bytes, now: datetime) -> Answer:
        asked.append((certificate, chain, now))
        return GOOD

    monkeypatch.setattr(revocation, "look", look)
    live = safe.config / "live" / safe.name
    renewed(safe)
    assert asked == [
        ((live / "cert.pem").read_bytes(), (live / "chain.pem").read_bytes(), NOW + 20 * DAY)
    ]


@pytest.mark.parametrize("answer", [GOOD, NOBODY])
def test_g3_key_that_is_not_revoked_goes_on(
    safe: Site, ca_says: Says, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is noted, and nothing said."""
    ca_says(answer)
    before = tree(safe.config, safe.work)
    assert renewed(safe).pin == safe.published().pins[0]
    assert tree(safe.config, safe.work) == before and caplog.messages == []


def test_g3_unknown_is_said_once_and_the_key_goes_on(
    safe: Site, ca_says: Says, caplog: pytest.LogCaptureFixture
) -> None:
    """A CA that does not answer is no error."""
    ca_says(UNKNOWN)
    before = tree(safe.config, safe.work)
    assert renewed(safe).pin == safe.published().pins[0]
    assert tree(safe.config, safe.work) == before
    (said,) = caplog.messages
    assert safe.name in said and "is unknown: it does not answer" in said


def test_revoked_key_is_rolled_over_at_once_if_that_is_safe(safe: Site, ca_says: Says) -> None:
    """The revocation is on record before the CSR is handed over."""
    ca_says(REVOKED)
    old, new = safe.published().pins
    assert renewed(safe).pin == new
    assert leave_of(safe, old) == ("primary", "revoked")


def test_g3_revoked_key_goes_on_while_nothing_is_safe(
    unsafe: Site, ca_says: Says, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said from when it will be; the request is kept, though the CA says nothing any more."""
    ca_says(REVOKED)
    old, new = unsafe.published().pins
    assert renewed(unsafe).pin == old
    (said,) = caplog.messages
    assert SAFE_FROM in said and "was revoked" in said
    ca_says(GOOD)
    assert [renewed(unsafe, days).pin for days in (69, 70)] == [old, new]


def test_compromised_key_is_rolled_over_at_once_if_that_is_safe(safe: Site, ca_says: Says) -> None:
    """It is never handed over again, whatever the CA says later."""
    ca_says(COMPROMISED)
    old, new = safe.published().pins
    assert renewed(safe).pin == new
    assert leave_of(safe, old) == ("compromised", "")
    ca_says(GOOD)
    assert renewed(safe, 9999).pin == new


def test_g3_compromised_key_is_not_handed_over_though_nothing_is_safe(
    unsafe: Site, ca_says: Says
) -> None:
    """The one renewal that fails: it says who is locked out until when, and what forces it."""
    ca_says(COMPROMISED)
    old, new = unsafe.published().pins
    with pytest.raises(Compromised) as caught:
        renewed(unsafe)
    said = str(caught.value)
    assert (
        SAFE_FROM in said and new in said and "This rollover locks out clients that noted" in said
    )
    assert f"certbot-pinkeep rollover {unsafe.name} --now --force" in said
    ca_says(NOBODY)
    with pytest.raises(Compromised):
        renewed(unsafe, 69)
    assert renewed(unsafe, 70).pin == new
    assert leave_of(unsafe, old) == ("compromised", "")


@pytest.mark.parametrize("answer", [REVOKED, COMPROMISED])
@pytest.mark.parametrize("asked", [False, True])
def test_dry_run_decides_the_same_and_writes_nothing(
    safe: Site, ca_says: Says, answer: Answer, asked: bool
) -> None:
    """No mark, no CSR, no time."""
    ca_says(answer)
    before = tree(safe.config, safe.work)
    assert renewed(safe, dry_run=True, asked=asked).pin == safe.published().pins[1]
    assert tree(safe.config, safe.work) == before


def test_dry_run_of_a_compromised_key_fails_as_the_renewal_would(
    unsafe: Site, ca_says: Says
) -> None:
    """And writes nothing."""
    ca_says(COMPROMISED)
    before = tree(unsafe.config, unsafe.work)
    with pytest.raises(Compromised):
        renewed(unsafe, dry_run=True)
    assert tree(unsafe.config, unsafe.work) == before


def test_g2_rollover_that_is_asked_for_is_refused_while_it_is_not_safe(
    unsafe: Site, ca_says: Says
) -> None:
    """Revoked or not; a compromised key has its own answer."""
    for answer in (GOOD, REVOKED):
        ca_says(answer)
        with pytest.raises(NotSafe, match=SAFE_FROM):
            renewed(unsafe, asked=True)
    ca_says(COMPROMISED)
    with pytest.raises(Compromised):
        renewed(unsafe, asked=True)


# What is not pinned, and what cannot be read


@pytest.mark.parametrize("answer", [GOOD, REVOKED, UNKNOWN, NOBODY])
def test_g1_key_that_is_not_pinned_yet_goes_on(site: Site, ca_says: Says, answer: Answer) -> None:
    """There is no backup that clients know; the live key is about to be pinned."""
    ca_says(answer)
    assert renewed(site).pin == pin_of_key(site.key)
    assert not site.file.exists()


@pytest.mark.parametrize("dry_run", [False, True])
def test_compromised_key_that_is_not_pinned_yet_is_replaced(
    site: Site, ca_says: Says, dry_run: bool
) -> None:
    """Nobody holds pins: a new key of the same kind, which is saved first but in a dry run."""
    ca_says(COMPROMISED)
    before = tree(site.config)
    found = renewed(site, dry_run=dry_run)
    assert found.pin == pin_of_key(found.key_pem) != pin_of_key(site.key)
    if dry_run:
        assert tree(site.config) == before
    else:
        assert Path(found.key_path).read_bytes() == found.key_pem
        site.issue(found.key_pem)
        site.keep(options(site))
        assert site.published().pins[0] == found.pin


def test_rollover_of_what_is_not_pinned_yet_is_refused(site: Site, ca_says: Says) -> None:
    """It says what to run first."""
    with pytest.raises(BadKey, match="is not pinned yet"):
        renewed(site, asked=True)


@pytest.mark.parametrize("answer", [GOOD, REVOKED, UNKNOWN])
def test_g3_damaged_keyring_file_does_not_stop_a_renewal(
    safe: Site, ca_says: Says, answer: Answer
) -> None:
    """The live key goes on, and the file is left as it is."""
    ca_says(answer)
    safe.file.write_bytes(b"junk")
    assert renewed(safe).pin == pin_of_key(safe.key)
    assert safe.file.read_bytes() == b"junk"
    with pytest.raises(DamagedState):
        renewed(safe, asked=True)


def test_g8_compromised_key_with_a_damaged_keyring_file_fails(safe: Site, ca_says: Says) -> None:
    """Which other key clients accept is not known: neither the old key nor a new one."""
    ca_says(COMPROMISED)
    safe.file.write_bytes(b"junk")
    before = safe.tree()
    with pytest.raises(Compromised, match=str(safe.file)):
        renewed(safe)
    assert safe.tree() == before


def test_g8_damaged_file_of_another_keyring_may_be_this_ones(site: Site, ca_says: Says) -> None:
    """A lineage without a keyring, and a file that cannot be read: no new key."""
    ca_says(COMPROMISED)
    (site.config / "pinkeep").mkdir()
    (site.config / "pinkeep" / "other.conf").write_bytes(b"junk")
    with pytest.raises(Compromised, match=r"other\.conf"):
        renewed(site)


def test_g2_compromised_key_with_pins_but_no_record_fails(safe: Site, ca_says: Says) -> None:
    """The keyring file is lost, and there is no copy; the snippet shows that clients hold pins."""
    ca_says(COMPROMISED)
    safe.file.unlink()
    (safe.work / "pinkeep").rename(safe.work / "gone")
    before = safe.tree()
    with pytest.raises(Compromised):
        renewed(safe)
    assert safe.tree() == before


@pytest.mark.parametrize("answer", [REVOKED, COMPROMISED])
def test_g3_revocation_that_cannot_be_recorded_is_heeded_all_the_same(
    safe: Site, ca_says: Says, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """The disk is full: the renewal goes on with the backup, never with a compromised key."""

    def full(self: Store, state: object) -> None:
        raise OSError(28, "No space left on device")

    ca_says(answer)
    new = safe.published().pins[1]
    monkeypatch.setattr(Store, "save", full)
    assert renewed(safe).pin == new


# What else decides


def test_options_of_today_count(
    safe: Site, ca_says: Says, caplog: pytest.LogCaptureFixture
) -> None:
    """If they are sound; else those that were recorded last."""
    old, new = safe.published().pins
    with caplog.at_level(logging.INFO):
        assert renewed(safe, chosen=options(safe, 0)).pin == new
    assert f"rolls over to the key with the pin {new}" in caplog.text
    assert renewed(safe, chosen=options(safe, None)).pin == old
    assert renewed(safe).pin == old
    safe.keep(options(safe, 0))
    assert renewed(safe).pin == new


def test_g8_time_that_is_known_makes_nothing_safe(safe: Site, ca_says: Says) -> None:
    """A run on day 30 that changed nothing; the clock says day 20 now."""
    old, new = safe.published().pins
    safe.keep(options(safe), NOW + 30 * DAY)
    with pytest.raises(NotSafe, match="was reached before"):
        renewed(safe, asked=True)
    assert renewed(safe).pin == old
    assert renewed(safe, 30, asked=True).pin == new


def test_backup_without_its_file_is_not_handed_over(
    safe: Site, ca_says: Says, caplog: pytest.LogCaptureFixture
) -> None:
    """It is as if there were none: the key goes on, and what is lost is named."""
    ca_says(REVOKED)
    old, new = safe.published().pins
    key = safe.state().keyring.key(new)
    assert key is not None and key.path is not None
    (safe.config / key.path).write_bytes(make_pem())
    assert renewed(safe).pin == old
    assert key.path in caplog.text and "no backup key" in caplog.text
    ca_says(COMPROMISED)
    with pytest.raises(Compromised, match="There is no backup key"):
        renewed(safe)


def test_new_certificate_of_a_keyring_whose_key_is_compromised(unsafe: Site, ca_says: Says) -> None:
    """It is not issued for that key either."""
    ca_says(COMPROMISED)
    with pytest.raises(Compromised):
        renewed(unsafe)
    workflow = Workflow(str(unsafe.config), str(unsafe.work))
    given = (unsafe.name, unsafe.name, "ecdsa", unsafe.names, False)
    with pytest.raises(Compromised):
        workflow.handover_new(*given, NOW + 20 * DAY)  # type: ignore[arg-type]
    found = workflow.handover_new(*given, NOW + 70 * DAY)  # type: ignore[arg-type]
    assert found is not None and found.pin == unsafe.published().pins[1]


def test_g3_key_that_the_ca_refused_before_it_was_pinned_is_replaced(
    site: Site, ca_says: Says
) -> None:
    """The renewal is not lost: nobody holds pins yet, so a new key is handed over."""
    live, refused = site.look(), frozenset([site.look().pin])
    found = site.workflow.handover(live, site.name, site.names, NOW, refused=refused)
    assert found.pin == pin_of_key(found.key_pem) != live.pin
