"""Histories of one site: what may happen in them, in any order. Hypothesis chooses."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from one_site import OneSite

from certbot_pinkeep.adapters import revocation

HOUR, DAY = 3600, 86400
MAX_AGES = st.sampled_from([0, HOUR, DAY, 10 * DAY, 60 * DAY, 400 * DAY])
DAYS = st.sampled_from([0, 0, 30, 730, None])
SPANS = st.sampled_from([0.0, 0.01, 0.5, 1, 5, 9, 11, 30, 59, 61, 100, 399, 401, 800])


class Calm(RuleBasedStateMachine):
    """What an admin and a CA do day by day."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pinkeep-world-"))
        self.world = OneSite(self.folder)

    def teardown(self) -> None:
        """Forget this world."""
        shutil.rmtree(self.folder)

    @initialize(max_age=MAX_AGES, backups=st.integers(1, 3), days=DAYS)
    def the_site_is_pinned(self, max_age: int, backups: int, days: int | None) -> None:
        self.world.chosen = replace(
            self.world.chosen, max_age=max_age, backup_keys=backups, rollover_days=days
        )
        self.world.run()

    @rule(days=SPANS)
    def time_passes(self, days: float) -> None:
        self.world.passes(timedelta(days=days))

    @rule()
    def certbot_runs(self) -> None:
        self.world.run()

    @rule()
    def certbot_renews(self) -> None:
        self.world.renew()

    @rule(
        max_age=MAX_AGES,
        backups=st.integers(1, 3),
        report_only=st.sampled_from([False, False, False, True]),
        subdomains=st.booleans(),
        days=DAYS,
    )
    def the_admin_changes_options(
        self, max_age: int, backups: int, report_only: bool, subdomains: bool, days: int | None
    ) -> None:
        self.world.chosen = replace(
            self.world.chosen,
            max_age=max_age,
            backup_keys=backups,
            report_only=report_only,
            include_subdomains=subdomains,
            rollover_days=days,
        )
        self.world.run()

    @rule(when_safe=st.booleans(), compromised=st.booleans(), renews=st.booleans())
    def the_admin_asks_for_a_rollover(
        self, when_safe: bool, compromised: bool, renews: bool
    ) -> None:
        self.world.ask(when_safe, compromised, False)
        if renews:
            self.world.renew()


class Revoked(Calm):
    """Certificates are revoked, keys become known to others, rollovers are forced."""

    @rule(compromised=st.booleans())
    def the_admin_forces_a_rollover_and_renews(self, compromised: bool) -> None:
        self.world.ask(False, compromised, True)
        self.world.renew()

    @rule(compromised=st.booleans())
    def the_certificate_is_revoked(self, compromised: bool) -> None:
        self.world.revoke(compromised)

    @rule(reason=st.sampled_from(["superseded", "keyCompromise"]))
    def the_certificate_is_revoked_by_others(self, reason: str) -> None:
        self.world.answer = revocation.Answer(True, reason)


class Carried(Calm):
    """Apps carry pins for long; backups are kept offline, imported and dropped."""

    @precondition(lambda self: self.world.adopted and len(self.world.apps) < 3)
    @rule(days=st.sampled_from([20, 100, 400]))
    def an_app_is_built(self, days: int) -> None:
        self.world.release(days)

    @precondition(lambda self: self.world.apps)
    @rule(number=st.integers(0, 2))
    def an_app_is_not_used_any_more(self, number: int) -> None:
        self.world.withdraw(number)

    @precondition(lambda self: self.world.apps)
    @rule(number=st.integers(0, 2), days=st.sampled_from([20, 400, 1000]))
    def an_app_is_used_for_longer(self, number: int, days: int) -> None:
        self.world.extend(number, days)

    @precondition(lambda self: self.world.adopted and len(self.world.offline) < 2)
    @rule()
    def the_admin_adds_an_offline_backup(self) -> None:
        self.world.add_offline()

    @rule()
    def the_admin_brings_its_private_key(self) -> None:
        self.world.bring()

    @precondition(lambda self: self.world.adopted)
    @rule(number=st.integers(0, 5))
    def the_admin_drops_a_backup(self, number: int) -> None:
        self.world.drop(number)


