"""Files of keys that are lost, and are there again: nothing is lost that could be kept (G3, G4)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from certbot_pinkeep.core.errors import BadKey, Compromised, OtherKeyring
from certbot_pinkeep.core.key_and_csr import KeyAndCsr
from certbot_pinkeep.storage.keys_and_csrs import Folders
from certbot_pinkeep.workflow import requests
from simulated.machine import RSA_KEY, Machine, Site
from simulated.values import DAY, NOW, make_pem, pin_of_key
from simulated.workflow import Workflow


class LostKeys(Site):
    """A site with a work dir, seen by a new workflow at each look, pinned with two backups."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.run(0)

    def new(self, days: int, *names: str, lineage: str | None = None) -> KeyAndCsr | None:
        """What a new certificate is issued for; without names, for those that were there."""
        lineage = lineage or self.name
        at = NOW + days * DAY
        return self.workflow.handover_new(lineage, lineage, "ecdsa", names or self.names, False, at)


@pytest.fixture
def world(tmp_path: Path) -> LostKeys:
    """A lineage that is pinned."""
    return LostKeys(tmp_path)


def test_g2_g4_folder_of_keys_that_is_away_and_back(world: LostKeys) -> None:
    """A mount that is not up: the run goes on. Once the folder is back, its keys are the backups again, and
    the others are retired. It costs no key, however often."""
    keys = world.config / "keys"
    pins = world.published().pins
    for day in (1, 3):
        keys.rename(world.root / "away")
        world.run(day)
        assert world.published().pins[0] == pins[0] and len(world.published().pins) == 3
        assert not set(world.published().pins[1:]) & set(pins)
        keys.rename(world.root / "hidden")
        (world.root / "away").rename(keys)
        world.run(day + 1)
        assert world.published().pins == pins
        assert all(world.key_pem(pin) for pin in pins)
        shutil.rmtree(world.root / "hidden")


def emptied(world: LostKeys) -> None:
    """``find /etc/letsencrypt/keys -mtime +90 -delete``."""
    for path in (world.config / "keys").iterdir():
        path.unlink()


def without_folder(world: LostKeys) -> None:
    """The same, with the folder itself."""
    shutil.rmtree(world.config / "keys")


def without_old_ones(world: LostKeys) -> None:
    """Only a part of them was old enough."""
    for pin in world.published().pins[:2]:
        world.file_of(pin).unlink()


LOSSES = [emptied, without_folder, without_old_ones]


@pytest.mark.parametrize("lose", LOSSES)
def test_g3_g4_keys_that_were_deleted_are_made_anew(
    lose: Callable[[LostKeys], None], world: LostKeys, caplog: pytest.LogCaptureFixture
) -> None:
    """The live key is saved again. The lost backups are retired, new ones are staged, and a message says from
    when they are safe. The next run has nothing to do and nothing to say."""
    lost = list(world.published().pins[1:])
    lose(world)
    lost = [pin for pin in lost if not world.file_of(pin).exists()]
    world.run(1)
    told = caplog.text
    assert "staged" in told and "is safe from 2026-05-01T12:00:00Z" in told  # 60 days after that
    for wrong in ("Nothing was changed", "locked out", "moved away"):
        assert wrong not in told
    assert world.published().pins[0] == world.look().pin and len(world.published().pins) == 3
    assert not set(lost) & set(world.published().pins)
    assert all(world.key_pem(pin) for pin in world.published().pins)
    assert world.file_of(world.look().pin).stat().st_mode & 0o777 == 0o600
    caplog.clear()
    before = world.tree()
    world.run(2)
    assert world.tree() == before and caplog.text == ""


@pytest.mark.parametrize("lose", LOSSES)
def test_g3_dry_run_without_keys_writes_nothing(
    lose: Callable[[LostKeys], None], world: LostKeys
) -> None:
    """It is issued for the live key."""
    lose(world)
    before = world.tree()
    found = world.workflow.handover(world.look(), world.name, world.names, NOW + DAY, dry_run=True)
    assert found.pin == world.look().pin and world.tree() == before


