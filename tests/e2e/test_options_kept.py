"""What a keyring keeps counts for every verb; what fails changes nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from e2e.world import (
    NAME,
    OFFLINE,
    OTHER,
    VERSION,
    Bot,
    Pinned,
    changed,
    check_whole,
    live_certificate,
    live_pin,
    pins_in,
    said,
    script,
    snippet_of,
    tree,
)
from lab.certbot import COMMAND_MAIN
from lab.processes import run

TRIAL = ["--pinkeep-report-only", "--pinkeep-max-age=86400"]
# Certbot asks for these at every run; all else is what the keyring keeps.
BARE = ["--installer", "pinkeep"]


def stored(bot: Bot) -> bool:
    """Whether the renewal file has options of the plugin."""
    return "pinkeep_" in bot.renewal(NAME).read_text()


def on_trial(bot: Bot) -> None:
    """Assert that the pins are report-only, for a day."""
    text = snippet_of(bot, NAME).read_text()
    assert "Public-Key-Pins-Report-Only" in text
    assert "max-age=86400" in text


def test_certonly_and_install_keep_the_options_of_the_keyring(bot: Bot) -> None:
    """No default takes their place: pins that bind for 60 days cannot be taken back."""
    bot.renew(*OFFLINE, *TRIAL).check()
    pins = pins_in(snippet_of(bot, NAME))
    on_trial(bot)

    bot.certonly("--cert-name", NAME, "-d", NAME, "--force-renewal", "--new-key", *BARE).check()
    assert live_pin(bot, NAME) == pins[1]
    on_trial(bot)
    assert not stored(bot)

    bot.run("install", "--cert-name", NAME, *BARE).check()
    on_trial(bot)
    bot.renew("--force-renewal").check()
    on_trial(bot)
    assert not stored(bot)
    check_whole(bot, NAME)


def test_certonly_takes_what_is_given(bot: Bot) -> None:
    """One option changes, the others stay; and so it is kept."""
    bot.renew(*OFFLINE, *TRIAL).check()
    call = ["--cert-name", NAME, "-d", NAME, "--force-renewal", *BARE]
    bot.certonly(*call, "--pinkeep-max-age=99999").check()
    text = snippet_of(bot, NAME).read_text()
    assert "Public-Key-Pins-Report-Only" in text
    assert "max-age=99999" in text
    bot.renew().check()
    assert snippet_of(bot, NAME).read_text() == text


def test_every_reload_command_that_was_given_is_kept(bot: Bot, tmp_path: Path) -> None:
    """One for each daemon, run in their order by each later run that loads something."""
    note = tmp_path / "reloads"
    daemons = [script(tmp_path / f"{n} x", f'#!/bin/sh\necho {n} >>"{note}"\n') for n in "ab"]
    given = [f"--pinkeep-reload-command='{one}'" for one in daemons]
    bot.renew(*OFFLINE[:-1], *given).check()
    assert note.read_text().split() == ["a", "b"]
    bot.renew("--force-renewal").check()
    assert note.read_text().split() == ["a", "b"] * 2
    assert not stored(bot)
    ended = bot.renew("--pinkeep-reload-command=postfix reload && doveadm reload")
    assert "--pinkeep-reload-command 'doveadm reload'" in said(ended)


if VERSION >= (2, 3):

    def test_g10_a_failed_reconfigure_writes_nothing(bot: Bot) -> None:
        """The simulated renewal fails, certbot saves nothing, and neither does the plugin."""
        bot.renew(*OFFLINE, *TRIAL).check()
        before = tree(bot.config_dir)
        call = ["reconfigure", "--cert-name", NAME, *bot.account[:1]]
        new = ["--pinkeep-no-report-only", "--pinkeep-max-age=99999"]
        done = bot.run(*call, *new, "--http-01-port=1")
        assert done.returncode == 1
        # Certbot's account at the CA's test server is its own business.
        differs = changed(before, tree(bot.config_dir))
        assert [name for name in differs if not name.startswith("accounts")] == []

        bot.run(*call, *new).check()
        text = snippet_of(bot, NAME).read_text()
        assert "Report-Only" not in text
        assert "max-age=99999" in text


def test_g2_a_new_name_for_a_pinned_host_draws_on_its_keyring(bot: Bot) -> None:
    """Another keyring is refused before the CA is asked; if none is named, it is the host's."""
    bot.renew(*OFFLINE).check()
    pins, before = pins_in(snippet_of(bot, NAME)), tree(bot.config_dir)
    call = ["-d", NAME, "-d", OTHER, "--cert-name", "renamed", "--duplicate", *OFFLINE]
    done = bot.certonly(*call, "--pinkeep-keyring", "renamed")
    assert done.returncode == 1
    assert f"The keyring {NAME} pins {NAME}" in said(done)
    assert f"--pinkeep-keyring {NAME}" in said(done)
    assert changed(before, tree(bot.config_dir)) == []
    bot.certonly(*call).check()
    assert live_pin(bot, "renamed") == pins[0]

    serial = live_certificate(bot, NAME).serial_number
    call = ["-d", NAME, "-d", OTHER, "--cert-name", NAME, "--expand", "--renew-with-new-domains"]
    bot.certonly(*call, *OFFLINE).check()
    assert live_certificate(bot, NAME).serial_number != serial
    assert live_pin(bot, NAME) == pins[0]
    check_whole(bot, NAME)


def test_rollover_now_with_relative_folders(bot: Bot) -> None:
    """Certbot is run from elsewhere, on the same folders; its words are not the command's errors."""
    bot.renew(*OFFLINE).check()
    pins = pins_in(snippet_of(bot, NAME))
    given = [str(bot.config_dir), str(bot.work_dir), str(bot.logs_dir)]
    flags = ["--config-dir", "--work-dir", "--logs-dir"]
    relative = [os.path.relpath(path, bot.home) for path in given]
    folders = [word for pair in zip(flags, relative, strict=True) for word in pair]
    command = [sys.executable, "-c", COMMAND_MAIN, "rollover", NAME, "--now", *folders]
    done = run(command, env=bot.env(), cwd=bot.home, seconds=120)
    assert done.returncode == 0, done.output
    assert done.stderr == ""
    assert live_pin(bot, NAME) == pins[1]
    check_whole(bot, NAME)


def test_g3_a_snippet_that_cannot_be_written(pinned: Pinned) -> None:
    """The renewed certificate is served all the same; the renewal's error names the snippet."""
    pinned.snippet.unlink()
    pinned.snippet.mkdir()
    with pinned.server.reloading():
        done = pinned.bot.renew("--force-renewal", *pinned.options)
    assert done.returncode == 1
    assert str(pinned.snippet) in said(done)
    assert pinned.server.served_serial(NAME) == pinned.live_serial
    pinned.snippet.rmdir()
    with pinned.server.reloading():
        pinned.bot.renew(*pinned.options).check()
    pinned.check_whole()
