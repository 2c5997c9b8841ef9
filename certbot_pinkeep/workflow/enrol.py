"""Lineages are taken in: what is live, what the admin chose, which keys are staged, is recorded.

The rules:

* Everything is checked before anything is written: options, folders, the keyring file, the live
  key (G10, G8).
* Keys and CSRs are saved first, then the keyring file; what the keyring publishes follows, once for
  all lineages that were taken in (G5).
* The options belong to the keyring, whichever lineage they were given with last.
* A lineage that moves to another keyring keeps its key in service in both, until it is confirmed
  that Apache sends the new one's header (G2).
* Each step is taken only where what is there differs from what should be: a second run changes
  nothing, and a run after a kill goes on where the first one stopped.
* What a host sends already when it is first pinned is recorded with it (see ``earlier``).
* Where files of keys are gone, all of them even, the run goes on: the live key is saved to keys/ again,
  and new backups take the places of those that are lost. Where they were only away (a folder that was
  not mounted), they are backups again once they are back.
* A lineage joins with the key that it has: its hosts may serve that already, so it is pinned at once.
  Where clients hold pins without it, that is told, and its next renewal is for a key that they accept.
* Where a lineage of the keyring comes with a key that clients do not accept, nothing is recorded (G2).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from certbot_pinkeep.adapters import clock, lineage, renewal_conf
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import apache, servers
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.core import explain, options, pins, rollover, text, times
from certbot_pinkeep.core.errors import (
    BadKey,
    DamagedState,
    NotCovered,
    OtherKeyring,
    PinkeepError,
    TypeMissing,
    Unpinned,
)
from certbot_pinkeep.core.key_and_csr import KeyAndCsr, SavedCsr, csr_request
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.pem import kind_of, load_private_key
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.rollover import Safety
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic, keys_and_csrs
from certbot_pinkeep.workflow.issue import draws, is_accepted, member_of
from certbot_pinkeep.workflow.publish import Publishing, Report, Taken, held_for, paths_of

if TYPE_CHECKING:
    from certbot_pinkeep.core.earlier import Found

logger = logging.getLogger(__name__)


class Keeper(Publishing):
    """Keeps the keyrings of one config dir, for one run of certbot.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    """

    def keep(
        self,
        live: Live,
        chosen: Options,
        now: datetime,
        remember: Callable[[], None] | None = None,
        pinned_before: bool = False,
    ) -> Report:
        """Bring the keyring of *live* into step with what is live and what the admin chose.

        :raises PinkeepError: with what is wrong and what to do
        :raises OSError: when the disk does not take what has to be recorded; nothing is published
        """
        began = clock.seconds()  # waiting for the lock and testing takes time as well
        self.enrol(live, chosen, now, remember, pinned_before)
        return self.publish(chosen.keyring, now, began)

    def enrol(
        self,
        live: Live,
        chosen: Options,
        now: datetime,
        remember: Callable[[], None] | None = None,
        pinned_before: bool = False,
    ) -> Taken:
        """Record what is live, in the keyring that it is to draw on; :meth:`publish` comes next.

        :param remember: makes sure that the lineage's later renewals keep its key; called before
            anything is published
        :param pinned_before: whether pins of this lineage were published before this run, so that
            a missing keyring file means a lost one
        :raises PinkeepError: with what is wrong and what to do
        :raises OSError: when the disk does not take what has to be recorded
        """
        server = self._server(chosen)
        self.folders.check()
        self.check_exposed(chosen.keyring, server)
        atomic.check_folder(self.store.folder, forbidden=0o022, advice="0755")
        options.check_report_host(chosen.report_uri, live.names, chosen.include_subdomains)
        try:
            return self._taken_in(live, chosen, now, server, remember, pinned_before)
        except OtherKeyring:
            with suppress(PinkeepError, OSError):  # it is said that its key stays
                renewal_conf.keep_key(self.config_dir, live.name)
            raise

    def _taken_in(
        self,
        live: Live,
        chosen: Options,
        now: datetime,
        server: Server,
        remember: Callable[[], None] | None,
        pinned_before: bool,
    ) -> Taken:
        sent = self.sent_at(
            *self._unknown_hosts(live, chosen.keyring, now)
        )  # without the lock: it takes time
        with self.store.locked():
            self._sweep(server)
            old = self.load_state(chosen.keyring, now)
            others = old.keyring.hosts if old else ()
            options.check_report_host(chosen.report_uri, others, chosen.include_subdomains)
            self.store.tick(now)
            origin = self._origin(live, chosen)
            if old is None:
                state = self._adopted(live, chosen, server, now, pinned_before, origin)
            elif draws(old, live.name):
                state = self._brought_into_step(_out_of_doubt(old, chosen, now), live, now)
            else:
                known = _out_of_doubt(old, chosen, now)
                state = self._joined(known, live, chosen, now, pinned_before, origin)
            state = _with_settings(state, chosen)
            state, csr_paths = self._staged(state, chosen, live, now)
            state, told = self._with_sent(old, state, live, sent, now)
            # First: a run that is killed must not leave the others with options that are no more.
            self._take_out_options(old, state, live)
            if state != old:
                state = self.store.save(state)
            self.store.mend_copy(chosen.keyring)
            self._tell_left(live, state, origin)
            if remember is not None:
                remember()
            renewal_conf.take_out(self.config_dir, live.name)
        joined = old is None or not draws(old, live.name)
        taken = Taken(
            live,
            chosen,
            tuple(csr_paths),
            old is None,
            joined,
            origin,
            _rolled_over(old, live),
            told,
        )
        self._taken.setdefault(chosen.keyring, {})[live.name] = taken
        return taken

    def handover_new(
        self,
        lineage: str,
        keyring: str,
        key_type: KeyType,
        names: Iterable[str],
        must_staple: bool,
        now: datetime,
        dry_run: bool = False,
        kind: KeyKind | None = None,
    ) -> KeyAndCsr | None:
        """As :meth:`Issuing.handover_new`; keys of a type that is missing are pinned in advance."""
        names = tuple(names)
        try:
            return super().handover_new(
                lineage, keyring, key_type, names, must_staple, now, dry_run, kind
            )
        except TypeMissing as missing:
            if dry_run:
                raise
            until = self.stage_type(missing.keyring, missing.kind, names, now)
            raise TypeMissing(missing.keyring, missing.kind, until) from missing

    def pin_key(self, keyring: str, pem: bytes, now: datetime) -> None:
        """Record a key that clients pin already as the one that the keyring's certificates are renewed
        for; :meth:`publish` comes next.

        :param pem: the private key, unencrypted
        :raises BadKey: when it cannot be
        """
        public = load_private_key(pem).public_key()
        pin, kind = pins.pin_of(public), kind_of(public)
        with self.store.locked():
            state = self.load_state(keyring, now)
            assert state is not None  # the lineage was taken in
            keys, known = state.keyring, state.keyring.key(pin)
            if self.is_compromised(pin):
                raise BadKey(f"the key with the pin {pin} is compromised, and is never used again")
            if known is None or known.role != "primary" or self.folders.fault(known):
                saved = self.folders.find_copy(pem) or self.folders.save_key(pem, paths_of(keys))
                keys = keys.with_next(Key(pin, kind, "primary", saved.path, now))
                self.save_csrs(keys)
                self.store.save(replace(state, keyring=keys))

    def stage_type(self, keyring: str, kind: KeyKind, names: Iterable[str], now: datetime) -> str:
        """Stage and publish the first keys of a type, for a certificate with these names to come.

        :returns: from when it can be issued, as a sentence
        :raises PinkeepError: when that cannot be published
        """
        began = clock.seconds()
        self._stage_type(keyring, kind, now)
        _, failures = self.publish_all([keyring], now)
        for failure in failures:
            if not isinstance(failure.error, NotCovered):
                raise failure.error
        done = clock.after(now, began)
        return self._type_safe(keyring, kind, names, done)

    def _stage_type(self, keyring: str, kind: KeyKind, now: datetime) -> None:
        """Record the first keys of a type; :meth:`publish` comes next."""
        self.folders.check()
        with self.store.locked():
            state = self.load_state(keyring, now)
            assert state is not None
            if kind.key_type not in state.keyring.key_types():
                keys = state.keyring
                saved = self.folders.save_key(keys_and_csrs.make_key(kind), paths_of(keys))
                key = Key(saved.pin, saved.kind, "primary", saved.path, now)
                keys = self._with_backups(keys.with_type(key), self._chosen(state).backup_keys, now)
                self.store.save(replace(state, keyring=keys))

    def _type_safe(self, keyring: str, kind: KeyKind, names: Iterable[str], now: datetime) -> str:
        """From when a certificate of a type that is staged can be issued, as a sentence; where it is
        not published yet, it is taken to be published now."""
        state = self.load_state(keyring, now)
        primary = state.keyring.primary(kind.key_type) if state else None
        assert state is not None and primary is not None
        hosts = tuple(name.lower() for name in names)
        by_hand = self._chosen(state).reload == ()
        return explain.staged(keyring, _safety_once_published(state, primary, by_hand, now, hosts))

    def replenished(self, state: State, now: datetime) -> Keyring:
        """The keyring with as many backups as the admin wants."""
        wanted = self._chosen(state).backup_keys
        return self._restaged(state, wanted, now)

    def _sweep(self, server: Server) -> None:
        """Remove what a run that was killed left half-written."""
        renewal = os.path.join(self.config_dir, "renewal")
        snippets = os.path.dirname(server.snippet)
        for folder in (self.folders.keys, self.folders.csrs, self.store.folder, renewal, snippets):
            if os.path.isdir(folder):
                atomic.sweep(folder)

    def _unknown_hosts(
        self, live: Live, keyring: str, now: datetime
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of a lineage that no keyring has yet, and those that were seen sending pins that
        no keyring publishes; and the hosts above for which that holds."""
        known, sending = set[str](), set[str]()
        for name in (keyring, *self.store.names()):
            with suppress(DamagedState):
                state = self.store.load(name)
                if state is not None:
                    known.update(state.keyring.hosts)
                    sending.update(state.ledger.sending(now))
            if known.issuperset(live.names):
                break  # mostly at once: the others need not be read
        new = tuple(name for name in live.names if name not in known)
        above = self.above(live.names) if new or sending else ()
        return (
            tuple(name for name in live.names if name in new or name in sending),
            tuple(one for one in above if one in sending or (new and one not in known)),
        )

    def _with_sent(
        self, old: State | None, state: State, live: Live, sent: Found | None, now: datetime
    ) -> tuple[State, tuple[str, ...]]:
        """The state with what the hosts of a lineage send already, and what there is to say of it."""
        if sent is None:
            return state, ()
        from certbot_pinkeep.core import earlier

        chain = pins.pins_of_certificates(live.certificates()[1])
        name = state.keyring.name
        known = {*old.keyring.hosts, *old.ledger.sending(now)} if old else set()
        seen = earlier.recorded(state, sent, live.kind, self.found_key, chain, now)
        told = earlier.told(name, state, seen, sent, now)
        unseen = {host: why for host, why in sent.unseen.items() if host not in known}
        silent = tuple(host for host in sent.silent if host not in known)
        held = timedelta(seconds=options.DEFAULT_MAX_AGE)
        keys = (live.pin, *self.brought, *(self.live_keys_at(silent) if silent else ()))
        seen = replace(seen, ledger=seen.ledger.unseen(keys, silent, now, held))
        return seen, (*told, *([explain.not_seen(name, unseen)] if unseen else []))

    def _origin(self, live: Live, chosen: Options) -> str | None:
        """The keyring that a lineage moves from; ``None``: from none."""
        origin = self.store.keyring_of(live.name, chosen.keyring)
        return None if origin == chosen.keyring else origin

    def _adopted(
        self,
        live: Live,
        chosen: Options,
        server: Server,
        now: datetime,
        pinned_before: bool,
        origin: str | None,
    ) -> State:
        """A new keyring for a lineage that is seen for the first time."""
        policy = _published_before(server)
        if pinned_before or policy is not None:
            self.store.check_all()  # a damaged file may be the one of this lineage
        if policy is not None and live.pin not in policy.pins:
            mend = (
                "To go back to a pinned key, restore the keyring file and the keys from a backup of "
                f"{self.config_dir}. If they are lost for good, clients are locked out until their "
                f"pins run out; to pin anew then, move {server.snippet} away and run: certbot renew "
                "--installer pinkeep"
            )
            raise Unpinned(live.name, live.pin, chosen.keyring, held_for(policy.max_age), mend)
        self._check_hosts(chosen.keyring, live.name, live.names, now, live.pin)
        ledger = self._brought_along(Ledger(), live, chosen, now, pinned_before, origin)
        keys = [self.adopted_key(live)]
        if policy is not None:
            # The keyring file is lost, and with it what was served before (G8). What the snippet
            # lists was served until now.
            keys += self._found_again(policy, live, chosen, now)
            ledger = ledger.blinded(now + max(_longest(chosen), policy.binding))
            ledger = ledger.record(policy, now)
            logger.warning(
                "The record of the keyring %s was lost, and with it the releases that carry its pins. Add "
                "each of them again, with the pins that it has: certbot-pinkeep release %s add --pin PIN",
                chosen.keyring,
                chosen.keyring,
            )
        keyring = Keyring(chosen.keyring, keys=tuple(keys)).with_member(member_of(live))
        if origin is not None and self.is_compromised(live.pin):
            keyring = keyring.with_compromised(live.pin)
        return State(keyring, ledger)

    def _joined(
        self,
        old: State,
        live: Live,
        chosen: Options,
        now: datetime,
        pinned_before: bool,
        origin: str | None,
    ) -> State:
        """The state with a lineage that is new to the keyring."""
        name = chosen.keyring
        self._check_hosts(name, live.name, live.names, now, live.pin)
        keyring = old.keyring
        key = keyring.key(live.pin)
        # Where the keyring has its key, and pins its hosts, its record is not lost.
        blind = pinned_before and not (key and self._pinned_host(old, live.names, now))
        ledger = self._brought_along(old.ledger, live, chosen, now, blind, origin)
        state = replace(old, ledger=ledger)
        if not is_accepted(state, live, now):
            self._tell_refused(state, live, now)
        if key is None or key.path is None or self.folders.fault(key):
            key = self.adopted_key(live, paths_of(keyring))
            keyring = keyring.with_file(live.pin, key.path or "")
        keyring = keyring.with_joined(key).with_member(member_of(live))
        if self.is_compromised(live.pin):
            keyring = keyring.with_compromised(live.pin)  # where it comes from
        return replace(state, keyring=keyring)

    def _brought_along(
        self,
        ledger: Ledger,
        live: Live,
        chosen: Options,
        now: datetime,
        pinned_before: bool,
        origin: str | None,
    ) -> Ledger:
        """The ledger with what clients may hold for a lineage that is new to the keyring.

        :raises DamagedState: when that cannot be told because of a keyring file
        """
        if origin is not None:
            state = self.load_state(origin, now)
            assert state is not None  # it has the lineage
            return ledger.inherit(_out_of_doubt(state, chosen, now).ledger, live.names)
        if pinned_before:
            # Its keyring file is lost, and with it what was served before (G8).
            self.store.check_all()
            return ledger.blinded(now + _longest(chosen))
        return ledger

    def _tell_refused(self, state: State, live: Live, now: datetime) -> None:
        """Tell of clients that refuse the key with which a lineage joins: they hold earlier pins."""
        if not rollover.locked_out(live.pin, state.ledger, now, live.names):
            return
        primary = state.keyring.primary(live.kind.key_type)
        safety = rollover.safety(primary, state.ledger, now, live.names) if primary else None
        name = state.keyring.name
        logger.warning("%s", explain.refused(name, live.name, live.pin, state.ledger, now, safety))

    def _tell_left(self, live: Live, state: State, origin: str | None) -> None:
        """Note in the keyrings that a lineage has moved from that it has, and which key it serves;
        also where a run was killed before it came to that."""
        name = state.keyring.name
        moving = origin is not None or bool(state.ledger.imported)
        for other in self.store.names() if moving else ():
            left = None if other == name else self.store.load(other)
            there = left.keyring.member(live.name) if left else None
            if left is None or there is None or not there.enrolled:
                continue
            member = replace(member_of(live), transferred=name)
            keyring = left.keyring
            known = keyring.key(live.pin) is not None
            keyring = (
                keyring.with_member(member) if known else keyring.with_transferred(live.name, name)
            )
            if keyring != left.keyring:
                self.store.save(replace(left, keyring=keyring))

    def _found_again(self, policy: Policy, live: Live, chosen: Options, now: datetime) -> list[Key]:
        """The keys of a snippet whose keyring file is lost, also those of other lineages: clients hold
        all of them, so none makes room for a new one."""
        found: list[Key] = []
        for pin in policy.pins:
            saved = self.folders.find_key(pin) if pin != live.pin else None
            if saved is None:
                continue
            same = [key for key in found if key.kind.key_type == saved.kind.key_type]
            kept = len(same) >= chosen.backup_keys
            found.append(Key(pin, saved.kind, "backup", saved.path, now, added=kept))
        lost = set(policy.pins) - {live.pin, *(key.pin for key in found)}
        if lost:
            logger.error(
                "The snippet of %s has pins whose keys are not in %s: %s. They are pinned no more. Where "
                "one is a backup that is kept elsewhere, add it again: certbot-pinkeep backup %s add --csr "
                "FILE",
                live.name,
                self.folders.keys,
                ", ".join(sorted(lost)),
                chosen.keyring,
            )
        return found

    def _staged(
        self, state: State, chosen: Options, live: Live, now: datetime
    ) -> tuple[State, list[str]]:
        """The state with all backups staged, and the CSR of each key for the lineage's names."""
        healed = replace(state, keyring=self._healed(state.keyring, live))
        keyring = self._restaged(healed, chosen.backup_keys, now, chosen.reload == ())
        return replace(state, keyring=keyring), self._csrs_of(keyring, live)

    def _csrs_of(self, keyring: Keyring, live: Live) -> list[str]:
        """The CSRs of the lineage's names for each key that it may be issued for; those that are
        lacking are made."""
        index = self.folders.saved_csrs()
        paths = []
        for key in keyring.keys:
            if key.role not in ("primary", "backup") or key.kind.key_type != live.kind.key_type:
                continue
            csr = index.get(csr_request(key.pin, live.requested, live.must_staple))
            if csr is None and key.offline:
                continue
            if csr is None:
                csr = self._made_csr(key, live)
            paths.append(csr.path or "" if csr else "")
        return paths

    def save_csrs(self, keyring: Keyring) -> None:
        """Save the CSRs that are lacking for the keys of the keyring.

        :raises OSError: when they cannot be written
        """
        for member in keyring.drawing:
            try:
                renewal = renewal_conf.load(self.config_dir, member.lineage)
                if renewal is not None:
                    paths = renewal.cert_path, renewal.key_path
                    live = lineage.look(member.lineage, *paths, renewal.must_staple)
                    self._csrs_of(keyring, live)
            except PinkeepError as error:
                logger.debug("%s", error)  # its own turn tells

    def _healed(self, keyring: Keyring, live: Live) -> Keyring:
        """The keyring with the file of the live key in its place: archive/ alone would lose it.

        :raises BadKey: when that key does not belong to the live certificate
        """
        key = keyring.key(live.pin)
        if key is None or (key.path is not None and not self.folders.fault(key)):
            return keyring
        saved = self.folders.find_key(live.pin)
        path = saved.path if saved else self.adopted_key(live, paths_of(keyring)).path
        return keyring.with_file(live.pin, path) if path else keyring

    def _restaged(
        self, state: State, wanted: int, now: datetime, by_hand: bool | None = None
    ) -> Keyring:
        """The keyring with as many backups as are wanted. Those that cannot be used are retired, and it is
        told from when it is safe to switch to what took their places.

        :param by_hand: whether the admin reloads Apache; ``None``: as the keyring's options say
        """
        lost = state.keyring.lost()
        for key in lost:
            logger.error("%s", explain.lost(key))
        keyring = state.keyring.without_lost().with_backup_count(wanted)
        keyring = self._with_backups(keyring, wanted, now)
        known = {key.pin for key in state.keyring.keys}
        new = [key for key in keyring.keys if key.role == "backup" and key.pin not in known]
        if lost and new:
            by_hand = self._chosen(state).reload == () if by_hand is None else by_hand
            then = replace(state, keyring=keyring)
            safety = _safety_once_published(then, new[0], by_hand, now, None)
            logger.warning("%s", explain.replaced(keyring.name, len(new), safety))
        return keyring

    def _made_csr(self, key: Key, live: Live) -> SavedCsr | None:
        try:
            pem = keys_and_csrs.make_csr(self.load_key(key).pem, live.requested, live.must_staple)
        except BadKey as error:
            logger.error("%s", error)  # the primary's: a handover copes with that
            return None
        except ValueError as error:
            # No CSR can hold such a name. A renewal asks for what certbot asks for.
            logger.debug("No CSR for %s: %s", live.name, text.short(error))
            return None
        return self.folders.save_csr(pem)

    def _brought_into_step(self, old: State, live: Live, now: datetime) -> State:
        """The state with the lineage as it is now."""
        keyring = old.keyring
        known = keyring.member(live.name)
        if known is not None and set(live.names) - set(known.hosts):
            self._check_hosts(keyring.name, live.name, live.names, now, live.pin)
        member = member_of(live, known.loaded if known else None)
        if not is_accepted(old, live, now):
            if old.ledger.current is None:
                # A run was killed before it published anything, and the lineage went on elsewhere.
                keyring = keyring.with_joined(self.adopted_key(live, paths_of(keyring)))
            elif old.unpinned(now):
                keyring = keyring.with_primary(self.adopted_key(live))
            else:
                raise self.unpinned_error(old, live)
        return replace(old, keyring=keyring.with_member(member))

    def _take_out_options(self, old: State | None, state: State, live: Live) -> None:
        """Take the options of pinkeep 0.1 out of the renewal files of the other lineages, if the keyring's
        options change: their turn would bring the earlier ones back."""
        if old is None or old.settings == state.settings:
            return
        for member in state.keyring.drawing:
            if member.lineage != live.name:
                try:
                    renewal_conf.take_out(self.config_dir, member.lineage)
                except (PinkeepError, OSError) as error:
                    logger.error("%s", error)


