"""The command's requests: rollover, confirm, unpin; exit codes, and one line if it is refused."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certbot_pinkeep.adapters import clock as clocks
from certbot_pinkeep.adapters import renewal_conf
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.cli import main
from certbot_pinkeep.core import options
from certbot_pinkeep.reports import status
from certbot_pinkeep.storage import atomic
from simulated.machine import Site
from simulated.values import DAY, NOW, csr_pem, encrypted, make_pem, pin_of_key, tree

APART = [
    sys.executable,
    "-c",
    "import sys; from certbot_pinkeep.cli.main import main; sys.exit(main())",
]


class Clock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.time: datetime = NOW

    def set(self, days: int) -> None:
        """Set it to a day."""
        self.time = NOW + timedelta(days=days)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the machine."""
    found = Clock()
    monkeypatch.setattr(clocks, "now", lambda: found.time)
    return found


@pytest.fixture
def site(tmp_path: Path, clock: Clock) -> Site:
    """A lineage that is pinned with one backup, as certbot's renewal file has it."""
    found = Site(tmp_path)
    run(found, 0)
    return found


def run(site: Site, days: int, by_hand: bool = False) -> None:
    """A run as the plugin does it."""
    values = {
        "configtest-command": "",
        "reload-command": "" if by_hand else "/bin/true",
        "backup-keys": "1",
    }
    renewal_conf.remember(str(site.config), site.name, "pinkeep")
    site.workflow.keep(site.look(), options.parse(values, site.name), NOW + days * DAY)


def make_unsafe(site: Site, clock: Clock) -> None:
    """Roll over on day 10: the new backup is safe from day 70 on. It is day 20."""
    site.issue(site.key_pem(site.published().pins[1]))
    run(site, 10)
    clock.set(20)


