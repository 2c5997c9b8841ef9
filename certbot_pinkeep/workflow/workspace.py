"""One config dir: its keyrings, its keys, the lineages that draw on them, and a look at their hosts.

The rules:

* Whether a key can be used is found once, each time a keyring is loaded; all else asks ``Key.fault``.
* A lineage that certbot has deleted draws on no keyring.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from certbot_pinkeep.adapters import clock, lineage, renewal_conf
from certbot_pinkeep.adapters.certbot_config import INSTALLER
from certbot_pinkeep.adapters.certificates import Certificates
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core import explain_hosts, hostnames, pins
from certbot_pinkeep.core.errors import BadKey, DamagedState, PinkeepError
from certbot_pinkeep.core.key_and_csr import SavedKey
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.pem import load_private_key
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage.keys_and_csrs import Folders
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.workflow import looks
from certbot_pinkeep.workflow.looks import Eyes

if TYPE_CHECKING:
    from certbot_pinkeep.core.observations import TlsObservation

logger = logging.getLogger(__name__)

Names = tuple[str, ...]
#: Looks at hosts, in a few seconds. Never raises.
Look = Callable[[Sequence[str]], "list[TlsObservation]"]
#: For how many seconds one run looks at hosts that were not pinned before, in all.
_LOOKING = 10.0


class Workspace:
    """What one process knows of a config dir.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    :param look: looks at hosts before they are pinned; ``None``: nobody does
    """

    def __init__(self, config_dir: str, work_dir: str, look: Look | None = None) -> None:
        self.config_dir = config_dir
        self.store = Store(config_dir, work_dir)
        self.folders = Folders(config_dir)
        self.certificates = Certificates(config_dir)
        #: The private keys that the admin imports in this run, in PEM, by their pins.
        self.imported: dict[str, bytes] = {}
        #: The folders that were swept in this run.
        self.swept: set[str] = set()
        self._look = look
        #: How zones and ports are looked at; it is imported only if a keyring has a zone.
        self.eyes: Callable[[], Eyes] = looks.real
        self._looked: dict[Names, list[TlsObservation]] = {}
        self._looking = 0.0
        self._was_pinned: dict[str, bool] = {}

    # Keyrings

    def load_state(self, name: str, now: datetime) -> State | None:
        """Load what is on record of a keyring, and find which of its keys can be used."""
        state = self.recall(name, now)
        return self.with_faults(state) if state is not None else None

    def with_faults(self, state: State) -> State:
        """Find what is wrong with the files of a keyring's keys."""
        return replace(state, keyring=self.folders.with_faults(state.keyring))

    def recall(self, name: str, now: datetime) -> State | None:
        """Load what is on record of a keyring, and tell its ledger the latest known time."""
        state = self.store.load(name)
        latest_known = self.store.latest_known(now)
        if state is None:
            return None
        state = self.with_incoming(state)
        if latest_known > now:
            state = replace(state, ledger=state.ledger.with_latest_known(latest_known))
        return state

    def with_incoming(self, state: State) -> State:
        """Add what the keyrings that lineages are moving from have published since."""
        if all(entry.replaced for entry in state.ledger.imported):
            return state
        for name in self.store.names():
            try:
                other = None if name == state.keyring.name else self.store.load(name)
            except DamagedState as error:
                state = replace(state, ledger=state.ledger.with_uncertainty(error.what.rstrip(".")))
                continue
            state = state.with_imported(other) if other is not None else state
        return state

    def at_best(self, name: str, now: datetime) -> list[State]:
        """Load a keyring; if its file cannot be trusted, what can be read of it."""
        try:
            state = self.load_state(name, now)
            return [state] if state else []
        except DamagedState:
            return self.store.known(name)

    def trusted(self, names: Iterable[str] | None = None) -> Iterator[State]:
        """Yield the keyrings whose files can be trusted.

        :param names: of those to load; ``None``: all
        """
        for name in self.store.names() if names is None else names:
            with suppress(DamagedState):
                state = self.store.load(name)
                if state is not None:
                    yield state

    def state_of(self, lineage: str, likely: str) -> State | None:
        """Return the keyring that a lineage draws on; ``None``: it draws on none.

        :param likely: the likely one
        """
        name = self.store.keyring_of(lineage, likely)
        return self.store.load(name) if name is not None else None

    def all_known(self) -> Iterator[State]:
        """Yield all that can be read of any keyring, from its file or its copy."""
        for name in self.store.names():
            yield from self.store.known(name)

    # Lineages

    def live_file(self, lineage: str, part: str = "cert") -> str:
        """Return a file of a lineage in ``live/``."""
        return os.path.join(self.config_dir, "live", lineage, f"{part}.pem")

    def look(self, name: str, *, must_staple: bool = False) -> Live:
        """Look at a live certificate.

        :raises BadKey: if it cannot be read or pinned
        """
        paths = self.live_file(name), self.live_file(name, "privkey")
        return lineage.look(name, *paths, must_staple=must_staple)

    def deleted(self, keyring: Keyring) -> Names:
        """Return the lineages that were deleted. Those that have moved concern another keyring."""
        names = (member.lineage for member in keyring.drawing)
        return tuple(name for name in names if self.store.is_deleted(name))

    def drawing(self, keyring: Keyring) -> list[Member]:
        """Return the lineages that draw on the keyring now."""
        return [one for one in keyring.drawing if not self.store.is_deleted(one.lineage)]

    def hosts(self, keyring: Keyring) -> Names:
        """Return the hosts of the certificates that draw on the keyring now, in order, once each."""
        return hostnames.hosts(host for one in self.drawing(keyring) for host in one.hosts)

    def live_pins(self, keyring: Keyring) -> dict[str, str]:
        """Return the pins of the certificates that draw on the keyring, as they are live, by lineage."""
        found = {}
        for member in keyring.drawing:
            with suppress(BadKey):  # of a kind that is never pinned, or deleted
                found[member.lineage] = lineage.glance(self.live_file(member.lineage)).pin
        return found

    def apart(self, keyring: Keyring) -> dict[str, str]:
        """Return the lineages that ``certbot renew`` does not roll over, and what keeps it from that."""
        found = {}
        for member in keyring.drawing:
            with suppress(PinkeepError):  # certbot does not renew what it cannot read: it says so
                renewal = renewal_conf.load(self.config_dir, member.lineage)
                why = renewal.apart if renewal else ""
                if why:
                    found[member.lineage] = why
        return found

    def step(self, keyring: Keyring) -> str:
        """Return the command that publishes what the keyring is to publish. Certbot does not come to a
        keyring without certificates."""
        if not self.drawing(keyring):
            return f"certbot-pinkeep unpin {keyring.name}"
        return "certbot renew"

    def was_pinned(self, lineage: str) -> bool:
        """Return whether pins of a lineage may have been published before this process began. If they were,
        a keyring that lacks the lineage was lost.

        certbot notes pinkeep in the renewal file before pinkeep enrols the lineage. So the first answer
        counts until the process ends.

        :raises PinkeepError: if the renewal file cannot be read
        """
        if lineage not in self._was_pinned:
            renewal = renewal_conf.load(self.config_dir, lineage)
            ours = renewal is not None and renewal.installer == INSTALLER
            # Of pinkeep 0.1: certbot notes that before the lineage is let in.
            named = renewal.options.get("keyring") if renewal is not None else None
            never = named is not None and self._lacks(named, lineage)
            self.note_pinned(lineage, pinned=not never and (ours or self._is_recorded(lineage)))
        return self._was_pinned[lineage]

    def note_pinned(self, lineage: str, *, pinned: bool) -> None:
        """Note whether pins of a lineage were published before this process began."""
        self._was_pinned[lineage] = pinned

    def _lacks(self, name: str, lineage: str) -> bool:
        """Return whether there is a keyring *name* that can be trusted and has never had the lineage."""
        members = [state.keyring.member(lineage) for state in self.trusted([name])]
        return any(member is None or not member.enrolled for member in members)

    def _is_recorded(self, lineage: str) -> bool:
        """Return whether any keyring file or its copy says that a lineage draws on the keyring."""
        return any(
            member.lineage == lineage
            for name in self.store.of_lineage(lineage)
            for state in self.store.known(name)
            for member in state.keyring.drawing
        )

    # Keys

    def load_key(self, key: Key) -> SavedKey:
        """Return the private key of *key*.

        :raises BadKey: if it is not here, or cannot be used
        """
        if key.path is None:
            raise BadKey(f"The private key with the pin {key.pin} is not on this machine.")
        return self.folders.load_key(key.path, key.pin)

    def live_key(self, live: Live) -> SavedKey | None:
        """Return the private key in ``live/``, whichever it is; ``None``: none that can be used."""
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
        return None if self.store.is_compromised(key.pin) else key

    def adopted_key(self, live: Live, taken: Iterable[str] = ()) -> Key:
        """Save the live key of a lineage among the others, as the primary of its type.

        :param taken: as for :meth:`Folders.save_key`
        :raises BadKey: if it does not belong to the certificate
        :raises OSError: if it cannot be read or saved
        """
        pem = live.key_pem()
        if pins.pin_of(load_private_key(pem).public_key()) != live.pin:
            raise BadKey(
                f"The private key {live.key_path} does not belong to the certificate of "
                f"{live.name}: it was replaced.",
                "Renew the certificate.",
                run=explain_hosts.renewal(live.name),
            )
        # certbot truncates archive/: a key that lives only there would be lost.
        saved = self.folders.save_key(pem, taken)
        return Key(live.pin, live.kind, "primary", saved.path, live.since, live.since)

    def found_key(self, pin: str) -> SavedKey | None:
        """Find the private key with this pin; if it is not in ``keys/``, save it there."""
        found = self.folders.find_key(pin)
        if found is not None:
            return found
        pem = self.imported.get(pin) or lineage.kept_key(self.config_dir, pin)
        return self.folders.save_key(pem) if pem else None

    def is_held(self, pin: str) -> bool:
        """Return whether this machine has the private key of a pin, and nobody else may have it."""
        if self.store.is_compromised(pin):
            return False
        return (
            pin in self.imported
            or any(state.keyring.key(pin) for state in self.all_known())
            or self.folders.find_key(pin) is not None
            or lineage.kept_key(self.config_dir, pin) is not None
        )

    def give_up(self, name: str) -> str:
        """Return what to do about a keyring whose keys are lost."""
        files_ = " and ".join(self.store.paths(name))
        return (
            f"Restore what is lost from a backup of {self.config_dir}. If it is lost for good, "
            f"clients are locked out until their pins run out. To pin anew then, move {files_} away.\n"
            f"Run: certbot-pinkeep pin {shlex.quote(name)}"
        )

    # Hosts

    def look_at(self, hosts: Names) -> list[TlsObservation] | None:
        """Look at hosts, each once in a run and for a limited time; ``None``: nobody looks. Never raises."""
        if self._look is None:
            return None
        if hosts not in self._looked:
            began = clock.seconds()
            self._looked[hosts] = []
            try:
                if self._looking < _LOOKING:
                    self._looked[hosts] = self._look(hosts)
            except Exception as error:
                logger.debug("%s could not be looked at: %s", ", ".join(hosts), error)
            self._looking += clock.seconds() - began
        return self._looked[hosts]
