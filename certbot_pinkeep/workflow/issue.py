"""Which key a certificate is issued for: the decision, with the files that it needs.

The rules:

* A handover needs a key and a CSR, nothing else: where anything else is in doubt, the renewal goes
  on with the current key (G3). Only a compromised key is never handed over.
* What was decided holds as long as nothing changes on record: it is looked at again before what the
  CA issued is stored.
* Before a renewal the CA is asked whether the certificate to be replaced is revoked; a revocation
  is recorded before anything follows from it.
* Where the file of the key that is to be used is lost, the live key goes on where clients accept
  it; else the best backup that is at hand is taken.
* Where live/ holds another key than the certificate's, and no record says which keys clients accept,
  the renewal is issued for the key that is there, as certbot would. Where the record or the snippet
  says that clients refuse that one, it is issued for a pinned key.
* Where the live certificate cannot be read, what is on record of it counts.
* A certificate whose key came past its keyring goes back to the primary where that is safe at its
  names, else to the key that it had, unless that is compromised: its clients are locked out already.
* A lineage that is pinned nowhere yet, and is to join a keyring, is issued for the shared primary
  at once where that is safe at its names; else it joins with the key that it has. It keeps that
  key, too, if its hosts are seen sending pins already, or cannot be believed (see ``earlier``).
* A host has one keyring. A lineage draws on the one that is named for it, or that has it; else on the
  one that pins any of its names; else on a new one with its own name.
* A lineage whose names two keyrings pin keeps its key, unless the next one is accepted at all of them.
  Where clients of its own keyring refuse that key, it gets its keyring's: the other keyring's hosts are
  served with another certificate, or refused already.
* A new certificate of a keyring that has no key yet is issued for a CSR that waits for exactly its
  names, with its key in ``keys/``: the admin has put both there. A key that a certificate of this
  machine has had waits for nothing. Which one of several is meant, the admin has to say.
* A certificate with a key that clients do not accept is not made for a host that is pinned already,
  nor for one below a host that is pinned with includeSubDomains (G2). That goes for the names that a
  renewal adds, too: at those of its own keyring other pins may bind than at its present ones.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from certbot_pinkeep.adapters import clock, renewal_conf, revocation
from certbot_pinkeep.adapters import lineage as lineage_
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import apache, servers
from certbot_pinkeep.carriers.servers import Kind
from certbot_pinkeep.core import explain, hostnames, pins, rollover
from certbot_pinkeep.core.errors import (
    BadFolder,
    BadKey,
    Compromised,
    DamagedState,
    NotAccepted,
    NotSafe,
    OtherKeyring,
    PinkeepError,
    PublishFailed,
    TypeMissing,
)
from certbot_pinkeep.core.key_and_csr import KeyAndCsr, SavedCsr, SavedKey, csr_request
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.pem import load_private_key
from certbot_pinkeep.core.rollover import Certificate
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import keys_and_csrs
from certbot_pinkeep.storage.store import Store

if TYPE_CHECKING:
    from certbot_pinkeep.core.earlier import Found
    from certbot_pinkeep.core.observations import TlsObservation

logger = logging.getLogger(__name__)

Names = tuple[str, ...]
#: Looks at hosts, in a few seconds. Never raises.
Look = Callable[[Sequence[str]], "list[TlsObservation]"]
#: For how many seconds one run looks at hosts that were not pinned before, in all.
_LOOKING = 10.0


class Issuing:
    """Says what certificates are issued for, out of the keyrings of one config dir.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    :param look: looks at hosts before they are pinned; ``None``: nobody does
    """

    def __init__(
        self, config_dir: str, work_dir: str | None = None, look: Look | None = None
    ) -> None:
        self.config_dir = config_dir
        self._look = look
        self._looked: dict[Names, list[TlsObservation]] = {}
        self._looking = 0.0
        self._hosts: Names | None = None
        self.store = Store(config_dir, work_dir)
        self.folders = keys_and_csrs.Folders(config_dir)
        #: The installer of every lineage, where ``cli.ini`` names one.
        self.installer: str | None = None
        #: The private keys that the admin brought along in this run, in PEM, by their pins.
        self.brought: dict[str, bytes] = {}

    def handover(
        self,
        live: Live,
        keyring: str,
        names: Iterable[str],
        now: datetime,
        dry_run: bool = False,
        asked: bool = False,
        chosen: Options | None = None,
        pinned_before: bool = False,
        refused: frozenset[str] = frozenset(),
        csr_rejected: frozenset[str] = frozenset(),
    ) -> KeyAndCsr:
        """The key and the CSR that the renewal of *live* is issued for.

        :param keyring: the name of the keyring that it draws on
        :param names: the names of the new certificate
        :param dry_run: whether nothing may be written
        :param asked: whether a rollover is asked for, now or never
        :param chosen: what the admin set; ``None``: that cannot be used, what was set before counts
        :param pinned_before: as for :meth:`keep`
        :param refused: the pins of the keys that the CA has refused as compromised in this run
        :param csr_rejected: the pins of the backups whose CSRs it has not taken in this run
        :raises NotSafe: when a rollover is asked for, and locks clients out; or when the key is
            compromised, and every other one locks clients out
        :raises BadKey: when there is no key that could be handed over
        :raises OtherKeyring: when it is to have a host more that another keyring pins
        :raises NotAccepted: when it is to have one more at which its key is refused
        """
        answer = self._ask_the_ca(live, now)
        if live.pin in refused:
            answer = revocation.Answer(True, "keyCompromise")
        state = self._pinned_state(live, keyring, asked)
        names = tuple(names)
        added = tuple(name for name in _lowered(names) if name not in live.requested)
        if added:
            own = state.keyring.name if state else keyring
            self._check_hosts(own, live.name, names, now, live.pin)
        if state is None:
            snippet = self.snippet_of(live.name, chosen)
            published = pinned_before or os.path.lexists(snippet)
            key = self._unrecorded_key(
                live, keyring, names, answer, published, snippet, now, dry_run
            )
        else:
            if answer.revoked:
                state = self._noticed(state, live.pin, answer.compromised, dry_run)
            keyring_ = _without_backups(self.folders.seen(state.keyring), csr_rejected)
            state = replace(state, keyring=keyring_)
            key = self._chosen_key(state, live, names, now, asked, chosen)
        for known in [state] if state else self.store.known(keyring):
            _check_added(known, live.name, added, key.pin, now)
        if not answer.compromised:
            key = self._accepted_everywhere(key, live, keyring, state, names, now)
        return self._handover(key, names, live.must_staple, dry_run)

    def is_still_chosen(
        self,
        live: Live | None,
        keyring: str,
        names: Iterable[str],
        pin: str,
        now: datetime,
        asked: bool = False,
    ) -> bool:
        """Whether a certificate for the key of this pin may be stored, by what is on record now; where
        it may not, :meth:`handover` tells what may be.

        :param live: what it is to replace; ``None``: it is a new one
        :param asked: as for :meth:`handover`
        :raises DamagedState: when the record cannot be trusted
        """
        if live is not None and pin == live.pin:
            return not self.is_compromised(pin)
        name = self.store.keyring_of(live.name, keyring) if live else None
        state = self.load_state(name or keyring, now)
        if state is None:
            return True
        own, key = state.keyring, state.keyring.key(pin)
        joined = live is not None and own.member(live.name) is not None
        if key is None:
            return live is not None and not joined
        hosts = tuple(dict.fromkeys((*(live.names if live else ()), *_lowered(names))))
        present = _recorded_pin(own, live) if live is not None and joined else None
        key_type = key.kind.key_type
        chosen = rollover.decide(
            own, state.ledger, now, key_type, asked, Certificate(hosts, present)
        ).key
        return chosen is not None and chosen.pin == pin

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
        """The key and the CSR that a new certificate is issued for; ``None`` when the keyring has no
        such key, and certbot makes one as ever.

        :param key_type: which type to take where the keyring has several
        :param kind: the kind of key that is asked for expressly
        :raises DamagedState: when its file cannot be trusted
        :raises OtherKeyring: when it is for a host that another keyring pins
        :raises TypeMissing: when it has no key of the type that was asked for, and its pins bind at
            the names
        :raises NotSafe: when no key may be handed over
        :raises BadKey: when its key's file is gone
        """
        names = list(names)
        state = self.load_state(keyring, now)
        self._check_hosts(keyring, lineage, names, now)
        types = state.keyring.key_types() if state else ()
        if state is None or not types:
            return self._waiting(names, must_staple, kind)
        if kind is not None and kind.key_type not in types:
            if self._binds_at(state, names, now):
                raise TypeMissing(keyring, kind)
            return None
        key_type = key_type if key_type in types else types[0]
        certificate = Certificate(_lowered(names), None)
        key = self._picked(state, key_type, None, certificate, now)
        return self._handover(key, names, must_staple, dry_run)

    def _waiting(
        self, names: list[str], must_staple: bool, kind: KeyKind | None
    ) -> KeyAndCsr | None:
        """The saved CSR for exactly these names whose key is in ``keys/`` and in use nowhere.

        :raises BadKey: when there are several of different keys
        """
        wanted = csr_request("", names, must_staple)
        found = []
        for request, csr in self.folders.saved_csrs().items():
            if replace(request, pin="") != wanted or self._is_in_use(request.pin):
                continue
            key = self.folders.find_key(request.pin)
            if key is not None and (kind is None or kind.key_type == key.kind.key_type):
                found.append(
                    KeyAndCsr(self.folders.absolute(key.path), key.pem, csr, key.pin, True)
                )
        if len(found) > 1:
            listed = "; ".join(f"{one.csr.path} (pin {one.pin})" for one in found)
            raise BadKey(
                f"Several CSRs for exactly {', '.join(names)} wait with their keys, and which key clients "
                f"pin is not known: {listed}. No certificate was issued. Move those that you do not mean "
                f"out of {self.folders.csrs}, and ask for the certificate again."
            )
        return found[0] if found else None

    def _is_in_use(self, pin: str) -> bool:
        """Whether a keyring has the key, or a certificate of this machine had it."""
        known = [state for name in self.store.names() for state in self.store.known(name)]
        return any(state.keyring.key(pin) for state in known) or pin in lineage_.all_pins(
            self.config_dir
        )

    def _binds_at(self, state: State, names: Iterable[str], now: datetime) -> bool:
        """Whether clients may hold pins of the keyring at one of the names."""
        hosts = _lowered(names)
        if state.ledger.is_uncertain(now) and hostnames.covered(state.keyring.hosts, hosts, True):
            return True
        return any(one.may_bind(now) and one.binds_at(hosts) for one in state.ledger.holdings)

    def values(
        self,
        lineage: str,
        given: Mapping[str, object],
        remembered: Mapping[str, str],
        names: Iterable[str],
        now: datetime,
    ) -> dict[str, object]:
        """As :meth:`Store.values`, its keyring found by its hosts where none is named for it.

        :param names: of its certificate
        """
        return self.store.values(lineage, given, remembered, lambda: self.keyring_at(names, now))

    def keyring_at(self, names: Iterable[str], now: datetime) -> str | None:
        """The keyring that pins any of the names: of several, the one that has lineages for most of
        them, else the one whose pins bind at most of them."""
        names = _lowered(names)
        found: dict[str, tuple[int, int]] = {}
        for keyring in self.store.names():
            for state in self._at_best(keyring, now):
                enrolled = self._enrolled_hosts(state, names, now)
                pinned = len([n for n in names if _pinned_host(state, enrolled, (n,), now)])
                if pinned:
                    found[keyring] = len(hostnames.covered(enrolled, names, False)), pinned
        return max(found, key=lambda one: found[one], default=None)

    def _at_best(self, name: str, now: datetime) -> list[State]:
        """The state of a keyring; where its file cannot be trusted, what can be read of it."""
        try:
            state = self.load_state(name, now)
            return [state] if state else []
        except DamagedState:
            return self.store.known(name)

    def _accepted_everywhere(
        self,
        key: SavedKey,
        live: Live,
        keyring: str,
        state: State | None,
        names: Names,
        now: datetime,
    ) -> SavedKey:
        """The key; where another keyring's pins refuse it at the names of the new certificate, the live
        one, unless that is compromised, or clients of the lineage's own keyring refuse it.

        :param state: of the keyring that it draws on
        """
        if key.pin == live.pin or self.is_compromised(live.pin):
            return key
        own = state if state is not None and draws(state, live.name) else None
        for name in self.store.names():
            if own is not None and name == own.keyring.name:
                continue
            for other in self._at_best(name, now) if name != keyring else ():
                locked = _refusing(other, names, key.pin, now)
                if not locked or _has_moved(other, locked, keyring):
                    continue
                if own is not None and _goes_back(own, names, live.pin, key.pin, now):
                    logger.warning(
                        "%s", explain.goes_back(own.keyring.name, name, live.name, locked)
                    )
                    continue
                logger.warning(
                    "%s keeps its present key: clients that hold pins of the keyring %s refuse the "
                    "key of the keyring %s.",
                    live.name,
                    name,
                    keyring,
                )
                path = os.path.relpath(live.key_path, self.config_dir)
                return self.folders.load_key(path, live.pin)
        return key

    def _check_hosts(
        self,
        keyring: str,
        lineage: str,
        names: Iterable[str],
        now: datetime,
        pin: str | None = None,
    ) -> None:
        """See that no other keyring pins the names of a lineage.

        :param pin: of the key that it has; ``None``: it is new
        :raises OtherKeyring: when one does
        """
        for name in self.store.names():
            try:
                state = None if name == keyring else self.recall(name, now)
            except DamagedState as error:
                logger.error("%s", error)
                if any(self._pinned_host(one, names, now) for one in self.store.known(name)):
                    raise
                continue
            if state is None or _has_come_from(state, lineage, keyring, pin):
                continue
            host = self._pinned_host(state, names, now)
            if host is not None and not _has_moved(state, (host,), keyring):
                carried = explain.carried(name, state.ledger, now, (host,))
                run = self._mend_of(state, host, keyring, lineage, _lowered(names), pin, now)
                raise OtherKeyring(host, name, keyring, run, carried)

    def _mend_of(
        self,
        state: State,
        host: str,
        keyring: str,
        lineage: str,
        names: Names,
        pin: str | None,
        now: datetime,
    ) -> str:
        """What to do where a lineage that is to draw on a keyring has a host that this one pins.

        :param pin: of the key that it has; ``None``: it is new
        """
        other = state.keyring.name
        own_states = self._at_best(keyring, now)
        spans = any(self._pinned_host(one, names, now) for one in own_states)
        if not spans:
            return explain.drawing_on(other, lineage, () if pin else names)
        if pin is None:
            own = tuple(name for name in names if self._pinned_host(state, (name,), now))
            return explain.own_certificate(keyring, other, own)
        hosts = {
            m.lineage: m.hosts for m in state.keyring.drawing if not self._is_deleted(m.lineage)
        }
        stays = next((n for n, h in hosts.items() if hostnames.covered(h, (host,), True)), None)
        here = any(_publishes(one, pin) for one in own_states)
        mine = any(draws(one, lineage) for one in own_states)
        if mine and not here:
            return explain.back_first(keyring, lineage)
        theirs = _refusing(state, names, pin, now) or (host,)
        left = tuple(name for name in names if name not in theirs)
        if mine and left and stays and not _publishes(state, pin):
            return explain.to_split(lineage, theirs, left, stays)
        both = here and _publishes(state, pin)
        return explain.to_merge(keyring, other, lineage, host, stays, both)

    def _pinned_host(self, state: State, names: Iterable[str], now: datetime) -> str | None:
        """The first of the names that the keyring has, or that its pins bind at."""
        names = _lowered(names)
        return _pinned_host(state, self._enrolled_hosts(state, names, now), names, now)

    def _enrolled_hosts(self, state: State, names: Names, now: datetime) -> list[str]:
        """The names of the lineages that draw on the keyring and have any of these names."""
        return [
            host
            for member in (() if state.unpinned(now) else state.keyring.drawing)
            if hostnames.covered(member.hosts, names, False)
            and not self._is_deleted(member.lineage)
            for host in member.hosts
        ]

    def deleted(self, keyring: Keyring) -> tuple[str, ...]:
        """The lineages of the keyring that ``certbot delete`` has deleted; those that have moved are
        the business of another one."""
        return tuple(m.lineage for m in keyring.drawing if self._is_deleted(m.lineage))

    def hosts_now(self, keyring: Keyring) -> Names:
        """The hosts of the certificates that draw on the keyring now, in order, once each."""
        members = self._drawing_now(keyring)
        return hostnames.hosts(host for member in members for host in member.hosts)

    def _drawing_now(self, keyring: Keyring) -> list[Member]:
        gone = self.deleted(keyring)
        return [member for member in keyring.drawing if member.lineage not in gone]

    def step(self, keyring: Keyring) -> str:
        """The command that brings the keyring into step: certbot does not come to one that has no
        certificate left, nor of itself to one whose certificates another installer renews."""
        drawing = [member.lineage for member in self._drawing_now(keyring)]
        if not drawing:
            return f"certbot-pinkeep unpin {keyring.name}"
        apart = self.apart(keyring)
        if all(apart.get(name, "").startswith("installer") for name in drawing):
            return f"certbot renew --cert-name {shlex.quote(drawing[0])} --installer pinkeep"
        return "certbot renew"

    def apart(self, keyring: Keyring) -> dict[str, str]:
        """The lineages that draw on the keyring and that ``certbot renew`` does not roll over: what
        keeps it from that."""
        found = {}
        for member in keyring.drawing:
            with suppress(PinkeepError):  # certbot does not renew what it cannot read: it says so
                renewal = renewal_conf.load(self.config_dir, member.lineage)
                why = renewal.apart(self.installer) if renewal else ""
                if why:
                    found[member.lineage] = why
        return found

    def _is_deleted(self, name: str) -> bool:
        left = (("renewal", f"{name}.conf"), ("live", name))
        return not any(os.path.exists(os.path.join(self.config_dir, *one)) for one in left)

    def check_accepted(self, lineage: str, names: Iterable[str], pin: str, now: datetime) -> None:
        """See that no client refuses the key of a lineage that is not ours for pins that are.

        :raises OtherKeyring: when some do
        """
        for name in self.store.names():
            state = self.recall(name, now)
            for host in _lowered(names) if state else ():
                if state and rollover.locked_out(pin, state.ledger, now, (host,)):
                    carried = explain.carried(name, state.ledger, now, (host,))
                    run = explain.drawing_on(name, lineage, renewed=True)
                    raise OtherKeyring(host, name, lineage, run, carried)

    def above(self, names: Iterable[str]) -> Names:
        """The hosts above these names that certificates of this machine have."""
        if self._hosts is None:
            found: list[str] = []
            for name in renewal_conf.names(self.config_dir):
                with suppress(BadKey):
                    path = os.path.join(self.config_dir, "live", name, "cert.pem")
                    found += lineage_.glance(path)[0]
            self._hosts = tuple(dict.fromkeys(found))
        below = [(name, name.removeprefix("*.")) for name in names]
        return tuple(
            host
            for host in self._hosts
            if any(own.endswith(f".{host}") or (own == host != name) for name, own in below)
        )

    def sent_at(self, names: Names, above: Names = ()) -> Found | None:
        """What the hosts of these names are seen sending; ``None``: nobody looks. Never raises.

        :param above: hosts above them, of which only what binds below counts
        """
        from certbot_pinkeep.core import earlier

        hosts = earlier.hosts_to_see((*above, *names))
        if self._look is None or not hosts:
            return None
        if hosts not in self._looked:
            began = clock.seconds()
            shown: list[TlsObservation] = []
            if hosts and self._looking < _LOOKING:
                try:
                    shown = self._look(hosts)
                except Exception as error:
                    logger.debug("%s could not be looked at: %s", ", ".join(hosts), error)
            self._looked[hosts] = shown
            self._looking += clock.seconds() - began
        return earlier.found(names, self._looked[hosts], self._holds, above)

    def _holds(self, pin: str) -> bool:
        """Whether this machine has the private key of a pin, and nobody else may have it."""
        if self.is_compromised(pin):
            return False
        known = [state for name in self.store.names() for state in self.store.known(name)]
        return (
            pin in self.brought
            or any(state.keyring.key(pin) for state in known)
            or self.folders.find_key(pin) is not None
            or lineage_.kept_key(self.config_dir, pin) is not None
        )

    def live_keys_at(self, hosts: Names) -> list[str]:
        """The pins of the keys of all certificates that this machine has live for any of the hosts."""
        found = []
        for name in renewal_conf.names(self.config_dir):
            with suppress(BadKey):
                path = os.path.join(self.config_dir, "live", name, "cert.pem")
                names, pin = lineage_.glance(path)
                found += [pin] if hostnames.covered(names, hosts, False) else []
        return found

    def found_key(self, pin: str) -> SavedKey | None:
        """The file in ``keys/`` of the key with this pin; where it is only brought along, or kept from
        an earlier certificate, it is saved there."""
        found = self.folders.find_key(pin)
        if found is not None:
            return found
        pem = self.brought.get(pin) or lineage_.kept_key(self.config_dir, pin)
        return self.folders.save_key(pem) if pem else None

    def load_state(self, name: str, now: datetime) -> State | None:
        """The state of a keyring: what is on record, and which of its keys can be used."""
        state = self.recall(name, now)
        return self.seen(state) if state is not None else None

    def seen(self, state: State) -> State:
        """The state with what is wrong with the files of its keys."""
        return replace(state, keyring=self.folders.seen(state.keyring))

    def recall(self, name: str, now: datetime) -> State | None:
        """What is on record of a keyring, its ledger told of the latest moment that was reached."""
        state = self.store.load(name)
        latest_known = self.store.latest_known(now)
        if state is None:
            return None
        state = self.mark_for_retirement(state)
        return (
            replace(state, ledger=state.ledger.with_latest_known(latest_known))
            if latest_known > now
            else state
        )

    def mark_for_retirement(self, state: State) -> State:
        """The state told of what the keyrings that lineages are moving from have published since:
        Apache may still send that at their hosts."""
        name, ledger = state.keyring.name, state.ledger
        if all(entry.replaced for entry in ledger.imported):
            return state
        for other in self.store.names():
            try:
                left = None if other == name else self.store.load(other)
            except DamagedState as error:
                ledger = replace(ledger, doubt=ledger.doubt or str(error))
                continue
            for member in left.keyring.members if left else ():
                # Not noted yet where a run was killed: then both have the lineage.
                here = state.keyring.member(member.lineage)
                both = member.enrolled and not member.transferred and bool(here and here.enrolled)
                if left is not None and (both or member.transferred == name):
                    ledger = ledger.inherit(left.ledger, member.hosts)
        return replace(state, ledger=ledger) if ledger != state.ledger else state

    def _pinned_state(self, live: Live, keyring: str, asked: bool) -> State | None:
        """The state of the lineage's keyring; ``None`` where it has none that can be trusted."""
        # Where the option names another one, the keyring that has the lineage counts (G3).
        keyring = self.store.keyring_of(live.name, keyring) or self._with_neighbour_of(
            live, keyring
        )
        try:
            state = self.store.load(keyring)
        except DamagedState as error:
            if asked:
                raise
            logger.error("%s", error)
            return None
        if state is not None and state.keyring.member(live.name) is not None:
            return self.mark_for_retirement(state)
        if asked:
            raise BadKey(
                f"{live.name} is not pinned yet, so it has no backup key to roll over to. Run "
                "'certbot renew --installer pinkeep' first."
            )
        return None

    def _with_neighbour_of(self, live: Live, likely: str) -> str:
        """The keyring that pins the key of a lineage that is not enrolled; the likely one first."""
        for name in (likely, *self.store.names()):
            with suppress(DamagedState):
                state = self.store.load(name)
                if state and any(m.lineage == live.name for m in state.keyring.neighbours):
                    return name
        return likely

    def is_compromised(self, pin: str) -> bool:
        """Whether a key is known to be compromised, by any keyring file or its copy."""
        known = [state for name in self.store.names() for state in self.store.known(name)]
        keys = [state.keyring.key(pin) for state in known]
        return any(key is not None and key.role == "compromised" for key in keys)

    def _ask_the_ca(self, live: Live, now: datetime) -> revocation.Answer:
        answer = revocation.look(*live.certificates(), now)
        if answer.why:
            logger.warning(
                "Whether the present certificate of %s is revoked is unknown: %s. The renewal goes "
                "on as if it was not.",
                live.name,
                answer.why,
            )
        return answer

    def _noticed(self, state: State, pin: str, compromised: bool, dry_run: bool) -> State:
        """The state with a revocation on record."""
        if not dry_run:
            try:
                with self.store.locked():
                    fresh = self.store.load(state.keyring.name) or state
                    noted = self.store.save(fresh.with_revoked(pin, compromised))
                    self.store.spread(noted.keyring)
                    return noted
            except OSError as error:
                logger.error("The revocation is heeded, but could not be recorded: %s", error)
        return state.with_revoked(pin, compromised)

    def _unrecorded_key(
        self,
        live: Live,
        keyring: str,
        names: Iterable[str],
        answer: revocation.Answer,
        published: bool,
        snippet: str,
        now: datetime,
        dry_run: bool,
    ) -> SavedKey:
        """The key of a lineage of which there is no record: the shared one of the keyring that it is
        to join, where that is safe; else the live one, unless that is compromised.

        :param published: whether pins of it may have been published all the same
        :param snippet: where they would have been
        """
        shared = None if published else self._shared_key(live, keyring, names, now, dry_run)
        if shared is not None:
            return shared
        if not answer.compromised and not self.is_compromised(live.pin):
            going_on = self._going_on(live, snippet)
            if going_on is not None:
                return going_on
            if published:
                raise BadKey(self._no_key(live))
            return self._new_key(live.kind, dry_run)
        not_again = (
            f"The key of {live.name} is compromised and is not handed over again, and which "
        )
        not_again += "other key clients accept is not known"
        try:
            self.store.check_all()
        except DamagedState as error:
            # It may be the one of this lineage: clients may hold what it says.
            raise Compromised(f"{not_again}. {error}") from error
        if published:
            raise Compromised(
                f"{not_again}: its keyring file is lost. To adopt what is left of its pins, run: "
                f"certbot install --installer pinkeep --cert-name {live.name} -- and then the "
                "rollover, which says first who is locked out: certbot-pinkeep rollover "
                f"{live.name} --now --force"
            )
        return self._new_key(live.kind, dry_run)

    def _new_key(self, kind: KeyKind, dry_run: bool) -> SavedKey:
        pem = keys_and_csrs.make_key(kind)
        if not dry_run:
            return self.folders.save_key(pem)
        public = load_private_key(pem).public_key()
        return SavedKey("", pem, pins.pin_of(public), kind)

    def _going_on(self, live: Live, snippet: str) -> SavedKey | None:
        """The key that a lineage without record goes on with: the one in live/, unless the snippet says
        that clients refuse it; else the certificate's own; else another one of the snippet."""
        text = None
        with suppress(PublishFailed):  # publishing tells
            text = apache.read_snippet(snippet) if snippet else None
        kind = servers.kind_of(snippet, text)
        policy = kind.read_policy(text) if text is not None else None
        there = self._there(live)
        if there is not None and (
            there.pin == live.pin or policy is None or there.pin in policy.pins
        ):
            return there
        wanted = [live.pin, *(policy.pins if policy else ())]
        usable = (pin for pin in wanted if not self.is_compromised(pin))
        return next((key for pin in usable if (key := self.folders.find_key(pin))), None)

    def _there(self, live: Live) -> SavedKey | None:
        """The key in live/, whichever it is; ``None``: none that can be used."""
        try:
            key = self.folders.read_key(os.path.relpath(live.key_path, self.config_dir))
        except BadKey as error:
            logger.error("%s", error)
            return None
        if key.pin != live.pin:
            logger.warning(
                "%s holds another key than the certificate of %s: it was replaced.",
                live.key_path,
                live.name,
            )
        return None if self.is_compromised(key.pin) else key

    def _no_key(self, live: Live) -> str:
        return (
            f"{live.name} cannot be renewed: clients may hold pins for it, and no private key is here "
            f"that they are known to accept. Restore {live.key_path}, or {self.folders.keys}, from a "
            f"backup. Run: certbot renew --cert-name {live.name}"
        )

    def on_record(
        self, name: str, keyring: str, cert_path: str, key_path: str, must_staple: bool
    ) -> Live | None:
        """A lineage whose live certificate cannot be read, as it was when its keyring was saved;
        ``None``: it has none."""
        found = self.store.keyring_of(name, keyring)
        state = self.store.load(found) if found is not None else None
        member = state.keyring.member(name) if state else None
        key = state.keyring.key(member.pin) if state and member else None
        if member is None or key is None:
            return None
        return Live(
            name=name,
            cert_path=cert_path,
            key_path=key_path,
            names=member.hosts,
            pin=key.pin,
            kind=key.kind,
            fingerprint="",
            since=key.created,
            must_staple=must_staple,
        )

    def _shared_key(
        self, live: Live, keyring: str, names: Iterable[str], now: datetime, dry_run: bool
    ) -> SavedKey | None:
        """The key of the keyring that a lineage without pins is to join, where it is safe."""
        try:
            state = self.load_state(keyring, now)
            if state is None or live.kind.key_type not in state.keyring.key_types():
                return None
            hosts = tuple(dict.fromkeys((*live.names, *_lowered(names))))
            key = rollover.decide(
                state.keyring,
                state.ledger,
                now,
                live.kind.key_type,
                certificate=Certificate(hosts, None),
            ).key
            if key is None or not rollover.safety(key, state.ledger, now, hosts).at(now):
                return None
            above = tuple(one for one in self.above(hosts) if self.keyring_at((one,), now) is None)
            sent = None if dry_run else self.sent_at(hosts, above)
            if sent is not None and (sent.sent or sent.foreign or sent.silent):
                return None  # clients may hold pins without it
            return self.load_key(key)
        except (DamagedState, BadKey) as error:
            logger.error("%s", error)
            return None

    def _chosen_key(
        self,
        state: State,
        live: Live,
        names: Iterable[str],
        now: datetime,
        asked: bool,
        chosen: Options | None,
    ) -> SavedKey:
        """The key that the keyring names for the renewal of *live*."""
        keyring = as_live(state, live)
        if chosen is not None and chosen.keyring == keyring.name:
            keyring = replace(keyring, rollover_days=chosen.rollover_days)
        ledger = state.ledger.with_latest_known(self.store.latest_known(now))
        state = replace(state, keyring=keyring, ledger=ledger)
        types = keyring.key_types()
        key_type = live.kind.key_type if live.kind.key_type in types else types[0]
        hosts = tuple(dict.fromkeys((*live.names, *_lowered(names))))
        pin = _recorded_pin(keyring, live)
        return self._picked(state, key_type, live, Certificate(hosts, pin), now, asked)

    def _picked(
        self,
        state: State,
        key_type: KeyType,
        live: Live | None,
        certificate: Certificate,
        now: datetime,
        asked: bool = False,
    ) -> SavedKey:
        """The key of the keyring that a certificate is issued for.

        :param live: what is renewed; ``None``: nothing, it is for a new certificate
        """
        decision = self._decide(state, key_type, certificate, now, asked)
        assert decision.key is not None
        try:
            return self.load_key(decision.key)
        except BadKey as error:
            if asked:
                raise
            logger.error("%s", error)
        return self._next_best(state, key_type, live, now)

    def _decide(
        self,
        state: State,
        key_type: KeyType,
        certificate: Certificate,
        now: datetime,
        asked: bool = False,
    ) -> rollover.Decision:
        """What the next certificate is issued for; the admin is told where a rollover is due.

        :raises NotSafe: where no key may be handed over, or none that was asked for
        """
        keyring = state.keyring
        for lost in keyring.lost():
            if lost.kind.key_type == key_type:
                logger.error("%s", explain.lost(lost))
        decision = rollover.decide(keyring, state.ledger, now, key_type, asked, certificate)
        name, new = keyring.name, certificate.pin is None
        if decision.key is None and decision.due == "shared":
            raise NotSafe(explain.not_yet_issued(name, decision))
        if decision.key is None:
            one = next((member.lineage for member in state.keyring.drawing), "NAME")
            raise Compromised(explain.locked_in(name, decision, state.ledger, now, new, one))
        if decision.held and asked:
            raise NotSafe(explain.refusal(name, decision))
        if decision.held:
            logger.warning("%s", explain.held(name, decision))
        elif decision.rolls_over:
            logger.info("%s", explain.rolling(name, decision))
            if decision.key.forced:
                told = explain.announcement(decision.key, state.ledger, now, certificate.hosts)
                logger.warning("The rollover of the keyring %s is forced. %s", name, told)
        return decision

    def _next_best(
        self, state: State, key_type: KeyType, live: Live | None, now: datetime
    ) -> SavedKey:
        """What is handed over where the primary's file is lost: the live key where clients accept
        it, else the backup that is safe first, else the live key.

        :raises BadKey: where there is none of these
        """
        keyring = state.keyring.without_offline()
        hosts = live.names if live else None
        best, verdict = rollover.best_backup(keyring, state.ledger, now, key_type, hosts)
        goes_on = live is not None and not self.is_compromised(live.pin)
        there = self._there(live) if live is not None and goes_on else None
        own = live is not None and there is not None and there.pin == live.pin
        if live is None or there is None:
            accepted = False
        elif own:
            accepted = is_accepted(state, live, now)
        else:
            accepted = not rollover.locked_out(there.pin, state.ledger, now, live.names)
        # A pinned backup is better than a live key that is not pinned.
        if best is not None and not accepted and (goes_on or verdict.at(now)):
            return self.load_key(best)
        if there is None or not (own or accepted):
            raise BadKey(
                f"No key of the keyring {keyring.name} that clients accept is on this machine. "
                f"{self.give_up(keyring.name)}"
            )
        return there

    def _handover(
        self, key: SavedKey, names: Iterable[str], must_staple: bool, dry_run: bool
    ) -> KeyAndCsr:
        names = list(names)
        wanted = csr_request(key.pin, names, must_staple)
        csr = self.folders.saved_csrs().get(wanted)
        if csr is None:
            pem = keys_and_csrs.make_csr(key.pem, names, must_staple)
            csr = SavedCsr(None, pem) if dry_run else self._save_csr(pem)
        return KeyAndCsr(self.folders.absolute(key.path), key.pem, csr, key.pin)

    def _save_csr(self, pem: bytes) -> SavedCsr:
        try:
            self.folders.check()
            return self.folders.save_csr(pem)
        except (OSError, BadFolder) as error:
            logger.error("The CSR could not be saved; the renewal goes on. %s", error)
            return SavedCsr(None, pem)

    def load_key(self, key: Key) -> SavedKey:
        """The private key of *key*.

        :raises BadKey: when it is not here, or cannot be used
        """
        if key.path is None:
            raise BadKey(f"The private key with the pin {key.pin} is not on this machine.")
        return self.folders.load_key(key.path, key.pin)

    def snippet_of(self, keyring: str, chosen: Options | None) -> str:
        """The file that a keyring's header is published in; empty: none is."""
        kind = self.kind_of(keyring, chosen.header if chosen else None)
        if kind is None:
            return ""
        folder = chosen.snippet_dir if chosen else None
        return os.path.join(folder or self.folder_of(kind), f"{keyring}.conf")

    def folder_of(self, kind: Kind) -> str:
        """Where the snippets for a server are, unless the admin chose another folder."""
        return os.path.join(self.store.folder, kind.name)

    def kind_of(self, keyring: str, header: str | None) -> Kind | None:
        """The server of a keyring; ``None``: none.

        :param header: what the admin chose; ``None``: nothing
        """
        snippet = ""
        with suppress(PinkeepError, OSError):
            state = self.store.load(keyring)
            snippet = state.snippet if state is not None else ""
        for kind in () if snippet else servers.KINDS.values():
            path = os.path.join(self.folder_of(kind), f"{keyring}.conf")
            snippet = path if os.path.isfile(path) else snippet  # the keyring file is lost
        text = None
        with suppress(PinkeepError):
            text = apache.read_snippet(snippet) if snippet else None
        return servers.chosen_kind(header, snippet, text)

    def give_up(self, name: str) -> str:
        """What to do about a keyring whose keys are lost."""
        files_ = " and ".join(self.store.paths(name))
        return (
            f"Restore what is lost from a backup of {self.config_dir}. If it is lost for good, "
            f"clients are locked out until their pins run out; to pin anew then, move {files_} away "
            "and run: certbot renew --installer pinkeep"
        )


