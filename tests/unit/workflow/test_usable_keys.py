"""Which keys can be used is found once, on loading: whoever tells of a rollover says the same (G2, G3)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from certbot_pinkeep import check
from certbot_pinkeep.adapters import clock
from certbot_pinkeep.check.local_files import LocalFiles
from certbot_pinkeep.cli import main
from certbot_pinkeep.core import pins, rollover
from certbot_pinkeep.core.errors import BadKey, Compromised, NotSafe
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.pem import quick_public_key
from certbot_pinkeep.storage.keys_and_csrs import Folders
from certbot_pinkeep.workflow import requests
from simulated.machine import RSA_KEY, Machine, Site
from simulated.values import DAY, NOW, encrypted, make_pem, pem_of, pin_of_key

LATER = NOW + 90 * DAY
Damage = Callable[[Path], object]
Said = pytest.CaptureFixture[str]


def sealed(path: Path) -> None:
    """The key is encrypted in its place."""
    path.write_bytes(encrypted(path.read_bytes()))


def replaced_by(make: Damage) -> Damage:
    """Something else is where the file was."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


#: What becomes of a key's file, and what is said of it.
DAMAGES: dict[str, tuple[Damage, str]] = {
    "missing": (Path.unlink, "cannot be read: No such file or directory"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "rubbish": (lambda path: path.write_bytes(b"\0rubbish\n" * 20), "cannot be used"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:90]), "cannot be used"),
    "another key": (lambda path: path.write_bytes(make_pem()), "holds another key"),
    "encrypted": (sealed, "is encrypted"),
    "a certificate": (
        lambda path: path.write_text("-----BEGIN CERTIFICATE-----"),
        "cannot be used",
    ),
    "too large": (lambda path: os.truncate(path, 1 << 27), "larger than"),
    "a folder": (replaced_by(Path.mkdir), "not a regular file"),
    "a pipe": (replaced_by(os.mkfifo), "not a regular file"),
    "a device": (replaced_by(lambda path: path.symlink_to("/dev/zero")), "not a regular file"),
    "a loop": (replaced_by(lambda path: path.symlink_to(path)), "symbolic links"),
    "a dangling link": (replaced_by(lambda path: path.symlink_to("gone")), "No such file"),
}


class Pinned(Site):
    """A site that is pinned with one backup, long ago: a rollover is safe now."""

    @property
    def backup(self) -> Key:
        """Its backup."""
        key = self.state().keyring.key(self.published().pins[1])
        assert key is not None
        return key

    def call(self, capsys: Said, *words: str) -> tuple[int, str]:
        """A command; its exit code and all that it says."""
        folders = {"--config-dir": self.config, "--work-dir": self.work, "--logs-dir": self.root}
        given = [str(word) for pair in folders.items() for word in pair]
        capsys.readouterr()
        code = main.main([*words, *given])
        return code, "".join(capsys.readouterr())

    def found(self) -> str:
        """What a check finds of it."""
        files = LocalFiles(str(self.config), self.workflow.store)
        seen = check.check(files.look(self.state(), NOW + DAY, [], []), NOW + DAY)
        return "\n".join(f"{one.what} {one.todo}" for one in seen)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pinned:
    """It is a day later."""
    monkeypatch.setattr(clock, "now", lambda: NOW + DAY)
    found = Pinned(tmp_path, backups=1)
    found.run()
    return found


@pytest.mark.parametrize("damage", DAMAGES)
def test_g2_backup_that_cannot_be_used_is_promised_by_nobody(
    damage: str, site: Pinned, capsys: Said
) -> None:
    """Status, its data, the list, the timeline, the check and the rollover itself agree; the command
    that they name stages another one."""
    how, why = DAMAGES[damage]
    backup = site.backup
    how(site.file_of(backup.pin))
    for words in (["status", site.name], ["timeline", site.name], ["backup", site.name, "list"]):
        code, said = site.call(capsys, *words)
        assert code == 0 and "safe now" not in said and "Next:" not in said, words
        assert why in said or words[0] == "timeline"
    _, said = site.call(capsys, "status", "--json")
    told = json.loads(said)["keyrings"][0]["rollover"]
    assert (told["safe"], told["safe_from"]) == (False, None)
    code, said = site.call(capsys, "rollover", site.name)
    assert code == 1 and why in said and "certbot renew" in said
    assert why in site.found()
    site.run()  # certbot renew
    assert site.backup.pin != backup.pin and site.backup.fault == ""


@pytest.mark.parametrize("damage", DAMAGES)
def test_g3_primary_whose_copy_cannot_be_used_is_live_all_the_same(
    damage: str, site: Pinned, capsys: Said
) -> None:
    """The file in keys/ is told, the renewal is issued for the live key, and the file is mended."""
    how, why = DAMAGES[damage]
    primary = site.state().keyring.key(site.look().pin)
    assert primary is not None
    how(site.file_of(primary.pin))
    assert why in site.call(capsys, "status", site.name)[1] and why in site.found()
    handed = site.workflow.handover(site.look(), site.name, site.names, NOW + DAY)
    assert handed.pin == primary.pin
    site.run()
    mended = site.state().keyring.key(primary.pin)
    assert mended is not None and site.file_of(mended.pin).read_bytes() == site.key


