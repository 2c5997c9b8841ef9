"""Whatever is in live/: the renewal goes on if certbot's would, with a pinned key if possible (G3, G2)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from certbot_pinkeep.adapters import lineage
from certbot_pinkeep.core.errors import BadKey
from certbot_pinkeep.core.key_and_csr import KeyAndCsr
from certbot_pinkeep.workflow import issue
from simulated.machine import Site
from simulated.server import Server
from simulated.values import DAY, NOW, encrypted, make_pem, pem_of, pin_of_key
from simulated.workflow import Workflow

OTHER = make_pem()


def rubbish(path: Path) -> None:
    """The key is overwritten."""
    path.write_bytes(b"rubbish")


def sealed(path: Path) -> None:
    """The key is encrypted in its place."""
    path.write_bytes(encrypted(path.read_bytes()))


def ed25519_key(path: Path) -> None:
    """A key of a kind that certbot cannot use."""
    path.write_bytes(pem_of(ed25519.Ed25519PrivateKey.generate()))


def pipe(path: Path) -> None:
    """Reading it would never end."""
    path.unlink()
    os.mkfifo(path, 0o600)


UNUSABLE: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.open("wb").close(),
    "rubbish": rubbish,
    "encrypted": sealed,
    "Ed25519": ed25519_key,
    "a pipe": pipe,
}


def live_key(site: Site) -> Path:
    """The file that live/NAME/privkey.pem stands for."""
    return (site.config / "live" / site.name / "privkey.pem").resolve()


def handed(site: Site, days: int = 1, pinned_before: bool = False) -> KeyAndCsr:
    """What a renewal is issued for."""
    workflow = Workflow(str(site.config), str(site.work))
    live, at = site.look(), NOW + days * DAY
    return workflow.handover(live, site.name, site.names, at, pinned_before=pinned_before)


@pytest.fixture
def pinned(site: Site) -> Site:
    """One that is pinned, with two backups."""
    site.keep()
    return site


# Not pinned yet


def test_g3_key_that_was_copied_in_is_renewed_for_and_pinned(site: Site) -> None:
    """As certbot's reuse_key does it; the adoption works from the new certificate."""
    live_key(site).write_bytes(OTHER)
    with pytest.raises(BadKey, match="--force-renewal --installer pinkeep"):
        site.keep()
    found = handed(site)
    assert found.pin == pin_of_key(OTHER) and found.key_pem == OTHER
    site.issue(found.key_pem)
    assert site.keep().pins[0] == pin_of_key(OTHER)


@pytest.mark.parametrize("damage", UNUSABLE)
def test_g3_key_that_cannot_be_used_is_made_anew_if_nothing_is_pinned(
    damage: str, site: Site
) -> None:
    """Nobody holds pins for it; if keys/ has the certificate's key, that one goes on."""
    own = site.key
    UNUSABLE[damage](live_key(site))
    assert handed(site).pin != pin_of_key(own)
    site.workflow.folders.save_key(own)
    assert handed(site).pin == pin_of_key(own)


def test_g2_key_that_the_snippet_lacks_is_not_renewed_for(pinned: Site) -> None:
    """The keyring file is lost, the snippet says which keys clients accept: one of these goes on."""
    own, backup = pin_of_key(pinned.key), pinned.published().pins[1]
    live_key(pinned).write_bytes(OTHER)
    pinned.file.unlink()
    assert handed(pinned, pinned_before=True).pin == own
    saved = pinned.workflow.folders.find_key(own)
    assert saved is not None
    (pinned.config / saved.path).unlink()
    assert handed(pinned, pinned_before=True).pin == backup
    for path in (pinned.config / "keys").iterdir():
        path.unlink()
    with pytest.raises(BadKey, match="no private key is here that they are known to accept"):
        handed(pinned, pinned_before=True)


def test_g3_pinned_key_that_was_copied_in_goes_on_though_the_record_is_lost(pinned: Site) -> None:
    """It is in the snippet."""
    backup = pinned.published().pins[1]
    live_key(pinned).write_bytes(pinned.key_pem(backup))
    pinned.file.unlink()
    assert handed(pinned, pinned_before=True).pin == backup


# Pinned


@pytest.mark.parametrize("damage", [*UNUSABLE, "another key", "a backup"])
def test_g3_pinned_lineage_is_renewed_for_its_primary_whatever_is_in_live(
    damage: str, pinned: Site
) -> None:
    """Its file in keys/ is the one that counts; if that is gone, a pinned backup goes on."""
    primary, backup = pinned.published().pins[:2]
    if damage in UNUSABLE:
        UNUSABLE[damage](live_key(pinned))
    else:
        live_key(pinned).write_bytes(OTHER if damage == "another key" else pinned.key_pem(backup))
    assert handed(pinned).pin == primary
    assert pinned.keep(now=NOW + DAY).pins[0] == primary  # what is not due is no error either
    saved = pinned.workflow.folders.find_key(primary)
    assert saved is not None
    (pinned.config / saved.path).unlink()
    found = handed(pinned, 2)
    assert found.pin == backup
    pinned.issue(found.key_pem)
    assert pinned.keep(now=NOW + 2 * DAY).pins[0] == backup


def test_g2_foreign_key_is_renewed_for_only_if_nobody_is_locked_out(tmp_path: Path) -> None:
    """All files in keys/ are gone, and live/ has a key that nobody pins."""
    site = Site(tmp_path)
    chosen = site.options(max_age=86400, reload=(("/bin/true",),))
    site.keep(chosen)
    live_key(site).write_bytes(OTHER)
    for path in (site.config / "keys").iterdir():
        path.unlink()
    with pytest.raises(BadKey, match="No key of the keyring"):
        handed(site)


@pytest.mark.parametrize("text", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_g3_damaged_certificate_is_renewed_for_the_key_on_record(text: bytes, pinned: Site) -> None:
    """Which key the lineage has is on record, and which names."""
    workflow, folder = pinned.workflow, pinned.config / "live" / pinned.name
    (folder / "cert.pem").resolve().write_bytes(text)
    cert, key = str(folder / "cert.pem"), str(folder / "privkey.pem")
    with pytest.raises(BadKey):
        lineage.look(pinned.name, cert, key, must_staple=False)
    live = issue.on_record(workflow, pinned.name, pinned.name, must_staple=False)
    assert live is not None and live.names == pinned.names
    found = workflow.handover(live, pinned.name, pinned.names, NOW + DAY)
    assert found.pin == pinned.published().pins[0]
    assert issue.on_record(workflow, "other", "other", must_staple=False) is None


@pytest.mark.parametrize(
    ("installer", "damage"),
    [("null", "rubbish"), *(("pinkeep", one) for one in UNUSABLE if one != "missing")],
)
def test_g3_g12_certbot_renews_past_a_live_key_that_cannot_be_used(
    installer: str, damage: str, tmp_path: Path
) -> None:
    """Certbot reads the live key before it asks pinkeep for another one: that stops no renewal, and what
    comes is loaded. The key is the pinned one, if one is pinned."""
    server = Server(tmp_path)
    server.age = 70
    server.certify("a.test", installer=installer)
    server.age = 0
    pin, serial = server.live_pin(), server.serial()
    UNUSABLE[damage]((server.live() / "privkey.pem").resolve())

    dry = server.run("certbot renew --dry-run --installer pinkeep")
    said = server.run("certbot renew --installer pinkeep")

    assert (dry.code, said.code) == (0, 0), dry.text + said.text
    assert server.serial() != serial
    assert server.loaded_serial() == server.serial()
    if installer == "pinkeep":
        assert server.live_pin() == pin
    server.sound()
