"""The plugin as certbot sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from certbot import errors
from certbot.display import util as display_util
from cryptography import x509

from certbot_pinkeep import installer
from certbot_pinkeep.adapters import (
    certbot_client,
    certbot_config,
    certbot_watch,
    clock,
    renewal_conf,
)
from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import KeyRefused, NotSafe, Unsupported
from certbot_pinkeep.core.options import OPTIONS
from certbot_pinkeep.installer import Installer
from simulated.machine import Site
from simulated.plugin import lineage, parser, plugin
from simulated.values import NOW, make_pem


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said to the admin; certbot's own client stays unwrapped, and the time is NOW."""
    texts: list[str] = []
    monkeypatch.setattr(display_util, "notify", texts.append)
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(certbot_client, "wrap", lambda pinning_of: None)
    return texts


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A lineage that pinkeep has not seen yet."""
    return Site(tmp_path)


def test_options_are_registered_as_in_the_contract() -> None:
    """Every option of the table that is there yet, none with a default."""
    assert options.given(parser().parse_args([])) == dict.fromkeys(OPTIONS)
    assert {"keyring", "backup-keys", "max-age", "snippet-dir", "report-only"} <= set(OPTIONS)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--pinkeep-report-only"], True),
        (["--pinkeep-no-report-only"], False),
        (["--pinkeep-report-only", "--pinkeep-no-report-only"], False),
        ([], None),
    ],
)
def test_switches_can_be_turned_off_again(words: list[str], value: bool | None) -> None:
    """The keyring keeps options, so a switch has one that takes it back."""
    assert parser().parse_args(words).for_keyring_report_only is value


def test_g3_parser_refuses_no_value() -> None:
    """A bad value in cli.ini does not stop certbot for other lineages (G9)."""
    found = parser().parse_args(["--pinkeep-max-age", "junk", "--pinkeep-backup-keys", "-1"])
    given = options.given(found)
    assert (given["max-age"], given["backup-keys"]) == ("junk", "-1")


@pytest.mark.parametrize("verb", ["renew", "certonly", "run", "install", "certificates"])
def test_prepare_keeps_the_key_and_writes_nothing(site: Site, verb: str) -> None:
    """Certbot prepares plugins for many reasons."""
    before = site.tree()
    found = plugin(site, verb)
    found.prepare()
    assert found.config.reuse_key is True
    assert site.tree() == before and list(site.work.iterdir()) == []


def test_prepare_turns_new_key_into_a_rollover(site: Site) -> None:
    """``--new-key`` never makes a key that nobody was told of."""
    plugin(site).generic_updates(lineage(site))
    found = plugin(site, "certonly", new_key=True)
    found.prepare()
    assert found.config.new_key is False
    handed = found.guard.answers.handover(list(site.names), lineage(site).key_path, dry_run=False)
    assert handed is not None and handed.pin == site.published().pins[1]


@pytest.mark.parametrize("verb", ["renew", "certonly"])
def test_g3_new_key_in_cli_ini_stops_no_renewal(
    site: Site, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    """No backup can be used: ``renew`` keeps the key, and says why; ``certonly`` is refused."""
    plugin(site).generic_updates(lineage(site))
    for saved in (site.config / "keys").iterdir():
        saved.unlink()
    found = plugin(site, verb, new_key=True)
    found.prepare()
    asked = (list(site.names), lineage(site).key_path)
    if verb == "certonly":
        with pytest.raises(NotSafe, match="cannot roll over"):
            found.guard.answers.handover(*asked, dry_run=False)
        return
    handed = found.guard.answers.handover(*asked, dry_run=False)
    assert handed is not None and handed.key_pem == site.key
    assert "--new-key does not count for" in caplog.text and "cannot roll over" in caplog.text
    assert found.guard.answers.rollover_asked is False


@pytest.mark.parametrize("verb", ["certonly", "run", "install", "reconfigure"])
def test_g10_prepare_refuses_bad_options_if_somebody_is_there(site: Site, verb: str) -> None:
    """Before anything is asked of the CA; option and value are named."""
    before = site.tree()
    with pytest.raises(errors.Error, match="--pinkeep-max-age 'junk'"):
        plugin(site, verb, "--pinkeep-max-age", "junk").prepare()
    assert site.tree() == before


def test_g3_prepare_lets_a_certificate_come_first(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A file in place of the folder of the snippets is no option; publishing says it again."""
    folder = site.config / "pinkeep" / "apache"
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("x")
    plugin(site, "certonly").prepare()
    assert "is not a folder" in caplog.text