def test_g3_no_rollover_from_a_compromised_key_is_promised_without_a_key(site: Pinned) -> None:
    """Neither 'certbot revoke' nor the check promise what the next renewal refuses."""
    site.file_of(site.backup.pin).unlink()
    said = requests.note_revoked(site.workflow, site.look().pin, NOW + DAY, compromised=True)
    for told in (*said, site.found()):
        assert "next renewal rolls" not in told and "rolls over after it has a backup key" in told
    with pytest.raises(Compromised, match="There is no backup key"):
        site.workflow.handover(site.look(), site.name, site.names, NOW + DAY)


def test_g2_forced_backup_that_cannot_be_used_is_not_taken(site: Pinned, capsys: Said) -> None:
    """To force it does not bring its file back."""
    assert site.call(capsys, "rollover", site.name, "--force")[0] == 0
    site.file_of(site.backup.pin).write_bytes(b"rubbish")
    assert (
        site.workflow.handover(site.look(), site.name, site.names, NOW + DAY).pin == site.look().pin
    )
    code, said = site.call(capsys, "rollover", site.name, "--force")
    assert code == 1 and "no backup key can be used" in said


def test_g2_all_types_need_a_backup_that_can_be_used(tmp_path: Path) -> None:
    """A rollover of RSA and ECDSA is safe only if both have one."""
    machine = Machine(tmp_path)
    machine.issue("rsa.test", RSA_KEY)
    machine.keep("rsa.test", "ring")
    machine.issue("ec.test")
    machine.keep("ec.test", "ring", NOW + DAY)
    for key_type in ("rsa", "ecdsa"):
        state = machine.workflow.load_state("ring", LATER)
        assert state is not None
        decisions = rollover.decide_all(state.keyring, state.ledger, LATER)
        assert rollover.last(decisions).at(LATER)
        files = [machine.config / str(key.path) for key in state.keyring.backups(key_type)]
        contents = [path.read_bytes() for path in files]
        for path in files:
            path.write_bytes(b"")
        with pytest.raises(NotSafe):
            requests.ask(machine.workflow, "ring", LATER)
        for path, content in zip(files, contents, strict=True):
            path.write_bytes(content)


def test_g3_next_backup_is_taken_if_the_first_cannot_be_used(tmp_path: Path) -> None:
    """It is passed over, and told."""
    site = Site(tmp_path)
    site.keep()
    _, first, second = site.published().pins
    (site.config / str(site.state().keyring.keys[1].path)).write_bytes(b"")
    requests.ask(site.workflow, site.name, NOW + DAY)
    assert (
        site.workflow.handover(site.look(), site.name, site.names, NOW + DAY).pin == second != first
    )


FORMS = {
    "PKCS#8": serialization.PrivateFormat.PKCS8,
    "PKCS#1": serialization.PrivateFormat.TraditionalOpenSSL,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", [2048, 3072])
def test_quick_look_at_an_rsa_key_gives_its_pin(form: str, bits: int) -> None:
    """Status looks at thousands of them, and proving one takes a twentieth of a second."""
    pem = pem_of(rsa.generate_private_key(65537, bits), form=FORMS[form])
    assert pins.pin_of(quick_public_key(pem)) == pin_of_key(pem)


def test_quick_look_at_a_damaged_rsa_key_proves_nothing(tmp_path: Path) -> None:
    """Wherever a character of it was changed: it is no key, or another one."""
    (tmp_path / "keys").mkdir()
    folders, pem = Folders(str(tmp_path)), bytearray(RSA_KEY)
    key = Key(pin_of_key(RSA_KEY), KeyKind("rsa", "2048"), "backup", "keys/k.pem", NOW)
    for place in range(40, 1500, 111):  # within the modulus, the exponents and the primes
        damaged = bytearray(pem)
        damaged[place] = ord("B") if damaged[place] != ord("B") else ord("C")
        (tmp_path / "keys" / "k.pem").write_bytes(damaged)
        assert folders.fault(key), f"a change at {place} is not seen"
    (tmp_path / "keys" / "k.pem").write_bytes(RSA_KEY)
    assert folders.fault(key) == "" and folders.fault(key) == ""


def test_quick_look_at_other_keys_is_the_usual_one() -> None:
    """ECDSA keys are loaded in no time; what is no key is refused."""
    pem = make_pem()
    assert pins.pin_of(quick_public_key(pem)) == pin_of_key(pem)
    for wrong in (RSA_KEY.replace(b"PRIVATE", b"SECRET"), b""):
        with pytest.raises(BadKey):
            quick_public_key(wrong)
