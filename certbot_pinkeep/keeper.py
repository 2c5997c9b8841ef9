"""The workflow, once, for every entry point: look at what is live, decide, record, publish.

The rules:

* Everything is checked before anything is written: options, folders, the keyring file, the live
  key (G10, G8).
* Keys and CSRs are saved first, then the keyring file with its ledger, then the snippet; Apache is
  reloaded last, and what it loaded is recorded after that (G5).
* A live key that clients were given no pin for is an error; it is never published as if nothing
  had happened.
* Each step is taken only where what is there differs from what should be: a second run changes
  nothing, and a run after a kill goes on where the first one stopped.
* A handover needs a key and a CSR, nothing else: where anything else is in doubt, the renewal goes
  on with the current key (G3).
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from certbot_pinkeep import apache, csrs, files, options, pins, rollover
from certbot_pinkeep.apache import Server
from certbot_pinkeep.csrs import SavedCsr, SavedKey
from certbot_pinkeep.errors import (
    BadFolder,
    BadKey,
    BadOption,
    DamagedState,
    Unpinned,
)
from certbot_pinkeep.keyring import Key, Keyring, Member
from certbot_pinkeep.ledger import Ledger
from certbot_pinkeep.lineage import Live
from certbot_pinkeep.options import Options
from certbot_pinkeep.pins import KeyType
from certbot_pinkeep.policy import Policy
from certbot_pinkeep.store import State, Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Handover:
    """What a renewal is issued for.

    :ivar key_path: the private key's file, absolute
    :ivar pin: the pin that the issued certificate's key must have
    """

    key_path: str
    key_pem: bytes = field(repr=False)
    csr: SavedCsr
    pin: str


@dataclass(frozen=True)
class Report:
    """What a run did.

    :ivar adopted: the keyring is new
    :ivar published: the snippet was written
    :ivar reloaded: Apache was reloaded
    :ivar pending: Apache still has to load what is published
    :ivar settled: another run would change nothing
    :ivar files: the files that the keyring consists of
    """

    keyring: str
    snippet: str
    pins: tuple[str, ...]
    adopted: bool
    published: bool
    reloaded: bool
    pending: bool
    settled: bool
    files: tuple[str, ...]


class Keeper:
    """Keeps the keyrings of one config dir.

    :param config_dir: certbot's ``--config-dir``
    """

    def __init__(self, config_dir: str) -> None:
        self.config_dir = config_dir
        self.store = Store(config_dir)
        self.folders = csrs.Folders(config_dir)

    # What a certificate is issued for

    def handover(
        self,
        live: Live,
        keyring: str,
        names: Iterable[str],
        now: datetime,
        dry_run: bool = False,
        asked: bool = False,
    ) -> Handover:
        """The key and the CSR that the renewal of *live* is issued for.

        :param keyring: the name of the keyring that it draws on
        :param names: the names of the new certificate
        :param dry_run: whether nothing may be written
        :param asked: whether a rollover is asked for
        :raises NotSafe: when it is, and locks clients out
        :raises BadKey: when there is no key that could be handed over
        """
        key = self._keyring_key(live, keyring, now, asked)
        if key is None:
            path = os.path.relpath(live.key_path, self.config_dir)
            key = self.folders.load_key(path, live.pin)
        return self._handover(key, names, live.must_staple, dry_run)

    def handover_new(
        self,
        lineage: str,
        keyring: str,
        key_type: KeyType,
        names: Iterable[str],
        must_staple: bool,
        now: datetime,
        dry_run: bool = False,
    ) -> Handover | None:
        """The key and the CSR that a new certificate is issued for; ``None`` when there is no such
        keyring yet, and certbot makes a key as ever.

        :raises DamagedState: when its file cannot be trusted
        :raises BadKey: when its key's file is gone
        """
        state = self.store.load(keyring)
        if state is None or not state.keyring.key_types():
            return None
        _check_member(state.keyring, lineage)
        types = state.keyring.key_types()
        key = rollover.next_key(
            state.keyring, state.ledger, now, key_type if key_type in types else types[0]
        )
        return self._handover(self._load(key), names, must_staple, dry_run)

    def _keyring_key(self, live: Live, keyring: str, now: datetime, asked: bool) -> SavedKey | None:
        """The key that the keyring names, ``None`` where it names none that can be trusted."""
        try:
            state = self.store.load(keyring)
        except DamagedState as error:
            if asked:
                raise
            logger.error("%s", error)
            return None
        if state is None or state.keyring.member(live.name) is None:
            if asked:
                raise BadKey(
                    f"{live.name} is not pinned yet, so it has no backup key to roll over to. Run "
                    "'certbot renew --installer pinkeep' first."
                )
            return None
        types = state.keyring.key_types()
        key_type = live.kind.key_type if live.kind.key_type in types else types[0]
        key = rollover.next_key(state.keyring, state.ledger, now, key_type, asked)
        if asked:
            return self._load(key)
        return self._first_at_hand(state, key, live, now)

    def _first_at_hand(self, state: State, key: Key, live: Live, now: datetime) -> SavedKey | None:
        """*key*, or where its file is lost the next best one that clients accept; ``None`` for the
        live key."""
        try:
            return self._load(key)
        except BadKey as error:
            logger.error("%s", error)
        if state.keyring.key(live.pin) is not None:
            return None
        for backup in state.keyring.backups(key.kind.key_type):
            try:
                if rollover.safety(backup, state.ledger, now).at(now):
                    return self._load(backup)
            except BadKey as error:
                logger.error("%s", error)
        return None

    def _handover(
        self, key: SavedKey, names: Iterable[str], must_staple: bool, dry_run: bool
    ) -> Handover:
        names = list(names)
        wanted = csrs.request(key.pin, names, must_staple)
        csr = self.folders.saved_csrs().get(wanted)
        if csr is None:
            pem = csrs.make_csr(key.pem, names, must_staple)
            csr = SavedCsr(None, pem) if dry_run else self._save_csr(pem)
        return Handover(self.folders.absolute(key.path), key.pem, csr, key.pin)

    def _save_csr(self, pem: bytes) -> SavedCsr:
        try:
            self.folders.check()
            return self.folders.save_csr(pem)
        except (OSError, BadFolder) as error:
            logger.error("The CSR could not be saved; the renewal goes on. %s", error)
            return SavedCsr(None, pem)

    def _load(self, key: Key) -> SavedKey:
        if key.path is None:
            raise BadKey(f"The private key with the pin {key.pin} is not on this machine.")
        return self.folders.load_key(key.path, key.pin)

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

        :param remember: makes sure that the lineage's later renewals keep its key; called before
            anything is published
        :param pinned_before: whether pins of this lineage were published before this run, so that
            a missing keyring file means a lost one
        :raises PinkeepError: with what is wrong and what to do
        :raises OSError: when the disk does not take what has to be recorded; nothing is published
        """
        server = self._server(chosen)
        self.folders.check()
        files.check_folder(self.store.folder, forbidden=0o022, advice="0755")
        options.check_report_host(chosen.report_uri, live.names, chosen.include_subdomains)
        with self.store.locked():
            self._sweep(server)
            old = self.store.load(chosen.keyring)
            state = (
                self._adopted(live, chosen, server, now, pinned_before)
                if old is None
                else _brought_into_step(old, live)
            )
            state, csr_paths = self._staged(state, chosen, live, now)
            state = self._recorded(state, chosen, server, now)
            if state != old:
                self.store.save(state)
            if remember is not None:
                remember()
            published, state = self._publish(state, server)
            reloaded, state = self._load_into_apache(state, live, server, now)
        by_hand = chosen.reload == ()
        return self._report(state, server, csr_paths, old is None, published, reloaded, by_hand)

    def check(self, chosen: Options) -> None:
        """See that the options can be used on this machine. Writes nothing.

        :raises PinkeepError: when they cannot
        """
        self._server(chosen)

    def reload_certificate(self, live: Live, keyring: str, words: tuple[str, ...] | None) -> bool:
        """Let Apache load a renewed certificate though the pins could not be brought into step,
        unless its key is known not to be pinned (G3).

        :param words: of the reload command; ``None`` for the default
        :returns: whether that was done
        :raises PinkeepError: when it could not be done
        """
        command = apache.command("--pinkeep-reload-command", words, "graceful")
        if not command or not self._may_be_accepted(live.pin, keyring):
            return False
        apache.reload(Server("", (), command))
        return True

    def _may_be_accepted(self, pin: str, keyring: str) -> bool:
        try:
            state = self.store.load(keyring)
        except DamagedState:
            return True  # what was handed over then is the key that was live before
        current = state.ledger.current if state else None
        return current is None or pin in current.policy.pins

    def _server(self, chosen: Options) -> Server:
        """Where the snippet goes and how Apache loads it.

        :raises BadOption: when the folder or a program does not exist
        """
        if chosen.snippet_dir is not None:
            apache.check_snippet_dir(chosen.snippet_dir)
            self._check_foreign(chosen.snippet_dir)
        folder = chosen.snippet_dir or os.path.join(self.store.folder, "apache")
        if chosen.snippet_dir is None and os.path.exists(folder) and not os.path.isdir(folder):
            raise BadFolder(f"{folder} is not a folder. Move it away; it is made when needed.")
        snippet = os.path.join(folder, f"{chosen.keyring}.conf")
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

    def _adopted(
        self, live: Live, chosen: Options, server: Server, now: datetime, pinned_before: bool
    ) -> State:
        """A new keyring for a lineage that is seen for the first time."""
        other = self.store.keyring_of(live.name)
        if other is not None:
            raise BadOption(
                "--pinkeep-keyring",
                chosen.keyring,
                f"{live.name} belongs to the keyring {other} already, and cannot change to another "
                f"one. Give --pinkeep-keyring {other}.",
            )
        policy = _published_before(server)
        if pinned_before or policy is not None:
            self.store.check_all()  # a damaged file may be the one of this lineage
        if policy is not None and live.pin not in policy.pins:
            raise Unpinned(live.name, live.pin, chosen.keyring, _held(policy.max_age))
        keys = [self._adopted_key(live)]
        ledger = Ledger()
        if pinned_before or policy is not None:
            # The keyring file is lost, and with it what was served before (G8).
            longest = max(chosen.max_age, options.DEFAULT_MAX_AGE)
            ledger = Ledger(blind_until=now + timedelta(seconds=longest))
        if policy is not None:
            # What the snippet lists was served until now.
            keys += self._found_again(policy, live, now)
            blind = max(ledger.blind_until or now, now + policy.binding)
            ledger = Ledger(blind_until=blind).record(policy, now)
        keyring = Keyring(chosen.keyring, keys=tuple(keys)).with_member(_member(live))
        return State(keyring, ledger)

    def _adopted_key(self, live: Live) -> Key:
        pem = live.key_pem()
        if pins.pin_of(pins.load_private_key(pem).public_key()) != live.pin:
            raise BadKey(
                f"The private key {live.key_path} does not belong to the certificate of "
                f"{live.name}. Renew it: certbot renew --cert-name {live.name} --force-renewal"
            )
        # certbot truncates archive/: a key that lives only there would be lost.
        saved = self.folders.find_copy(pem) or self.folders.save_key(pem)
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
        """The state with all backups staged, and the CSR of each key for the lineage's names."""
        keyring = state.keyring.with_backup_count(chosen.backup_keys)
        new = [
            self.folders.save_key(csrs.make_key(kind))
            for kind, count in keyring.missing_backups(chosen.backup_keys).items()
            for _ in range(count)
        ]
        keyring = keyring.with_keys(
            Key(saved.pin, saved.kind, "backup", saved.path, now) for saved in new
        )
        index = self.folders.saved_csrs()
        paths = []
        for key in keyring.keys:
            if key.role not in ("primary", "backup") or key.kind.key_type != live.kind.key_type:
                continue
            csr = index.get(csrs.request(key.pin, live.names, live.must_staple))
            if csr is None:
                pem = csrs.make_csr(self._load(key).pem, live.names, live.must_staple)
                csr = self.folders.save_csr(pem)
            paths.append(csr.path or "")
        return replace(state, keyring=keyring), paths

    def _recorded(self, state: State, chosen: Options, server: Server, now: datetime) -> State:
        """The state with the policy in its ledger that is about to be published."""
        policy = Policy(
            state.keyring.published_pins(),
            chosen.max_age,
            chosen.include_subdomains,
            chosen.report_uri,
            chosen.report_only,
        )
        ledger = state.ledger
        text = apache.read_snippet(server.snippet)
        found = apache.read_policy(text) if text is not None else None
        current = ledger.current
        if current is not None and apache.directives(text) != apache.directives(
            apache.render(state.keyring, current.policy)
        ):
            # Somebody edited, removed or moved the snippet; Apache may have loaded what is there.
            if found is not None and not ledger.may_be_served(found):
                ledger = ledger.record(found, now)
            else:
                ledger = ledger.reopen()
        return replace(state, ledger=ledger.record(policy, now).prune(now))

    def _publish(self, state: State, server: Server) -> tuple[bool, State]:
        assert state.ledger.current is not None
        policy = state.ledger.current.policy
        text = apache.render(state.keyring, policy)
        digest = hashlib.sha256(text.encode()).hexdigest()
        changed = apache.read_snippet(server.snippet) != text
        moved = state.snippet != server.snippet
        if not (changed or moved or state.ledger.pending):
            return False, state
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
            self.store.save(tested)
        return changed, tested

    def _load_into_apache(
        self, state: State, live: Live, server: Server, now: datetime
    ) -> tuple[bool, State]:
        member = state.keyring.member(live.name)
        current = member is not None and member.loaded == live.fingerprint
        if not server.reload or (current and not state.ledger.pending):
            return False, state
        began = time.monotonic()
        apache.reload(server)
        # The earlier policy was served until the reload was done, which can take its time.
        now += timedelta(seconds=round(time.monotonic() - began))
        state = replace(
            state,
            keyring=state.keyring.loaded(live.name, live.fingerprint).served_since({live.pin: now}),
            ledger=state.ledger.confirm(now).prune(now),
        )
        self.store.save(state)
        return True, state

    def _report(
        self,
        state: State,
        server: Server,
        csr_paths: list[str],
        adopted: bool,
        published: bool,
        reloaded: bool,
        by_hand: bool,
    ) -> Report:
        assert state.ledger.current is not None
        paths = [self.store.path(state.keyring.name), server.snippet, *csr_paths]
        paths += [self.folders.absolute(key.path) for key in state.keyring.keys if key.path]
        return Report(
            keyring=state.keyring.name,
            snippet=server.snippet,
            pins=state.ledger.current.policy.pins,
            adopted=adopted,
            published=published,
            reloaded=reloaded,
            pending=state.ledger.pending,
            settled=not state.ledger.pending or by_hand,
            files=tuple(paths),
        )


def _brought_into_step(old: State, live: Live) -> State:
    """The state with the lineage as it is now."""
    keyring = old.keyring
    _check_member(keyring, live.name)
    current = old.ledger.current
    published = current.policy.pins if current else [key.pin for key in keyring.keys]
    if live.pin not in published or keyring.key(live.pin) is None:
        until = _held(current.policy.max_age if current else 0)
        raise Unpinned(live.name, live.pin, keyring.name, until)
    known = keyring.member(live.name)
    return replace(old, keyring=keyring.with_member(_member(live, known.loaded if known else None)))


def _check_member(keyring: Keyring, lineage: str) -> None:
    if keyring.members and keyring.member(lineage) is None:
        raise BadOption(
            "--pinkeep-keyring",
            keyring.name,
            f"it is the keyring of {keyring.members[0].lineage}, and one keyring for several "
            f"certificates is not there yet. Give {lineage} one of its own.",
        )


def _member(live: Live, loaded: str | None = None) -> Member:
    return Member(live.name, live.names, live.pin, loaded)


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