def test_g3_prepare_lets_a_renewal_go_on_with_bad_options(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewal goes on with the live key; only the pinning says what is wrong."""
    # Certbot 2 asks its own parser, which has read no command line here.
    monkeypatch.setattr(certbot_config, "is_given", lambda config, option: False)
    found = plugin(site, "renew", "--pinkeep-max-age", "junk")
    found.prepare()
    handed = found.guard.answers.handover(list(site.names), lineage(site).key_path, dry_run=True)
    assert handed is not None and handed.key_pem == site.key
    with pytest.raises(errors.PluginError, match="--pinkeep-max-age 'junk'"):
        found.generic_updates(lineage(site))


@pytest.mark.parametrize("verb", ["certonly", "run"])
def test_g10_key_path_names_the_command_that_takes_a_key(site: Site, verb: str) -> None:
    """Certbot would issue a certificate for a new key, which would be pinned at once."""
    with pytest.raises(errors.ConfigurationError) as told:
        plugin(site, verb, key_path="/root/old.key", certname=site.name).prepare()
    assert f"certbot-pinkeep pin {site.name} --key /root/old.key" in str(told.value)


def test_renew_adopts_what_is_not_due(site: Site, said: list[str]) -> None:
    """First sight: pinned, noted for the next plain renewal, and told."""
    plugin(site, "renew", "--pinkeep-max-age", "60").generic_updates(lineage(site))
    assert site.published().max_age == 60 and site.apache.reloads == 1
    renewal = renewal_conf.load(str(site.config), site.name)
    assert renewal is not None and renewal.installer == "pinkeep" and renewal.reuse_key
    assert renewal.options == {} and site.state().settings["max-age"] == "60"
    assert len(said) == 1 and "Pinned the keyring example.com: 3 pins" in said[0]


def test_second_renew_looks_at_nothing(site: Site, said: list[str]) -> None:
    """Up to date: no file is written, no command run, nothing told."""
    plugin(site).generic_updates(lineage(site))
    before = site.tree()
    site.apache.break_config()
    plugin(site).generic_updates(lineage(site))
    assert site.tree() == before and len(said) == 1
    guard = plugin(site).guard
    assert guard.run.cache.is_up_to_date(site.name, options.given(guard.config), [])


def test_renewed_lineage_is_brought_up_to_date(site: Site) -> None:
    """After a renewal, Apache is reloaded once, however many hooks certbot calls."""
    plugin(site).generic_updates(lineage(site))
    site.issue(site.key)
    found = plugin(site)
    found.renew_deploy(lineage(site))
    found.renew_deploy(lineage(site))
    found.restart()
    assert site.apache.reloads == 2


def test_deploy_cert_takes_certbots_own_paths_only(site: Site) -> None:
    """A certificate elsewhere is none of ours (G9)."""
    live = site.config / "live" / site.name
    paths = [str(live / f"{part}.pem") for part in ("cert", "privkey", "chain", "fullchain")]
    found = plugin(site, "install")
    with pytest.raises(errors.PluginError, match="--cert-name"):
        found.deploy_cert("example.com", "/tmp/cert.pem", *paths[1:])
    assert not site.snippet.exists()
    for name in site.names:
        found.deploy_cert(name, *paths)
    assert site.snippet.exists() and site.apache.reloads == 1


def test_certonly_finds_its_lineage_at_the_restart(site: Site) -> None:
    """Certbot tells no name there: the certificate that was issued is looked for."""
    found = plugin(site, "certonly")
    found.restart()
    assert not site.snippet.exists()
    found.guard.issued(site.issue(site.key))
    found.restart()
    assert site.snippet.exists()


def test_g2_error_of_an_unpinned_key_is_certbots(site: Site) -> None:
    """Certbot shows a PluginError as a sentence, and Apache is not reloaded."""
    plugin(site).generic_updates(lineage(site))
    site.issue(make_pem())
    with pytest.raises(errors.PluginError, match="is not among the pins"):
        plugin(site).renew_deploy(lineage(site))
    assert site.apache.reloads == 1


def test_full_disk_is_told_as_a_sentence(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback: what could not be written, and what to do."""

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device", "/etc/x")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(errors.PluginError, match="/etc/x cannot be read or written: No space"):
        plugin(site).generic_updates(lineage(site))


def test_g3_key_that_the_ca_refuses_is_never_handed_over_again(site: Site) -> None:
    """Compromised or blocked: it is marked, and the next one is handed over at once."""
    plugin(site).generic_updates(lineage(site))
    old, new = site.published().pins[:2]
    found = plugin(site)
    found.prepare()
    handed = found.guard.answers.handover(list(site.names), lineage(site).key_path, dry_run=False)
    assert handed is not None and handed.pin == old
    found.guard.answers.refused(KeyRefused(old, "public key is forbidden"))
    for one in (found, plugin(site)):
        handed = one.guard.answers.handover(list(site.names), lineage(site).key_path, dry_run=False)
        assert handed is not None and handed.pin == new


@pytest.mark.parametrize(("reason", "role"), [(0, "primary"), (1, "compromised")])
def test_certbot_revoke_is_noticed(
    site: Site, said: list[str], monkeypatch: pytest.MonkeyPatch, reason: int, role: str
) -> None:
    """Certbot makes no installer then."""

    class ClientV2:
        def revoke(self, cert: x509.Certificate, rsn: int) -> None: ...

    def revoke(config: Any, unused_plugins: Any) -> None:
        made = x509.load_pem_x509_certificate(Path(lineage(site).cert_path).read_bytes())
        ClientV2().revoke(made, reason)

    main = SimpleNamespace(revoke=revoke)
    plugin(site).generic_updates(lineage(site))
    said.clear()
    monkeypatch.setattr(certbot_watch, "certbot_main", main)
    monkeypatch.setattr(certbot_watch, "acme_client", SimpleNamespace(ClientV2=ClientV2))
    installer._watch()
    main.revoke(plugin(site, "revoke", installer=None).config, [])
    old, new = site.published().pins[:2]
    key = site.state().keyring.key(old)
    assert key is not None and key.role == role
    assert len(said) == 1 and new in said[0]


@pytest.mark.parametrize("error", [Unsupported("it takes other arguments"), AttributeError("gone")])
def test_g9_certbot_whose_revocation_is_unknown_works_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It is passed over."""
    tried: list[object] = []

    def refuse(notice: object) -> None:
        tried.append(notice)
        raise error

    monkeypatch.setattr(certbot_watch, "watch_revocations", refuse)
    installer._watch()
    assert len(tried) == 1


def test_rollover_days_of_the_command_line_count(site: Site) -> None:
    """0: at every renewal; a bad value does not stop it, the recorded one counts (G3)."""
    plugin(site).generic_updates(lineage(site))
    old, new = site.published().pins[:2]
    for words, pin in (
        (["--pinkeep-rollover-days", "0"], new),
        (["--pinkeep-rollover-days", "soon"], old),
        (["--pinkeep-rollover-days", "never"], old),
        ([], old),
    ):
        handed = plugin(site, "renew", *words).guard.answers.handover(
            list(site.names), lineage(site).key_path, dry_run=False
        )
        assert handed is not None and handed.pin == pin, words


def test_installer_has_no_enhancements(site: Site) -> None:
    """certbot enhance has nothing to do here, and certbot run asks for no domains of ours."""
    found = plugin(site)
    assert found.supported_enhancements() == found.get_all_names() == []
    with pytest.raises(errors.PluginError, match="redirect"):
        found.enhance("example.com", "redirect")


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({}, "certbot install --cert-name example.com --installer apache"),
        (
            {"redirect": True},
            "certbot install --cert-name example.com --installer apache --redirect",
        ),
    ],
)
def test_run_does_not_say_that_https_is_enabled(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
    given: dict[str, object],
    command: str,
) -> None:
    """pinkeep makes no TLS site; it says so, and which command does."""
    shown = SimpleNamespace(success_installation=lambda domains: said.append("Congratulations!"))
    main = vars(certbot_client)["certbot_main"]
    monkeypatch.setattr(main, "display_ops", shown)
    monkeypatch.setattr(Installer, "_keep", lambda self, name: None)
    live = Path(plugin(site).config.live_dir).resolve() / "example.com"
    for verb, told in (("install", False), ("run", True)):
        found = plugin(site, verb, **given)
        files = [str(live / f"{part}.pem") for part in ("cert", "privkey", "chain", "fullchain")]
        found.deploy_cert("example.com", *files)
        main.display_ops.success_installation(["example.com"])
        assert ("Congratulations!" in said) != told
        assert any(command == one.partition("Run: ")[2] for one in said) == told
        said.clear()


def test_g9_import_costs_other_certbots_nothing() -> None:
    """Certbot imports the plugin at every run: of others' modules only what certbot has loaded
    anyway is loaded, of ours only what watches ``certbot revoke``."""
    code = """
import json, sys
from certbot import main
from certbot._internal import main as internal
assert not hasattr(internal.revoke, "__wrapped__")
before = set(sys.modules)
import certbot_pinkeep.installer
assert hasattr(internal.revoke, "__wrapped__")
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    path = [str(Path(certbot_client.__file__).parent.parent)]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path}\n{code}"],
        capture_output=True,
        check=True,
        text=True,
    )
    found = {
        name for name in json.loads(run.stdout) if name.split(".")[0] not in sys.stdlib_module_names
    }
    adapters = [f"adapters.certbot_{name}" for name in ("client", "config", "guard", "watch")]
    adapters.append("adapters.clock")
    modules = [*adapters, "adapters", "core", "core.errors", "core.text", "installer"]
    ours = {"certbot_pinkeep", *(f"certbot_pinkeep.{name}" for name in modules)}
    assert found <= ours and "certbot_pinkeep.installer" in found


@pytest.mark.parametrize("installer", [None, "apache"])
def test_g9_prepare_for_another_installer_changes_nothing(site: Site, installer: object) -> None:
    """Certbot prepares every installer before it asks which one is wanted."""
    found = plugin(site, "run", installer=installer, new_key=True)
    with pytest.raises(errors.PluginError):
        found.prepare()
    assert (found.config.reuse_key, found.config.new_key) == (False, True)
