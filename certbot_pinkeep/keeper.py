"""The workflow, once, for every entry point: look at what is live, decide, record, publish.

The rules:

* Everything is checked before anything is written: options, folders, the keyring file, the live
  key (G10, G8).
* Keys and CSRs are saved first, then the keyring file with its ledger, then the snippet; Apache is
  reloaded last, and what it loaded is recorded after that (G5).
* A lineage is taken in first: what its keyring consists of is recorded. What a keyring publishes is
  published after that, once for all lineages that were taken in.
* The options belong to the keyring, whichever lineage they were given with last.
* A lineage that moves to another keyring keeps its key in service in both, until it is confirmed
  that Apache sends the new one's header (G2).
* Each step is taken only where what is there differs from what should be: a second run changes
  nothing, and a run after a kill goes on where the first one stopped.
* A live key is looked at anew where it is about to be served, wherever it came from: where clients
  do not accept it, nothing is published and nothing is reloaded (G2).
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certbot_pinkeep import (
    advice,
    apache,
    csrs,
    files,
    lineage,
    moments,
    options,
    pins,
    reach,
    renewals,
    rollover,
)
from certbot_pinkeep.apache import Server
from certbot_pinkeep.csrs import SavedCsr
from certbot_pinkeep.errors import (
    BadFolder,
    BadKey,
    BadOption,
    DamagedState,
    NotAccepted,
    NotCovered,
    PinkeepError,
    TypeMissing,
    Unpinned,
)
from certbot_pinkeep.issuing import Handover, Issuing, is_accepted, member_of
from certbot_pinkeep.keyring import Key, Keyring
from certbot_pinkeep.ledger import Ledger
from certbot_pinkeep.lineage import Live
from certbot_pinkeep.options import Options
from certbot_pinkeep.pins import KeyKind, KeyType
from certbot_pinkeep.policy import Policy
from certbot_pinkeep.store import State

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """A lineage that was taken in.

    :ivar csr_paths: the CSRs with which it would be renewed, for each key of its type
    :ivar adopted: the keyring is new
    :ivar joined: the lineage is new to the keyring
    :ivar moved_from: the keyring that it came from
    :ivar rolled_over: the pin of the key that it was rolled over to
    """

    live: Live
    chosen: Options
    csr_paths: tuple[str, ...]
    adopted: bool
    joined: bool
    moved_from: str | None
    rolled_over: str | None


@dataclass(frozen=True)
class Report:
    """What a run did.

    :ivar taken: the lineages that were taken in
    :ivar dropped: those that left the keyring, because they were deleted
    :ivar unpinned: nothing is published any more, because the admin left pinning
    :ivar published: the snippet was written
    :ivar reloaded: Apache was reloaded
    :ivar pending: Apache still has to load what is published
    :ivar settled: another run would change nothing
    :ivar files: the files that the keyring consists of
    """

    keyring: str
    snippet: str
    pins: tuple[str, ...]
    taken: tuple[Taken, ...]
    dropped: tuple[str, ...]
    unpinned: bool
    published: bool
    reloaded: bool
    pending: bool
    settled: bool
    files: tuple[str, ...]

    @property
    def adopted(self) -> bool:
        """Whether the keyring is new."""
        return any(one.adopted for one in self.taken)

    @property
    def rolled_over(self) -> str | None:
        """The pin of the key that was rolled over to in this run."""
        return next((one.rolled_over for one in self.taken if one.rolled_over), None)


@dataclass(frozen=True)
class Failure:
    """A keyring that could not be published, or not as it was asked for.

    :ivar lives: the lineages that were taken in
    """

    keyring: str
    lives: tuple[Live, ...]
    error: PinkeepError | OSError


@dataclass(frozen=True)
class _Other:
    """A certificate of this machine that is not the keyring's; those names that it covers."""

    lineage: str
    names: tuple[str, ...]
    pin: str