class Certbots:
    """The calls of certbot."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.others: list[dict[str, Any]] = []
        self.status = 0
        self.renewal: Callable[[], object] = lambda: None

    def run(self, words: list[str], **others: Any) -> Any:
        """Note a call."""
        self.calls.append(words)
        self.others.append(others)
        self.renewal()
        return SimpleNamespace(returncode=self.status)


@pytest.fixture
def certbots(site: Site, monkeypatch: pytest.MonkeyPatch) -> Certbots:
    """Certbot is not run; the certificate has another key then."""
    found = Certbots()
    found.renewal = lambda: site.issue(site.key_pem(site.published().pins[-1]))
    monkeypatch.setattr(subprocess, "run", found.run)
    return found


def folders(site: Site) -> list[str]:
    """How certbot and we are told of the folders."""
    given = {"--config-dir": site.config, "--work-dir": site.work, "--logs-dir": site.root / "logs"}
    return [str(word) for pair in given.items() for word in pair]


Said = pytest.CaptureFixture[str]


def call(site: Site, capsys: Said, *words: str) -> tuple[int, str, str]:
    """The exit code and what is said: on standard output, on standard error."""
    capsys.readouterr()
    code = main.main([*words, *folders(site)])
    out, err = capsys.readouterr()
    return code, out, err


def refused(site: Site, capsys: Said, *words: str) -> str:
    """Return what is said if nothing is done: a line, and commands; nothing has changed then."""
    before = tree(site.config, site.work)
    code, out, err = call(site, capsys, *words)
    assert (code, out) == (1, "")
    told, *more = err.splitlines()
    assert told.startswith("certbot-pinkeep: ") and err.endswith("\n")
    assert more == [] or more[0].startswith("Run: ")
    assert tree(site.config, site.work) == before
    return err


def test_rollover_is_recorded_and_told(site: Site, capsys: Said, certbots: Certbots) -> None:
    """Exit code 0; certbot is not run."""
    old, new = site.published().pins
    code, out, err = call(site, capsys, "rollover", site.name)
    assert (code, err) == (0, "") and new in out and certbots.calls == []
    key = site.state().keyring.key(old)
    assert key is not None and key.retire_reason == "asked"


@pytest.mark.parametrize("words", [[], ["--now"], ["--compromised"], ["--compromised", "--now"]])
def test_g2_unsafe_rollover_is_refused_with_its_time_and_a_command(
    site: Site, clock: Clock, capsys: Said, certbots: Certbots, words: list[str]
) -> None:
    """Exit code 1: what, why, from when, and what to do. Certbot is not run."""
    make_unsafe(site, clock)
    old, _ = site.published().pins
    before = tree(site.config)
    code, out, err = call(site, capsys, "rollover", site.name, *words)
    assert (code, out) == (1, "")
    assert "2026-05-10T12:00:00Z" in err and "\nRun: certbot-pinkeep rollover example.com --" in err
    assert certbots.calls == []
    key = site.state().keyring.key(old)
    assert key is not None
    assert key.role == ("compromised" if "--compromised" in words else "primary")
    assert key.retire_reason == "" and (
        words[:1] == ["--compromised"] or tree(site.config) == before
    )


def test_rollover_that_waits_is_no_error(
    site: Site, clock: Clock, capsys: Said, certbots: Certbots
) -> None:
    """With --now as well: certbot is not run before it is safe."""
    make_unsafe(site, clock)
    code, out, _ = call(site, capsys, "rollover", site.name, "--when-safe", "--now")
    assert code == 0 and "2026-05-10T12:00:00Z" in out and certbots.calls == []
    clock.set(70)
    assert call(site, capsys, "rollover", site.name, "--when-safe", "--now")[0] == 0
    assert len(certbots.calls) == 1


def test_now_renews_with_certbot_as_it_is_set_up(
    site: Site, capsys: Said, certbots: Certbots
) -> None:
    """This certificate only, at once, asking nobody, in the same folders; nothing is given that
    certbot would remember."""
    assert call(site, capsys, "rollover", site.name, "--now")[::2] == (0, "")
    (words,), (others,) = certbots.calls, certbots.others
    wanted = ["renew", "--cert-name", site.name, "--force-renewal", *folders(site)]
    wanted += ["--non-interactive", "--no-random-sleep-on-renew"]
    assert words[-len(wanted) :] == wanted
    assert not [word for word in words if word.startswith("--pinkeep")]
    assert others["cwd"] == "/" and others["stdin"] == subprocess.DEVNULL


def test_failed_renewal_is_told(site: Site, capsys: Said, certbots: Certbots) -> None:
    """Exit code 1; the request is on record, and the next renewal serves it."""
    certbots.status, certbots.renewal = 1, lambda: None
    code, _, err = call(site, capsys, "rollover", site.name, "--now")
    assert code == 1 and "\nRun: certbot renew --force-renewal" in err
    assert "is on record" in err and "example.com" in err and "certbot renew" in err


def test_renewal_that_keeps_the_key_is_no_rollover(
    site: Site, capsys: Said, certbots: Certbots
) -> None:
    """Certbot is content, the CA did not take the backup: it is not said to be done."""
    certbots.renewal = lambda: site.issue(site.key_pem(site.published().pins[0]))
    code, _, err = call(site, capsys, "rollover", site.name, "--now")
    assert code == 1 and "was renewed, but kept its key" in err


def test_renewal_that_could_not_be_loaded_is_not_told_to_be_repeated(
    site: Site, capsys: Said, certbots: Certbots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certbot fails though the certificate has its new key: another one would mend nothing."""
    staged = site.published().pins[1]

    def renewed(words: list[str], **others: Any) -> Any:
        site.issue(site.key_pem(staged))
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(subprocess, "run", renewed)
    code, _, err = call(site, capsys, "rollover", site.name, "--now")
    assert code == 1 and "for the new key" in err
    assert err.endswith("Run: certbot renew\n") and "--force-renewal" not in err