def _safety_once_published(
    state: State, key: Key, by_hand: bool, now: datetime, hosts: tuple[str, ...] | None
) -> Safety:
    """When it is safe to switch to a key that has just been staged; where it is not published yet, it is
    taken to be published now.

    :param by_hand: whether the admin reloads Apache
    :param hosts: as for :func:`rollover.safety`
    """
    ledger, current = state.ledger, state.ledger.current
    if current is not None and key.pin not in current.pins:
        ledger = ledger.record(replace(current.policy, pins=state.keyring.published_pins()), now)
        ledger = ledger if by_hand else ledger.confirm(now)
    return rollover.safety(key, ledger, now, hosts)


def _longest(chosen: Options) -> timedelta:
    """How long clients may hold what is not known any more."""
    return timedelta(seconds=max(chosen.max_age, options.DEFAULT_MAX_AGE))


def _rolled_over(old: State | None, live: Live) -> str | None:
    """The pin of the key, where the lineage was the first to leave the primary for it."""
    known = old.keyring.member(live.name) if old else None
    if old is None or known is None or known.pin == live.pin:
        return None
    primary = old.keyring.primary(live.kind.key_type)
    return None if primary is not None and primary.pin == live.pin else live.pin


def _with_settings(state: State, chosen: Options) -> State:
    keyring = replace(state.keyring, rollover_days=chosen.rollover_days)
    return replace(state, keyring=keyring, settings=dict(chosen.settings))


def _out_of_doubt(state: State, chosen: Options, now: datetime) -> State:
    """The state with its ledger blind until what it does not know of has run out (G8)."""
    ledger = state.ledger
    if not ledger.doubt:
        return state
    # What apps carry is known: it is in the copy, or added again.
    longest = max(ledger.longest_policy(), timedelta(seconds=chosen.max_age))
    until = max(now, ledger.latest() or now) + longest
    logger.warning(
        "%s: the copy below certbot's work dir is used. What was served meanwhile is not known, so "
        "the keyring %s does not roll over before %s.",
        f"{ledger.doubt[0].upper()}{ledger.doubt[1:]}",
        state.keyring.name,
        times.text(until),
    )
    return replace(state, ledger=ledger.blinded(until))


def _published_before(server: Server) -> Policy | None:
    text = apache.read_snippet(server.snippet) if server.snippet else None
    return servers.kind_of(server.snippet, text).read_policy(text) if text is not None else None