def test_g4_keys_of_two_types_that_were_deleted_are_made_anew(tmp_path: Path) -> None:
    """Each certificate brings its own key back; both types have their backups."""
    machine = Machine(tmp_path)
    machine.issue("rsa.test", RSA_KEY)
    machine.keep("rsa.test", "ring")
    machine.issue("ec.test")
    machine.keep("ec.test", "ring", NOW + DAY)
    for path in (machine.config / "keys").iterdir():
        path.unlink()
    for name in ("ec.test", "rsa.test"):
        machine.keep(name, "ring", NOW + 2 * DAY)
    state = machine.workflow.load_state("ring", NOW + 2 * DAY)
    assert state is not None and len(state.keyring.published_pins()) == 6
    published = [key for key in state.keyring.keys if key.role in ("primary", "backup")]
    assert [key.fault for key in published] == [""] * 6


def test_g3_compromised_key_with_all_keys_deleted_needs_the_admin(world: LostKeys) -> None:
    """No key is left that clients accept; the commands that the error names help, in their order."""
    emptied(world)
    requests.note_revoked(world.workflow, world.look().pin, NOW + DAY, compromised=True)
    with pytest.raises(
        Compromised, match=r"(?s)certbot install .*rollover example.com --now --force"
    ):
        world.workflow.handover(world.look(), world.name, world.names, NOW + DAY)
    world.run(1)  # certbot install
    new = world.published().pins[1]
    requests.ask(world.workflow, world.name, NOW + DAY, force=True)
    assert world.workflow.handover(world.look(), world.name, world.names, NOW + DAY).pin == new


def test_g3_renewal_goes_on_while_the_folder_of_keys_is_away(world: LostKeys) -> None:
    """With the live key, which clients accept."""
    (world.config / "keys").rename(world.root / "away")
    found = world.workflow.handover(world.look(), world.name, world.names, NOW + DAY)
    assert found.pin == world.look().pin


def test_g4_lost_backups_leave_their_numbers_free(world: LostKeys) -> None:
    """New keys are not saved where the lost ones are put back to."""
    lost = world.published().pins[1:]
    files = {world.file_of(pin): world.file_of(pin).read_bytes() for pin in lost}
    for path in files:
        path.unlink()
    world.run(1)
    new = world.published().pins[1:]
    assert not set(new) & set(lost) and not {world.file_of(pin) for pin in new} & set(files)
    assert not any(path.exists() for path in files)
    for path, content in files.items():
        path.write_bytes(content)
    assert all(world.key_pem(pin) for pin in (*new, *lost))


def test_g4_backup_that_is_there_again_is_staged_before_a_new_one(world: LostKeys) -> None:
    """Its place in the record is kept: clients knew it for long."""
    lost = world.published().pins[1]
    path, content = world.file_of(lost), world.file_of(lost).read_bytes()
    path.unlink()
    world.run(1)
    assert world.key_of(lost).role == "retired" and lost not in world.published().pins
    path.write_bytes(content)
    world.run(2, backup_keys=3)
    assert world.key_of(lost).role == "backup" and lost in world.published().pins
    assert sum(1 for _ in (world.config / "keys").iterdir()) == 4


def test_g4_backup_that_is_still_lost_is_not_staged(world: LostKeys) -> None:
    """However many are wanted; it is told once, when it was lost."""
    lost = world.published().pins[1]
    world.file_of(lost).unlink()
    for days, count in ((1, 2), (2, 4), (3, 1), (4, 3)):
        world.run(days, backup_keys=count)
        assert world.key_of(lost).role == "retired" and lost not in world.published().pins
        assert len(world.published().pins) == count + 1


def test_g4_backup_that_is_damaged_is_lost(world: LostKeys) -> None:
    """Another key in its file is none that clients know."""
    lost, other = world.published().pins[1:]
    world.file_of(lost).write_bytes(world.file_of(other).read_bytes())
    world.run(1)
    assert lost not in world.published().pins and other in world.published().pins
    assert pin_of_key(world.key_pem(other)) == other


def test_g5_live_key_does_not_live_in_archive_alone(world: LostKeys) -> None:
    """Certbot truncates archive/: the copy in keys/ is made anew, and the record finds it."""
    pin = world.look().pin
    world.file_of(pin).unlink()
    world.run(1)
    assert world.file_of(pin).read_bytes() == world.key
    assert world.file_of(pin).stat().st_mode & 0o777 == 0o600
    before = world.tree()
    world.run(2)
    assert world.tree() == before