def test_g2_force_says_who_is_locked_out_before_certbot_runs(
    site: Site, clock: Clock, capsys: Said, certbots: Certbots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words are out when certbot is called."""
    make_unsafe(site, clock)
    told: list[str] = []

    def renew(words: list[str], **others: Any) -> Any:
        told.append(capsys.readouterr().out)
        return certbots.run(words, **others)

    monkeypatch.setattr(subprocess, "run", renew)
    capsys.readouterr()
    words = ["rollover", site.name, "--force", "--now", *folders(site)]
    assert main.main(words) == 0
    assert (
        "This rollover locks out clients that noted" in told[0]
        and "2026-05-10T12:00:00Z" in told[0]
    )
    assert len(certbots.calls) == 1


def test_now_needs_a_certificate_that_certbot_renews(
    site: Site, capsys: Said, certbots: Certbots
) -> None:
    """A deleted certificate cannot be renewed: the request is on record, for the next one."""
    site.renewal.unlink()
    code, out, _ = call(site, capsys, "rollover", site.name, "--now")
    assert code == 0 and "Certbot has no certificate of the keyring example.com" in out
    key = site.state().keyring.key(site.published().pins[0])
    assert key is not None and key.retire_reason == "asked" and certbots.calls == []


def test_force_and_when_safe_exclude_each_other(site: Site, capsys: Said) -> None:
    """Usage: exit code 2."""
    with pytest.raises(SystemExit) as caught:
        call(site, capsys, "rollover", site.name, "--force", "--when-safe")
    assert caught.value.code == 2


@pytest.mark.parametrize("verb", ["rollover", "confirm", "unpin"])
def test_g10_name_must_be_that_of_a_keyring(site: Site, capsys: Said, verb: str) -> None:
    """An unknown one, a damaged one, one that is no file's name; and none at all is a usage
    error."""
    assert "no keyring 'other'. Keyrings here: example.com" in refused(site, capsys, verb, "other")
    assert "NAME '../x': a keyring's name" in refused(site, capsys, verb, "../x")
    site.file.write_bytes(b"junk")
    assert str(site.file) in refused(site, capsys, verb, site.name)
    with pytest.raises(SystemExit) as caught:
        call(site, capsys, verb)
    assert caught.value.code == 2


def test_g10_folder_without_keyrings_is_named(tmp_path: Path, capsys: Said) -> None:
    """Certbot may have been given other folders than the command was."""
    said = refused(Site(tmp_path), capsys, "rollover", "example.com")
    assert f"nor any other in {tmp_path}" in said and "the same --config-dir" in said


def test_rollover_of_an_unknown_keyring_with_now_runs_nothing(
    site: Site, capsys: Said, certbots: Certbots
) -> None:
    """The same error as without it."""
    assert "no keyring 'other'" in refused(site, capsys, "rollover", "other", "--now")
    assert certbots.calls == []


def test_confirm_tells_what_is_served(site: Site, clock: Clock, capsys: Said) -> None:
    """Once; then there is nothing pending; an edited snippet is refused."""
    site.workflow.keep(
        site.look(), site.options(max_age=86400, configtest=(), reload=()), NOW + DAY
    )
    clock.set(2)
    code, out, err = call(site, capsys, "confirm", site.name)
    assert (code, err) == (0, "") and "published at 2026-03-02T12:00:00Z" in out
    assert call(site, capsys, "confirm", site.name)[:2] == (
        0,
        "The keyring example.com has nothing pending: the web server serves what is published.\n",
    )
    site.snippet.unlink()
    assert "certbot renew" in refused(site, capsys, "confirm", site.name)


def test_unpin_takes_effect_at_once(site: Site, clock: Clock, capsys: Said) -> None:
    """max-age=0 is published and loaded; it says until when pins are held."""
    clock.set(10)
    code, out, err = call(site, capsys, "unpin", site.name)
    assert (code, err) == (0, "") and site.published().max_age == 0
    assert "max-age=0" in out and "2026-05-10T12:00:00Z at the latest" in out
    assert not site.state().ledger.pending
    clock.set(70)
    code, out, _ = call(site, capsys, "unpin", site.name)
    assert code == 0 and "is unpinned" in out
    assert apache.directives(site.snippet.read_text()) == []
    code, out, _ = call(site, capsys, "unpin", site.name, "--undo")
    assert code == 0 and "is pinned" in out and site.published().max_age == 5184000


def test_unpin_without_a_certificate_names_itself(site: Site, clock: Clock, capsys: Said) -> None:
    """certbot renew does not come to such a keyring: the same command publishes it, and ends it."""
    clock.set(10)
    for part in ("live", "archive"):
        shutil.rmtree(site.config / part / site.name)
    (site.config / "renewal" / f"{site.name}.conf").unlink()
    site.snippet.write_text("# edited\n" + site.snippet.read_text())
    code, _, err = call(site, capsys, "unpin", site.name)
    assert code == 1 and f"\nRun: certbot-pinkeep unpin {site.name}" in err
    site.snippet.unlink()
    assert call(site, capsys, "unpin", site.name)[0] == 0
    assert call(site, capsys, "confirm", site.name)[0] == 0
    code, out, _ = call(site, capsys, "unpin", site.name)
    assert code == 0 and f"The first 'certbot-pinkeep unpin {site.name}' after that" in out
    clock.set(90)
    assert "is unpinned" in call(site, capsys, "unpin", site.name)[1]


def test_unpin_with_an_apache_that_is_reloaded_by_hand(
    site: Site, clock: Clock, capsys: Said
) -> None:
    """It says what is to be done, and that no time runs before."""
    run(site, 1, by_hand=True)
    clock.set(10)
    code, out, _ = call(site, capsys, "unpin", site.name)
    assert code == 0 and "certbot-pinkeep confirm example.com" in out
    clock.set(20)
    assert call(site, capsys, "confirm", site.name)[0] == 0
    assert "2026-05-20T12:00:00Z at the latest" in call(site, capsys, "unpin", site.name)[1]


def test_status_tells_of_a_request(
    site: Site, clock: Clock, capsys: Said, certbots: Certbots
) -> None:
    """When it is due and safe, and what to run."""
    make_unsafe(site, clock)
    call(site, capsys, "rollover", site.name, "--when-safe")
    code, out, _ = call(site, capsys, "status", site.name)
    assert code == 0 and "first renewal that is safe" in out and "2026-05-10T12:00:00Z" in out


def test_backup_that_is_gone_is_not_called_safe(site: Site, capsys: Said) -> None:
    """By none of those that tell: the rollover that they would name is refused."""
    key = site.state().keyring.key(site.published().pins[1])
    assert key is not None and key.path is not None
    calls = (["status", site.name], ["timeline", site.name], ["backup", site.name, "list"])
    assert all("safe now" in call(site, capsys, *words)[1] for words in calls)
    (site.config / key.path).unlink()
    for words in calls:
        code, out, _ = call(site, capsys, *words)
        assert code == 0 and "safe now" not in out
    assert "no backup key can be used" in refused(site, capsys, "rollover", site.name)


# What is printed, and where


#: What other packages warn of on their own is not what is looked at.
QUIET = {"PYTHONWARNINGS": "ignore::UserWarning"}


def run_apart(
    site: Site, *words: str, shell: str = '"$@"', **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in a line for a shell."""
    line = [*APART, *words, *([] if "--help" in words else folders(site))]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        ["bash", "-c", shell, "bash", *line],
        capture_output=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        env={**kept, **QUIET, **environment},
        check=False,
    )


