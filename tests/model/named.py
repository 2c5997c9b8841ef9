"""The histories that a run once found to lock somebody out, each by a name that says what happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from world import World

DAY = timedelta(days=1)


def _pinned(world: World, max_age: int, backups: int, days: int | None) -> None:
    world.options = replace(world.options, max_age=max_age, backup_keys=backups, rollover_days=days)
    world.run()


def _forced_over_an_app(world: World) -> None:
    _pinned(world, max_age=0, backups=1, days=0)
    world.release(days=20)
    world.renew()
    world.ask(when_safe=False, compromised=False, force=True)
    world.renew()


def an_app_is_used_for_longer_than_was_announced(world: World) -> None:
    """A rollover was forced over an app, which then is used for longer."""
    _forced_over_an_app(world)
    world.extend(0, days=400)
    world.passes(30 * DAY)
    world.run()


def a_backup_that_was_never_published_is_forced(world: World) -> None:
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
NAMED: dict[str, Callable[[World], None]] = {
    history.__name__: history
    for history in (
        an_app_is_used_for_longer_than_was_announced,
        a_backup_that_was_never_published_is_forced,
    )
}
