"""Backups of the admin's own: encrypted on this machine until their turn has come (G3, G7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.reasons import RULE
from e2e.world import NAME, Pinned, key_pin, keys, refusal
from lab import Wget2
from lab.processes import program, run

pytestmark = RULE

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A key that openssl made and encrypted; its pin is known by ``plain.pem`` beside it."""
    openssl, plain, path = program("openssl"), tmp_path / "plain.pem", tmp_path / "sealed.pem"
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    run([openssl, "genpkey", *curve, "-out", str(plain)]).check()
    how = ("-topk8", "-passout", f"pass:{PASSPHRASE}")
    run([openssl, "pkcs8", *how, "-in", str(plain), "-out", str(path)]).check()
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")
    return path


def test_g3_g7_encrypted_backup_is_opened_in_its_turn(
    site: Pinned, regular: Wget2, sealed: Path
) -> None:
    """Pinned at once; nothing on the disk opens it; asked for by the renewal that is to use it."""
    site.adopt("--pinkeep-backup-keys=1", "--pinkeep-max-age=0")
    pin, opens = (
        key_pin(sealed.with_name("plain.pem")),
        f"--passphrase-file={sealed.parent}/passphrase",
    )
    sealed.with_name("plain.pem").unlink()
    with site.server.reloading():
        added = ("backup", NAME, "add", "--key", str(sealed), "--keep-encrypted", opens)
        site.bot.pinkeep(*added).check()
    assert site.pins[-1] == pin and regular.visit(site.url).accepted
    (kept,) = [
        one for one in (site.bot.config_dir / "keys").iterdir() if b"ENCRYPTED" in one.read_bytes()
    ]
    assert kept.read_bytes() == sealed.read_bytes() and kept.stat().st_mode & 0o777 == 0o600
    assert "encrypted in keys/" in site.bot.pinkeep("backup", NAME, "list").check().stdout

    site.rollover_now()
    before = site.live_pin
    site.bot.pinkeep("rollover", NAME, "--when-safe").check()
    done = site.renew()
    assert site.live_pin == before
    assert f"with the pin {pin}, is encrypted" in " ".join(done.output.split())
    asked = refusal(site.bot.pinkeep("backup", NAME, "add", "--key", str(kept)))
    assert "--passphrase-file" in asked and PASSPHRASE not in asked

    told = site.bot.pinkeep("backup", NAME, "add", "--key", str(kept), opens).check().stdout
    assert f"The next renewal rolls the keyring {NAME} over to the key with the pin {pin}" in told
    site.renew()
    site.await_certificate()
    assert site.live_pin == pin == site.server.served_pin(NAME)
    assert regular.visit(site.url).accepted
    logs = "".join(one.read_text() for one in site.bot.logs_dir.iterdir())
    assert PASSPHRASE not in logs and "PRIVATE KEY" not in logs


def test_dropped_backup_leaves_the_header_and_another_takes_its_place(pinned: Pinned) -> None:
    """Apache sends the new pins; the file stays."""
    served, first, second = pinned.pins
    with pinned.server.reloading():
        pinned.bot.pinkeep("backup", NAME, "drop", first).check()
    assert pinned.pins[:2] == [served, second] and first not in pinned.pins
    assert len(pinned.pins) == 3 and first in keys(pinned.bot)
    told = refusal(pinned.bot.pinkeep("backup", NAME, "drop", first))
    assert "is no backup" in told and second in told