def as_live(state: State, live: Live) -> Keyring:
    """The keyring with the lineage as it is now, where its key is pinned: a run that was killed
    may not have come to note it."""
    current = state.ledger.current
    if current is None or live.pin not in current.policy.pins or not state.keyring.key(live.pin):
        return state.keyring
    return state.keyring.with_member(member_of(live))


def _without_backups(keyring: Keyring, pins_: Iterable[str]) -> Keyring:
    keys = (keyring.key(pin) for pin in pins_)
    return keyring.without(key.pin for key in keys if key is not None and key.role == "backup")


def _recorded_pin(keyring: Keyring, live: Live) -> str:
    """The pin of the key that the lineage has, or that it had before one came past the keyring: that
    one goes on where the primary is not safe at its names."""
    known, member = keyring.key(live.pin), keyring.member(live.name)
    if member is None or (known is not None and known.role != "retired"):
        return live.pin
    before = keyring.key(member.pin)
    return member.pin if before is not None and before.role == "in-service" else live.pin


def is_accepted(state: State, live: Live, now: datetime) -> bool:
    """Whether clients accept this live key: it is published, and it was not retired, unless no
    client holds pins without it; or the admin forced it; or it was found to be accepted when the
    lineage was taken in, and a run that was killed did not come to publish it."""
    key, member = state.keyring.key(live.pin), state.keyring.member(live.name)
    current = state.ledger.current
    if key is None or current is None:
        return key is not None
    if member is not None and member.pin == live.pin and key.role in ("primary", "in-service"):
        return True
    if live.pin not in current.policy.pins:
        # Staged, and used before a run that was killed came to publish it.
        ready = rollover.safety(key, state.ledger, now, live.names).at(now)
        return key.forced or (key.role == "backup" and ready)
    return key.role != "retired" or not rollover.locked_out(live.pin, state.ledger, now, live.names)


