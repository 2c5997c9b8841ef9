"""Retired keys that nobody needs are deleted on command, and no other key ever is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import main
from certbot_pinkeep.core import holdings
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.core.holdings import Release, ZoneEntry
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.workflow import prune, releases, requests
from simulated.machine import Machine
from simulated.values import DAY, HOUR, NOW, A, make_pem, tree

SITE, OTHER = "pin.test", "other.test"
#: When nobody holds a policy that had one of them.
LATER = NOW + 230 * DAY
#: While clients still hold the last policy that had the second key, and when none does any more.
EARLIER, END = NOW + 141 * DAY, NOW + 200 * DAY + HOUR
SECOND = timedelta(seconds=1)


class Pruned(Machine):
    """A pinned lineage that rolled over twice, on day 70 and on day 140.

    :ivar left: the keys that it rolled over from, by their pins, the oldest first
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.left = [self.issue(SITE)]
        self.keep(SITE, SITE, backup_keys=1)
        for days in (70, 140):
            self.left.append(self.roll(days))
        self.left.pop()
        self.truncate()

    def roll(self, days: int) -> str:
        """Roll over, and return the pin of the key that is served then."""
        requests.ask(self.workflow, SITE, NOW + days * DAY)
        return self.renew(SITE, SITE, NOW + days * DAY + HOUR, backup_keys=1)

    def truncate(self) -> None:
        """Delete what certbot deletes in time: all certificates but the live one."""
        for path in (self.config / "archive" / SITE).iterdir():
            if not path.stem.endswith(str(self.versions[SITE])):
                path.unlink()

    def file_of(self, pin: str) -> Path:
        """Return where a key of the keyring is."""
        key = self.state(SITE).keyring.key(pin)
        assert key is not None and key.path is not None
        return self.config / key.path

    def csrs_of(self, pin: str) -> set[Path]:
        """Find the saved CSRs of a key."""
        saved = self.workflow.folders.saved_csrs()
        return {Path(csr.path or "") for request, csr in saved.items() if request.pin == pin}

    def prune(self, now: datetime = LATER, **how: bool) -> prune.Pruned:
        """Prune."""
        return prune.prune(self.workflow, SITE, now, **how)

    def change(self, pin: str, **changes: Any) -> None:
        """Change the record of a key."""
        state = self.state(SITE)
        keyring = state.keyring.mapped(
            lambda key: replace(key, **changes) if key.pin == pin else key
        )
        self.workflow.store.save(replace(state, keyring=keyring))


@pytest.fixture
def machine(tmp_path: Path) -> Pruned:
    """A machine with two retired keys."""
    return Pruned(tmp_path)


def test_prune_deletes_the_retired_keys_that_nobody_needs_and_nothing_else(
    machine: Pruned,
) -> None:
    """Their files, their CSRs and their records go; all that is served or staged stays as it was."""
    gone = {machine.file_of(pin) for pin in machine.left}
    csrs = {path for pin in machine.left for path in machine.csrs_of(pin)}
    assert len(gone) == 2 and csrs
    before, state = set(machine.config.rglob("*.pem")), machine.state(SITE)
    found = machine.prune()
    assert [key.pin for key, _ in found.gone] == machine.left and not found.kept
    assert before - set(machine.config.rglob("*.pem")) == gone | csrs
    left = machine.state(SITE)
    assert (
        left.keyring == state.keyring.without(machine.left)
        and left.ledger.holdings == state.ledger.holdings
    )
    machine.renew(SITE, SITE, LATER + DAY, backup_keys=1)
    assert machine.prune(LATER + DAY) == prune.Pruned((), ())


def test_dry_run_of_prune_tells_the_same_and_changes_nothing(machine: Pruned) -> None:
    """The admin sees first what goes."""
    before = tree(machine.config, machine.work)
    found = machine.prune(dry_run=True)
    assert tree(machine.config, machine.work) == before
    assert found == machine.prune()


# What keeps a key


def _carried(machine: Pruned, pin: str) -> None:
    until = LATER + DAY
    wanted = releases.ReleaseRequest(SITE, "ios", "1", until, timedelta(0), (pin,))
    releases.add(machine.workflow, wanted, LATER)


def _of_another_keyring(machine: Pruned, pin: str) -> None:
    _share(machine, pin=pin)


def _file_of_another_keyring(machine: Pruned, pin: str) -> None:
    _share(machine, pin=A, path=f"keys/{machine.file_of(pin).name}")


def _share(machine: Pruned, **changes: Any) -> None:
    machine.issue(OTHER)
    machine.keep(OTHER, OTHER)
    state = machine.state(OTHER)
    key = replace(state.keyring.keys[-1], role="retired", **changes)
    machine.workflow.store.save(replace(state, keyring=state.keyring.with_keys([key])))