def test_g5_damaged_copy_of_the_live_key_is_made_anew(world: LostKeys) -> None:
    """What the file holds is another key, or none."""
    pin = world.look().pin
    damaged = world.file_of(pin)
    damaged.write_bytes(b"junk")
    world.run(1)
    assert world.file_of(pin) != damaged and world.file_of(pin).read_bytes() == world.key
    before = world.tree()
    world.run(2)
    assert world.tree() == before


def test_g5_key_that_is_not_the_certificates_heals_nothing(world: LostKeys) -> None:
    """Another key in live/ is never saved as the one that is pinned."""
    pin, other = world.look().pin, make_pem()
    world.file_of(pin).unlink()
    (world.config / "live" / world.name / "privkey.pem").resolve().write_bytes(other)
    before = world.tree()
    with pytest.raises(BadKey, match="does not belong to the certificate"):
        world.run(1)
    assert world.tree() == before


def test_saved_key_takes_no_number_that_is_taken(world: LostKeys) -> None:
    """Whatever folder the path that is on record names."""
    folders = Folders(str(world.config))
    free = folders.save_key(make_pem(), ["keys/0003_key-certbot.pem", "x/0004_key-certbot.pem"])
    assert Path(free.path).name == "0005_key-certbot.pem"


# A certificate that is got anew


def delete(world: LostKeys) -> None:
    """``certbot delete``: the lineage is gone, keyring and keys stay."""
    for part in ("cert", "privkey", "chain", "fullchain"):
        (world.config / "live" / world.name / f"{part}.pem").unlink()
    world.renewal.unlink()


def test_g3_new_certificate_is_for_the_primary(world: LostKeys) -> None:
    """The keyring outlives its lineage."""
    delete(world)
    found = world.new(1)
    assert found is not None and found.pin == world.published().pins[0]


def test_g3_new_certificate_is_for_a_safe_backup_if_the_primary_is_lost(world: LostKeys) -> None:
    """Clients know it."""
    primary, backup = world.published().pins[:2]
    world.file_of(primary).unlink()
    delete(world)
    found = world.new(1)
    assert found is not None and found.pin == backup


def test_g3_error_says_what_to_do_if_every_key_is_lost(world: LostKeys) -> None:
    """What to restore, and how to give the pins up: which then works."""
    for path in (world.config / "keys").iterdir():
        path.unlink()
    delete(world)
    with pytest.raises(BadKey) as caught:
        world.new(1)
    said = str(caught.value)
    paths = Workflow(str(world.config), str(world.work)).store.paths(world.name)
    assert "from a backup of" in said and all(path in said for path in paths)
    for name in paths:
        Path(name).unlink()
    assert world.new(1) is None


def test_g2_new_name_for_a_pinned_host_is_refused(world: LostKeys) -> None:
    """Its key would be another one; the error names the way that keeps the pins."""
    with pytest.raises(OtherKeyring) as caught:
        world.new(1, "other.test", "www.example.com", lineage="renamed")
    said = str(caught.value)
    assert "www.example.com" in said and f"--pinkeep-keyring {world.name}" in said
    assert "--cert-name renamed --installer pinkeep" in said
    assert "--pinkeep-keyring example.com -d other.test -d www.example.com" in said


def test_g2_new_name_is_refused_though_nobody_is_bound_yet(tmp_path: Path) -> None:
    """Pins that are only reported today are enforced tomorrow, by two keyrings."""
    trial = Site(tmp_path)
    trial.keep(trial.options(report_only=True))
    given = ("renamed", "renamed", "ecdsa", trial.names, False, NOW + DAY)
    with pytest.raises(OtherKeyring):
        trial.workflow.handover_new(*given)  # type: ignore[arg-type]


def test_g9_new_certificate_for_other_hosts_is_certbots(world: LostKeys) -> None:
    """A damaged keyring file of somebody else does not stop it."""
    assert world.new(1, "other.test", lineage="other.test") is None
    world.file.write_bytes(b"junk")
    (world.work / "pinkeep").rename(world.work / "gone")
    assert world.new(1, "other.test", lineage="other.test") is None
