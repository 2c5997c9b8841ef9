"""Which options count, by verb: those that are given, else those that the keyring has (G10)."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from certbot import errors, util
from certbot.display import util as display_util

from certbot_pinkeep.adapters import certbot_client, clock, renewal_conf
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.installer import Installer
from simulated.machine import Site
from simulated.plugin import lineage, plugin
from simulated.values import NOW

TRIAL = ("--pinkeep-report-only", "--pinkeep-max-age", "86400")


@pytest.fixture(autouse=True)
def at_exit(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is to be done at certbot's exit; its own client stays unwrapped, and the time is NOW."""
    found: list[object] = []
    monkeypatch.setattr(display_util, "notify", lambda text: None)
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(certbot_client, "wrap", lambda pinning_of: None)
    monkeypatch.setattr(util, "atexit_register", found.append)
    return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A lineage that is pinned for a trial: report-only, for a day."""
    found = Site(tmp_path)
    plugin(found, "renew", *TRIAL).generic_updates(lineage(found))
    return found


def test_help_of_each_option_says_what_counts_if_it_is_left_out() -> None:
    """Certbot adds its own word for that if none is there, and it is None."""
    told: dict[str, str] = {}
    Installer.add_parser_arguments(lambda name, **settings: told.update({name: settings["help"]}))
    shown = [text for text in told.values() if text != argparse.SUPPRESS]
    assert len(shown) > 10 and all("(default: " in text for text in shown)


def stored(site: Site) -> Renewal:
    """The renewal file."""
    found = renewal_conf.load(str(site.config), site.name)
    assert found is not None
    return found


def deploy(site: Site, verb: str, *words: str) -> None:
    """A run of certbot that issues for the same key, writes the renewal file anew and installs."""
    found = plugin(site, verb, *words)
    found.prepare()
    if verb != "install":
        assert (
            found.guard.answers.handover(list(site.names), lineage(site).key_path, dry_run=False)
            is not None
        )
        found.guard.issued(site.issue(site.key))
    live = site.config / "live" / site.name
    paths = [str(live / f"{part}.pem") for part in ("cert", "privkey", "chain", "fullchain")]
    if verb != "certonly":
        found.deploy_cert(site.name, *paths)
    found.restart()


@pytest.mark.parametrize("verb", ["certonly", "run", "install"])
def test_options_of_the_keyring_count_if_none_are_given(site: Site, verb: str) -> None:
    """Not the defaults: pins that bind for 60 days cannot be taken back."""
    deploy(site, verb)
    assert (site.published().report_only, site.published().max_age) == (True, 86400)
    assert stored(site).options == {}


@pytest.mark.parametrize("verb", ["certonly", "run", "install"])
def test_option_that_is_given_counts_and_leaves_the_others_alone(site: Site, verb: str) -> None:
    """A switch can be turned off, a number changed; the keyring keeps both."""
    deploy(site, verb, "--pinkeep-no-report-only")
    assert (site.published().report_only, site.published().max_age) == (False, 86400)
    deploy(site, verb, "--pinkeep-max-age", "60")
    assert (site.published().report_only, site.published().max_age) == (False, 60)
    settings = site.state().settings
    assert (settings["max-age"], settings["report-only"]) == ("60", "False")


@pytest.mark.parametrize("verb", ["certonly", "run", "install"])
def test_keyring_that_was_named_counts(tmp_path: Path, verb: str) -> None:
    """A name of its own is no other keyring's the next time."""
    site = Site(tmp_path)
    plugin(site, "renew", "--pinkeep-keyring", "shared").generic_updates(lineage(site))
    deploy(site, verb)
    folder = site.config / "pinkeep"
    assert [path.name for path in folder.glob("*.conf")] == ["shared.conf"]


def test_g11_options_that_certbot_stored_are_taken_over_once(site: Site) -> None:
    """By pinkeep 0.1, in the renewal file: the keyring has them from then on, and the file has none."""
    text = site.renewal.read_text()
    site.renewal.write_text(f"{text}pinkeep_max_age = 3600\npinkeep_backup_keys = 1\n")
    plugin(site, "renew").generic_updates(lineage(site))
    assert site.renewal.read_text() == text
    assert (site.published().max_age, len(site.published().pins)) == (3600, 2)
    deploy(site, "certonly")
    assert site.published().max_age == 3600


