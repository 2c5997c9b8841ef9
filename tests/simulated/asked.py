"""A site at which admins ask for rollovers on day 20."""

from __future__ import annotations

from pathlib import Path

from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow import requests
from certbot_pinkeep.workflow.publish import Report
from certbot_pinkeep.workflow.requests import Asked
from simulated.keeper import Keeper
from simulated.values import DAY, NOW, Site

AT = NOW + 20 * DAY
SAFE_FROM = "2026-05-10T12:00:00Z"  # day 70


class World(Site):
    """A site with a work dir, seen by a new keeper at each look."""

    def __init__(self, root: Path, name: str = "example.com") -> None:
        super().__init__(root, name)
        self.backups = 1
        self.by_hand = False

    def keeper_(self) -> Keeper:
        """A new keeper, as each process has."""
        return Keeper(str(self.config), str(self.work))

    def run(self, days: int, max_age: int = 60) -> Report:
        """Bring everything into step."""
        chosen = self.options(
            backup_keys=self.backups,
            max_age=max_age * 86400,
            reload=() if self.by_hand else ("/bin/true",),
            configtest=(),
        )
        return self.keeper_().keep(self.look(), chosen, NOW + days * DAY)

    def loaded(self) -> State:
        """What the keyring file says."""
        state = self.keeper_().store.load(self.name)
        assert state is not None
        return state

    def pins(self) -> list[str]:
        """All keys in the order in which they are used."""
        return [key.pin for key in self.loaded().keyring.keys]

    def key_of(self, pin: str) -> Key:
        """A key of the keyring."""
        key = self.loaded().keyring.key(pin)
        assert key is not None
        return key

    def ask(self, when_safe: bool = False, compromised: bool = False, force: bool = False) -> Asked:
        """Ask for a rollover on day 20."""
        return requests.ask(
            self.keeper_(), self.name, AT, when_safe=when_safe, compromised=compromised, force=force
        )

    def next_pin(self, days: int) -> str:
        """The key that a renewal is issued for."""
        at = NOW + days * DAY
        return self.keeper_().handover(self.look(), self.name, self.names, at).pin

    def confirm(self, days: int) -> str:
        """The admin says that Apache has loaded what is published."""
        return requests.confirm(self.keeper_(), self.name, NOW + days * DAY)


def make_unsafe(world: World) -> None:
    """Roll over on day 10: the new backup is safe from day 70 on."""
    world.issue(world.key_pem(world.published().pins[1]))
    world.run(10)


def lose_backup(world: World) -> None:
    """The only backup's file is lost."""
    path = world.key_of(world.published().pins[1]).path
    assert path is not None
    (world.config / path).unlink()