def _archived(machine: Pruned, pin: str) -> None:
    folder = machine.config / "archive" / OTHER
    live = machine.issue(OTHER, machine.file_of(pin).read_bytes())
    assert live == pin
    machine.issue(OTHER, make_pem())
    (folder / "privkey1.pem").unlink()


def _archived_beside_a_damaged_certificate(machine: Pruned, pin: str) -> None:
    folder = machine.config / "archive" / SITE
    (folder / "cert1.pem").write_text("")
    (folder / "privkey1.pem").write_bytes(machine.file_of(pin).read_bytes())


def _live_without_archive(machine: Pruned, pin: str) -> None:
    folder = machine.config / "live" / "by-hand"
    machine.issue("by-hand", machine.file_of(pin).read_bytes())
    for link in folder.iterdir():
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)
    for path in (machine.config / "archive" / "by-hand").iterdir():
        path.unlink()


def _served_by_a_lineage(machine: Pruned, pin: str) -> None:
    state = machine.state(SITE)
    members = tuple(replace(one, pin=pin) for one in state.keyring.members)
    machine.workflow.store.save(replace(state, keyring=replace(state.keyring, members=members)))


def _linked(machine: Pruned, pin: str) -> None:
    path = machine.file_of(pin)
    path.rename(machine.work / "key.pem")
    path.symlink_to(machine.work / "key.pem")


def _of_another_key(machine: Pruned, pin: str) -> None:
    machine.file_of(pin).write_bytes(make_pem())


def _in_the_zone(machine: Pruned, pin: str) -> None:
    state = machine.state(SITE)
    entry = ZoneEntry(Port(SITE, 25), (pin, A), timedelta(hours=1), NOW, NOW)
    machine.workflow.store.save(replace(state, ledger=replace(state.ledger, zone=(entry,))))


KEPT: dict[str, tuple[Callable[[Pruned, str], None], str]] = {
    "a release carries it": (_carried, "release ios 1 carries its pin until"),
    "a zone has it": (_in_the_zone, "the TLSA records of pin.test:25 may still carry its pin"),
    "another keyring has it": (_of_another_keyring, "keyring other.test"),
    "another keyring has its file": (_file_of_another_keyring, "keyring other.test"),
    "a certificate in archive": (_archived, "archive/other.test/cert1.pem"),
    "a damaged certificate": (_archived_beside_a_damaged_certificate, "privkey1.pem"),
    "a certificate in live": (_live_without_archive, "live/by-hand/cert.pem"),
    "a lineage serves it": (_served_by_a_lineage, "a server may still serve it"),
    "its file is a link": (_linked, "is a link"),
    "its file is of another key": (_of_another_key, "does not hold it"),
}


@pytest.mark.parametrize("why", KEPT)
def test_prune_keeps_a_retired_key_that_somebody_needs_and_says_why(
    machine: Pruned, why: str
) -> None:
    """The other retired key goes all the same."""
    needed, other = machine.left
    plant, told = KEPT[why]
    file, csrs = machine.file_of(needed), machine.csrs_of(needed)
    plant(machine, needed)
    content = file.read_bytes()
    found = machine.prune()
    assert [key.pin for key, _ in found.gone] == [other]
    [(key, reason)] = found.kept
    assert key.pin == needed and told in reason
    assert file.read_bytes() == content and csrs == machine.csrs_of(needed)
    assert machine.state(SITE).keyring.key(needed) is not None


UNSEEN: dict[str, Ledger] = {
    "a zone": Ledger(zone=(ZoneEntry(Port(SITE, 25), (), timedelta(hours=1), NOW),)),
    "a header": Ledger(releases=(Release(*holdings.UNSEEN, (A,), (SITE,), NOW, LATER + DAY),)),
}


@pytest.mark.parametrize("what", UNSEEN)
def test_g2_prune_keeps_every_key_while_something_could_not_be_looked_at(
    machine: Pruned, what: str
) -> None:
    """Nobody knows which pins it carries."""
    state, unseen = machine.state(SITE), UNSEEN[what]
    ledger = replace(state.ledger, zone=unseen.zone, releases=unseen.releases)
    machine.workflow.store.save(replace(state, ledger=ledger))
    found = machine.prune()
    assert not found.gone and [key.pin for key, _ in found.kept] == machine.left
    assert all("has not seen yet what" in why for _, why in found.kept)


def test_g2_prune_keeps_a_key_while_a_client_may_hold_its_pin(machine: Pruned) -> None:
    """To the end of the last policy that has the pin: 60 days after the rollover of day 140."""
    first, second = machine.left
    [(key, why)] = machine.prune(EARLIER, dry_run=True).kept
    assert key.pin == second and why == "clients may hold its pin until 2026-09-17T13:00:00Z"
    assert [key.pin for key, _ in machine.prune(END - SECOND).gone] == [first]
    assert [key.pin for key, _ in machine.prune(END).gone] == [second]


