"""What ``check`` looks at in the files of a keyring."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certbot_pinkeep.adapters import clock, renewal_conf
from certbot_pinkeep.check import check
from certbot_pinkeep.check.local_files import LocalFiles
from certbot_pinkeep.core.observations import Lineage, Seen
from certbot_pinkeep.core.state import State
from simulated.machine import Site
from simulated.values import DAY, NOW, encrypted, make_pem


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A lineage that is pinned."""
    found = Site(tmp_path)
    found.copies = False
    monkeypatch.setattr(clock, "now", lambda: NOW)
    found.keep()
    renewal_conf.remember(str(found.config), found.name, "pinkeep")
    return found


def test_files_are_observed(site: Site) -> None:
    """Owners, links, hooks, other certificates: as they are, and nothing of it is changed."""
    before = site.tree()
    files = LocalFiles(str(site.config), site.workflow.store)
    seen = files.look(site.state(), NOW, [], [])
    assert site.tree() == before
    assert {place.owner for place in seen.places} == {os.geteuid()} and seen.owner == os.geteuid()
    kinds = [place.kind for place in seen.places]
    assert kinds == [
        *("keys", "csrs", "records", "keyring", "snippets", "snippet"),
        *("key", "key", "key", "live key"),
    ]


def test_who_strayed_is_told_and_not_all_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """g7: one folder of somebody else's does not have the private keys given to him."""
    real = os.stat

    def stat(path: Any, **more: Any) -> os.stat_result:
        found = list(real(path, **more))
        found[4] = 1000 if str(path) in strayed else owner
        return os.stat_result(found)

    def told(user: int) -> list[str]:
        monkeypatch.setattr(os, "geteuid", lambda: user)
        monkeypatch.setattr(os, "stat", stat)
        seen = LocalFiles(str(site.config), site.workflow.store).look(site.state(), NOW, [], [])
        monkeypatch.undo()
        return [one.todo for one in check(seen, NOW) if "chown" in one.todo]

    records = str(site.config / "pinkeep")
    strayed, owner = {records}, 0
    assert told(0) == [f"Run: chown 0 {records}"]
    strayed, owner = {records}, 33  # root looks at what another user keeps
    assert told(0) == told(33) == [f"Run: chown 33 {records}"]


def test_the_admins_own_folder_of_snippets_is_looked_at(site: Site) -> None:
    """It is not the plugin's: a group may write there."""
    own = site.root / "snippets"
    own.mkdir()
    site.keep(site.options(snippet_dir=str(own)))
    seen = LocalFiles(str(site.config), site.workflow.store).look(site.state(), NOW, [], [])
    assert [place.path for place in seen.places if place.kind == "foreign snippets"] == [str(own)]


def test_a_late_renewal_that_is_set_is_read(site: Site) -> None:
    """certbot's own setting, for one certificate."""
    site.renewal.write_text("renew_before_expiry = 5 days\n" + site.renewal.read_text())
    (found,) = (
        LocalFiles(str(site.config), site.workflow.store).look(site.state(), NOW, [], []).lineages
    )
    assert found.renew_before == 5 * DAY


def test_server_that_the_admin_reloads_stays_so_beside_a_wrong_option(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What check says to do ends with the admin's reload. The wrong option is told, too."""
    chosen = replace(site.options(reload=()), configtest=("/gone",))
    monkeypatch.setattr(State, "chosen", lambda state: chosen)
    seen = LocalFiles(str(site.config), site.workflow.store).look(site.state(), NOW, [], [])
    assert not seen.reloads


def test_backups_whose_keys_are_offline_are_sound(site: Site) -> None:
    """An offline one has no file; an encrypted one has one, which must be that and closed."""
    state = site.state()
    first, second, third = state.keyring.keys
    path = site.config / "keys" / "0009_key-certbot.pem"
    path.write_bytes(encrypted(make_pem()))
    path.chmod(0o644)
    sealed = replace(third, path=None, encrypted="keys/0009_key-certbot.pem")
    keyring = replace(state.keyring, keys=(first, replace(second, path=None), sealed))
    files = LocalFiles(str(site.config), site.workflow.store)

    def look() -> Seen:
        return files.look(replace(state, keyring=keyring), NOW, [], [])

    assert not any(key.fault for key in look().state.keyring.keys)
    assert [
        place.path for place in look().places if place.mode == 0o644 and place.kind == "key"
    ] == [str(path)]
    path.write_bytes(make_pem())
    assert "holds no encrypted private key" in look().state.keyring.keys[2].fault
    path.unlink()
    assert "cannot be read" in look().state.keyring.keys[2].fault


def test_what_cannot_be_read_is_told(site: Site) -> None:
    """A lineage's certificate, its private key, its renewal file."""
    live = site.config / "live" / site.name
    files = LocalFiles(str(site.config), site.workflow.store)

    def look() -> Lineage:
        (found,) = files.look(site.state(), NOW, [], []).lineages
        return found

    (live / "privkey.pem").resolve().write_text("nonsense")
    assert "cannot be used" in look().key_error and "nonsense" not in look().key_error
    (live / "privkey.pem").unlink()
    assert "privkey.pem cannot be read" in look().key_error
    (live / "cert.pem").resolve().write_text("nonsense")
    assert "cert.pem cannot be read" in look().error
    (live / "cert.pem").unlink()
    assert "cert.pem cannot be read" in look().error
    site.renewal.write_text("nonsense")
    assert str(site.renewal) in look().error
    site.renewal.unlink()
    assert "renewal file" in look().error
