"""A compromised key is never handed over again, whatever else is wrong (G3); and what the CA's
refusal of a request says of its key."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from acme import messages
from certbot import errors, util

from certbot_pinkeep.adapters import certbot_client
from certbot_pinkeep.core.errors import Compromised, KeyRefused, PinkeepError
from certbot_pinkeep.core.key_and_csr import KeyAndCsr, SavedCsr
from certbot_pinkeep.storage.keys_and_csrs import Folders
from certbot_pinkeep.workflow import requests
from simulated.machine import Site
from simulated.values import DAY, NOW, certificate, csr_pem, make_pem, pin_of_key

AT = NOW + 20 * DAY


@pytest.fixture
def world(tmp_path: Path) -> Site:
    """A pinned lineage whose key is compromised, while no backup is safe before day 70."""
    found = Site(tmp_path, backups=1)
    found.run(0)
    found.roll_over(10)
    found.ask(when_safe=True, compromised=True)
    return found


def damage(world: Site) -> None:
    """The keyring file is cut short."""
    world.file.write_bytes(world.file.read_bytes()[:-5])


def nothing(world: Site) -> None:
    """All is well."""


def lose(world: Site) -> None:
    """The keyring file is lost, its copy is not."""
    world.file.unlink()


def lose_copy(world: Site) -> None:
    """The copy is lost, the keyring file is not."""
    (world.work / "pinkeep").rename(world.work / "gone")


@pytest.mark.parametrize("harm", [nothing, damage, lose, lose_copy])
@pytest.mark.parametrize("keyring", ["example.com", "other"])
@pytest.mark.parametrize("with_options", [False, True])
def test_g3_compromised_key_is_not_handed_over(
    world: Site, harm: Callable[[Site], None], keyring: str, with_options: bool
) -> None:
    """Whatever keyring the option names, and whichever of file and copy can be read."""
    harm(world)
    chosen = world.options(keyring=keyring) if with_options else None
    with pytest.raises(Compromised, match="compromised"):
        world.workflow.handover(
            world.look(), keyring, world.names, AT, chosen=chosen, pinned_before=True
        )


@pytest.mark.parametrize("keyring", ["example.com", "other"])
def test_g3_compromised_key_is_rolled_over_when_that_is_safe(world: Site, keyring: str) -> None:
    """The lineage's own keyring says so, though the option names another one."""
    at = AT.replace(month=6)
    found = world.workflow.handover(world.look(), keyring, world.names, at)
    assert found.pin == world.published().pins[1]


def test_g3_renewal_goes_on_with_a_damaged_file_if_the_key_is_sound(tmp_path: Path) -> None:
    """Only what is known to be compromised stops it."""
    sound = Site(tmp_path, backups=1)
    sound.run(0)
    damage(sound)
    found = sound.workflow.handover(sound.look(), sound.name, sound.names, AT)
    assert found.pin == sound.look().pin


def test_g3_certificate_for_a_key_that_was_compromised_meanwhile_is_not_stored(
    tmp_path: Path,
) -> None:
    """The CA has issued it for the live key, which is what the keyring named before."""
    found = Site(tmp_path, backups=1)
    found.run(0)
    live = found.look()
    assert found.workflow.is_still_chosen(live, found.name, found.names, live.pin, AT)
    found.ask(when_safe=True, compromised=True)
    assert not found.workflow.is_still_chosen(live, found.name, found.names, live.pin, AT)


@pytest.mark.parametrize("harm", [damage, lose, lose_copy])
def test_compromise_is_known_from_either_record(world: Site, harm: Callable[[Site], None]) -> None:
    """The keyring file or its copy is enough; another key is not compromised by it."""
    pin = world.look().pin
    harm(world)
    assert world.workflow.store.is_compromised(pin)
    assert not world.workflow.store.is_compromised(world.published().pins[1])


