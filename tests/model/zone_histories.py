"""Histories of a zone: what may happen in them, in any order. A seed chooses; the same one, the same history.

A failing history is made shorter: each event that is not needed to fail is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from lagging_zone import (
    CA,
    FOREIGN,
    NOTHING,
    OTHER_CA,
    TTL,
    WHOLE,
    Scene,
    Shown,
)
from zone_world import ZoneWorld

from certbot_pinkeep.core.tlsa import record_of

#: How many events a history has at most.
MOST = 25
SPANS = (0.01, 0.05, 0.3, 0.6, 1.1, 2, 3.2, 5, 8, 12, 23, 25, 30, 80, 200)
TTLS = (300, TTL, TTL, 4 * TTL, 10 * TTL, 24 * TTL)
#: An event: the method of the world, or of this module, and what it is given.
Event = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class History:
    """A world, and what happens in it."""

    scene: Scene
    events: tuple[Event, ...]

    def __str__(self) -> str:
        return "\n".join([repr(self.scene), *(f"    {one}," for one in self.events)])


def _delete_one(world: ZoneWorld, port: int, number: int) -> None:
    records = sorted(world.zone[world.ports[port % len(world.ports)]].records)
    if records:
        world.by_hand(port, frozenset(records) - {records[number % len(records)]})


def _add(world: ZoneWorld, port: int, what: str, ttl: int) -> None:
    added = {
        "foreign": {record_of(FOREIGN)},
        "ca": {CA},
        "other ca": {OTHER_CA},
        "whole": {WHOLE},
        "ours": {record_of(key.pin) for key in world.state.keyring.keys},
        "next": {
            record_of(key.pin) for key in world.state.keyring.keys if key.role != "compromised"
        },
    }[what]
    records = world.zone[world.ports[port % len(world.ports)]].records
    world.by_hand(port, records | added, ttl)


def _replace(world: ZoneWorld, port: int, what: str, ttl: int) -> None:
    live = frozenset(map(record_of, world.live.values()))
    records = {
        "nothing": NOTHING,
        "live": live,
        "foreign": live | {record_of(FOREIGN)},
        "ca": frozenset({CA}),
    }[what]
    world.by_hand(port, records, ttl)


def _updates(world: ZoneWorld, how: str) -> None:
    world.updates = how


def _killed(world: ZoneWorld, steps: int, renews: bool) -> None:
    world.kill_after = steps
    if renews:
        world.renew(0)
    else:
        world.run()


#: What this module adds to the world's own methods.
_MORE: dict[str, Callable[..., None]] = {
    "delete_one": _delete_one,
    "add": _add,
    "replace": _replace,
    "updates": _updates,
    "killed": _killed,
}

Choose = Callable[[Random], tuple[Any, ...]]


def _any(*choices: object) -> Choose:
    return lambda random: tuple(
        random.choice(one) if isinstance(one, tuple) else one for one in choices
    )


_PORT, _ADDRESS, _SERVER, _EITHER = (0, 1, 2), (0, 1), (0, 1, 2), (True, False)

#: What an admin, a zone and certbot do day by day: how often, and with what.
CALM: dict[str, tuple[float, Choose]] = {
    "passes": (6, _any(SPANS)),
    "run": (5, _any()),
    "renew": (3, _any((0, 1), _EITHER)),
    "renew_early": (4, _any((0, 1))),
    "ask": (2, _any()),
    "transfer": (5, _any(_SERVER, (0, 1))),
    "reload": (3, _any(_PORT, _ADDRESS)),
    "enter_told": (3, _any()),
}
#: Name servers that lag, go back and do not answer.
SERVERS: dict[str, tuple[float, Choose]] = {
    "lags": (2, _any(_SERVER, _EITHER)),
    "reach": (2, _any(_SERVER, _EITHER)),
    "goes_back": (3, _any(_SERVER, (0, 1, 2), _EITHER)),
}
#: Ports that are reloaded late or never, and serve what they should not.
LATE: dict[str, tuple[float, Choose]] = {
    "loses_reloads": (3, _any(_PORT, _ADDRESS, _EITHER)),
    "reach_port": (2, _any(_PORT, _ADDRESS, _EITHER)),
    "serve_foreign": (1, _any(_PORT, _ADDRESS)),
    "list_ports": (1, _any(_PORT, (0, 1, 3))),
    "leave": (0.7, _any(_EITHER)),
}
#: People who change the zone by hand.
HANDS: dict[str, tuple[float, Choose]] = {
    "delete_one": (2, _any(_PORT, (0, 1, 2, 3))),
    "add": (2, _any(_PORT, ("foreign", "ca", "other ca", "whole", "ours", "next"), TTLS)),
    "replace": (2, _any(_PORT, ("nothing", "live", "foreign", "ca"), TTLS)),
    "change_ttl": (2, _any(_PORT, TTLS)),
}
#: Whatever goes wrong with the machine.
TROUBLE: dict[str, tuple[float, Choose]] = {
    "updates": (1, _any(("refused", "done"))),
    "killed": (3, _any((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), _EITHER)),
    "drop_backup": (0.5, _any()),
    "revoke": (0.5, _any((0, 1), _EITHER)),
    "lose_file": (0.5, _any()),
}
CLOCK: dict[str, tuple[float, Choose]] = {
    "clock_goes_back": (1.5, _any((0.5, 2, 50))),
    "clock_is_right": (2, _any()),
    "accept_clock": (1, _any()),
    "runs_ahead": (1, _any((2, 50))),
}
#: How a world may be made, by what is chosen of it.
SCENES: dict[str, tuple[Any, ...]] = {
    "ports": (1, 1, 2, 3),
    "addresses": (1, 1, 2),
    "processes": ((1,), (1, 1), (1, 1), (1, 2), (2, 1), (1, 1, 1)),
    "primary_is_asked": (True, True, False),
    "notified": _EITHER,
    "writes": (True, True, False),
    "forwarder": _EITHER,
    "types": (("ecdsa",), ("ecdsa",), ("ecdsa", "rsa")),
    "backups": (1, 2, 2),
    "ttl": (300, TTL, TTL, 4 * TTL, 24 * TTL),
    "rollover_days": (0, 0, 5, None),
    "before": tuple(
        Shown(records, ttl)
        for records in (
            *(NOTHING, NOTHING),
            frozenset({CA}),
            frozenset({record_of(FOREIGN), CA}),
        )
        for ttl in TTLS
    ),
    "foreign_ports": ((), (), (), (0,), (1,)),
}
_WRITES: dict[str, tuple[Any, ...]] = {"writes": (True,), "foreign_ports": ((),), "ports": (1, 2)}


def _some(*names: str) -> dict[str, tuple[float, Choose]]:
    every = {**CALM, **SERVERS, **LATE, **HANDS, **TROUBLE, **CLOCK}
    return {name: every[name] for name in names}


class Kind(NamedTuple):
    """What may happen in a history, and in which worlds.

    :ivar scenes: what is chosen otherwise than mostly
    """

    events: Mapping[str, tuple[float, Choose]]
    scenes: Mapping[str, tuple[Any, ...]] = {}


#: By their names: the kinds of histories.
KINDS: dict[str, Kind] = {
    "calm": Kind(CALM),
    "servers": Kind({**CALM, **SERVERS}),
    "late": Kind({**CALM, **LATE}),
    "hands": Kind({**CALM, **HANDS}),
    "trouble": Kind({**CALM, **HANDS, **TROUBLE}),
    "clock": Kind({**CALM, **HANDS, **CLOCK}),
    "everything": Kind({**CALM, **SERVERS, **LATE, **HANDS, **TROUBLE, **CLOCK}),
}
#: Those that come to one thing sooner.
NARROW: dict[str, Kind] = {
    "processes": Kind(
        _some("run", "renew_early", "transfer"),
        {**_WRITES, "processes": ((1, 2), (2, 1), (1, 1)), "notified": (False,)},
    ),
    "silent": Kind(
        _some("renew_early", "reach", "replace", "transfer"),
        {**_WRITES, "processes": ((1, 1),), "primary_is_asked": (True,)},
    ),
    "killed": Kind(
        {
            **_some("passes", "renew_early", "killed", "drop_backup"),
            "replace": (4, _any(_PORT, "nothing", TTLS)),
        },
        _WRITES,
    ),
    "unseen ports": Kind(
        _some("run", "reach_port", "serve_foreign", "replace"),
        {**_WRITES, "addresses": (1,), "ports": (1,)},
    ),
    "set back": Kind(
        {
            **_some("run", "renew_early", "clock_is_right"),
            "clock_goes_back": (2, _any((2, 50))),
            "passes": (3, _any((5, 12, 30))),
            "replace": (2, _any(_PORT, "live", (10 * TTL,))),
        },
        {**_WRITES, "primary_is_asked": (True,), "processes": ((1,),)},
    ),
}


def history(name: str, seed: int) -> History:
    """The history of this kind and seed."""
    random, kind = Random(f"{name} {seed}"), (KINDS | NARROW)[name]
    scene = {what: random.choice(choices) for what, choices in {**SCENES, **kind.scenes}.items()}
    weights = [weight for weight, _ in kind.events.values()]
    chosen = random.choices(tuple(kind.events), weights, k=random.randint(8, MOST))
    events = tuple((event, kind.events[event][1](random)) for event in chosen)
    return History(Scene(**scene), events)


def play(told: History, world: type[ZoneWorld] = ZoneWorld, *, heals: bool = True) -> ZoneWorld:
    """Let a history happen.

    :param heals: whether all that went wrong is mended in the end, and a rollover must come
    :raises AssertionError: if somebody is locked out
    """
    made = world(told.scene)
    made.run()
    for name, given in told.events:
        if name in _MORE:
            _MORE[name](made, *given)
        else:
            getattr(made, name)(*given)
    if heals:
        made.must_roll_over()
    return made


def shorter(told: History, fails: Callable[[History], bool]) -> History:
    """The same without the events that it needs not to fail."""
    found = told
    while True:
        for place in reversed(range(len(found.events))):
            events = found.events[:place] + found.events[place + 1 :]
            tried = History(found.scene, events)
            if fails(tried):
                found = tried
                break
        else:
            return found