def test_g2_prune_keeps_a_key_that_a_server_may_still_send(machine: Pruned) -> None:
    """Nobody has reloaded the server since the rollover."""
    requests.ask(machine.workflow, SITE, LATER)
    served = machine.members(SITE)[SITE]
    machine.renew(SITE, SITE, LATER + HOUR, backup_keys=1, reload_command="")
    machine.truncate()
    found = machine.prune(LATER + 300 * DAY)
    assert {key.pin: why for key, why in found.kept} == {served: "a server may still send its pin"}


def test_g3_prune_never_touches_a_compromised_key(machine: Pruned) -> None:
    """A certificate for it is refused only as long as pinkeep knows the key."""
    pin = machine.left[0]
    machine.change(pin, role="compromised")
    path = machine.file_of(pin)
    assert [key.pin for key, _ in machine.prune().gone] == machine.left[1:]
    assert path.exists() and machine.role(SITE, pin) == "compromised"


def test_prune_keeps_the_record_of_a_revoked_key(machine: Pruned) -> None:
    """If the key comes back it is to be left again; its file is not needed for that."""
    pin = machine.left[0]
    machine.change(pin, retire_reason="revoked")
    path = machine.file_of(pin)
    machine.prune()
    key = machine.state(SITE).keyring.key(pin)
    assert key is not None and key.path is None and key.retire_reason == "revoked"
    assert not path.exists() and machine.prune() == prune.Pruned((), ())


def test_prune_takes_encrypted_keys_and_copies_too(machine: Pruned) -> None:
    """No private key of a retired key stays behind in ``keys/``."""
    first, second = machine.left
    path = machine.file_of(first)
    copy = path.with_name("9999_key-certbot.pem")
    copy.write_bytes(path.read_bytes())
    sealed = machine.file_of(second)
    sealed.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    machine.change(second, path=None, encrypted=f"keys/{sealed.name}")
    machine.prune()
    assert not any(one.exists() for one in (path, copy, sealed))


# When nothing goes


def _in_doubt(machine: Pruned) -> None:
    state = machine.state(SITE)
    ledger = state.ledger.with_uncertainty("the file was lost")
    machine.workflow.store.save(replace(state, ledger=ledger))


def _clock_set_back(machine: Pruned) -> None:
    machine.workflow.store.tick(LATER + DAY)


def _damaged_keyring(machine: Pruned) -> None:
    machine.issue(OTHER)
    machine.keep(OTHER, OTHER)
    Path(machine.workflow.store.path(OTHER)).write_text("[")


REFUSED: dict[str, tuple[Callable[[Pruned], None], str]] = {
    "doubt": (_in_doubt, "the file was lost"),
    "clock": (_clock_set_back, "confirm pin.test --clock"),
    "a damaged keyring": (_damaged_keyring, "other.test.conf"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_g8_prune_deletes_nothing_if_it_cannot_tell_what_is_needed(
    machine: Pruned, why: str
) -> None:
    """The error says why."""
    plant, told = REFUSED[why]
    plant(machine)
    before = tree(machine.config)
    with pytest.raises(PinkeepError) as refused:
        machine.prune()
    assert told in str(refused.value) and tree(machine.config) == before


@pytest.mark.parametrize("done", range(4))
def test_g5_prune_that_was_killed_is_completed_by_the_next_one(
    machine: Pruned, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """After any file, no deleted key is handed over meanwhile, and no file stays for ever."""
    files = {machine.file_of(pin) for pin in machine.left}
    removed: list[str] = []
    remove = atomic.remove

    def killed(path: str) -> None:
        if len(removed) == done:
            raise KeyboardInterrupt
        removed.append(path)
        remove(path)

    with monkeypatch.context() as patched:
        patched.setattr(atomic, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            machine.prune()
    handed = machine.handed(SITE, SITE, LATER)
    assert handed.pin == machine.members(SITE)[SITE]
    machine.prune()
    assert not any(one.exists() for one in files) and machine.prune() == prune.Pruned((), ())


def test_prune_command_says_what_it_deletes_and_why_keys_stay(
    machine: Pruned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for each file, one for each key that stays, and the sum."""
    monkeypatch.setattr(clock, "now", lambda: LATER)
    first, second = machine.left
    paths = [machine.file_of(first), *machine.csrs_of(first)]
    _carried(machine, second)
    call = ["--config-dir", str(machine.config), "--work-dir", str(machine.work), "prune", SITE]
    for flags, done, total in (
        (["--dry-run"], "would delete", "can go"),
        ([], "deleted", "are gone"),
    ):
        assert main.main([*call, *flags]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert {line.split(" (")[0] for line in lines if line.startswith(done)} == {
            f"{done} {path}" for path in paths
        }
        assert lines[-2].startswith(f"kept the ECDSA secp256r1 key with the pin {second}: ")
        assert lines[-1] == f"Retired keys of the keyring {SITE}: 1 {total}, 1 stay."
