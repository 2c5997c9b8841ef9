"""Trouble: Apache that does not take it, a CA that errs, renewals without the plugin, two at once."""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from e2e.reasons import COMMAND, SERVER
from e2e.world import (
    NAME,
    OTHER,
    Bot,
    Pinned,
    changed,
    cli_ini,
    live_certificate,
    live_pin,
    script,
    tree,
)
from lab import Wget2, wait_for


@pytest.fixture
def reload_told(tmp_path: Path) -> Path:
    """The file that the reload command of :func:`logged` writes to."""
    return tmp_path / "reloads"


@pytest.fixture
def logged(pinned: Pinned, reload_told: Path, tmp_path: Path) -> str:
    """A reload command that reloads Apache and leaves a trace."""
    body = f"#!/bin/sh\necho reload >> {reload_told}\nexec {pinned.server.reload_command}\n"
    return str(script(tmp_path / "reload", body))


def test_g6_a_failed_configtest_takes_the_snippet_back(
    pinned: Pinned, logged: str, reload_told: Path, tmp_path: Path
) -> None:
    """The earlier snippet is back, Apache is not reloaded, the error says why; mended, it goes."""
    text = pinned.snippet.read_text()
    body = "#!/bin/sh\necho the reason is here >&2\nexit 3\n"
    failing = script(tmp_path / "configtest", body)
    more = ["--installer", "pinkeep", f"--pinkeep-reload-command={logged}"]
    done = pinned.bot.renew(
        *more, f"--pinkeep-configtest-command={failing}", "--pinkeep-max-age=86400"
    )
    said = " ".join(done.output.split())
    assert done.returncode == 1
    assert "the reason is here" in said
    assert str(failing) in said
    assert pinned.snippet.read_text() == text
    assert not reload_told.exists()

    with pinned.server.reloading():
        pinned.bot.renew(*more, pinned.commands[0], "--pinkeep-max-age=86400").check()
    assert reload_told.read_text() == "reload\n"
    (header,) = pinned.server.get(NAME).pins
    assert header.endswith("; max-age=86400")
    pinned.check_whole()


@SERVER
def test_g6_a_snippet_that_apache_refuses_never_goes_live(pinned: Pinned) -> None:
    """Apache's own test is what decides: a broken configuration elsewhere stops the reload."""
    children = pinned.server.children()
    text = pinned.snippet.read_text()
    pinned.server.write_config("Nonsense on\n")
    done = pinned.bot.renew(*pinned.options, "--pinkeep-max-age=86400")
    assert done.returncode == 1
    assert "Nonsense" in done.output
    assert pinned.snippet.read_text() == text
    assert pinned.server.children() == children
    pinned.server.write_config()
    pinned.adopt("--pinkeep-max-age=86400")
    assert pinned.snippet.read_text() != text
    pinned.check_whole()


@SERVER
def test_g6_a_failed_configtest_at_adoption_publishes_nothing(site: Pinned) -> None:
    """There was no snippet, so there is none; the next run adopts with the same backups."""
    failing = ["--pinkeep-configtest-command=false"]
    done = site.bot.renew(*site.options, *failing)
    assert done.returncode == 1
    assert not site.snippet.exists()
    saved = tree(site.bot.config_dir / "keys")
    site.adopt()
    assert tree(site.bot.config_dir / "keys") == saved
    site.check_whole()


@SERVER
def test_a_failed_reload_is_tried_again(site: Pinned, tmp_path: Path) -> None:
    """Until then the policy is pending: the next run, with nothing else to do, reloads."""
    mended = tmp_path / "mended"
    body = f"#!/bin/sh\ntest -e {mended} && exec {site.server.reload_command}\n"
    reload = script(tmp_path / "reload", body)
    options = [*site.options, f"--pinkeep-reload-command={reload}"]
    for _ in range(2):
        done = site.bot.renew(*options)
        assert done.returncode == 1
        assert str(reload) in " ".join(done.output.split())
        assert site.status()["published"] == "pending"
        assert site.server.get(NAME).pins == []
    mended.touch()
    with site.server.reloading():
        site.bot.renew(*options).check()
    assert site.status()["published"] == "live"
    assert len(site.server.get(NAME).pins) == 1
    site.check_whole()


@SERVER
def test_without_a_reload_command_the_policy_is_pending(site: Pinned) -> None:
    """The admin reloads Apache: published, said so, pending in the status, and no error."""
    options = [*site.options, "--pinkeep-reload-command="]
    children = site.server.children()
    said = site.bot.renew(*options).check().output
    assert "Apache was not reloaded" in " ".join(said.split())
    assert site.status()["published"] == "pending"
    assert site.server.children() == children
    site.bot.renew(*options).check()
    assert site.status()["published"] == "pending"
    site.check_whole()