def test_g11_options_that_are_given_are_not_what_certbot_stored(site: Site) -> None:
    """The admin's word of now counts."""
    with site.renewal.open("a") as file:
        file.write("pinkeep_max_age = 3600\n")
    plugin(site, "renew", "--pinkeep-max-age", "60").generic_updates(lineage(site))
    assert site.published().max_age == 60 and stored(site).options == {}


def test_new_lineage_has_the_defaults(tmp_path: Path) -> None:
    """Nothing is known of it."""
    site = Site(tmp_path)
    deploy(site, "run")
    assert (site.published().report_only, site.published().max_age) == (False, 5184000)


# certbot reconfigure


def reconfigure(site: Site, at_exit: list[object], saved: bool, *words: str) -> None:
    """``certbot reconfigure``, whose simulated renewal succeeds or fails."""
    found = plugin(site, "reconfigure", *words)
    found.prepare()
    if saved:  # as a new file, whatever it says
        renewal_conf.remember(str(site.config), site.name, "pinkeep")
        new = site.renewal.with_suffix(".new")
        new.write_bytes(site.renewal.read_bytes())
        new.replace(site.renewal)
    *_, last = at_exit
    assert callable(last)
    last()
    at_exit.clear()


WORDS = ("--pinkeep-no-report-only", "--pinkeep-max-age", "99999")


def test_g10_failed_reconfigure_writes_nothing(site: Site, at_exit: list[object]) -> None:
    """Certbot saved nothing, so nothing is published and nothing recorded."""
    before, reloads = site.tree(), site.apache.reloads
    reconfigure(site, at_exit, False, *WORDS)
    assert site.tree() == before and site.apache.reloads == reloads


def test_reconfigure_that_was_saved_is_published(site: Site, at_exit: list[object]) -> None:
    """At once, at certbot's end."""
    reconfigure(site, at_exit, True, *WORDS)
    assert (site.published().report_only, site.published().max_age) == (False, 99999)


def test_reconfigure_keeps_what_is_not_given(site: Site, at_exit: list[object]) -> None:
    """The keyring has it as before."""
    reconfigure(site, at_exit, True, "--pinkeep-max-age", "99999")
    assert (site.published().report_only, site.published().max_age) == (True, 99999)


def test_reconfigure_adopts_what_is_not_pinned(tmp_path: Path, at_exit: list[object]) -> None:
    """Once certbot saved that pinkeep is the installer."""
    site = Site(tmp_path)
    reconfigure(site, at_exit, False)
    assert not site.snippet.exists()
    reconfigure(site, at_exit, True)
    assert site.snippet.exists()


def test_reconfigure_of_a_renewal_file_that_cannot_be_read_is_an_error(site: Site) -> None:
    """Certbot's kind of error, no traceback."""
    site.renewal.write_text("renewalparams = x\n")
    with pytest.raises(errors.Error, match=site.renewal.name):
        plugin(site, "reconfigure").prepare()


# A snippet that cannot be written


def renewed(site: Site) -> None:
    """A renewal with the same key, brought up to date."""
    found = plugin(site, "renew", *TRIAL)
    found.prepare()
    assert (
        found.guard.answers.handover(list(site.names), lineage(site).key_path, dry_run=False)
        is not None
    )
    found.guard.issued(site.issue(site.key))
    found.renew_deploy(lineage(site))


def test_g3_snippet_that_cannot_be_written_keeps_no_certificate_from_service(site: Site) -> None:
    """The renewed certificate is loaded all the same, and the error is told."""
    site.snippet.unlink()
    site.snippet.mkdir()
    reloads = site.apache.reloads
    with pytest.raises(errors.PluginError, match=str(site.snippet)):
        renewed(site)
    assert site.apache.reloads == reloads + 1


def test_g6_apache_that_refuses_its_configuration_is_not_reloaded(site: Site) -> None:
    """It would not come up again."""
    site.apache.break_config()
    site.snippet.unlink()
    reloads = site.apache.reloads
    with pytest.raises(errors.PluginError, match="configuration test failed"):
        renewed(site)
    assert site.apache.reloads == reloads
    site.apache.mend_config()
    plugin(site, "renew", *TRIAL).generic_updates(lineage(site))
    assert site.apache.reloads == reloads + 1


def test_g6_reload_that_failed_is_tried_once(site: Site) -> None:
    """And again at the next run."""
    site.apache.stuck.touch()
    with pytest.raises(errors.PluginError, match="could not be reloaded"):
        renewed(site)
    site.apache.stuck.unlink()
    reloads = site.apache.reloads
    plugin(site, "renew", *TRIAL).generic_updates(lineage(site))
    assert site.apache.reloads == reloads + 1
