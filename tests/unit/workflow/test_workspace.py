"""The workflow, against a config dir as certbot leaves it and an Apache that can be broken."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certbot_pinkeep.core import rollover
from certbot_pinkeep.core.errors import (
    BadFolder,
    BadKey,
    BadOption,
    BadPolicy,
    DamagedState,
    NotSafe,
    PublishFailed,
    Unpinned,
)
from certbot_pinkeep.core.key_and_csr import KeyAndCsr, csr_request
from certbot_pinkeep.core.ledger import Uncertainty
from simulated.machine import Site
from simulated.values import DAY, NOW, SIXTY_DAYS, csr_pem, make_pem, mode_of


@pytest.fixture
def kept(site: Site) -> Site:
    """A lineage that is pinned, with Apache reloaded."""
    site.keep()
    return site


def handed(site: Site, asked: bool = False, dry_run: bool = False, days: int = 1) -> KeyAndCsr:
    """What the next renewal is issued for."""
    return site.workflow.handover(
        site.look(), site.name, site.names, NOW + days * DAY, dry_run=dry_run, asked=asked
    )


# Adoption


def test_adoption_pins_the_live_key_and_two_backups(site: Site) -> None:
    """The contract's first sight: primary, backups, CSRs, snippet, and Apache loads it."""
    report = site.keep()
    keys = site.state().keyring.keys
    assert [key.role for key in keys] == ["primary", "backup", "backup"]
    assert keys[0].pin == site.look().pin == site.published().pins[0]
    assert report.pins == site.published().pins == tuple(key.pin for key in keys)
    assert (report.adopted, report.published, report.reloaded) == (True, True, True)
    assert (report.pending, report.settled, site.apache.reloads) == (False, True, 1)
    requests = {csr_request(key.pin, site.names, must_staple=False) for key in keys}
    assert set(site.workflow.folders.saved_csrs()) == requests
    assert keys[0].created == keys[0].first_served == site.look().since


def test_adoption_keeps_a_copy_of_the_live_key(kept: Site) -> None:
    """Certbot prunes archive/: a key that lived only there would be lost."""
    assert kept.key_pem(kept.look().pin) == kept.key


def test_adoption_uses_the_copy_that_certbot_made(site: Site) -> None:
    """An older certbot's file in keys/ is the key's file: no second one is written."""
    (site.config / "keys" / "0007_key-letsencrypt.pem").write_bytes(site.key)
    site.keep()
    assert site.state().keyring.keys[0].path == "keys/0007_key-letsencrypt.pem"
    assert len(os.listdir(site.config / "keys")) == 3


def test_g7_modes_of_all_files(kept: Site) -> None:
    """The modes of the contract's table."""
    assert {mode_of(path) for path in (kept.config / "keys").iterdir()} == {0o600}
    assert {mode_of(path) for path in (kept.config / "csr").iterdir()} == {0o644}
    assert (mode_of(kept.file), mode_of(kept.snippet)) == (0o600, 0o644)


def test_second_run_changes_no_byte(kept: Site) -> None:
    """Nothing is written anew, not even with the same content, and Apache is left alone."""
    before = kept.tree()
    report = kept.keep(now=NOW + DAY)
    assert kept.tree() == before and kept.apache.reloads == 1
    assert not (report.adopted or report.published or report.reloaded or report.pending)


def test_live_key_that_does_not_fit_its_certificate_is_refused(site: Site) -> None:
    """A key that is not the certificate's must not be pinned."""
    (site.config / "archive" / site.name / "privkey1.pem").write_bytes(make_pem())
    with pytest.raises(BadKey, match="does not belong"):
        site.keep()
    assert not site.file.exists() and os.listdir(site.config / "keys") == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"snippet_dir": "/no/such/folder"}, BadOption),
        ({"reload": ("no-such-program",)}, BadOption),
        ({"configtest": ("no-such-program",)}, BadOption),
        ({"report_uri": "https://www.example.com/"}, BadOption),
    ],
)
def test_g10_bad_option_writes_nothing(
    site: Site, change: dict[str, Any], error: type[Exception]
) -> None:
    """What can be found out before is found out before anything is written."""
    before = site.tree()
    with pytest.raises(error):
        site.keep(site.options(**change))
    assert site.tree() == before