def _err(fullchain: str) -> None:
    """Let every order end with a certificate for somebody else."""
    from acme import client

    real = client.ClientV2.finalize_order

    def finalize_order(self: object, *args: object, **named: object) -> object:
        order: object = real(self, *args, **named)  # type: ignore[arg-type]
        return order.update(fullchain_pem=fullchain)  # type: ignore[attr-defined]

    setattr(client.ClientV2, "finalize_order", finalize_order)  # noqa: B010


@pytest.mark.parametrize("verb", ["renew", "certonly"])
def test_g1_a_certificate_for_another_key_is_not_stored(
    pinned: Pinned, regular: Wget2, verb: str
) -> None:
    """The renewal fails, every file stays as it is, and Apache serves the old certificate."""
    bot = pinned.bot
    assert regular.visit(pinned.url).accepted
    bot.certonly("-d", OTHER).check()
    wrong = partial(_err, (bot.live(OTHER) / "fullchain.pem").read_text())
    before = tree(bot.config_dir)
    call = [verb, *bot.account, "--force-renewal", *pinned.options]
    if verb == "renew":
        call += ["--cert-name", NAME]
    else:
        call += [*bot.by_http, "--cert-name", NAME, "-d", NAME]

    done = bot.fork(*call, before=wrong)

    assert done.returncode == 1
    assert live_pin(bot, OTHER) in " ".join(done.output.split())
    assert changed(before, tree(bot.config_dir)) == []
    assert regular.visit(pinned.url).accepted

    # The CA's error does reach what certbot stores where nobody compares.
    bot.fork_renew("--cert-name", OTHER, "--force-renewal", "--reuse-key", before=wrong)
    unpinned = [*bot.account, *bot.by_http, "--cert-name", "third.test", "-d", "third.test"]
    bot.fork("certonly", *unpinned, before=wrong)
    stored = live_certificate(bot, "third.test")
    assert stored.serial_number != live_certificate(bot, NAME).serial_number
    assert stored.subject == live_certificate(bot, OTHER).subject


def test_g2_a_renewal_past_the_plugin_is_an_error_and_can_be_mended(
    pinned: Pinned, regular: Wget2
) -> None:
    """Renewed with a new key: the pins stay, the error names the command, and that one mends."""
    bot, pin, text = pinned.bot, pinned.live_pin, pinned.snippet.read_text()
    assert regular.visit(pinned.url).accepted
    bot.renew_without_plugin("--no-reuse-key").check()
    foreign = pinned.live_pin
    assert foreign != pin
    pinned.server.reload()
    assert regular.visit(pinned.url).mismatch

    done = bot.renew(*pinned.options)

    said = " ".join(done.output.split())
    assert done.returncode == 1
    mending = f"certbot renew --cert-name {NAME} --force-renewal --installer pinkeep"
    assert mending in said
    assert foreign in said
    assert pinned.snippet.read_text() == text
    assert pinned.server.get(NAME).pins != []
    assert regular.visit(pinned.url).mismatch

    with pinned.server.reloading():
        bot.run(*mending.split()[1:], *bot.account, *pinned.commands).check()
    assert pinned.live_pin == pinned.server.served_pin(NAME) == pin
    assert pinned.snippet.read_text() == text
    assert regular.visit(pinned.url).accepted
    pinned.check_whole()


# The deploy hook


def _ini(pinned: Pinned) -> dict[str, str]:
    return {option[2:].split("=")[0]: option.split("=", 1)[1] for option in pinned.commands}


def test_g2_the_hook_meets_a_new_key(pinned: Pinned, regular: Wget2) -> None:
    """Renewed by another installer with a new key: the hook's error names the mending command."""
    bot, pin, text = pinned.bot, pinned.live_pin, pinned.snippet.read_text()
    assert regular.visit(pinned.url).accepted

    done = bot.renew_without_plugin("--no-reuse-key", "--deploy-hook", bot.hook())

    said = " ".join(done.output.split())
    mending = f"certbot renew --cert-name {NAME} --force-renewal --installer pinkeep"
    assert mending in said
    assert pinned.live_pin != pin
    assert pinned.snippet.read_text() == text
    pinned.server.reload()
    assert regular.visit(pinned.url).mismatch
    with pinned.server.reloading():
        bot.run(*mending.split()[1:], *bot.account, *pinned.commands).check()
    assert pinned.live_pin == pin
    assert regular.visit(pinned.url).accepted
    pinned.check_whole()