def _check_added(state: State, lineage: str, added: Names, pin: str, now: datetime) -> None:
    """See that nobody holds pins without the key at the names that a certificate is to have more.

    :raises NotAccepted: when somebody does
    """
    if added and rollover.locked_out(pin, state.ledger, now, added):
        raise NotAccepted(explain.not_added(state.keyring, state.ledger, lineage, added, pin, now))


def _has_come_from(state: State, lineage: str, keyring: str, pin: str | None) -> bool:
    """Whether the lineage moves from this keyring to the other, with a key that it has, or has done
    so: not, where it was deleted before and is new."""
    member = state.keyring.member(lineage)
    if member is None or not member.enrolled:
        return False
    return member.transferred == keyring or (pin is not None and state.keyring.key(pin) is not None)


def draws(state: State, lineage: str) -> bool:
    """Whether the lineage draws on the keyring, and has not moved to another."""
    return any(member.lineage == lineage for member in state.keyring.drawing)


def _refusing(state: State, names: Names, pin: str, now: datetime) -> Names:
    """The names at which clients that hold pins of the keyring refuse a key."""
    return tuple(name for name in names if rollover.locked_out(pin, state.ledger, now, (name,)))


def _publishes(state: State, pin: str) -> bool:
    return state.ledger.current is not None and pin in state.ledger.current.policy.pins