# The command begins once its reader is gone.
UNREAD = 'mkfifo "$FIFO"; { : <"$FIFO"; "$@"; echo $? >&2; } | { exec <&-; : >"$FIFO"; }'
PRINTING = ["status", "check", "--help"]


@pytest.mark.parametrize("word", [*PRINTING, "unbuffered status"])
def test_nobody_reads_what_is_printed(site: Site, word: str) -> None:
    """The command ends silently, as a program that SIGPIPE ends."""
    unbuffered, _, word = word.rpartition(" ")
    more = {"FIFO": str(site.root / "fifo"), "PYTHONUNBUFFERED": unbuffered}
    done = run_apart(site, word, shell=UNREAD, **more)
    # Later Pythons pass over a help that cannot be printed.
    assert done.stderr in ("141\n", "0\n" if word == "--help" else "")


def test_g5_what_is_begun_is_done_though_nobody_reads_of_it(site: Site) -> None:
    """A backup that is on record is published as well; the exit code is that of an unread command."""
    given, pem = site.root / "offline.csr", make_pem()
    given.write_bytes(csr_pem(pem, [site.name]))
    words = ("backup", site.name, "add", "--csr", str(given))
    done = run_apart(site, *words, shell=UNREAD, FIFO=str(site.root / "fifo"))
    assert done.stderr == "141\n" and pin_of_key(pem) in site.published().pins


