"""The command ``check``: what it prints, its exit codes, and what it waits for."""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from certbot.configuration import NamespaceConfig

from certbot_pinkeep.adapters import clock, probe, renewal_conf
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.check.findings import Severity
from certbot_pinkeep.cli import main
from certbot_pinkeep.core.errors import ApacheFailed
from certbot_pinkeep.core.observations import HttpObservation, Target, TlsObservation
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.workflow import requests as requests_
from simulated.machine import Site
from simulated.seen import PKP, TRUE_HEADER, parsed
from simulated.values import NOW

OK, WARNING, CRITICAL, UNKNOWN = Severity


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A lineage that is pinned; its host shows what it should."""
    found = Site(tmp_path)
    found.copies = False
    monkeypatch.setattr(clock, "now", lambda: NOW)
    found.keep()
    renewal_conf.remember(str(found.config), found.name, "pinkeep")

    def look(
        wanted: list[Target], way: probe.Way
    ) -> tuple[list[TlsObservation], list[HttpObservation]]:
        pem = (found.config / "live" / found.name / "cert.pem").read_bytes()
        der, _ = parsed(pem)
        header = (PKP, found.published().header_value)
        return [TlsObservation(target.name, der, (header,)) for target in wanted], []

    monkeypatch.setattr(probe, "look", look)
    return found


def call(site: Site, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    """The exit code and the lines; nothing on standard error."""
    folders = {"config": site.config, "work": site.work, "logs": site.root / "logs"}
    capsys.readouterr()
    code = main.main(["check", *words, *(f"--{name}-dir={path}" for name, path in folders.items())])
    out, err = capsys.readouterr()
    assert err == ""
    return code, out.splitlines()


Said = pytest.CaptureFixture[str]


def test_the_command_is_silent_if_all_is_sound(site: Site, capsys: Said) -> None:
    """One line, exit code 0; the same if the keyring is named."""
    said = (0, ["PINKEEP OK - 1 keyring, 2 hosts: keys, headers and files are sound"])
    assert call(site, capsys) == said == call(site, capsys, site.name)


def test_a_damaged_file_is_critical_and_others_are_looked_at(site: Site, capsys: Said) -> None:
    """Its error says what to do."""
    damaged = site.file.with_name("damaged.conf")
    damaged.write_text("nonsense\n")
    (site.config / "keys").chmod(0o755)
    code, said = call(site, capsys)
    assert code == CRITICAL and said[0].endswith("(and 1 more)")
    assert any("damaged" in line and "Restore the file from a backup" in line for line in said[1:])


def test_whatever_goes_wrong_is_unknown(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a traceback; one line."""
    assert call(site, capsys, "missing")[0] == UNKNOWN

    def fail(error: Exception) -> Callable[..., None]:
        def raise_(*_: object) -> None:
            raise error

        return raise_

    for error, words in (
        (ZeroDivisionError("by | zero"), "the check itself failed (ZeroDivisionError: by / zero)"),
        (PermissionError(13, "Permission denied", "/x"), "/x cannot be read: Permission denied."),
    ):
        monkeypatch.setattr(probe, "look", fail(error))
        code, said = call(site, capsys)
        assert code == UNKNOWN and len(said) == 1 and words in said[0]


@pytest.mark.parametrize(
    "word",
    [
        "--connect=example.com",
        "--connect=:443",
        "--connect=x:y",
        "--connect=a@b:1",
        "--connect-http=x:99999",
        "--timeout=0",
        "--timeout=x",
        "--timeout=nan",
        "--bogus",
        "--connect",
    ],
)
def test_bad_usage_is_refused(site: Site, capsys: Said, word: str) -> None:
    """Unknown, in one line on standard output: monitoring takes 2 for critical."""
    with pytest.raises(SystemExit) as left:
        call(site, capsys, word)
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert (left.value.code, err) == (UNKNOWN, "")
    assert line.startswith("PINKEEP UNKNOWN - check: ") and line.count("check --help") == 1


@pytest.mark.parametrize(
    "words", [["--timeout", "5", "check"], ["--bogus", "check"], ["-c", "check"]]
)
def test_bad_usage_before_the_name_is_refused_as_well(words: list[str], capsys: Said) -> None:
    """Its author meant this command."""
    with pytest.raises(SystemExit) as left:
        main.main(words)
    out, err = capsys.readouterr()
    assert (left.value.code, err) == (UNKNOWN, "") and len(out.splitlines()) == 1


def test_bad_usage_of_another_command_is_one(capsys: Said) -> None:
    """Also if a keyring is called so."""
    for words in (["rollover", "check", "--bogus"], ["roll", "check"]):
        with pytest.raises(SystemExit) as left:
            main.main(words)
        out, err = capsys.readouterr()
        assert (left.value.code, out) == (2, "") and err


