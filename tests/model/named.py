"""Histories with a name that says what happens.

The first once locked somebody out, in a long run (:data:`NAMED`). Each of the others does so, or fails in
another way, as soon as one rule is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from many_sites import BARE, WWW, ManySites
from one_site import OneSite

from certbot_pinkeep.adapters import revocation

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SIXTY_DAYS = 60 * 86400


def _pinned(world: OneSite, max_age: int, backups: int = 1, days: int | None = 0) -> None:
    world.chosen = replace(world.chosen, max_age=max_age, backup_keys=backups, rollover_days=days)
    world.run()


def _forced_over_an_app(world: OneSite) -> None:
    _pinned(world, max_age=0, backups=1, days=0)
    world.release(days=20)
    world.renew()
    world.ask(when_safe=False, compromised=False, force=True)
    world.renew()


def an_app_is_used_for_longer_than_was_announced(world: OneSite) -> None:
    """A rollover was forced over an app, which then is used for longer."""
    _forced_over_an_app(world)
    world.extend(0, days=400)
    world.passes(30 * DAY)
    world.run()


def a_backup_that_was_never_published_is_forced(world: OneSite) -> None:
    """A lost backup was replaced, and certbot was killed before it published the new one."""
    _pinned(world, max_age=60 * 86400, backups=1, days=0)
    world.lose_key(1)
    world.revoke(compromised=True)
    world.kill_after = 12
    world.run()
    world.ask(when_safe=False, compromised=False, force=True)
    world.renew()
    world.reload()


#: By their names.
NAMED: dict[str, Callable[[OneSite], None]] = {
    history.__name__: history
    for history in (
        an_app_is_used_for_longer_than_was_announced,
        a_backup_that_was_never_published_is_forced,
    )
}


# What finds a broken rule


def two_renewals(world: OneSite) -> None:
    """The backup that the first renewal stages is not known to those who came before."""
    _pinned(world, max_age=3600)
    world.renew()
    world.renew()


def a_key_older_than_its_pin(world: OneSite) -> None:
    """Apache loads the pin of a backup two days after its file was made."""
    _pinned(world, max_age=86400)
    world.reload_works = False
    world.chosen = replace(world.chosen, backup_keys=2)
    world.run()
    world.passes(2 * DAY)
    world.reload_works = True
    world.renew()
    world.renew()


def a_shorter_max_age(world: OneSite) -> None:
    """What was served before still binds for as long as its own max-age."""
    _pinned(world, max_age=SIXTY_DAYS)
    world.renew()
    _pinned(world, max_age=0)
    world.renew()


def a_failed_reload(world: OneSite) -> None:
    """What was served goes on binding while Apache cannot be reloaded."""
    _pinned(world, max_age=86400)
    world.reload_works = False
    world.renew()
    world.passes(2 * DAY)
    world.ask(when_safe=True, compromised=False, force=False)
    world.reload_works = True
    world.renew()


def an_app_with_older_pins(world: OneSite) -> None:
    """An app carries pins for longer than any header binds."""
    _pinned(world, max_age=0)
    world.release(days=20)
    world.renew()
    world.renew()


def every_record_is_lost(world: OneSite) -> None:
    """Keyring file and shadow are lost; what was served before is unknown."""
    _pinned(world, max_age=SIXTY_DAYS)
    world.renew()
    world.lose_file(shadow=True)
    world.renew()


def a_clock_that_was_ahead(world: OneSite) -> None:
    """A run at a wrong time does not let what was served run out."""
    _pinned(world, max_age=SIXTY_DAYS)
    world.renew()
    world.set_back = -500 * DAY
    world.run()
    world.set_back = timedelta(0)
    world.renew()


def an_older_file_is_put_back(world: OneSite) -> None:
    """The file of before a longer max-age comes back, and says that less binds."""
    _pinned(world, max_age=3600)
    world.back_up()
    _pinned(world, max_age=SIXTY_DAYS)
    world.put_back()
    world.renew()
    world.passes(2 * HOUR)
    world.renew()


def a_key_is_compromised_by_others(world: OneSite) -> None:
    """The CA says so while no backup is safe."""
    _pinned(world, max_age=3600)
    world.renew()
    world.answer = revocation.Answer(True, "keyCompromise")
    world.renew()


def a_safe_rollover(world: OneSite) -> None:
    """Everybody knows the backup, and the key is due."""
    _pinned(world, max_age=3600)
    world.renew()


# What finds a broken rule of sharing


def _drawn(machine: ManySites, lineage: str, keyring: str, *, renewed: bool = False) -> None:
    machine.settings.setdefault(keyring, {"rollover-days": "0"})
    machine.sites[lineage].keyring = keyring
    machine.run([lineage], {lineage} if renewed else set())


def a_lineage_moves(machine: ManySites) -> None:
    """Its clients hold the pins of the keyring that it comes from, which lack the key of the others."""
    _drawn(machine, BARE, "two")
    _drawn(machine, WWW, "one")
    _drawn(machine, WWW, "two")
    machine.confirm("two")
    machine.new("another", WWW, "ecdsa", "two", expressly=False)


def a_second_keyring_for_a_host(machine: ManySites) -> None:
    """A new certificate for a pinned host is told another keyring."""
    _drawn(machine, WWW, "one")
    machine.new("another", WWW, "ecdsa", "two", expressly=False)
