"""The tests of the test: each rule that G2, G3 and G8 follow from, left out, or put as the peers have it.

A named history finds each of them. With ``--histories`` those that Hypothesis chooses find them, too:
how many are tried until then is chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import named
import pytest
from histories import Calm, Carried, Lost, LostForGood, Mistimed, Revoked, run
from hypothesis import Phase
from hypothesis.stateful import RuleBasedStateMachine
from many_sites import ManySites
from one_site import OneSite
from shared_histories import Shared

from certbot_pinkeep.core import rollover
from certbot_pinkeep.core.errors import NotSafe
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.rollover import Safety
from certbot_pinkeep.storage import store
from certbot_pinkeep.workflow import move
from simulated.world import BEGIN

#: Histories: no rule has ever taken more.
ENOUGH = 20000

Hosts = tuple[str, ...] | None

_safety = rollover.safety


def without_guard(key: Key, ledger: Ledger, now: datetime, hosts: Hosts = None) -> Safety:
    """Take every backup for safe at once."""
    return Safety(key.created)


def by_age_of_key(key: Key, ledger: Ledger, now: datetime, hosts: Hosts = None) -> Safety:
    """Take a backup for safe once its file is as old as max-age is long, published or not."""
    since = key.created + ledger.longest_policy()
    return Safety(since, "" if since <= now else "it is too young")


def by_present_max_age(key: Key, ledger: Ledger, now: datetime, hosts: Hosts = None) -> Safety:
    """Let earlier policies bind for as long as today's max-age says."""
    max_age = ledger.current.policy.max_age if ledger.current else 0
    entries = tuple(
        replace(entry, policy=replace(entry.policy, max_age=max_age)) for entry in ledger.entries
    )
    return _safety(key, replace(ledger, entries=entries), now, hosts)


def without_pending(key: Key, ledger: Ledger, now: datetime, hosts: Hosts = None) -> Safety:
    """Take what is pending for not served, and what it replaces for served no more."""
    entries = tuple(
        replace(entry, replaced=entry.replaced or later.recorded)
        for entry, later in pairwise(ledger.entries)
    )
    return _safety(key, replace(ledger, entries=entries + ledger.entries[-1:]), now, hosts)


def without_doubt(key: Key, ledger: Ledger, now: datetime, hosts: Hosts = None) -> Safety:
    """Ignore that a file was lost or put back, and that the clock was set back."""
    latest = max(now, ledger.latest() or now)
    return _safety(key, replace(ledger, uncertain=None), latest, hosts)


def without_releases(key: Key, ledger: Ledger, now: datetime, hosts: Hosts = None) -> Safety:
    """Ignore what apps carry."""
    return _safety(key, replace(ledger, releases=()), now, hosts)


def never(key: Key, ledger: Ledger, now: datetime, hosts: Hosts = None) -> Safety:
    """Take nothing for safe."""
    return Safety(None, "it is not safe")


def _refuse(decision: rollover.Decision) -> bool:
    if decision.due is not None and not decision.rolls_over:
        raise NotSafe("it is not safe")
    return False


def no_shadow(self: store.Store, name: str, own: bytes | None) -> None:
    """Believe a keyring file that is older than its shadow."""


def nothing_is_imported(self: Ledger, other: Ledger, hosts: tuple[str, ...]) -> Ledger:
    """Ignore what another keyring served for a lineage that comes from there."""
    return self


def at_once(*_: object) -> Safety:
    """Switch a lineage to the shared key without asking what its clients hold."""
    return Safety(BEGIN)


def nowhere(*_: object) -> None:
    """Ask no other keyring whether it pins the host."""


class Broken(NamedTuple):
    """A rule that is broken, and what finds it.

    :ivar where: what has the rule, by the name ``name``
    :ivar broken: what is there instead
    :ivar history: a history of ``world`` that finds it
    :ivar kind: the histories that find it sooner or later
    :ivar found: what the failure says
    """

    where: object
    name: str
    broken: object
    history: Callable[[Any], None]
    kind: type[RuleBasedStateMachine]
    found: str = "is held until"
    world: Callable[[Path], Any] = OneSite


RULES = {
    "every backup is safe": Broken(rollover, "safety", without_guard, named.two_renewals, Calm),
    "by the age of the key": Broken(
        rollover, "safety", by_age_of_key, named.a_key_older_than_its_pin, Calm
    ),
    "by the present max-age": Broken(
        rollover, "safety", by_present_max_age, named.a_shorter_max_age, Calm
    ),
    "without what is pending": Broken(
        rollover, "safety", without_pending, named.a_failed_reload, Calm
    ),
    "without releases": Broken(
        rollover, "safety", without_releases, named.an_app_with_older_pins, Carried
    ),
    "without doubt about a lost record": Broken(
        rollover, "safety", without_doubt, named.every_record_is_lost, LostForGood
    ),
    "without doubt about the clock": Broken(
        rollover, "safety", without_doubt, named.a_clock_that_was_ahead, Mistimed
    ),
    "without the shadow": Broken(
        store.Store, "_copy", no_shadow, named.an_older_file_is_put_back, Lost
    ),
    "too much caution": Broken(
        rollover, "safety", never, named.a_safe_rollover, Calm, "is left out"
    ),
    "a renewal refused": Broken(
        *(rollover.Decision, "held", property(_refuse), named.two_renewals, Calm),
        "the renewal is lost",
    ),
    "compromised as merely revoked": Broken(
        *(Keyring, "with_compromised", Keyring.with_revoked),
        *(named.a_key_is_compromised_by_others, Revoked, "is handed over"),
    ),
    "nothing is imported": Broken(
        *(Ledger, "with_imported", nothing_is_imported, named.a_lineage_moves, Shared),
        world=ManySites,
    ),
    "a lineage follows at once": Broken(
        *(rollover, "_ready_to_follow", at_once, named.a_lineage_moves, Shared),
        world=ManySites,
    ),
    "no other keyring is asked": Broken(
        *(move, "pinned_host", nowhere, named.a_second_keyring_for_a_host, Shared),
        *("the header lacks the key of another", ManySites),
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_g2_g3_g8_a_broken_rule_is_found(
    rule: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The history holds with the rule, and fails without it."""
    broken = RULES[rule]
    broken.history(broken.world(tmp_path / "sound"))
    monkeypatch.setattr(broken.where, broken.name, broken.broken)
    with pytest.raises(AssertionError, match=broken.found):
        broken.history(broken.world(tmp_path / "broken"))


@pytest.mark.search
@pytest.mark.parametrize("rule", RULES)
def test_g2_g3_g8_histories_find_a_broken_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that Hypothesis chooses come to what breaks the rule."""
    broken = RULES[rule]
    monkeypatch.setattr(broken.where, broken.name, broken.broken)
    with pytest.raises(AssertionError):
        run(ENOUGH, broken.kind, [Phase.generate])