@pytest.mark.parametrize(("folder", "mode"), [("keys", 0o755), ("csr", 0o777)])
def test_g7_open_folder_writes_nothing(site: Site, folder: str, mode: int) -> None:
    """Neither keys nor CSRs go where others can read or write."""
    (site.config / folder).chmod(mode)
    before = site.tree()
    with pytest.raises(BadFolder):
        site.keep()
    assert site.tree() == before


# Changes of the options


def watch(monkeypatch: pytest.MonkeyPatch, site: Site) -> list[str]:
    """The order in which the snippet and the keyring file are put in place."""
    order: list[str] = []
    real = os.replace

    def replace(old: str, new: str) -> None:
        order.append("snippet" if new == str(site.snippet) else os.path.basename(new))
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    return order


def test_g5_ledger_is_written_before_the_snippet(
    kept: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed max-age: the new policy is on record before anybody can be served it."""
    order = watch(monkeypatch, kept)
    kept.keep(kept.options(max_age=60), NOW + DAY, remember=lambda: order.append("remember"))
    assert order[:3] == ["remember", "example.com.conf", "snippet"]
    assert set(order[3:]) == {"example.com.conf"}
    entries = kept.state().ledger.entries
    assert [entry.policy.max_age for entry in entries] == [SIXTY_DAYS, 60]
    assert entries[0].replaced == entries[1].confirmed == NOW + DAY
    assert kept.published().max_age == 60


def test_g5_nothing_is_published_when_the_ledger_cannot_be_written(
    kept: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk stops the run before the snippet, not after."""
    before = kept.tree()

    def full(old: str, new: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        kept.keep(kept.options(max_age=60), NOW + DAY)
    assert kept.tree() == before and kept.apache.reloads == 1


def test_more_and_fewer_backups(kept: Site) -> None:
    """Fewer retire the last ones, more bring them back before new ones are made; no key goes."""
    pins = kept.published().pins
    kept.keep(kept.options(backup_keys=1), NOW + DAY)
    assert kept.published().pins == pins[:2]
    kept.keep(kept.options(backup_keys=3), NOW + 2 * DAY)
    assert kept.published().pins[:3] == pins and len(kept.published().pins) == 4
    assert len(os.listdir(kept.config / "keys")) == 4


def test_snippet_dir_moves_the_snippet(kept: Site) -> None:
    """It is in the new folder only, and Apache has loaded it from there."""
    folder = kept.root / "elsewhere"
    folder.mkdir()
    report = kept.keep(kept.options(snippet_dir=str(folder)), NOW + DAY)
    assert report.snippet == str(folder / "example.com.conf")
    assert kept.published(folder / "example.com.conf") == kept.state().ledger.entries[-1].policy
    assert not kept.snippet.exists() and kept.apache.reloads == 2
    assert kept.state().snippet == report.snippet


def test_report_only_publishes_the_other_header(kept: Site) -> None:
    """And the enforced policy still binds those who noted it (G2)."""
    kept.keep(kept.options(report_only=True), NOW + DAY)
    assert kept.published().report_only
    assert "Public-Key-Pins-Report-Only" in kept.snippet.read_text()
    assert len(kept.state().ledger.binding(NOW + 2 * DAY)) == 1


def test_changed_names_get_new_csrs_for_the_same_keys(kept: Site) -> None:
    """A certificate with one name more: the keys stay, each has a CSR for the new names."""
    pins = kept.published().pins
    kept.issue(kept.key, ("example.com", "www.example.com", "shop.example.com"))
    kept.keep(now=NOW + DAY)
    assert kept.published().pins == pins
    saved = kept.workflow.folders.saved_csrs()
    assert all(csr_request(pin, kept.names, must_staple=False) in saved for pin in pins)
    assert len(saved) == 6 and kept.state().keyring.hosts == kept.names


# Failing commands


def test_g6_failed_configtest_leaves_nothing_published(site: Site) -> None:
    """At adoption: no snippet, no reload, the policy pending; the next run goes on."""
    site.apache.break_config()
    with pytest.raises(PublishFailed, match="Syntax error"):
        site.keep()
    assert not site.snippet.exists() and site.apache.reloads == 0
    assert site.state().ledger.pending
    keys = sorted(os.listdir(site.config / "keys"))
    site.apache.mend_config()
    report = site.keep(now=NOW + DAY)
    assert report.published and not report.pending
    assert sorted(os.listdir(site.config / "keys")) == keys


def test_g6_failed_configtest_puts_the_snippet_back(kept: Site) -> None:
    """At a change: the earlier snippet is back byte for byte, and both policies may be served."""
    before = kept.snippet.read_bytes()
    kept.apache.break_config()
    for days in (1, 2):
        with pytest.raises(PublishFailed):
            kept.keep(kept.options(max_age=60), NOW + days * DAY)
        assert kept.snippet.read_bytes() == before and kept.apache.reloads == 1
    assert kept.state().ledger.pending
    assert kept.state().ledger.entries[0].replaced is None
    kept.apache.mend_config()
    kept.keep(kept.options(max_age=60), NOW + 3 * DAY)
    assert kept.published().max_age == 60 and not kept.state().ledger.pending
    assert kept.state().ledger.entries[0].replaced == NOW + 3 * DAY


def test_g6_hand_edited_snippet_is_put_back_byte_for_byte(kept: Site) -> None:
    """Also one with another editor's line ends and a comment in Latin-1."""
    edited = kept.snippet.read_bytes().replace(b"\n", b"\r\n") + b"# Gr\xfc\xdfe\r\n"
    kept.snippet.write_bytes(edited)
    kept.apache.break_config()
    with pytest.raises(PublishFailed):
        kept.keep(kept.options(max_age=60), NOW + DAY)
    assert kept.snippet.read_bytes() == edited


def test_g6_snippet_that_passed_its_test_stays(site: Site) -> None:
    """The admin reloads by hand: a later mistake elsewhere does not take the pins away."""
    by_hand = site.options(reload=())
    site.keep(by_hand)
    before = site.snippet.read_bytes()
    site.apache.break_config()
    with contextlib.suppress(PublishFailed):
        site.keep(by_hand, NOW + DAY)
    assert site.snippet.exists() and site.snippet.read_bytes() == before


def test_failed_reload_is_pending_and_tried_again(kept: Site) -> None:
    """Until it works, the earlier policy may still be served; then it ends."""
    kept.apache.stuck.touch()
    for days in (1, 2):
        with pytest.raises(PublishFailed, match="not running"):
            kept.keep(kept.options(max_age=60), NOW + days * DAY)
        ledger = kept.state().ledger
        assert ledger.pending and ledger.entries[0].replaced is None
    kept.apache.stuck.unlink()
    report = kept.keep(kept.options(max_age=60), NOW + 3 * DAY)
    entries = kept.state().ledger.entries
    assert report.reloaded and not report.pending
    assert (entries[0].replaced, entries[1].confirmed) == (NOW + 3 * DAY, NOW + 3 * DAY)


def test_reload_by_hand_stays_pending(site: Site) -> None:
    """Without a reload command nothing is known to be loaded, and the run is settled."""
    report = site.keep(site.options(reload=()))
    assert (report.pending, report.settled, report.reloaded) == (True, True, False)


def test_renewed_certificate_is_loaded(kept: Site) -> None:
    """Same key, same snippet: Apache is reloaded for the certificate, once."""
    kept.issue(kept.key)
    assert kept.keep(now=NOW + DAY).reloaded and kept.apache.reloads == 2
    assert not kept.keep(now=NOW + 2 * DAY).reloaded
    assert kept.state().keyring.members[0].loaded == kept.look().fingerprint


# Keys that are not what they should be


def test_g2_live_key_that_is_not_pinned_is_an_error(kept: Site) -> None:
    """Renewed without pinkeep: the pins stay as they are, nothing is written."""
    kept.issue(make_pem())
    before = kept.tree()
    with pytest.raises(Unpinned, match="60 days") as caught:
        kept.keep(now=NOW + DAY)
    assert caught.value.pin == kept.look().pin and kept.name in str(caught.value)
    assert kept.tree() == before and kept.apache.reloads == 1


def test_g2_retired_key_that_goes_live_is_an_error(kept: Site) -> None:
    """A key of ours that the header no longer lists is as bad as a strange one."""
    dropped = kept.published().pins[2]
    kept.keep(kept.options(backup_keys=1), NOW + DAY)
    kept.issue(kept.key_pem(dropped))
    before = kept.tree()
    with pytest.raises(Unpinned):
        kept.keep(kept.options(backup_keys=1), NOW + 2 * DAY)
    assert kept.tree() == before


def test_g2_lost_keyring_file_does_not_adopt_an_unpinned_key(kept: Site) -> None:
    """The snippet still says what clients hold."""
    kept.file.unlink()
    kept.issue(make_pem())
    before = kept.tree()
    with pytest.raises(Unpinned):
        kept.keep(now=NOW + DAY)
    assert kept.tree() == before


def test_g1_pinned_key_is_handed_over_after_a_wrong_renewal(kept: Site) -> None:
    """The way back: the next renewal is issued for the pinned key again."""
    pinned = kept.look().pin
    kept.issue(make_pem())
    assert handed(kept).pin == pinned != kept.look().pin


def test_g8_damaged_file_publishes_nothing(kept: Site) -> None:
    """Nothing is guessed at, nothing is written."""
    kept.file.write_bytes(kept.file.read_bytes()[:-1])
    before = kept.tree()
    with pytest.raises(DamagedState):
        kept.keep(kept.options(max_age=60), NOW + DAY)
    assert kept.tree() == before and kept.apache.reloads == 1


@pytest.mark.parametrize("content", [b"", b"junk\n", None], ids=["empty", "junk", "missing"])
def test_g3_renewal_goes_on_without_the_keyring_file(kept: Site, content: bytes | None) -> None:
    """The live key and its saved CSR are handed over; a rollover is refused (G8)."""
    expected = handed(kept)
    if content is None:
        kept.file.unlink()
    else:
        kept.file.write_bytes(content)
    found = handed(kept)
    assert (found.pin, found.csr) == (expected.pin, expected.csr)
    assert found.key_pem == kept.key
    with pytest.raises((DamagedState, BadKey)):
        handed(kept, asked=True)


def test_g3_renewal_goes_on_without_the_primarys_file(kept: Site) -> None:
    """The copy in live/ is as good."""
    path = kept.state().keyring.keys[0].path
    assert path is not None
    (kept.config / path).unlink()
    assert handed(kept).key_pem == kept.key


def test_lost_keyring_file_finds_its_backups_again(kept: Site) -> None:
    """By the pins in the snippet; and the ledger is blind until those have run out (G8)."""
    pins = kept.published().pins
    kept.file.unlink()
    report = kept.keep(now=NOW + DAY)
    assert report.adopted and kept.published().pins == pins
    assert len(os.listdir(kept.config / "keys")) == 3
    state = kept.state()
    until = NOW + DAY + timedelta(seconds=SIXTY_DAYS)
    assert state.ledger.uncertain == Uncertainty("the record was lost", until)
    for key in state.keyring.keys:
        assert not rollover.safety(key, state.ledger, NOW + 2 * DAY).at(NOW + 2 * DAY)
    with pytest.raises(NotSafe):
        handed(kept, asked=True, days=2)
    assert handed(kept, days=2).pin == pins[0]


def edit(site: Site, old: str, new: str) -> None:
    """Change the snippet by hand."""
    text = site.snippet.read_text()
    assert old in text
    site.snippet.write_text(text.replace(old, new))


def test_g2_hand_edited_snippet_is_put_on_record(kept: Site) -> None:
    """Apache may have loaded what somebody wrote there: it binds like a policy of ours."""
    edit(kept, f"max-age={SIXTY_DAYS}", "max-age=31536000")
    kept.keep(now=NOW + DAY)
    entries = kept.state().ledger.entries
    assert [entry.policy.max_age for entry in entries] == [SIXTY_DAYS, 31536000, SIXTY_DAYS]
    assert kept.published().max_age == SIXTY_DAYS
    assert entries[1].replaced == NOW + DAY == entries[2].confirmed


@pytest.mark.parametrize("spelling", ["header always set", "  Header always set", "Header set"])
def test_g2_hand_edited_snippet_is_on_record_however_spelt(kept: Site, spelling: str) -> None:
    """Apache reads its directives in any case and indented: so must we, or be blind (G8)."""
    edit(kept, f"max-age={SIXTY_DAYS}", "max-age=31536000")
    edit(kept, "Header always set", spelling)
    kept.keep(now=NOW + DAY)
    ledger = kept.state().ledger
    on_record = 31536000 in [entry.policy.max_age for entry in ledger.entries]
    assert on_record or ledger.uncertain is not None


@pytest.mark.parametrize(
    "max_age",
    [
        "1000000000000",
        pytest.param(
            "9" * 5000,
        ),
    ],
)
def test_g3_hand_edited_max_age_beyond_all_dates(kept: Site, max_age: str) -> None:
    """A slip of the finger in the snippet is no crash at every renewal."""
    edit(kept, f"max-age={SIXTY_DAYS}", f"max-age={max_age}")
    with contextlib.suppress(PublishFailed, BadPolicy):
        kept.keep(now=NOW + DAY)
    assert kept.published().max_age == SIXTY_DAYS


# What a renewal is issued for


@pytest.mark.parametrize("adopted", [False, True])
def test_g1_saved_csr_is_handed_over_byte_for_byte(site: Site, adopted: bool) -> None:
    """An older certbot's CSR for the live key is used as it is, pinned already or not."""
    path = site.config / "csr" / "0012_csr-letsencrypt.pem"
    path.write_bytes(csr_pem(site.key, site.names))
    if adopted:
        site.keep()
    found = handed(site)
    assert (found.csr.path, found.csr.pem) == (str(path), path.read_bytes())
    assert (found.pin, found.key_pem) == (site.look().pin, site.key)
    assert Path(found.key_path).read_bytes() == site.key


def test_g1_every_renewal_gets_the_same_csr(kept: Site) -> None:
    """Renewal after renewal, the same file."""
    first = handed(kept)
    for days in range(1, 4):
        kept.issue(kept.key)
        kept.keep(now=NOW + days * DAY)
        assert handed(kept, days=days) == first


def test_dry_run_writes_nothing(site: Site) -> None:
    """Neither before adoption, nor for new names of a pinned lineage."""
    before = site.tree()
    assert handed(site, dry_run=True).csr.path is None
    assert site.tree() == before
    site.keep()
    before = site.tree()
    saved = handed(site, dry_run=True)
    assert saved.csr.path is not None and saved == handed(site)
    live, names = site.look(), (*site.names, "new.example.com")
    found = site.workflow.handover(live, site.name, names, NOW, dry_run=True)
    assert found.csr.path is None and site.tree() == before


def test_handover_saves_the_csr_for_new_names(kept: Site) -> None:
    """Asked twice for the same new names, the second time it is found."""
    names = (*kept.names, "new.example.com")
    first = kept.workflow.handover(kept.look(), kept.name, names, NOW)
    assert first.csr.path is not None and Path(first.csr.path).read_bytes() == first.csr.pem
    assert kept.workflow.handover(kept.look(), kept.name, names, NOW) == first


def test_g4_lost_backup_is_replaced(kept: Site, caplog: pytest.LogCaptureFixture) -> None:
    """With or without its CSR: it leaves the pins, another one is staged, and that is told."""
    served, first, second = kept.published().pins
    for pin, with_csr in ((first, True), (second, False)):
        key = kept.state().keyring.key(pin)
        assert key is not None and key.path is not None
        (kept.config / key.path).unlink()
        if not with_csr:
            shutil.rmtree(kept.config / "csr")
    kept.keep(now=NOW + DAY)
    found = kept.published().pins
    assert found[0] == served and len(found) == 3 and not {first, second} & set(found)
    assert all(kept.key_pem(pin) for pin in found)
    assert caplog.text.count("until its file is restored") == 2
    caplog.clear()
    before = kept.tree()
    kept.keep(now=NOW + 2 * DAY)
    assert kept.tree() == before and caplog.messages == []


def test_g3_lost_file_of_the_primary_does_not_stop_a_run(kept: Site) -> None:
    """New names: no CSR can be made for it, all else comes up to date."""
    key = kept.state().keyring.key(kept.published().pins[0])
    assert key is not None and key.path is not None
    (kept.config / key.path).unlink()
    kept.issue(kept.key, ("example.com", "new.example.com"))
    kept.keep(now=NOW + DAY)
    assert kept.state().keyring.hosts == ("example.com", "new.example.com")
    assert kept.published().pins[0] == key.pin