def _goes_back(own: State, names: Names, present: str, key: str, now: datetime) -> bool:
    """Whether clients of the lineage's own keyring refuse its present key, and accept the other."""
    return bool(_refusing(own, names, present, now)) and not _refusing(own, names, key, now)


def _has_moved(state: State, names: Names, keyring: str) -> bool:
    """Whether lineages have moved from this keyring to the other with all of these names, which has
    inherited what binds there."""
    moved = [
        host
        for member in state.keyring.members
        if member.transferred == keyring
        for host in member.hosts
    ]
    return len(hostnames.covered(moved, names, False)) == len(names)


def _pinned_host(state: State, hosts: Iterable[str], names: Names, now: datetime) -> str | None:
    """The first of the names that the keyring pins, by one of its hosts or one above.

    :param hosts: those of its lineages, whatever binds there now
    """
    same = hostnames.covered(hosts, names, False)
    for name in names:
        if name in same or any(
            one.binds_at((name,))
            for one in state.ledger.holdings
            if one.hosts and one.may_bind(now)
        ):
            return name
    return None


def _lowered(names: Iterable[str]) -> Names:
    return tuple(name.lower() for name in names)


def member_of(live: Live, loaded: str | None = None) -> Member:
    """The lineage as a keyring notes it."""
    return Member(live.name, live.names, live.pin, loaded)
