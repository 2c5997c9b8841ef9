"""An older config dir is put back: Apache is never made to serve what clients do not accept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from certbot_pinkeep.core.errors import NotSafe, Unpinned
from certbot_pinkeep.workflow import offline_backups, requests
from simulated.machine import Site
from simulated.values import DAY, NOW, make_pem
from simulated.workflow import Workflow


class PutBack(Site):
    """A site of whose config dir the admin keeps a copy."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.copy = root / "copy"
        self.run(0)

    def back_up(self) -> None:
        """Copy the config dir."""
        shutil.copytree(self.config, self.copy, symlinks=True)

    def put_back(self, *folders: str) -> None:
        """Put the copy back, or only some folders of it."""
        for folder in folders or (".",):
            shutil.rmtree(self.config / folder)
            shutil.copytree(self.copy / folder, self.config / folder, symlinks=True)


@pytest.fixture
def world(tmp_path: Path) -> PutBack:
    """Everything is backed up on day 1, and rolled over on day 2."""
    found = PutBack(tmp_path)
    found.back_up()
    found.roll_over(2)
    return found


def test_g2_retired_key_that_was_put_back_is_not_loaded(world: PutBack) -> None:
    """Apache still serves the new key from memory: it is not reloaded, and nothing is published."""
    world.put_back()
    reloads, before = world.apache.reloads, world.snippet.read_bytes()
    record = world.file.read_bytes()
    with pytest.raises(Unpinned, match="restored without pinkeep"):
        world.run(12)
    assert world.apache.reloads == reloads
    assert (world.snippet.read_bytes(), world.file.read_bytes()) == (before, record)


def test_g2_command_that_the_error_names_goes_back_to_the_pinned_key(world: PutBack) -> None:
    """A forced renewal is for the key that clients accept, and then all is up to date again."""
    new = world.look().pin
    keys = world.config / "keys"
    shutil.copytree(keys, world.root / "newer keys")
    world.put_back()
    shutil.copytree(world.root / "newer keys", keys, dirs_exist_ok=True)
    with pytest.raises(Unpinned, match=r"certbot renew --cert-name example\.com --force-renewal"):
        world.run(12)
    assert world.next_pin(12) == new
    world.issue(world.key_pem(new))
    assert world.run(12).reloaded
    assert world.published().pins[0] == new
    world.run(13)


def test_g2_pins_that_were_served_stay_published_after_a_restore(world: PutBack) -> None:
    """Clients may hold the older and the newer policy. The next one has the newer pins. No rollover goes to a
    key that only the older one lacks."""
    newer = world.published().pins
    shutil.copytree(world.config / "keys", world.root / "newer keys")
    shutil.copytree(world.config / "live", world.root / "newer live", symlinks=True)
    world.put_back("pinkeep")
    world.run(12)
    assert world.published().pins == newer
    assert world.state().ledger.uncertain is not None
    with pytest.raises(NotSafe, match="clients may hold pins"):
        workflow = Workflow(str(world.config), str(world.work))
        workflow.handover(world.look(), world.name, world.names, NOW + 13 * DAY, asked=True)


def test_g2_keyring_file_that_is_much_older_stops_nothing(world: PutBack) -> None:
    """Only pinkeep's folder is put back, three rollovers late: clients accept the live key, which
    the older pins lack."""
    for days in (70, 140):
        world.roll_over(days)
    newer = world.published().pins
    world.put_back("pinkeep")
    assert world.look().pin not in world.published().pins
    world.run(150)
    assert world.published().pins == newer
    assert world.next_pin(151) == world.look().pin


def test_g2_restored_live_key_is_refused_without_doubt_as_well(world: PutBack) -> None:
    """Only live/ and archive/ are put back: the record is trusted, and says that it is retired."""
    world.put_back("live", "archive")
    with pytest.raises(Unpinned):
        world.run(12)
    assert world.published().pins[0] != world.look().pin


