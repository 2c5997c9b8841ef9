"""Lineages are enrolled: what is live, what the admin chose, which keys are staged, is recorded.

The rules:

* Everything is checked before anything is written: options, folders, the keyring file, the live
  key (G10, G8).
* Keys and CSRs are saved first, then the keyring file; what the keyring publishes follows, once for
  all lineages that were enrolled (G5).
* The options belong to the keyring, whichever lineage they were given with last.
* Each step is taken only if what is there differs from what should be: a second run changes
  nothing, and a run after a kill goes on where the first one stopped.
* A lineage joins with the key that it has: its hosts may serve that already, so it is pinned at once.
  If clients hold pins without it, that is told, and its next renewal is for a key that they accept.
* If a lineage of the keyring comes with a key that clients do not accept, nothing is recorded (G2).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certbot_pinkeep.adapters import renewal_conf
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import snippets
from certbot_pinkeep.core import explain_hosts, membership, options, rollover, times
from certbot_pinkeep.core.errors import OtherKeyring, PinkeepError, Unpinned
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.workflow import earlier_headers, move, stage
from certbot_pinkeep.workflow.accepted import (
    draws,
    held_for,
    is_accepted,
    member_of,
    unpinned_error,
)
from certbot_pinkeep.workflow.move import Claim
from certbot_pinkeep.workflow.publish import Enrolled
from certbot_pinkeep.workflow.stage import paths_of
from certbot_pinkeep.workflow.workspace import Workspace

logger = logging.getLogger(__name__)

#: Why it is uncertain what was served, as a part of a sentence.
_LOST = "the record was lost"


def enrol(
    workspace: Workspace,
    live: Live,
    chosen: Options,
    now: datetime,
    *,
    remember: Callable[[], None] | None = None,
) -> Enrolled:
    """Record what is live, in the keyring that it is to draw on; publishing that comes next.

    :param remember: makes sure that the lineage's later renewals keep its key; called before
        anything is published
    :raises PinkeepError: with what is wrong and what to do
    :raises OSError: if the disk does not take what has to be recorded
    """
    server = snippets.server_of(workspace.store, chosen, live.names)
    workspace.folders.check()
    snippets.check_exposed(workspace.store, chosen.keyring, server)
    atomic.check_folder(workspace.store.folder, forbidden=0o022, advice="0755")
    try:
        one = _Enrolment(workspace, live, chosen, now, server.snippet)
        return one.record(remember)
    except OtherKeyring:
        with suppress(PinkeepError, OSError):  # it is said that its key stays
            renewal_conf.keep_key(workspace.config_dir, live.name)
        raise


@dataclass(frozen=True)
class _Enrolment:
    """A lineage on its way into a keyring."""

    workspace: Workspace
    live: Live
    chosen: Options
    now: datetime
    snippet: str

    @property
    def _claim(self) -> Claim:
        live = self.live
        return Claim(self.chosen.keyring, live.name, live.names, live.pin)

    def record(self, remember: Callable[[], None] | None) -> Enrolled:
        """Record all of it."""
        workspace, live, chosen, now = self.workspace, self.live, self.chosen, self.now
        store = workspace.store
        # Without the lock: it takes time.
        found = earlier_headers.look_before(workspace, live.names, chosen.keyring, now)
        with store.locked():
            self._sweep()
            old = workspace.load_state(chosen.keyring, now)
            others = old.keyring.hosts if old else ()
            options.check_report_host(
                chosen.report_uri, others, subdomains=chosen.include_subdomains
            )
            store.tick(now)
            origin = move.origin(workspace, live.name, chosen.keyring)
            state = replace(self._enrolled(old, origin), settings=dict(chosen.settings))
            state, csr_paths = self._staged(state)
            state, told = earlier_headers.with_sent(workspace, state, live, found, now, before=old)
            # First: a run that is killed must not leave the others with options that are no more.
            self._take_out_options(old, state)
            if old is not None and old.settings:  # else the renewal file has the only copy
                renewal_conf.take_out(workspace.config_dir, live.name)
            if state != old:
                state = store.save(state)
            renewal_conf.take_out(workspace.config_dir, live.name)
            store.mend(chosen.keyring)
            move.note_left(workspace, live, state, origin)
            if remember is not None:
                remember()
        return Enrolled(
            live=live,
            chosen=chosen,
            csr_paths=tuple(csr_paths),
            adopted=old is None,
            joined=old is None or not draws(old, live.name),
            moved_from=origin,
            rolled_over=_rolled_over(old, live),
            told=told,
        )

    def _enrolled(self, old: State | None, origin: str | None) -> State:
        """Return the state with the lineage.

        :param origin: the keyring that it comes from
        """
        if old is None:
            return self._adopted(origin)
        old = _out_of_doubt(old, self.chosen, self.now)
        return self._as_live(old) if draws(old, self.live.name) else self._joined(old, origin)

    def _adopted(self, origin: str | None) -> State:
        """Return a new keyring for a lineage that is seen for the first time."""
        workspace, live, chosen, now = self.workspace, self.live, self.chosen, self.now
        policy = snippets.published(self.snippet)
        lost = workspace.was_pinned(live.name)
        if lost or policy is not None:
            workspace.store.check_all()  # a damaged file may be the one of this lineage
        if policy is not None and live.pin not in policy.pins:
            mend = (
                "To go back to a pinned key, restore the keyring file and the keys from a backup of "
                f"{workspace.config_dir}. If they are lost for good, clients are locked out until their "
                f"pins run out. To pin anew then, move {self.snippet} away.\n"
                "Run: certbot renew --installer pinkeep"
            )
            raise Unpinned(live.name, live.pin, chosen.keyring, held_for(policy.max_age), mend)
        move.check_claim(workspace, self._claim, now)
        ledger = self._imported_history(Ledger(), origin, lost=lost)
        keys = [workspace.adopted_key(live)]
        if policy is not None:
            # The keyring file is lost, and with it what was served before (G8). What the snippet
            # lists was served until now.
            keys += self._found_again(policy)
            until = now + max(_longest(chosen), policy.binding)
            ledger = ledger.with_uncertainty(_LOST, until)
            ledger = ledger.record(policy, now)
            logger.warning(
                "The record of the keyring %s was lost, and with it the releases that carry its pins. Record "
                "each release again, with the pins that it carries.\nRun: certbot-pinkeep release %s add "
                "--channel CHANNEL --label LABEL --until DATE --pin PIN --pin PIN",
                chosen.keyring,
                chosen.keyring,
            )
        keyring = membership.with_member(Keyring(chosen.keyring, keys=tuple(keys)), member_of(live))
        if origin is not None and workspace.store.is_compromised(live.pin):
            keyring = keyring.with_compromised(live.pin)
        return State(keyring, ledger)

    def _joined(self, old: State, origin: str | None) -> State:
        """Return the state with a lineage that is new to the keyring."""
        workspace, live, now = self.workspace, self.live, self.now
        move.check_claim(workspace, self._claim, now)
        keyring = old.keyring
        key = keyring.key(live.pin)
        # If the keyring has its key, and pins its hosts, its record is not lost.
        pinned_here = key and move.pinned_host(workspace, old, live.names, now)
        lost = not pinned_here and workspace.was_pinned(live.name)
        state = replace(old, ledger=self._imported_history(old.ledger, origin, lost=lost))
        if not is_accepted(state, live, now):
            self._tell_refused(state)
        if key is None or not workspace.folders.holds(key):
            key = workspace.adopted_key(live, paths_of(keyring))
            keyring = keyring.with_file(live.pin, key.path or "")
        keyring = membership.with_member(membership.with_joined(keyring, key), member_of(live))
        if workspace.store.is_compromised(live.pin):
            keyring = keyring.with_compromised(live.pin)  # where it comes from
        return replace(state, keyring=keyring)

    def _as_live(self, old: State) -> State:
        """Return the state with a lineage of the keyring as it is now."""
        workspace, live, now = self.workspace, self.live, self.now
        keyring = old.keyring
        known = keyring.member(live.name)
        if known is not None and set(live.names) - set(known.hosts):
            move.check_claim(workspace, self._claim, now)
        if not is_accepted(old, live, now):
            if old.ledger.current is None:
                # A run was killed before it published anything, and the lineage went on without pinkeep.
                keyring = membership.with_joined(
                    keyring, workspace.adopted_key(live, paths_of(keyring))
                )
            elif old.unpinned(now):
                keyring = keyring.with_primary(workspace.adopted_key(live))
            else:
                raise unpinned_error(workspace, old, live)
        member = member_of(live, known.loaded if known else None)
        return replace(old, keyring=membership.with_member(keyring, member))

    def _imported_history(self, ledger: Ledger, origin: str | None, *, lost: bool) -> Ledger:
        """Return the ledger with what clients may hold for a lineage that is new to the keyring.

        :param lost: whether a record of it was lost
        :raises DamagedState: if that cannot be told because of a keyring file
        """
        if origin is not None:
            state = self.workspace.load_state(origin, self.now)
            assert state is not None  # it has the lineage
            known = _out_of_doubt(state, self.chosen, self.now)
            return ledger.with_imported(known.ledger, self.live.names)
        if lost:
            # Its keyring file is lost, and with it what was served before (G8).
            self.workspace.store.check_all()
            return ledger.with_uncertainty(_LOST, self.now + _longest(self.chosen))
        return ledger

    def _found_again(self, policy: Policy) -> list[Key]:
        """Return the keys of a snippet whose keyring file is lost, also those of other lineages: clients
        hold all of them, so none makes room for a new one."""
        live, folders = self.live, self.workspace.folders
        found: list[Key] = []
        for pin in policy.pins:
            saved = folders.find_key(pin) if pin != live.pin else None
            if saved is None:
                continue
            same = [key for key in found if key.kind.key_type == saved.kind.key_type]
            kept = len(same) >= self.chosen.backup_keys
            found.append(Key(pin, saved.kind, "backup", saved.path, self.now, added=kept))
        lost = set(policy.pins) - {live.pin, *(key.pin for key in found)}
        if lost:
            logger.error(
                "The snippet of %s has pins whose keys are not in %s: %s. pinkeep pins them no more. If one "
                "of them is an offline backup, add that backup again.\n"
                "Run: certbot-pinkeep backup %s add --csr FILE",
                live.name,
                folders.keys,
                ", ".join(sorted(lost)),
                self.chosen.keyring,
            )
        return found

    def _staged(self, state: State) -> tuple[State, list[str]]:
        """Return the state with all backups staged, and the CSR of each key for the lineage's names."""
        workspace, live = self.workspace, self.live
        state = replace(state, keyring=stage.with_live_file(workspace, state.keyring, live))
        keyring = stage.replenished(workspace, state, self.chosen, self.now)
        keyring = replace(keyring, rollover_days=self.chosen.rollover_days)
        return replace(state, keyring=keyring), stage.csrs_of(workspace, keyring, live)

    def _sweep(self) -> None:
        """Remove what a run that was killed left half-written."""
        workspace = self.workspace
        renewal = os.path.join(workspace.config_dir, "renewal")
        snippet_dir = os.path.dirname(self.snippet)
        keys, csrs = workspace.folders.keys, workspace.folders.csrs
        for folder in (keys, csrs, workspace.store.folder, renewal, snippet_dir):
            if folder not in workspace.swept and os.path.isdir(folder):
                workspace.swept.add(folder)
                atomic.sweep(folder)

    def _tell_refused(self, state: State) -> None:
        """Tell of clients that refuse the key with which a lineage joins: they hold earlier pins."""
        live, now = self.live, self.now
        if not rollover.locked_out(live.pin, state.ledger, now, live.names):
            return
        primary = state.keyring.primary(live.kind.key_type)
        safety = rollover.safety(primary, state.ledger, now, live.names) if primary else None
        name = state.keyring.name
        logger.warning(
            "%s",
            explain_hosts.refused(
                name, live.name, live.pin, ledger=state.ledger, now=now, safety=safety
            ),
        )

    def _take_out_options(self, old: State | None, state: State) -> None:
        """Take the options of pinkeep 0.1 out of the renewal files of the other lineages, if the keyring's
        options change: their turn would bring the earlier ones back."""
        if old is None or old.settings == state.settings:
            return
        for member in state.keyring.drawing:
            if member.lineage != self.live.name:
                try:
                    renewal_conf.take_out(self.workspace.config_dir, member.lineage)
                except (PinkeepError, OSError) as error:
                    logger.error("%s", error)