def test_g3_request_to_leave_counts_though_the_option_names_another_keyring(tmp_path: Path) -> None:
    """A rollover that is asked for takes place."""
    found = Site(tmp_path, backups=1)
    found.run(0)
    found.ask()
    handed = found.workflow.handover(found.look(), "other", found.names, AT)
    assert handed.pin == found.published().pins[1]


def test_g3_snippet_that_cannot_be_read_does_not_stop_a_first_renewal(tmp_path: Path) -> None:
    """A lineage that is not pinned yet needs none."""
    site = Site(tmp_path)
    site.snippet.mkdir(parents=True)
    found = site.workflow.handover(site.look(), site.name, site.names, NOW, chosen=site.options())
    assert found.pin == pin_of_key(site.key)


def test_g3_folder_of_csrs_that_cannot_be_listed_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO, ESTALE, EACCES: a new CSR is made for the key that was chosen."""

    def fail(path: object) -> list[str]:
        raise OSError(5, "Input/output error", path)

    world = Site(tmp_path, backups=1)
    world.run(0)
    world.ask(compromised=True)
    monkeypatch.setattr(os, "listdir", fail)
    assert Folders(str(world.config)).saved_csrs() == {}
    monkeypatch.undo()
    (world.config / "csr").rename(world.root / "gone")
    (world.config / "csr").symlink_to("csr")
    assert world.next_pin(21) == world.published().pins[1]


# Certbot's client

NAMES = ["example.com"]
LIVE = "/live/example.com/privkey.pem"


def handover_of(key: bytes, number: int) -> KeyAndCsr:
    """A key with its CSR."""
    csr = SavedCsr(f"/etc/csr/{number:04d}_csr-certbot.pem", csr_pem(key, NAMES))
    return KeyAndCsr(f"/etc/keys/{number:04d}_key-certbot.pem", key, csr, pin_of_key(key))


class Pinning:
    """An installer of ours that hands over one key after the other."""

    def __init__(self, *keys: bytes, error: Exception | None = None) -> None:
        self.handed = [handover_of(key, number) for number, key in enumerate(keys)]
        self.error = error
        self.compromised = False
        self.refusals: list[KeyRefused] = []

    def handover(self, names: list[str], live_key_path: str | None, dry_run: bool) -> KeyAndCsr:
        """The first key that was not refused."""
        if self.error:
            raise self.error
        return self.handed[len(self.refusals)]

    def issued(self, certificate: bytes) -> None:
        """As it may be."""

    def refused(self, refusal: KeyRefused) -> None:
        """Note it."""
        self.refusals.append(refusal)

    def csr_rejected(self, pin: str) -> bool:
        """None of them is a backup."""
        return False

    def is_compromised(self, live_key_path: str) -> bool:
        """What the test says."""
        return self.compromised


class Client:
    """A class like certbot's client, at a CA that refuses the first requests."""

    def __init__(self, installer: Pinning, *refused: messages.Error) -> None:
        self.installer = installer
        self.config = SimpleNamespace(dry_run=False, allow_subset_of_names=False)
        self.refused = list(refused)
        self.own = 0

    def obtain_certificate(
        self, domains: Any, old_keypath: str | None = None
    ) -> tuple[bytes, bytes, util.Key, util.CSR]:
        """Certbot's own way, with the live key."""
        self.own += 1
        key = make_pem()
        made = certificate(key, NAMES)
        return made, b"chain", util.Key("own", key), util.CSR("own", b"own", "pem")

    def obtain_certificate_from_csr(
        self, csr: util.CSR, orderr: object = None
    ) -> tuple[bytes, bytes]:
        """What ``certbot --csr`` calls."""
        if self.refused:
            raise self.refused.pop(0)
        (key,) = [one.key_pem for one in self.installer.handed if one.csr.path == csr.file]
        return certificate(key, NAMES), b"chain"

    def _get_order_and_authorizations(self, csr_pem: bytes, best_effort: bool) -> object:
        raise AssertionError("not for all names at once")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    """The class, wrapped."""
    found = type("Client", (Client,), {"obtain_certificate": Client.obtain_certificate})
    monkeypatch.setattr(certbot_client, "certbot_client", SimpleNamespace(Client=found))
    renewal = SimpleNamespace(_avoid_reuse_key_conflicts=lambda config, lineage: None)
    monkeypatch.setattr(certbot_client, "certbot_renewal", renewal)
    pinning: Any = Pinning
    certbot_client.wrap(lambda one: one if isinstance(one, pinning) else None)
    return found