def test_the_hook_serves_what_another_installer_renewed(pinned: Pinned, regular: Wget2) -> None:
    """With `--reuse-key` under another installer the hook reloads Apache, and the pins hold."""
    bot, pin, serial = pinned.bot, pinned.live_pin, pinned.live_serial
    cli_ini(bot, _ini(pinned))
    assert regular.visit(pinned.url).accepted
    other = ["--installer", "null", "--reuse-key", "--deploy-hook", bot.hook()]
    with pinned.server.reloading():
        bot.renew("--force-renewal", *other).check()
    assert pinned.live_serial != serial
    assert pinned.server.served_serial(NAME) == pinned.live_serial
    assert pinned.live_pin == pin
    assert regular.visit(pinned.url).accepted
    pinned.check_whole()


def test_the_hook_adopts_a_lineage_of_no_installer(site: Pinned) -> None:
    """A lineage renewed with `--reuse-key` and the hook is pinned by it."""
    bot, pin = site.bot, site.live_pin
    cli_ini(bot, _ini(site))
    with site.server.reloading():
        bot.renew("--force-renewal", "--reuse-key", "--deploy-hook", bot.hook()).check()
    assert site.live_pin == pin
    assert site.pins[0] == pin
    assert len(site.server.get(NAME).pins) == 1
    site.check_whole()


def test_the_hook_pins_no_key_that_the_next_renewal_replaces(bot: Bot) -> None:
    """Without `--reuse-key` the hook refuses, says what to do instead, and publishes nothing."""
    said = bot.renew("--force-renewal", "--deploy-hook", bot.hook()).output
    assert "was not pinned" in " ".join(said.split())
    assert not (bot.config_dir / "pinkeep").exists()


@COMMAND
def test_the_hook_outside_of_certbot(bot: Bot) -> None:
    """Without RENEWED_LINEAGE it is an error, on one line, and nothing is written."""
    before = tree(bot.config_dir)
    done = bot.pinkeep("deploy-hook")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "RENEWED_LINEAGE" in line
    assert changed(before, tree(bot.config_dir)) == []


@COMMAND
def test_g9_the_hook_leaves_unrelated_lineages_alone(bot: Bot) -> None:
    """Linked for all lineages, it has nothing to do with one that is not pinned."""
    before = tree(bot.config_dir)
    done = bot.pinkeep("deploy-hook", env={"RENEWED_LINEAGE": str(bot.live(NAME))}).check()
    assert done.output == ""
    assert changed(before, tree(bot.config_dir)) == []


@COMMAND
def test_the_hook_is_told_of_a_lineage_that_is_none(bot: Bot) -> None:
    """A folder that certbot knows nothing of is an error."""
    done = bot.pinkeep("deploy-hook", env={"RENEWED_LINEAGE": str(bot.live("no.pin.test"))})
    assert done.returncode == 1
    assert "no.pin.test" in done.stderr


# Two at once


def _release(gate: Path, process: subprocess.Popen[str]) -> None:
    """Let the hook that reads the gate go on, unless its certbot has ended."""
    if process.poll() is None:
        gate.write_text("go\n")


def test_two_certbots_at_once(pinned: Pinned, tmp_path: Path) -> None:
    """The first holds certbot's lock: the second fails by it, and nothing is damaged."""
    bot, pin = pinned.bot, pinned.live_pin
    serial = pinned.live_serial
    gate, ready = tmp_path / "gate", tmp_path / "ready"
    os.mkfifo(gate)
    hook = script(tmp_path / "hook", f"#!/bin/sh\n: > {ready}\nread word < {gate}\n")
    with pinned.server.reloading():
        first = bot.start(
            *("renew", *bot.account, "--force-renewal", *pinned.options),
            *("--pre-hook", str(hook)),
        )
        try:
            wait_for(lambda: ready.exists() or first.poll() is not None, "the first certbot")
            before = tree(bot.config_dir)
            second = bot.renew("--force-renewal", *pinned.options)
            assert second.returncode == 1
            assert "Another instance of Certbot is already running" in second.output
            assert changed(before, tree(bot.config_dir)) == []
        finally:
            _release(gate, first)
            said, _ = first.communicate(timeout=60)
        assert first.returncode == 0, said
    assert pinned.live_serial != serial
    assert pinned.live_pin == pin
    pinned.check_whole()


@COMMAND
def test_status_of_an_adopted_and_a_damaged_keyring(pinned: Pinned) -> None:
    """The status is JSON on standard output; a damaged keyring is an error with a command, and exit 1."""
    status = pinned.status()
    assert (status["name"], status["lineages"], status["hosts"]) == (NAME, [NAME], [NAME])
    assert status["policy"]["pins"] == pinned.pins
    assert [key["role"] for key in status["keys"]] == ["primary", "backup", "backup"]
    assert status["published"] == "live"
    pinned.keyring.write_text("nonsense [[[")
    done = pinned.bot.pinkeep("status", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"version": 1, "keyrings": []}
    what, *_, run = done.stderr.splitlines()
    assert str(pinned.keyring) in what and run.startswith("Run: ")