def _longest(chosen: Options) -> timedelta:
    """Return how long clients may hold what is not known any more."""
    return timedelta(seconds=max(chosen.max_age, options.DEFAULT_MAX_AGE))


def _rolled_over(old: State | None, live: Live) -> str | None:
    """Return the pin of the key, if the lineage was the first to leave the primary for it."""
    known = old.keyring.member(live.name) if old else None
    if old is None or known is None or known.pin == live.pin:
        return None
    primary = old.keyring.primary(live.kind.key_type)
    return None if primary is not None and primary.pin == live.pin else live.pin


def _out_of_doubt(state: State, chosen: Options, now: datetime) -> State:
    """Return the state with its ledger blind until what it does not know of has run out (G8)."""
    ledger = state.ledger
    if ledger.uncertain is None or not ledger.in_doubt:
        return state
    # What apps carry is known: it is in the copy, or added again.
    longest = max(ledger.longest_policy(), timedelta(seconds=chosen.max_age))
    until = max(now, ledger.latest() or now) + longest
    logger.warning(
        "%s: the copy below certbot's work dir is used. What was served meanwhile is not known, so "
        "the keyring %s does not roll over before %s.",
        f"{ledger.uncertain.why[0].upper()}{ledger.uncertain.why[1:]}",
        state.keyring.name,
        times.text(until),
    )
    return replace(state, ledger=ledger.settled(until))