@dataclass
class _Publication:
    """A keyring on its way to Apache."""

    state: State
    chosen: Options
    server: Server
    taken: dict[str, Taken]
    dropped: tuple[str, ...] = ()
    uncovered: PinkeepError | None = None
    published: bool = False
    reloaded: bool = False

    @property
    def name(self) -> str:
        return self.state.keyring.name


class Keeper(Issuing):
    """Keeps the keyrings of one config dir, for one run of certbot.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    """

    def __init__(self, config_dir: str, work_dir: str | None = None) -> None:
        super().__init__(config_dir, work_dir)
        self._taken: dict[str, dict[str, Taken]] = {}

    # Bringing everything into step

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
        began = time.monotonic()  # waiting for the lock and testing takes time as well
        self.take_in(live, chosen, now, remember, pinned_before)
        return self.publish(chosen.keyring, now, began)

    def take_in(
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
        try:
            return self._take_in(live, chosen, now, remember, pinned_before)
        except TypeMissing as missing:
            until = self.stage_type(missing.keyring, missing.kind, live.names, now)
            raise TypeMissing(missing.keyring, missing.kind, until) from missing

    def _take_in(
        self,
        live: Live,
        chosen: Options,
        now: datetime,
        remember: Callable[[], None] | None,
        pinned_before: bool,
    ) -> Taken:
        server = self._server(chosen)
        self.folders.check()
        files.check_folder(self.store.folder, forbidden=0o022, advice="0755")
        options.check_report_host(chosen.report_uri, live.names, chosen.include_subdomains)
        with self.store.locked():
            self._sweep(server)
            old = self.load_state(chosen.keyring, now)
            self.store.tick(now)
            origin = self._origin(live, chosen)
            if old is None:
                state = self._adopted(live, chosen, server, now, pinned_before, origin)
            elif _draws_on(old, live):
                state = self._brought_into_step(_out_of_doubt(old, chosen, now), live, now)
            else:
                known = _out_of_doubt(old, chosen, now)
                state = self._joined(known, live, chosen, now, pinned_before, origin)
            state = _with_settings(state, chosen)
            state, csr_paths = self._staged(state, chosen, live, now)
            if state != old:
                state = self.store.save(state)
            self._tell_left(live, state, origin)
            if remember is not None:
                remember()
            self._tell_members(old, state, live)
        joined = old is None or not _draws_on(old, live)
        taken = Taken(
            live, chosen, tuple(csr_paths), old is None, joined, origin, _rolled_over(old, live)
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
    ) -> Handover | None:
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

    def stage_type(self, keyring: str, kind: KeyKind, names: Iterable[str], now: datetime) -> str:
        """Stage and publish the first keys of a type, for a certificate with these names to come.

        :returns: from when it can be issued, as a sentence
        :raises PinkeepError: when that cannot be published
        """
        with self.store.locked():
            state = self.load_state(keyring, now)
            assert state is not None
            if kind.key_type not in state.keyring.key_types():
                keys = state.keyring
                saved = self.folders.save_key(csrs.make_key(kind), _paths(keys))
                key = Key(saved.pin, saved.kind, "primary", saved.path, now)
                keys = self._with_backups(keys.with_type(key), self._chosen(state).backup_keys, now)
                self.store.save(replace(state, keyring=keys))
        _, failures = self.publish_all([keyring], now)
        for failure in failures:
            if not isinstance(failure.error, NotCovered):
                raise failure.error
        state = self.load_state(keyring, now)
        primary = state.keyring.primary(kind.key_type) if state else None
        assert state is not None and primary is not None
        hosts = tuple(name.lower() for name in names)
        return advice.staged(keyring, rollover.safety(primary, state.ledger, now, hosts))

    @property
    def waiting(self) -> tuple[str, ...]:
        """The keyrings that lineages were taken into since they were published last."""
        return tuple(self._taken)

    def publish(self, keyring: str, now: datetime, began: float | None = None) -> Report:
        """Publish what the keyring is to publish, and have Apache load it.

        :param began: when *now* was, on the monotonic clock; ``None``: now
        :raises PinkeepError: with what is wrong and what to do
        :raises OSError: when the disk does not take what has to be recorded; nothing is published
        """
        reports, failures = self.publish_all([keyring], now, began)
        if failures:
            raise failures[0].error
        return reports[0]

    def publish_all(
        self, keyrings: Iterable[str], now: datetime, began: float | None = None
    ) -> tuple[list[Report], list[Failure]]:
        """Publish what the keyrings are to publish, and have Apache load all of it at once.

        :returns: what was done, and what went wrong, a keyring each
        """
        began = time.monotonic() if began is None else began
        failures: list[Failure] = []
        ready: list[_Publication] = []
        with self.store.locked():
            for name in keyrings:
                taken = self._taken.pop(name, {})
                try:
                    ready.append(self._published(name, taken, now))
                except (PinkeepError, OSError) as error:
                    failures.append(Failure(name, _lives(taken), error))
            failures += self._load_into_apache(ready, now, began)
        for one in ready:
            if one.uncovered is not None:
                failures.append(Failure(one.name, _lives(one.taken), one.uncovered))
        failed = {failure.keyring for failure in failures}
        return [self._report(one, now) for one in ready if one.name not in failed], failures

    def check(self, chosen: Options) -> None:
        """See that the options can be used on this machine. Writes nothing.

        :raises PinkeepError: when they cannot
        """
        self._server(chosen)

    def reload_certificate(
        self, lineage_name: str, pin: str | None, keyring: str, words: tuple[str, ...] | None
    ) -> bool:
        """Let Apache load a renewed certificate though the pins could not be brought into step,
        unless its key is known not to be pinned (G3).

        :param pin: of its key; ``None``: it is of a kind that is never pinned
        :param words: of the reload command; ``None`` for the default
        :returns: whether that was done
        :raises PinkeepError: when it could not be done
        """
        command = apache.command("--pinkeep-reload-command", words, "graceful")
        pinned = self.store.keyring_of(lineage_name, keyring) is not None
        refused = pinned if pin is None else not self._may_be_accepted(pin, keyring)
        if not command or refused:
            return False
        apache.reload(Server("", (), command))
        return True

    def _may_be_accepted(self, pin: str, keyring: str) -> bool:
        try:
            state = self.store.load(keyring)
        except DamagedState:
            return True  # what was handed over then is the key that was live before
        if state is not None and state.ledger.current is not None:
            return pin in state.ledger.current.policy.pins
        text = apache.read_snippet(self.snippet_of(keyring, None))
        published = apache.read_policy(text) if text else None
        return published is None or pin in published.pins

    def _server(self, chosen: Options) -> Server:
        """Where the snippet goes and how Apache loads it.

        :raises BadOption: when the folder or a program does not exist
        """
        if chosen.snippet_dir is not None:
            apache.check_snippet_dir(chosen.snippet_dir)
            self._check_foreign(chosen.snippet_dir)
        snippet = self.snippet_of(chosen.keyring, chosen)
        folder = os.path.dirname(snippet)
        if chosen.snippet_dir is None and os.path.exists(folder) and not os.path.isdir(folder):
            raise BadFolder(f"{folder} is not a folder. Move it away; it is made when needed.")
        if not _is_ours(snippet, chosen.keyring):
            raise BadOption(
                "--pinkeep-snippet-dir",
                folder,
                f"the file {snippet} is there, and pinkeep did not write it. Name a folder of its "
                "own for the snippets, or move that file away.",
            )
        return Server(
            snippet,
            apache.command("--pinkeep-configtest-command", chosen.configtest, "configtest"),
            apache.command("--pinkeep-reload-command", chosen.reload, "graceful"),
        )

    def _check_foreign(self, folder: str) -> None:
        """See that the admin's snippet folder is not one that certbot or we keep other files in."""
        real = os.path.realpath(folder)
        config_dir = os.path.realpath(self.config_dir)
        apache_dir = os.path.join(config_dir, "pinkeep", "apache")
        if os.path.commonpath([real, config_dir]) == config_dir and real != apache_dir:
            raise BadOption(
                "--pinkeep-snippet-dir",
                folder,
                f"it is below certbot's folder {self.config_dir}, whose files have other purposes. "
                "Name a folder outside of it.",
            )

    def _sweep(self, server: Server) -> None:
        """Remove what a run that was killed left half-written."""
        renewal = os.path.join(self.config_dir, "renewal")
        snippets = os.path.dirname(server.snippet)
        for folder in (self.folders.keys, self.folders.csrs, self.store.folder, renewal, snippets):
            if os.path.isdir(folder):
                files.sweep(folder)

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
            raise Unpinned(live.name, live.pin, chosen.keyring, _held(policy.max_age), mend)
        self._check_hosts(chosen.keyring, live.name, live.names, now, live.pin)
        ledger = self._brought_along(Ledger(), live, chosen, now, pinned_before, origin)
        keys = [self._adopted_key(live)]
        if policy is not None:
            # The keyring file is lost, and with it what was served before (G8). What the snippet
            # lists was served until now.
            keys += self._found_again(policy, live, now)
            ledger = ledger.blinded(now + max(_longest(chosen), policy.binding))
            ledger = ledger.record(policy, now)
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
        ledger = self._brought_along(old.ledger, live, chosen, now, pinned_before, origin)
        state = replace(old, ledger=ledger)
        if not is_accepted(state, live, now):
            locked = rollover.locked_out(live.pin, ledger, now, live.names)
            if locked and live.kind.key_type not in old.keyring.key_types():
                raise TypeMissing(name, live.kind)
            if locked:
                raise NotAccepted(self._why_not(state, live, now))
        keyring = old.keyring
        key = keyring.key(live.pin)
        if key is None or self.lost([key]):
            key = self._adopted_key(live, _paths(keyring))
            keyring = keyring.moved(live.pin, key.path or "")
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

    def _why_not(self, state: State, live: Live, now: datetime) -> str:
        """Why a lineage cannot join with the key that it has, and what to do."""
        name, key_type = state.keyring.name, live.kind.key_type
        told = (
            f"--pinkeep-keyring {name!r}: clients that hold pins for {', '.join(live.names)} refuse "
            f"the present key of {live.name} (pin {live.pin}), which is not among them. Nothing was "
            "changed. "
        )
        primary = state.keyring.primary(key_type)
        verdict = (
            rollover.safety(primary, state.ledger, now, live.names)
            if primary is not None
            else rollover.best_backup(state.keyring, state.ledger, now, key_type, live.names)[1]
        )
        return f"{told}{advice.renewing(live.name, name, verdict, now)}"

    def _tell_left(self, live: Live, state: State, origin: str | None) -> None:
        """Note in the keyrings that a lineage has moved from that it has, and which key it serves;
        also where a run was killed before it came to that."""
        name = state.keyring.name
        moving = origin is not None or bool(state.ledger.inherited)
        for other in self.store.names() if moving else ():
            left = None if other == name else self.store.load(other)
            if left is None or left.keyring.member(live.name) is None:
                continue
            member = replace(member_of(live), moved=name)
            keyring = left.keyring
            known = keyring.key(live.pin) is not None
            keyring = keyring.with_member(member) if known else keyring.with_moved(live.name, name)
            if keyring != left.keyring:
                self.store.save(replace(left, keyring=keyring))

    def _adopted_key(self, live: Live, taken: Iterable[str] = ()) -> Key:
        pem = live.key_pem()
        if pins.pin_of(pins.load_private_key(pem).public_key()) != live.pin:
            raise BadKey(
                f"The private key {live.key_path} does not belong to the certificate of "
                f"{live.name}. Renew it: certbot renew --cert-name {live.name} --force-renewal"
            )
        # certbot truncates archive/: a key that lives only there would be lost.
        saved = self.folders.find_copy(pem) or self.folders.save_key(pem, taken)
        return Key(live.pin, live.kind, "primary", saved.path, live.since, live.since)

    def _found_again(self, policy: Policy, live: Live, now: datetime) -> list[Key]:
        found = (self.folders.find_key(pin) for pin in policy.pins if pin != live.pin)
        return [
            Key(saved.pin, saved.kind, "backup", saved.path, now)
            for saved in found
            if saved is not None and saved.kind.key_type == live.kind.key_type
        ]

    def _staged(
        self, state: State, chosen: Options, live: Live, now: datetime
    ) -> tuple[State, list[str]]:
        """The state with all backups staged, and the CSR of each key for the lineage's names.

        :raises BadFolder: when the folder of the keys is gone
        """
        self._check_keys(state.keyring)
        keyring = self._without_lost(self._healed(state.keyring, live), chosen.backup_keys)
        keyring = self._with_backups(keyring, chosen.backup_keys, now)
        index = self.folders.saved_csrs()
        paths = []
        for key in keyring.keys:
            if key.role not in ("primary", "backup") or key.kind.key_type != live.kind.key_type:
                continue
            csr = index.get(csrs.request(key.pin, live.names, live.must_staple))
            if csr is None:
                csr = self._made_csr(key, live)
            paths.append(csr.path or "" if csr else "")
        return replace(state, keyring=keyring), paths

    def _with_backups(self, keyring: Keyring, wanted: int, now: datetime) -> Keyring:
        """The keyring with as many backups of each type, new ones where they are lacking."""
        taken = _paths(keyring)
        new = [
            self.folders.save_key(csrs.make_key(kind), taken)
            for kind, count in keyring.missing_backups(wanted).items()
            for _ in range(count)
        ]
        return keyring.with_keys(
            Key(saved.pin, saved.kind, "backup", saved.path, now) for saved in new
        )

    def _healed(self, keyring: Keyring, live: Live) -> Keyring:
        """The keyring with the file of the live key in its place: archive/ alone would lose it.

        :raises BadKey: when that key does not belong to the live certificate
        """
        key = keyring.key(live.pin)
        if key is None or not self.lost([key]):
            return keyring
        path = self._adopted_key(live, _paths(keyring)).path
        return keyring.moved(live.pin, path) if path else keyring

    def _check_keys(self, keyring: Keyring) -> None:
        """See that not all keys are gone at once: that is a folder which is not there (mounted) now.

        :raises BadFolder: when they are
        """
        paths = [self.folders.absolute(key.path) for key in keyring.keys if key.path]
        if paths and not any(os.path.exists(path) for path in paths):
            raise BadFolder(
                f"No key of the keyring {keyring.name} is in {self.folders.keys} any more. Nothing "
                f"was changed. {self.give_up(keyring.name)}"
            )

    def _without_lost(self, keyring: Keyring, wanted: int) -> Keyring:
        """The keyring with as many backups as are at hand, at most *wanted*; the rest is retired."""
        for key_type in keyring.key_types():
            lost = self.lost(keyring.backups(key_type))
            for sentence in lost.values():
                logger.error("%s", sentence)
            keyring = keyring.with_lost(lost)
        return keyring.with_backup_count(wanted, self.lost(keyring.spare()))

    def _made_csr(self, key: Key, live: Live) -> SavedCsr | None:
        try:
            pem = csrs.make_csr(self.load_key(key).pem, live.names, live.must_staple)
        except BadKey as error:
            logger.error("%s", error)  # the primary's: a handover copes with that
            return None
        return self.folders.save_csr(pem)

    # Publishing

    def _chosen(self, state: State, taken: Mapping[str, Taken] | None = None) -> Options:
        """The options that count for a keyring: those given last."""
        if taken:
            return list(taken.values())[-1].chosen
        return options.parse({**state.settings, "keyring": state.keyring.name}, state.keyring.name)

    def _published(self, name: str, taken: dict[str, Taken], now: datetime) -> _Publication:
        """The keyring with its snippet in place and tested, before Apache is reloaded."""
        old = self.load_state(name, now)
        if old is None or (not old.keyring.members and not taken and not old.snippet):
            raise PinkeepError(f"The keyring {name} has no certificate yet.")
        chosen = self._chosen(old, taken)
        server = self._server(chosen)
        dropped = self.deleted(old.keyring)
        state = replace(old, keyring=old.keyring.without_members(dropped))
        state = self._with_others(state, taken, now)
        if state.keyring != old.keyring:
            keyring = self._with_backups(state.keyring, chosen.backup_keys, now)
            state = replace(state, keyring=keyring)
        uncovered, wanted = self._subdomains(state, chosen, now)
        state = self._recorded(state, wanted, server, now)
        if state != old:
            state = self.store.save(state)
        one = _Publication(state, chosen, server, taken, dropped, uncovered)
        self._publish(one, now)
        return one

    def deleted(self, keyring: Keyring) -> tuple[str, ...]:
        """The lineages of the keyring that ``certbot delete`` has deleted."""

        def is_gone(name: str) -> bool:
            left = (("renewal", f"{name}.conf"), ("live", name))
            return not any(os.path.exists(os.path.join(self.config_dir, *one)) for one in left)

        return tuple(m.lineage for m in keyring.members if is_gone(m.lineage))

    def _with_others(self, state: State, taken: Mapping[str, Taken], now: datetime) -> State:
        """The state with the lineages as they are that were not taken in: Apache loads them as well.

        :raises Unpinned: when clients do not accept one of them
        """
        for member in state.keyring.members:
            if member.lineage in taken or member.moved:
                continue
            folder = os.path.join(self.config_dir, "live", member.lineage)
            cert, key = (os.path.join(folder, f"{part}.pem") for part in ("cert", "privkey"))
            try:
                if lineage.glance(cert)[1] == member.pin:
                    continue
                live = lineage.look(member.lineage, cert, key, False)
            except BadKey as error:
                logger.debug("%s", error)  # its own turn tells
                continue
            if not is_accepted(state, live, now) and not state.unpinned(now):
                raise self._unpinned(state, live)
            keyring = state.keyring.with_member(member_of(live, member.loaded))
            state = replace(state, keyring=keyring) if keyring.key(live.pin) else state
        return state

    def _subdomains(
        self, state: State, chosen: Options, now: datetime
    ) -> tuple[PinkeepError | None, Options]:
        """What is wrong with includeSubDomains, and the options as they can be published."""
        if not chosen.include_subdomains or state.unpin:
            return None, chosen
        others = self._not_covered(state.keyring)
        if not others:
            return None, chosen
        # Where clients refuse them already, leaving it out would not help them.
        current = state.ledger.current
        stays = (
            current is not None
            and current.policy.include_subdomains
            and all(
                any(
                    entry.policy.include_subdomains
                    for entry in rollover.locked_out(one.pin, state.ledger, now, one.names)
                )
                for one in others
            )
        )
        error = NotCovered(state.keyring.name, [one.lineage for one in others], stays)
        return error, chosen if stays else replace(chosen, include_subdomains=False)

    def _not_covered(self, keyring: Keyring) -> list[_Other]:
        """The certificates of this machine below the keyring's hosts whose keys its pins lack, or
        may lack soon, because they draw on another keyring."""
        published = set(keyring.published_pins())
        members = {member.lineage for member in keyring.members if not member.moved}
        found = []
        for name in renewals.names(self.config_dir):
            if name in members:
                continue
            path = os.path.join(self.config_dir, "live", name, "cert.pem")
            try:
                names, pin = lineage.glance(path)
            except BadKey as error:
                logger.debug("%s", error)
                continue
            below = tuple(reach.covered(keyring.hosts, names, True))
            if below and (pin not in published or self.store.keyring_of(name) is not None):
                found.append(_Other(name, below, pin))
        return found

    def _recorded(self, state: State, chosen: Options, server: Server, now: datetime) -> State:
        """The state with the policy in its ledger that is about to be published."""
        policy = Policy(
            state.keyring.published_pins(),
            0 if state.unpin else chosen.max_age,
            chosen.include_subdomains,
            chosen.report_uri,
            chosen.report_only and not state.unpin,
        )
        ledger = state.ledger
        text = apache.read_snippet(server.snippet)
        found = apache.read_policy(text) if text is not None else None
        current = ledger.current
        wanted = _snippet(state, now) if current is not None else None
        if current is not None and apache.directives(text) != apache.directives(wanted):
            # Pinning was left for good, or somebody edited, removed or moved the snippet: Apache may
            # have loaded what is there.
            if found is not None and not ledger.may_be_served(found):
                ledger = ledger.record(found, now, state.keyring.hosts)
            else:
                ledger = ledger.reopen()
        ledger = ledger.record(policy, now, state.keyring.hosts).prune(now)
        return replace(state, ledger=ledger)

    def _publish(self, one: _Publication, now: datetime) -> None:
        """Have the snippet say what is on record."""
        state, server = one.state, one.server
        text = _snippet(state, now)
        digest = hashlib.sha256(text.encode()).hexdigest()
        changed = apache.read_snippet(server.snippet) != text
        moved = state.snippet != server.snippet
        if not (changed or moved or state.ledger.pending):
            return
        if os.path.dirname(server.snippet) == os.path.join(self.store.folder, "apache"):
            files.make_folder(os.path.dirname(server.snippet), 0o755)
        changes: dict[str, str | None] = {server.snippet: text}
        if moved and state.snippet and _is_ours(state.snippet, state.keyring.name):
            changes[state.snippet] = None
        confirmed = state.ledger.confirmed_policy()
        earlier = apache.render(state.keyring, confirmed) if confirmed else None
        if state.tested == digest:
            earlier = text  # it has passed its test before: it is not what is wrong now
        apache.publish(server, changes, earlier)
        # Only now: a run that was killed before must still know where the old snippet is.
        tested = replace(state, snippet=server.snippet, tested=digest)
        if tested != state:
            one.state = self.store.save(tested)
        one.published = changed

    def _load_into_apache(
        self, ready: Iterable[_Publication], now: datetime, began: float
    ) -> list[Failure]:
        """Have Apache load what the keyrings publish and what is live; once per reload command.

        :returns: what went wrong
        """
        waiting: dict[tuple[str, ...], list[_Publication]] = {}
        for one in ready:
            if one.server.reload and _is_to_load(one):
                waiting.setdefault(one.server.reload, []).append(one)
        failures: list[Failure] = []
        for together in waiting.values():
            try:
                apache.reload(together[0].server)
                # The earlier policies were served until the reload was done.
                done = now + timedelta(seconds=round(time.monotonic() - began))
                for one in together:
                    one.state = self.store.save(_as_loaded(one, done))
                    one.reloaded = True
            except (PinkeepError, OSError) as error:
                failures += [Failure(one.name, _lives(one.taken), error) for one in together]
        return failures

    def _report(self, one: _Publication, now: datetime) -> Report:
        state = one.state
        paths = [self.store.path(state.keyring.name), one.server.snippet]
        needed = [key for key in state.keyring.keys if key.path and key.role != "retired"]
        paths += [self.folders.absolute(key.path or "") for key in needed]
        return Report(
            keyring=state.keyring.name,
            snippet=one.server.snippet,
            pins=_current(state).pins,
            taken=tuple(one.taken.values()),
            dropped=one.dropped,
            unpinned=state.unpinned(now),
            published=one.published,
            reloaded=one.reloaded,
            pending=state.ledger.pending,
            settled=_is_settled(state, one.chosen, now),
            files=tuple(paths),
        )

    def _brought_into_step(self, old: State, live: Live, now: datetime) -> State:
        """The state with the lineage as it is now."""
        keyring = old.keyring
        known = keyring.member(live.name)
        if known is not None and set(live.names) - set(known.hosts):
            self._check_hosts(keyring.name, live.name, live.names, now, live.pin)
        member = member_of(live, known.loaded if known else None)
        if not is_accepted(old, live, now):
            if not old.unpinned(now):
                raise self._unpinned(old, live)
            keyring = keyring.with_primary(self._adopted_key(live))
        return replace(old, keyring=keyring.with_member(member))

    def _unpinned(self, state: State, live: Live) -> Unpinned:
        until = _held(_current(state).max_age)
        mend = self._mend(state.keyring, live)
        return Unpinned(live.name, live.pin, state.keyring.name, until, mend)

    def _tell_members(self, old: State | None, state: State, live: Live) -> None:
        """Note options that were given with one lineage in the renewal files of the others."""
        if old is None or old.settings == state.settings:
            return
        for member in state.keyring.members:
            if member.lineage == live.name or member.moved:
                continue
            try:
                renewals.agree(self.config_dir, member.lineage, state.settings)
            except (PinkeepError, OSError) as error:
                logger.error("The options of %s could not be noted: %s", member.lineage, error)

    def _mend(self, keyring: Keyring, live: Live) -> str:
        """What to do about a live key that clients do not accept."""
        primary = keyring.primary(live.kind.key_type)
        try:
            if primary is not None:
                self.load_key(primary)
            return (
                "To go back to the pinned key, run: "
                f"certbot renew --cert-name {live.name} --force-renewal --installer pinkeep"
            )
        except BadKey as error:
            return f"{error} {self.give_up(keyring.name)}"


def _current(state: State) -> Policy:
    assert state.ledger.current is not None
    return state.ledger.current.policy


def _snippet(state: State, now: datetime) -> str:
    """The text of the snippet that is to be served."""
    policy = None if state.unpinned(now) else _current(state)
    return apache.render(state.keyring, policy)


def _is_settled(state: State, chosen: Options, now: datetime) -> bool:
    """Whether another run with the same options would change nothing, however late."""
    waiting = state.ledger.pending and chosen.reload != ()
    return not waiting and state.unpin == state.unpinned(now)


def _is_to_load(one: _Publication) -> bool:
    """Whether there is something that Apache has not loaded: pins or a certificate."""
    members = {member.lineage: member.loaded for member in one.state.keyring.members}
    lives = [taken.live for taken in one.taken.values()]
    return one.state.ledger.pending or any(
        members.get(live.name) != live.fingerprint for live in lives
    )


def _as_loaded(one: _Publication, now: datetime) -> State:
    """The state once Apache has loaded what was published and what is live."""
    state, keyring = one.state, one.state.keyring
    lives = [taken.live for taken in one.taken.values()]
    for live in lives:
        keyring = keyring.loaded(live.name, live.fingerprint)
    # From when it was served is unknown where the clock runs wrong (G8).
    if not state.ledger.is_ahead_of(now):
        keyring = keyring.served_since({live.pin: now for live in lives})
    return replace(state, keyring=keyring, ledger=state.ledger.confirm(now).prune(now))


def _lives(taken: Mapping[str, Taken]) -> tuple[Live, ...]:
    return tuple(one.live for one in taken.values())


def _paths(keyring: Keyring) -> list[str]:
    """The files of the keyring's keys, below the config dir."""
    return [key.path for key in keyring.keys if key.path]


def _draws_on(state: State, live: Live) -> bool:
    """Whether the lineage draws on the keyring, and has not moved to another."""
    member = state.keyring.member(live.name)
    return member is not None and not member.moved


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
    longest = max(ledger.longest, timedelta(seconds=chosen.max_age))
    until = max(now, ledger.latest() or now) + longest
    logger.warning(
        "%s: the copy below certbot's work dir is used. What was served meanwhile is not known, so "
        "the keyring %s does not roll over before %s.",
        ledger.doubt,
        state.keyring.name,
        moments.text(until),
    )
    return replace(state, ledger=ledger.blinded(until))


def _published_before(server: Server) -> Policy | None:
    text = apache.read_snippet(server.snippet)
    return apache.read_policy(text) if text is not None else None


def _is_ours(snippet: str, keyring: str) -> bool:
    """Whether the file is a snippet of this keyring, or not there at all."""
    text = apache.read_snippet(snippet)
    return text is None or text.startswith(apache.first_line(keyring))


def _held(max_age: int) -> str:
    days = max_age // 86400
    return f"for up to {days} days after their last visit" if days else f"for {max_age} seconds"