def bad_csr(detail: str, code: str = "badCSR") -> messages.Error:
    """A problem document."""
    return messages.Error.with_code(code, detail=detail)


@pytest.mark.parametrize("error", [PinkeepError("it cannot be told"), OSError(5, "I/O error")])
def test_g3_certbot_does_not_reuse_a_compromised_key_on_its_own(
    client: type[Client], error: Exception
) -> None:
    """Whatever goes wrong in the handover; a sound key goes on if that is no error of ours."""
    installer = Pinning(make_pem(), error=error)
    installer.compromised = True
    one = client(installer)
    with pytest.raises(errors.Error):
        one.obtain_certificate(NAMES, LIVE)
    assert one.own == 0
    installer.compromised = False
    if isinstance(error, OSError):
        one.obtain_certificate(NAMES, LIVE)
        assert one.own == 1


@pytest.mark.parametrize("code", ["badCSR", "badPublicKey"])
@pytest.mark.parametrize(
    "detail",
    [
        "CSR contains IP address names which are forbidden by policy",
        "ECDSA curve P-521 is forbidden",
        "name is on the blocklist",
        "the key type is not allowed; the name is on a block list",
        "signature algorithm is blocked",
        "the account was compromised",
        "unable to parse the key",
    ],
)
def test_g3_refusal_of_the_request_is_none_of_its_key(
    client: type[Client], code: str, detail: str
) -> None:
    """The CA's own error, and no key is marked: that could not be taken back."""
    installer = Pinning(make_pem(), make_pem())
    one = client(installer, bad_csr(detail, code))
    with pytest.raises(messages.Error, match=detail):
        one.obtain_certificate(NAMES, LIVE)
    assert installer.refusals == [] and one.own == 0


@pytest.mark.parametrize(
    "detail",
    [
        "Error finalizing order :: public key is forbidden",
        "public key was blocked",
        "the key has been compromised",
        "Key is in a deny-list",
        "blocklisted public key",
        "a blocked key",
    ],
)
def test_g3_refused_key_is_followed_by_the_next_one(client: type[Client], detail: str) -> None:
    """In the same run; it alone is marked."""
    installer = Pinning(make_pem(), make_pem())
    _, _, key, _ = client(installer, bad_csr(detail)).obtain_certificate(NAMES, LIVE)
    assert [one.pin for one in installer.refusals] == [installer.handed[0].pin]
    assert key.pem == installer.handed[1].key_pem


def test_g3_second_refusal_ends_the_run(client: type[Client]) -> None:
    """The CA dislikes the request: the backups are not marked one after the other."""
    installer = Pinning(make_pem(), make_pem(), make_pem())
    forbidden = bad_csr("public key is forbidden")
    one = client(installer, forbidden, forbidden)
    with pytest.raises(messages.Error):
        one.obtain_certificate(NAMES, LIVE)
    assert [one.pin for one in installer.refusals] == [installer.handed[0].pin]


# After pinning was left


def test_g3_compromised_key_stays_so_when_pinning_was_left(world: Site) -> None:
    """A live key that nobody is locked out by is adopted, but no compromise is forgotten."""
    pin = world.look().pin
    requests.unpin(world.workflow, world.name, AT)
    world.run(21)
    world.run(400)
    backup = world.state().keyring.backups("ecdsa")[0].pin
    world.issue(world.key_pem(backup))
    world.run(401)
    world.issue(world.key_pem(pin))
    world.run(402)
    assert world.key_of(pin).role == "compromised"
    assert world.next_pin(403) != pin
