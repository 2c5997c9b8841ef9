"""Whether clients accept a live key: a backup that was never published is no pin (G2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from certbot_pinkeep.workflow import accepted
from simulated.machine import Site
from simulated.values import DAY, NOW, make_pem, pin_of_key


def test_g2_backup_that_was_never_published_is_accepted_by_nobody(tmp_path: Path) -> None:
    """A run was killed before it published the new backup: its role alone accepts nothing, and the keyring
    stays as it is."""
    site = Site(tmp_path, backups=1)
    site.keep()
    state, new = site.state(), make_pem()
    staged = replace(state.keyring.keys[1], pin=pin_of_key(new))
    keyring = replace(state.keyring, keys=(*state.keyring.keys, staged))
    state = replace(state, keyring=keyring)
    site.issue(new)
    assert not accepted.is_accepted(state, site.look(), NOW + DAY)
    assert accepted.as_live(state, site.look()) == keyring
    site.issue(site.key_pem(site.published().pins[1]))
    assert accepted.is_accepted(state, site.look(), NOW + DAY)
    assert accepted.as_live(state, site.look()) != keyring