def test_what_is_due_after_a_backup_was_added_is_told_at_the_time_of_its_publication(
    site: Site, clock: Clock, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apache took its time to reload: the clock was not set back."""
    make_unsafe(site, clock)
    commands = {"configtest-command": "", "reload-command": "/bin/true"}
    site.workflow.store.save(replace(site.state(), settings=commands))
    assert call(site, capsys, "rollover", site.name, "--when-safe")[0] == 0
    real = apache.reload

    def slowly(server: apache.Server) -> bool:
        clock.time += timedelta(seconds=50)
        return real(server)

    monkeypatch.setattr(clocks, "seconds", lambda: clock.time.timestamp())
    monkeypatch.setattr(apache, "reload", slowly)
    given = site.root / "offline.csr"
    given.write_bytes(csr_pem(make_pem(), [site.name]))
    code, out, err = call(site, capsys, "backup", site.name, "add", "--csr", str(given))
    assert (
        (code, err) == (0, "")
        and "The new key is safe from " in out
        and "the clock says" not in out
    )


def test_warnings_are_no_outcome(site: Site) -> None:
    """They go to standard error, whoever warns: here, that a backup is lost."""
    key = site.state().keyring.key(site.published().pins[1])
    assert key is not None and key.path is not None
    (site.config / key.path).unlink()
    done = run_apart(site, "unpin", site.name)
    assert done.returncode == 0 and "is up to date" in done.stdout
    assert "will not use" in done.stderr and "will not use" not in done.stdout


def test_file_that_cannot_be_written_is_named(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line."""

    def refuse(path: str, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr(atomic, "replace", refuse)
    err = refused(site, capsys, "rollover", site.name)
    assert f"{site.file} cannot be read or written: No space left on device." in err


@pytest.mark.parametrize("word", PRINTING)
def test_standard_output_that_is_full_is_named(site: Site, word: str) -> None:
    """In one line, and the exit code is not 0."""
    done = run_apart(site, word, shell='"$@" >/dev/full')
    assert done.returncode != 0 and done.stderr.count("\n") == 1
    assert "standard output" in done.stderr and "No space left" in done.stderr


@pytest.mark.parametrize("word", PRINTING)
def test_standard_output_that_is_closed_is_none(site: Site, word: str) -> None:
    """The command does what it does."""
    assert run_apart(site, word, shell='"$@" >&-').stderr == ""


def test_what_standard_output_cannot_show_is_escaped(site: Site, capsys: Said) -> None:
    """A release has the name that the admin gave it, and § is in many a sentence; also in errors."""
    words = ["--channel", "Café", "--label", "小", "--until", "2027-01-01"]
    assert call(site, capsys, "release", site.name, "add", *words)[0] == 0
    for verb in (["timeline", site.name], ["release", site.name, "list"]):
        done = run_apart(site, *verb, PYTHONIOENCODING="latin-1")
        assert (done.returncode, done.stderr) == (0, "") and "\\u5c0f" in done.stdout
    done = run_apart(site, "status", "小", PYTHONIOENCODING="ascii")
    assert done.returncode == 1 and "NAME '\\u5c0f'" in done.stderr and done.stderr.count("\n") == 1


def test_interrupted_command_says_nothing(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130, at once: threads that still wait for hosts are not waited for."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def end(code: int) -> None:
        raise SystemExit(f"ended with {code}")

    monkeypatch.setattr(status, "as_text", interrupt)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(SystemExit, match="ended with 130"):
        call(site, capsys, "status")
    assert capsys.readouterr() == ("", "")


def test_interrupted_check_waits_for_no_host(site: Site) -> None:
    """One that takes the connection, and then says nothing for a day."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = [f"--connect=127.0.0.1:{silent.getsockname()[1]}", "--timeout=86400"]
        process = subprocess.Popen(
            [*APART, "check", *words, *folders(site)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **QUIET},
            # What runs in the background of a shell has the signal ignored, and so have we.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        try:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                process.send_signal(signal.SIGINT)
                told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, *told) == (130, b"", b"")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "cli.ini"),
        (b"no-such-option = 1", "--no-such-option"),
        (b"pinkeep-include-subdomains = maybe", "'maybe'"),
        (b"email = \xff", "utf-8"),
    ],
    ids=["missing", "unknown", "bad value", "other encoding"],
)
def test_g10_configuration_that_certbot_refuses(
    site: Site, capsys: Said, content: bytes | None, word: str
) -> None:
    """In one line of ours, not in certbot's usage."""
    file = site.root / "cli.ini"
    if content is not None:
        file.write_bytes(content)
    err = refused(site, capsys, "status", "--config", str(file))
    assert "Certbot does not accept its configuration" in err and word in err


def test_record_that_may_not_be_read_is_not_called_damaged(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told to move it away."""

    def refuse(path: str, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(atomic, "read_closed", refuse)
    for words in (["status"], ["timeline", site.name], ["confirm", site.name]):
        err = refused(site, capsys, *words)
        assert f"{site.file} cannot be read: Permission denied" in err
        assert "Run this as the user who runs certbot" in err and "away" not in err


def test_record_that_the_disk_does_not_give(site: Site, capsys: Said) -> None:
    """It is said what that means for renewals."""
    site.file.unlink()
    site.file.mkdir()
    err = refused(site, capsys, "status")
    assert "cannot be read: it is a folder" in err and "Renewals keep the current key" in err


@pytest.mark.parametrize("name", main._COMMANDS)
def test_command_is_understood_without_the_parsers_of_the_others(name: str) -> None:
    """They take longer than the command; its help is the same."""
    alone, every = (
        next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction)).choices
        for parser in (main._parser(name), main._parser())
    )
    assert list(alone) == [name] and alone[name].format_help() == every[name].format_help()


def test_completion_tells_the_commands(site: Site) -> None:
    """As bash asks for it, with the extra of that name."""
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": "certbot-pinkeep rol", "COMP_POINT": "19"}
    done = run_apart(site, shell='"$@" 8>&1', **asked, IFS="\n", _ARGCOMPLETE_SUPPRESS_SPACE="1")
    assert done.stdout.split() == ["rollover"]


# Help


COMMANDS = [
    "setup",
    "status",
    "check",
    "rollover",
    "export",
    "release",
    "backup",
    "timeline",
    "confirm",
    "unpin",
    "deploy-hook",
]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the contract, each with what it is for."""
    with pytest.raises(SystemExit) as ended:
        main.main(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0 and all(f"\n    {name} " in told for name in COMMANDS)


VERBS = ["release x add", "release x extend", "release x list", "release x end"]
VERBS += ["backup x add", "backup x list", "backup x drop"]


@pytest.mark.parametrize("name", ["", *COMMANDS, *VERBS])
def test_each_command_has_examples(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its help, and calls of itself; with exit codes, and no line too long for the terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main.main([*name.split(), "--help"])
    told, _, examples = capsys.readouterr().out.partition("examples:\n")
    assert ended.value.code == 0 and max(map(len, told.splitlines())) <= 80
    assert " ".join(name.replace(" x ", " example.com ").split()) in examples
    assert "certbot-pinkeep" in examples and "\nexit codes:\n  " in examples


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["no-such"],
        ["release", "x"],
        ["rollover"],
        ["rollover", "x", "--when"],
        ["rollover", "x", "--undo", "--now"],
        ["rollover", "x", "--undo", "--compromised"],
        ["status", "--no-such"],
        ["release", "x", "list", "y"],
    ],
)
def test_usage_errors_exit_with_two(words: list[str]) -> None:
    """As the contract has it; an option is not abbreviated."""
    with pytest.raises(SystemExit) as ended:
        main.main(words)
    assert ended.value.code == 2


@pytest.mark.parametrize("words", [["--passphrase", "hunter2"], ["--password=hunter2"]])
def test_g7_passphrase_on_the_command_line_is_not_repeated(
    words: list[str], site: Site, capsys: Said
) -> None:
    """Neither what follows an option that there is not, nor what is given in place of a file."""
    with pytest.raises(SystemExit) as ended:
        main.main(["backup", "example.com", "add", "--key", "x", *words])
    err = capsys.readouterr().err
    assert ended.value.code == 2 and "hunter2" not in err and "--pass" in err
    (site.root / "key.pem").write_bytes(sealed())
    words = ["--key", str(site.root / "key.pem"), "--passphrase-file", "hunter2"]
    err = refused(site, capsys, "backup", site.name, "add", *words)
    assert "hunter2" not in err and "--passphrase-file" in err and "No such file" in err


def sealed() -> bytes:
    """A private key that is encrypted."""
    return encrypted(make_pem())