class Stuck(Calm):
    """Apache is reloaded late or never."""

    @rule(works=st.booleans(), renews=st.booleans())
    def the_reload_command_breaks_or_is_mended(self, works: bool, renews: bool) -> None:
        self.world.reload_works = works
        if renews:
            self.world.renew()


class Late(Stuck):
    """It is reloaded by somebody else, or by hand, as well; pinning is left."""

    @rule(by_hand=st.booleans())
    def the_admin_reloads_by_hand_or_not(self, by_hand: bool) -> None:
        self.world.by_hand = by_hand

    @precondition(lambda self: self.world.foreign is None)
    @rule()
    def something_reloads_apache(self) -> None:
        self.world.reload()

    @precondition(lambda self: self.world.foreign is None and self.world.adopted)
    @rule()
    def the_admin_reloads_and_confirms(self) -> None:
        self.world.confirm()

    @rule(undo=st.booleans())
    def the_admin_unpins_or_does_not_after_all(self, undo: bool) -> None:
        self.world.unpin(undo)


class Killed(Calm):
    """The power goes at any moment."""

    @rule(steps=st.integers(0, 60), renews=st.booleans())
    def certbot_is_killed(self, steps: int, renews: bool) -> None:
        self.world.kill_after = steps
        if renews:
            self.world.renew()
        else:
            self.world.run()

    @rule(renews=st.booleans())
    def certbot_is_killed_after_the_reload(self, renews: bool) -> None:
        self.world.kill_in_reload = True
        if renews:
            self.world.renew()
        else:
            self.world.run()


class Lost(Calm):
    """Files are lost, and older ones are put back."""

    @rule()
    def the_admin_copies_the_config_dir(self) -> None:
        self.world.back_up()

    @precondition(lambda self: self.world.saved.exists())
    @rule()
    def the_admin_puts_the_copy_back(self) -> None:
        self.world.put_back()

    @rule()
    def the_keyring_file_is_lost(self) -> None:
        self.world.lose_file(shadow=False)

    @rule()
    def the_keys_are_away_while_certbot_runs(self) -> None:
        self.world.without_keys()

    @rule(number=st.integers(0, 20))
    def the_file_of_a_key_is_lost(self, number: int) -> None:
        self.world.lose_key(number)


class LostForGood(Lost):
    """Nothing is left that could tell what was served. Not among all of it: with a forced rollover,
    or Apache reloaded by hand years later, nobody could say who is locked out."""

    # Neither a longer max-age nor a wrong clock can be known of without any record.
    @precondition(lambda self: not self.world.long_held() and not self.world.set_back)
    @rule()
    def the_keyring_file_is_lost_with_all_copies(self) -> None:
        self.world.lose_file(shadow=True)


class Mistimed(Calm):
    """The clock runs wrong, and right again."""

    @precondition(lambda self: not self.world.set_back)
    @rule(days=st.sampled_from([2, 50, 500]))
    def the_clock_is_set_back(self, days: int) -> None:
        # To before a moment that was seen: less than that cannot be told from time standing still.
        self.world.run()
        self.world.set_back = timedelta(days=days)
        self.world.set_back_at = self.world.time

    @precondition(lambda self: self.world.set_back)
    @rule()
    def the_clock_is_set_right(self) -> None:
        self.world.set_back = timedelta(0)

    @precondition(lambda self: not self.world.set_back)
    @rule(days=st.sampled_from([2, 50, 500]))
    def certbot_runs_while_the_clock_is_ahead(self, days: int) -> None:
        self.world.set_back = -timedelta(days=days)
        self.world.run()
        self.world.set_back = timedelta(0)

    @precondition(lambda self: not self.world.set_back)
    @rule()
    def the_admin_says_that_the_clock_is_right(self) -> None:
        self.world.confirm_clock()


class Histories(Revoked, Carried, Late, Killed, Lost, Mistimed):
    """All of it, in any order."""


def run(
    histories: int,
    kind: type[RuleBasedStateMachine] = Histories,
    phases: Sequence[Phase] = tuple(Phase),
    seed: object = 0,
) -> None:
    """Try as many histories of a kind; the same ones for the same seed."""
    run_state_machine_as_test(
        seeded(f"{kind.__name__} {seed}")(type(kind.__name__, (kind,), {})),
        settings=settings(
            max_examples=histories,
            stateful_step_count=30,
            deadline=None,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
