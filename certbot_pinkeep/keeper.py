"""The workflow, once, for every entry point: look at what is live, decide, record, publish.

The rules:

* Everything is checked before anything is written: options, folders, the keyring file, the live
  key (G10, G8).
* Keys and CSRs are saved first, then the keyring file with its ledger, then the snippet; Apache is
  reloaded last, and what it loaded is recorded after that (G5).
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
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certbot_pinkeep import (
    apache,
    csrs,
    files,
    moments,
    options,
    pins,
)
from certbot_pinkeep.apache import Server
from certbot_pinkeep.csrs import SavedCsr
from certbot_pinkeep.errors import (
    BadFolder,
    BadKey,
    BadOption,
    DamagedState,
    Unpinned,
)
from certbot_pinkeep.issuing import Issuing, check_member, is_accepted, member_of
from certbot_pinkeep.keyring import Key, Keyring
from certbot_pinkeep.ledger import Ledger
from certbot_pinkeep.lineage import Live
from certbot_pinkeep.options import Options
from certbot_pinkeep.policy import Policy
from certbot_pinkeep.store import State

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """What a run did.

    :ivar adopted: the keyring is new
    :ivar rolled_over: the pin of the key that the lineage was rolled over to in this run
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
    adopted: bool
    rolled_over: str | None
    unpinned: bool
    published: bool
    reloaded: bool
    pending: bool
    settled: bool
    files: tuple[str, ...]


class Keeper(Issuing):
    """Keeps the keyrings of one config dir.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    """

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
        began = time.monotonic()  # waiting for the lock and testing takes time as well
        server = self._server(chosen)
        self.folders.check()
        files.check_folder(self.store.folder, forbidden=0o022, advice="0755")
        options.check_report_host(chosen.report_uri, live.names, chosen.include_subdomains)
        with self.store.locked():
            self._sweep(server)
            old = self.load_state(chosen.keyring, now)
            self.store.tick(now)
            state = (
                self._adopted(live, chosen, server, now, pinned_before)
                if old is None
                else self._brought_into_step(_out_of_doubt(old, chosen, now), live, now)
            )
            state = _with_age(state, chosen)
            state, csr_paths = self._staged(state, chosen, live, now)
            state = self._recorded(state, chosen, server, now)
            if state != old:
                state = self.store.save(state)
            if remember is not None:
                remember()
            published, state = self._publish(state, server, now)
            reloaded, state = self._load_into_apache(state, live, server, now, began)
        return Report(
            keyring=state.keyring.name,
            snippet=server.snippet,
            pins=_current(state).pins,
            adopted=old is None,
            rolled_over=_rolled_over(old, live),
            unpinned=state.unpinned(now),
            published=published,
            reloaded=reloaded,
            pending=state.ledger.pending,
            settled=_is_settled(state, chosen, now),
            files=self._files(state, server, csr_paths),
        )

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
            mend = (
                "To go back to a pinned key, restore the keyring file and the keys from a backup of "
                f"{self.config_dir}. If they are lost for good, clients are locked out until their "
                f"pins run out; to pin anew then, move {server.snippet} away and run: certbot renew "
                "--installer pinkeep"
            )
            raise Unpinned(live.name, live.pin, chosen.keyring, _held(policy.max_age), mend)
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
        keyring = Keyring(chosen.keyring, keys=tuple(keys)).with_member(member_of(live))
        return State(keyring, ledger)

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
        taken = [key.path for key in keyring.keys if key.path]
        new = [
            self.folders.save_key(csrs.make_key(kind), taken)
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
                csr = self._made_csr(key, live)
            paths.append(csr.path or "" if csr else "")
        return replace(state, keyring=keyring), paths

    def _healed(self, keyring: Keyring, live: Live) -> Keyring:
        """The keyring with the file of the live key in its place: archive/ alone would lose it.

        :raises BadKey: when that key does not belong to the live certificate
        """
        key = keyring.key(live.pin)
        if key is None or not self.lost([key]):
            return keyring
        taken = [key.path for key in keyring.keys if key.path]
        path = self._adopted_key(live, taken).path
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
                ledger = ledger.record(found, now)
            else:
                ledger = ledger.reopen()
        return replace(state, ledger=ledger.record(policy, now).prune(now))

    def _publish(self, state: State, server: Server, now: datetime) -> tuple[bool, State]:
        text = _snippet(state, now)
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
            tested = self.store.save(tested)
        return changed, tested

    def _load_into_apache(
        self, state: State, live: Live, server: Server, now: datetime, began: float
    ) -> tuple[bool, State]:
        member = state.keyring.member(live.name)
        current = member is not None and member.loaded == live.fingerprint
        if not server.reload or (current and not state.ledger.pending):
            return False, state
        apache.reload(server)
        # The earlier policy was served until the reload was done.
        now += timedelta(seconds=round(time.monotonic() - began))
        state = replace(
            state,
            keyring=_loaded(state, live, now),
            ledger=state.ledger.confirm(now).prune(now),
        )
        return True, self.store.save(state)

    def _brought_into_step(self, old: State, live: Live, now: datetime) -> State:
        """The state with the lineage as it is now."""
        keyring = old.keyring
        check_member(keyring, live.name)
        known = keyring.member(live.name)
        member = member_of(live, known.loaded if known else None)
        if not is_accepted(old, live.pin, now):
            if not old.unpinned(now):
                until = _held(_current(old).max_age)
                mend = self._mend(keyring, live)
                raise Unpinned(live.name, live.pin, keyring.name, until, mend)
            keyring = keyring.with_primary(self._adopted_key(live))
        return replace(old, keyring=keyring.with_member(member))

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

    def _files(self, state: State, server: Server, csr_paths: list[str]) -> tuple[str, ...]:
        paths = [self.store.path(state.keyring.name), server.snippet, *csr_paths]
        paths += [self.folders.absolute(key.path) for key in state.keyring.keys if key.path]
        return tuple(paths)


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


def _loaded(state: State, live: Live, now: datetime) -> Keyring:
    keyring = state.keyring.loaded(live.name, live.fingerprint)
    # From when it was served is unknown where the clock runs wrong (G8).
    wrong = state.ledger.is_ahead_of(now)
    return keyring if wrong else keyring.served_since({live.pin: now})


def _rolled_over(old: State | None, live: Live) -> str | None:
    known = old.keyring.member(live.name) if old else None
    return live.pin if known and known.pin != live.pin else None


def _with_age(state: State, chosen: Options) -> State:
    return replace(state, keyring=replace(state.keyring, rollover_days=chosen.rollover_days))


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
