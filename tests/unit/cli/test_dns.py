"""``dns``: what it shows and does, and ``pin --tlsa``, which begins with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_pinkeep.cli import main
from certbot_pinkeep.core.tlsa import Port, TlsaRecord, record_of
from certbot_pinkeep.core.zone_observations import Security
from certbot_pinkeep.workflow import looks
from simulated.values import fake_pin
from simulated.zone import MailMachine

NAME = "mail.example.com"
SMTP = Port(NAME, 25, "smtp")
CA = TlsaRecord(2, 1, 1, "ab" * 32)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MailMachine:
    """A lineage that port 25 serves, and a zone with two name servers that every command looks at."""
    found = MailMachine(tmp_path, NAME, (SMTP,), "ns1", "ns2")
    monkeypatch.setattr(looks, "real", found.eyes)
    return found


def command(machine: MailMachine, *words: str) -> int:
    """Run the command."""
    folders = ["--config-dir", str(machine.config), "--work-dir", str(machine.work)]
    return main.main([*words, *folders, "--logs-dir", str(machine.work / "logs")])


def pin(machine: MailMachine, *words: str) -> int:
    """Pin the certificate in the zone alone."""
    return command(machine, "pin", NAME, "--header", "none", "--tlsa", "25", *words)


def test_pin_writes_the_zone(machine: MailMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """One command, from nothing to records that every name server has."""
    assert pin(machine, "--dns-credentials", "/etc/letsencrypt/zone.ini") == 0
    assert f"The zone pins the keys of {NAME}:25." in capsys.readouterr().out
    assert len(machine.zone.servers["ns2"][SMTP.owner]) == 3
    assert command(machine, "dns", NAME) == 0
    told = capsys.readouterr().out
    assert "ns1 (192.0.2.1), serial 1" in told and f"{NAME}:25 (192.0.2.25): pin" in told
    assert "A rollover is safe from" in told


def test_without_credentials_the_admin_enters_what_is_printed(
    machine: MailMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """The records and a script are printed; once they are entered, all is well."""
    machine.zone.put(SMTP, frozenset({record_of(machine.live), CA}))
    assert pin(machine) == 1
    assert f"Run: certbot-pinkeep dns {NAME}" in capsys.readouterr().err
    assert command(machine, "dns", NAME) == 1
    told = capsys.readouterr()
    assert "The zone needs these records:" in told.out and "update add" in told.out
    assert f"and stays: {CA}" in told.out and not machine.zone.written
    entered = {
        TlsaRecord(int(words[4]), int(words[5]), int(words[6]), words[7])
        for words in map(str.split, told.out.splitlines())
        if words[3:4] == ["TLSA"] and words[2] == "IN" and words[0] == SMTP.owner
    }
    assert len(entered) == 4
    machine.zone.put(SMTP, frozenset(entered))
    assert command(machine, "dns", NAME) == 0


def test_dry_run_changes_nothing(machine: MailMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what would be written."""
    machine.loaded[SMTP] = ()
    assert pin(machine, "--dns-credentials", "/etc/letsencrypt/zone.ini") == 1
    machine.reload(SMTP)
    before = machine.store_text(NAME)
    assert command(machine, "dns", NAME, "--dry-run") == 1
    assert "The zone would get these records:" in capsys.readouterr().out
    assert machine.store_text(NAME) == before and not machine.zone.written


def test_error_names_what_is_wrong(
    machine: MailMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port that serves a foreign key, and a keyring without a zone."""
    machine.loaded[SMTP] = (fake_pin("foreign"),)
    assert pin(machine, "--dns-credentials", "/etc/letsencrypt/zone.ini") == 1
    assert fake_pin("foreign") in capsys.readouterr().err
    assert command(machine, "dns", NAME) == 1
    told = capsys.readouterr().err
    assert fake_pin("foreign") in told and "Run:" not in told  # it would send the admin round
    assert command(machine, "pin", NAME, "--tlsa", "none") == 0
    capsys.readouterr()
    assert command(machine, "dns", NAME) == 1
    assert f"Run: certbot-pinkeep pin {NAME} --tlsa 25,465" in capsys.readouterr().err


def test_pin_names_its_own_options(
    machine: MailMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in what to give instead: this command does not take certbot's options."""
    assert pin(machine, "--reload-command", "postfix reload && doveadm reload") == 1
    told = capsys.readouterr().err
    assert "--reload-command 'postfix reload' --reload-command 'doveadm reload'." in told
    assert "--pinkeep-" not in told


def test_nothing_is_told_of_signatures_that_nobody_saw(
    machine: MailMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """No name server answers, so the zone may be signed."""
    assert pin(machine, "--dns-credentials", "/etc/letsencrypt/zone.ini") == 0
    machine.zone.silent |= {"ns1", "ns2"}
    machine.zone.security = Security(False)
    capsys.readouterr()
    assert command(machine, "dns", NAME) == 1
    told = capsys.readouterr().out
    assert "nobody knows whether signed" in told and "mail servers ignore it" not in told


def test_unpin_takes_the_records_out_of_the_zone(
    machine: MailMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """With credentials; --undo brings them back."""
    assert pin(machine, "--dns-credentials", "/etc/letsencrypt/zone.ini") == 0
    assert command(machine, "unpin", NAME) == 0
    assert "The records left the zone." in capsys.readouterr().out
    assert not machine.zone.servers["ns2"][SMTP.owner]
    assert command(machine, "unpin", NAME, "--undo") == 0
    assert f"The zone pins the keys of {NAME}:25." in capsys.readouterr().out
    assert len(machine.zone.servers["ns2"][SMTP.owner]) == 3


def test_unpin_promises_no_end_while_a_name_server_has_the_records(
    machine: MailMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """From when resolvers forget them is known only after all name servers were seen without them."""
    assert pin(machine, "--dns-credentials", "/etc/letsencrypt/zone.ini") == 0
    machine.zone.lagging.add("ns2")
    capsys.readouterr()
    assert command(machine, "unpin", NAME) == 0
    told = capsys.readouterr().out
    assert "are deleted. Not every name server knows that yet." in told
    assert f"Name servers may still have the records of {NAME}:25." in told
    assert "at the latest" not in told and f"Run: certbot-pinkeep dns {NAME}" in told
    machine.zone.clear()
    assert command(machine, "unpin", NAME) == 0
    assert "at the latest" in capsys.readouterr().out


def test_unpin_names_what_prints_the_records_to_delete(
    machine: MailMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without credentials nobody else deletes them."""
    machine.zone.put(SMTP, frozenset({record_of(machine.live), CA}))
    assert pin(machine) == 1
    machine.zone.put(SMTP, frozenset({record_of(machine.live)}))
    capsys.readouterr()
    assert command(machine, "unpin", NAME) == 1
    assert f"Run: certbot-pinkeep dns {NAME}" in capsys.readouterr().err


def test_check_looks_at_the_zone(machine: MailMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A record that a name server has lost is critical for the port that serves its key."""
    assert pin(machine, "--dns-credentials", "/etc/letsencrypt/zone.ini") == 0
    machine.zone.servers["ns2"][SMTP.owner] -= {record_of(machine.live)}
    capsys.readouterr()
    assert command(machine, "check", "--timeout", "1") == 2
    assert f"CRITICAL: ns2 (192.0.2.1), {SMTP.owner}" in capsys.readouterr().out