@pytest.mark.parametrize("primary_is_lost", [False, True])
def test_g2_retired_live_key_is_not_handed_over(world: PutBack, primary_is_lost: bool) -> None:
    """Clients do not accept it: it is the primary's turn, or a backup's if that one is lost."""
    new, backup = world.published().pins[:2]
    world.put_back("live", "archive")
    if primary_is_lost:
        key = world.state().keyring.key(new)
        assert key is not None and key.path is not None
        (world.config / key.path).unlink()
    assert world.next_pin(100) == (backup if primary_is_lost else new)


def test_g3_live_key_goes_on_if_only_the_file_of_the_primary_is_lost(world: PutBack) -> None:
    """It is the same key, and clients accept it."""
    pin = world.look().pin
    key = world.state().keyring.key(pin)
    assert key is not None and key.path is not None
    (world.config / key.path).unlink()
    assert world.next_pin(12) == pin


def test_g2_foreign_key_is_no_key_of_the_keyring(world: PutBack) -> None:
    """The error says until when clients refuse it; the pins stay as they are."""
    pins = world.published().pins
    world.issue(make_pem())
    with pytest.raises(Unpinned, match="60 days after their last visit"):
        world.run(12)
    assert world.published().pins == pins


def test_g2_error_names_no_command_that_cannot_work(world: PutBack) -> None:
    """All pinned keys are lost: what to restore is said, and how to give the pins up."""
    for path in (world.config / "keys").iterdir():
        path.unlink()
    world.issue(make_pem())
    with pytest.raises(Unpinned) as caught:
        world.run(12)
    said = str(caught.value)
    assert "--force-renewal" not in said and "from a backup of" in said
    state = Workflow(str(world.config), str(world.work)).store
    assert all(path in said for path in state.paths(world.name))


def test_what_the_error_names_pins_anew(world: PutBack) -> None:
    """Keyring file, copy and what is published are given up: the live key is adopted."""
    for path in (world.config / "keys").iterdir():
        path.unlink()
    world.issue(make_pem())
    with pytest.raises(Unpinned):
        world.run(12)
    for name in Workflow(str(world.config), str(world.work)).store.paths(world.name):
        Path(name).unlink()
    try:
        world.run(12)
    except Unpinned as error:
        assert str(world.snippet) in str(error)
        world.snippet.unlink()
        world.run(12)
    assert world.published().pins[0] == world.look().pin


# A virtual machine that is set back, with its work dir: no record is left that could tell


@pytest.mark.parametrize("rollovers", [1, 2])
def test_g2_rolling_forward_after_a_machine_was_set_back(tmp_path: Path, rollovers: int) -> None:
    """As docs/howto/troubleshooting.rst says: backups that were left since are dropped, and the key that
    was served last is rolled over to. Everybody accepts it; the key that came back locks out whoever
    visited since, with or without unpinning."""
    world = PutBack(tmp_path)
    world.back_up()
    shutil.copytree(world.work, tmp_path / "work copy")
    held = [set(world.published().pins)]
    for number in range(rollovers):
        world.roll_over(70 * (number + 1))
        held.append(set(world.published().pins))
    last, now = world.look().pin, NOW + (70 * rollovers + 1) * DAY
    world.put_back()
    shutil.rmtree(world.work)
    (tmp_path / "work copy").rename(world.work)

    world.run(70 * rollovers + 1)
    assert not all(
        world.look().pin in pins for pins in held
    )  # it came back, and serves the old key
    workflow = Workflow(str(world.config), str(world.work))
    for pin in world.published().pins[1:rollovers]:  # certbot-pinkeep backup NAME drop PIN
        assert pin != last
        offline_backups.drop(workflow, world.name, pin, now)
        workflow.publish(world.name, now)
    asked = requests.ask(workflow, world.name, now)  # certbot-pinkeep rollover NAME --now
    assert asked.ready and last in asked.told[-1]
    pin = world.next_pin(70 * rollovers + 1)
    assert pin == last and all(pin in pins for pins in held)
    world.issue(world.key_pem(pin))
    world.run(70 * rollovers + 1)
    assert world.published().pins[0] == last