def test_what_certbot_refuses_is_unknown(site: Site, capsys: Said) -> None:
    """Its own words, without how certbot is used."""
    ini = site.config / "cli.ini"
    for content, why in (
        (b"nonsense = 1\n", "--nonsense=1"),
        (b"pinkeep-include-subdomains = maybe\n", "'maybe'"),
        (b"email = \xff\n", "codec"),
        (None, "Unable to open config file"),
    ):
        ini.unlink(missing_ok=True)
        if content is not None:
            ini.write_bytes(content)
        code, (line,) = call(site, capsys, f"--config={ini}")
        assert code == UNKNOWN and "does not accept its configuration" in line and why in line


def test_what_the_terminal_cannot_show_is_no_failure(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is that of the finding."""
    monkeypatch.setattr(
        probe, "look", lambda *_: ([], [HttpObservation(site.name, (TRUE_HEADER,))])
    )
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "ascii", write_through=True))
    assert main.main(["check", f"--config-dir={site.config}", f"--work-dir={site.work}"]) == 1
    assert b"RFC 7469 \\xa72.2.2" in shown.getvalue()


def test_a_keyring_that_cannot_be_looked_at_leaves_the_others(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is unknown; what is critical counts."""
    monkeypatch.setattr(probe, "look", lambda *_: ([], []))
    site.file.with_name("damaged.conf").write_text("nonsense\n")
    site.snippet.unlink()
    site.snippet.mkdir()
    code, said = call(site, capsys)
    assert code == CRITICAL and len(said) == 3
    assert "damaged" in said[1] and said[2].startswith(f"UNKNOWN: {site.name}: ")


def test_a_keyring_file_that_must_not_be_read_is_unknown(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be sound: nobody is told to move it away."""
    real = atomic.read_closed

    def closed(path: str, *more: Any) -> bytes:
        if path == str(site.file):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *more)

    monkeypatch.setattr(atomic, "read_closed", closed)
    code, said = call(site, capsys)
    assert code == UNKNOWN and len(said) == 2
    assert "Permission denied. Run this as the user who runs certbot" in said[1]
    assert "move it away" not in said[1]


def test_a_lost_record_is_told(site: Site, capsys: Said) -> None:
    """If another keyring is there still; not if a damaged one may have it."""
    text = site.renewal.read_text()
    (site.config / "renewal" / "other.example.conf").write_text(text)
    (site.config / "live" / "other.example").symlink_to(site.name)
    code, said = call(site, capsys)
    assert code == WARNING and len(said) == 2
    assert "other.example: pinkeep renews it, by its renewal file, but no keyring has it" in said[1]
    assert call(site, capsys, site.name)[0] == OK
    site.file.with_name("other.example.conf").write_text("nonsense\n")
    code, said = call(site, capsys)
    assert code == CRITICAL and len(said) == 2
    for path in site.file.parent.glob("other*"):
        path.unlink()
    (site.config / "renewal" / "other.example.conf").write_text(text.replace("pinkeep", "apache"))
    assert call(site, capsys)[0] == OK


def test_a_run_that_is_at_work_meanwhile_is_no_fault(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed while hosts were looked at is looked at again."""
    sound_look, looks = probe.look, []

    def look(wanted: Any, way: Any) -> Any:
        found = sound_look(wanted, way)
        looks.append(found)
        if len(looks) == 1:
            site.keep(site.options(max_age=60))
        return found

    monkeypatch.setattr(probe, "look", look)
    assert call(site, capsys)[0] == OK and len(looks) == 2


def test_a_run_that_holds_the_lock_is_waited_for(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if something is found; not for ever, and the lock is not taken."""
    sound_look = probe.look
    waited: list[float] = []
    busy = True

    def look(wanted: Any, way: Any) -> Any:
        if not busy:
            return sound_look(wanted, way)
        return [TlsObservation(target.name, stopped="tls", error="busy") for target in wanted], []

    monkeypatch.setattr(probe, "look", look)
    monkeypatch.setattr(time, "sleep", waited.append)
    with atomic.locked(str(site.config / "pinkeep")):
        monkeypatch.setattr(time, "monotonic", iter(range(0, 10**6, 20)).__next__)
        assert call(site, capsys, "--timeout=30")[0] == CRITICAL
    assert len(waited) == 1
    lock = ExitStack()

    def sleep(_: float) -> None:
        nonlocal busy
        busy = False
        lock.close()

    monkeypatch.setattr(time, "sleep", sleep)
    with lock:
        lock.enter_context(atomic.locked(str(site.config / "pinkeep")))
        assert call(site, capsys, "--timeout=90")[0] == OK


def test_addresses_of_version_6_can_be_given(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    """In brackets, as in URLs."""
    ways: list[probe.Way] = []

    def look(_: object, way: probe.Way) -> tuple[list[TlsObservation], list[HttpObservation]]:
        ways.append(way)
        return [], []

    monkeypatch.setattr(probe, "look", look)
    call(site, capsys, "--connect=[2001:db8::1]:443", "--timeout=3")
    assert ways == [probe.Way(("2001:db8::1", 443), None, 3.0, None)]


def test_reuse_key_in_cli_ini_counts_for_each_renewal(site: Site, capsys: Said) -> None:
    """It comes before what the renewal file says, in certbot as well."""
    renewal_conf.remember(str(site.config), site.name, "apache")
    site.renewal.write_text(site.renewal.read_text().replace("reuse_key = True", ""))
    code, said = call(site, capsys)
    assert code == WARNING and "a new key" in said[0]
    (site.config / "cli.ini").write_text("reuse-key = true\n")
    assert call(site, capsys, f"--config={site.config / 'cli.ini'}")[0] == OK


def test_what_cli_ini_says_is_mended_there(site: Site, capsys: Said) -> None:
    """No run of certbot takes it back: the line that is told is one that is there."""
    ini = site.config / "cli.ini"
    # Older certbots take a switch that is off for one that is not set: then it does no harm.
    for line in ["reuse-key = false"] if hasattr(NamespaceConfig, "set_by_user") else []:
        ini.write_text(f"{line}\n")
        code, said = call(site, capsys, f"--config={ini}")
        assert code == WARNING and f"Take '{line}' out of cli.ini" in said[1]
    ini.write_text("installer = pinkeep\nreuse-key = true\n")
    assert call(site, capsys, f"--config={ini}")[0] == OK


def test_g10_a_bad_value_in_cli_ini_is_told_once(site: Site, capsys: Said) -> None:
    """Renewals go on, so nothing else shows it before it is missed."""
    ini = site.config / "cli.ini"
    for line in (
        "pinkeep-max-age = soon",
        "pinkeep-reload-command = /nonexistent/reload",
        f"pinkeep-snippet-dir = {site.config}/live",
    ):
        ini.write_text(f"{line}\n")
        option, _, value = line.partition(" = ")
        code, said = call(site, capsys, f"--config={ini}")
        assert (code, len(said)) == (WARNING, 2)
        assert (
            said[0].startswith("PINKEEP WARNING - cli.ini: ") and f"--{option} '{value}'" in said[0]
        )
        assert f"Mend {option} there, and run: certbot renew" in said[1]
    ini.write_text("pinkeep-max-age = 5184000\n")
    assert call(site, capsys, f"--config={ini}")[0] == OK


def test_g10_a_bad_value_that_certbot_stored_is_told(site: Site, capsys: Said) -> None:
    """Of its certificate, whatever installer that has."""
    text = site.renewal.read_text()
    for option, value in (("max-age", "soon"), ("report-uri", f"https://{site.name}/")):
        site.renewal.write_text(f"{text}pinkeep_{option.replace('-', '_')} = {value}\n")
        code, said = call(site, capsys)
        assert (code, len(said)) == (WARNING, 2)
        assert f"--pinkeep-{option} VALUE" in said[1]


def test_a_keyring_without_certificates_is_told_the_command_that_works(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """certbot renew would change nothing; in check and in status."""
    requests_.unpin(site.workflow, site.name, NOW)
    site.workflow.publish(site.name, NOW)
    requests_.confirm(site.workflow, site.name, NOW)
    shutil.rmtree(site.config / "live" / site.name)
    site.renewal.unlink()
    monkeypatch.setattr(probe, "look", lambda wanted, way: ([], []))
    snippet = f"{apache.first_line(site.name)}\nHeader always set X y\n"
    Path(site.state().snippet).write_text(snippet)
    said = call(site, capsys)[1][1]
    assert f"Run: certbot-pinkeep unpin {site.name} -- it writes" in said
    main.main(["status", f"--config-dir={site.config}", f"--work-dir={site.work}"])
    told = capsys.readouterr().out
    assert f"The first 'certbot-pinkeep unpin {site.name}' after that" in told
    assert "certbot renew" not in told


def test_g6_a_snippet_that_did_not_pass_is_not_told_as_edited(site: Site, capsys: Said) -> None:
    """The earlier one is back, visitors are well, and Apache's configuration is what has to be mended."""
    site.apache.config.write_text("broken")
    with pytest.raises(ApacheFailed):
        site.keep(site.options(max_age=100))
    code, said = call(site, capsys)
    assert (code, len(said)) == (WARNING, 2) and "the configuration test of" in said[0]
    assert "are not in place" in said[1] and "certbot renew" in said[1]
    site.apache.config.write_text("")
    site.keep(site.options(max_age=100))
    assert call(site, capsys)[0] == OK
