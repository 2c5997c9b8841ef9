"""What an admin may get wrong: a clear error, nothing written, and renewals that go on (G3, G10)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.reasons import RULE, VALUE
from e2e.world import NAME, OFFLINE, Bot, Pinned, changed, check_whole, cli_ini, tree

BAD = [
    ("max-age", "-1"),
    ("max-age", "abc"),
    ("max-age", "99999999999"),
    ("max-age", ""),
    ("backup-keys", "0"),
    ("backup-keys", "two"),
    ("report-uri", 'https://reports.test/"'),
    ("report-uri", "https://reports.test/a\nHeader"),
    ("report-uri", "ftp://reports.test/"),
    ("report-uri", "reports.test"),
    ("report-uri", "https://"),
    ("report-uri", f"https://{NAME}/reports"),
    ("keyring", "a/b"),
    ("keyring", ".."),
    ("keyring", "../../outside"),
    ("keyring", "a b"),
    ("keyring", "a\tb"),
    ("keyring", "a\x07b"),
    ("keyring", ""),
    ("snippet-dir", "/nonexistent/folder"),
    ("snippet-dir", "/etc/passwd"),
    ("snippet-dir", "relative/folder"),
    ("configtest-command", "/nonexistent/configtest -t"),
    ("configtest-command", "'unbalanced"),
    ("reload-command", "/nonexistent/reload"),
    ("reload-command", "/etc/passwd"),
]
GOOD = [
    ("max-age", "0"),
    ("max-age", "5184000"),
    ("backup-keys", "1"),
    ("report-uri", "https://reports.test/"),
    ("keyring", "shop-2_a.b"),
    ("configtest-command", ""),
    ("reload-command", ""),
]


def shown(value: str) -> str:
    """A value as messages have it: what does not print is escaped."""
    return value.encode("unicode_escape").decode()


@VALUE
@pytest.mark.parametrize(("option", "value"), BAD)
def test_g10_a_bad_value_is_named_and_nothing_is_written(bot: Bot, option: str, value: str) -> None:
    """Adoption fails, with the option and its value in the message; no file is changed."""
    bot.renew("--installer", "null").check()
    before = tree(bot.config_dir)
    done = bot.renew(*OFFLINE, f"--pinkeep-{option}={value}")
    said = " ".join(done.output.split())
    assert done.returncode == 1
    assert f"--pinkeep-{option} " in said
    assert shown(value) in said
    assert "Traceback" not in said
    assert changed(before, tree(bot.config_dir)) == []


@VALUE
@pytest.mark.parametrize(("option", "value"), GOOD)
def test_a_good_value_is_taken(bot: Bot, option: str, value: str) -> None:
    """The counter-case: values at the edge are accepted."""
    others = [one for one in OFFLINE if not one.startswith(f"--pinkeep-{option}=")]
    bot.renew(*others, f"--pinkeep-{option}={value}").check()
    check_whole(bot, NAME, value if option == "keyring" else NAME)


@pytest.mark.parametrize(
    ("option", "value"), [BAD[0], ("backup-keys", "0"), ("keyring", "a/b"), BAD[-1]]
)
def test_g10_a_bad_value_ends_certonly_before_it_begins(bot: Bot, option: str, value: str) -> None:
    """Somebody is there to mend it: no certificate is asked for, and nothing is written."""
    before = tree(bot.config_dir)
    bad = [*OFFLINE, f"--pinkeep-{option}={value}"]
    for name in (NAME, "new.pin.test"):
        done = bot.certonly("--cert-name", name, "-d", name, "--force-renewal", *bad)
        said = " ".join(done.output.split())
        assert done.returncode == 1
        assert f"--pinkeep-{option} " in said
        assert shown(value) in said
    assert changed(before, tree(bot.config_dir)) == []


def _mode(mode: int) -> Callable[[Path], None]:
    return lambda folder: folder.chmod(mode)


def _nobodys(folder: Path) -> None:
    os.chown(folder, 65534, -1)


def _file(folder: Path) -> None:
    folder.rename(folder.parents[2] / f"{folder.name}-away")
    folder.write_text("")


FOLDERS = [
    ("keys", _mode(0o755), "chmod 0700"),
    ("keys", _mode(0o750), "chmod 0700"),
    ("csr", _mode(0o777), "chmod 0755"),
    ("keys", _file, "not a folder"),
    ("csr", _file, "not a folder"),
]
# Only root may give a folder away, and then it is root's run that must refuse it.
if os.geteuid() == 0:
    FOLDERS += [("keys", _nobodys, "chown 0"), ("csr", _nobodys, "chown 0")]


@VALUE
@pytest.mark.parametrize(("name", "spoil", "advice"), FOLDERS)
def test_g7_a_folder_that_is_open_or_not_ours(
    bot: Bot, name: str, spoil: Callable[[Path], None], advice: str
) -> None:
    """No key is written there; the message says how to mend it, and then it works."""
    bot.renew("--installer", "null").check()
    folder = bot.config_dir / name
    folder.mkdir(mode=0o700, exist_ok=True)
    spoil(folder)
    before = tree(bot.config_dir)

    done = bot.renew(*OFFLINE)
    said = " ".join(done.output.split())
    assert done.returncode == 1
    assert str(folder) in said
    assert advice in said
    assert changed(before, tree(bot.config_dir)) == []

    if folder.is_file():
        folder.unlink()
    else:
        os.chown(folder, os.geteuid(), -1)
        folder.chmod(0o700)
    bot.renew(*OFFLINE).check()
    check_whole(bot, NAME)


CLI_INI = [
    ("max-age", "abc"),
    ("backup-keys", "0"),
    ("report-uri", "ftp://reports.test/"),
    ("keyring", "a/b"),
    ("snippet-dir", "/nonexistent"),
]


@pytest.mark.parametrize(
    ("option", "value"), [CLI_INI[0], *(pytest.param(*one, marks=VALUE) for one in CLI_INI[1:])]
)
def test_g3_a_bad_value_in_cli_ini_does_not_block_a_renewal(
    pinned: Pinned, option: str, value: str
) -> None:
    """The pinned key is renewed and Apache serves it; the run ends with an error all the same."""
    pin, serial, text = pinned.live_pin, pinned.live_serial, pinned.snippet.read_text()
    cli_ini(pinned.bot, {f"pinkeep-{option}": value})

    done = pinned.bot.renew("--force-renewal", *pinned.options)

    said = " ".join(done.output.split())
    assert done.returncode == 1
    assert f"--pinkeep-{option} " in said
    assert value in said
    assert pinned.live_pin == pin
    assert pinned.live_serial != serial
    assert pinned.snippet.read_text() == text
    pinned.await_certificate()


@pytest.mark.parametrize("command", ["configtest", "reload"])
def test_g3_a_command_that_is_gone_does_not_block_a_renewal(pinned: Pinned, command: str) -> None:
    """The certificate is renewed for the pinned key, and the error names the option."""
    pin, serial = pinned.live_pin, pinned.live_serial
    gone = f"--pinkeep-{command}-command=/nonexistent/{command}"
    done = pinned.bot.renew("--force-renewal", *pinned.options, gone)
    assert done.returncode == 1
    assert f"--pinkeep-{command}-command" in done.output
    assert pinned.live_pin == pin
    assert pinned.live_serial != serial
    pinned.await_certificate()  # by the keyring's earlier command (G12)
    pinned.bot.renew(*pinned.options).check()  # what was not done is done now
    pinned.check_whole()


DAMAGES: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "cut-short": lambda text: text[: len(text) // 2],
    "cut-by-a-line": lambda text: "\n".join(text.splitlines()[:-1]) + "\n",
    "nonsense": lambda text: "nonsense [[[\n" + text,
    "another-pin": lambda text: text.replace("pin", "nip", 1),
    "a-time-that-is-none": lambda text: text.replace("20", "xx"),
}


@pytest.mark.parametrize(
    "damage",
    [one if one == "cut-short" else pytest.param(one, marks=VALUE) for one in DAMAGES],
)
def test_g8_a_damaged_keyring_file_does_not_block_a_renewal(pinned: Pinned, damage: str) -> None:
    """The live key is renewed and served, the pins stay, the error is reported, the file kept."""
    good = pinned.keyring.read_text()
    bad = DAMAGES[damage](good)
    pinned.keyring.write_text(bad)
    pin, serial, text = pinned.live_pin, pinned.live_serial, pinned.snippet.read_text()

    done = pinned.bot.renew("--force-renewal", *pinned.options)

    assert done.returncode == 1
    assert str(pinned.keyring) in " ".join(done.output.split())
    assert pinned.live_pin == pin
    assert pinned.live_serial != serial
    assert pinned.snippet.read_text() == text
    assert pinned.keyring.read_text() == bad
    pinned.await_certificate()

    # No rollover on such a file; and all is well when the admin put the good one back.
    refused = pinned.certonly("-d", NAME, "--new-key")
    assert refused.returncode == 1
    assert pinned.live_pin == pin
    pinned.keyring.write_text(good)
    pinned.bot.renew(*pinned.options).check()
    pinned.check_whole()


@RULE
def test_g8_a_lost_keyring_file_is_made_anew_from_what_is_published(pinned: Pinned) -> None:
    """Live key and backups are found again; what was served before is unknown: no rollover yet."""
    pins = pinned.pins
    pinned.keyring.unlink()
    pinned.renew()
    assert pinned.pins == pins
    assert pinned.live_pin == pins[0]
    refused = pinned.certonly("-d", NAME, "--new-key")
    assert refused.returncode == 1
    assert pinned.live_pin == pins[0]
    pinned.check_whole()
