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
  on with the current key (G3). Only a compromised key is never handed over.
* Before a renewal the CA is asked whether the certificate to be replaced is revoked; a revocation
  is recorded before anything follows from it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from certbot_pinkeep import (
    advice,
    apache,
    csrs,
    files,
    moments,
    options,
    pins,
    revocations,
    rollover,
)
from certbot_pinkeep.apache import Server
from certbot_pinkeep.csrs import SavedCsr, SavedKey
from certbot_pinkeep.errors import (
    BadFolder,
    BadKey,
    BadOption,
    Compromised,
    DamagedState,
    NotSafe,
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


class Keeper:
    """Keeps the keyrings of one config dir.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    """

    def __init__(self, config_dir: str, work_dir: str | None = None) -> None:
        self.config_dir = config_dir
        self.store = Store(config_dir, work_dir)
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
        chosen: Options | None = None,
        pinned_before: bool = False,
        refused: frozenset[str] = frozenset(),
    ) -> Handover:
        """The key and the CSR that the renewal of *live* is issued for.

        :param keyring: the name of the keyring that it draws on
        :param names: the names of the new certificate
        :param dry_run: whether nothing may be written
        :param asked: whether a rollover is asked for, now or never
        :param chosen: what the admin set; ``None``: that cannot be used, what was set before counts
        :param pinned_before: as for :meth:`keep`
        :param refused: the pins of the keys that the CA has refused as compromised in this run
        :raises NotSafe: when a rollover is asked for, and locks clients out; or when the key is
            compromised, and every other one locks clients out
        :raises BadKey: when there is no key that could be handed over
        """
        answer = self._ask_the_ca(live, now)
        if live.pin in refused:
            answer = revocations.Answer(True, "keyCompromise")
        state = self._pinned_state(live, keyring, asked)
        if state is None:
            snippet = self._snippet(keyring, chosen)
            published = pinned_before or apache.read_snippet(snippet) is not None
            key = self._unrecorded_key(live, answer, published, dry_run)
        else:
            if answer.revoked:
                state = self._noticed(state, live.pin, answer.compromised, dry_run)
            key = self._chosen_key(state, live, now, asked, chosen)
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
        :raises NotSafe: when its key is compromised, and every other one locks clients out
        :raises BadKey: when its key's file is gone
        """
        state = self._load_state(keyring, now)
        if state is None or not state.keyring.key_types():
            return None
        _check_member(state.keyring, lineage)
        types = state.keyring.key_types()
        key_type = key_type if key_type in types else types[0]
        decision = self._decide(state, key_type, now, new=True)
        assert decision.key is not None
        return self._handover(self.load_key(decision.key), names, must_staple, dry_run)

    def _load_state(self, name: str, now: datetime) -> State | None:
        """The state of a keyring, its ledger told of the latest moment that was reached."""
        state = self.store.load(name)
        reached = self.store.reached(now)
        if state is None or reached <= now:
            return state
        return replace(state, ledger=state.ledger.noticed(reached))

    def _pinned_state(self, live: Live, keyring: str, asked: bool) -> State | None:
        """The state of the lineage's keyring; ``None`` where it has none that can be trusted."""
        try:
            state = self.store.load(keyring)
        except DamagedState as error:
            if asked:
                raise
            logger.error("%s", error)
            return None
        if state is not None and state.keyring.member(live.name) is not None:
            return state
        if asked:
            raise BadKey(
                f"{live.name} is not pinned yet, so it has no backup key to roll over to. Run "
                "'certbot renew --installer pinkeep' first."
            )
        return None

    def _ask_the_ca(self, live: Live, now: datetime) -> revocations.Answer:
        answer = revocations.look(*live.certificates(), now)
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
                    return self.store.save(fresh.with_revoked(pin, compromised))
            except OSError as error:
                logger.error("The revocation is heeded, but could not be recorded: %s", error)
        return state.with_revoked(pin, compromised)

    def _unrecorded_key(
        self, live: Live, answer: revocations.Answer, published: bool, dry_run: bool
    ) -> SavedKey:
        """The live key of a lineage of which there is no record, unless that is compromised.

        :param published: whether pins of it may have been published all the same
        """
        if not answer.compromised:
            path = os.path.relpath(live.key_path, self.config_dir)
            return self.folders.load_key(path, live.pin)
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
        pem = csrs.make_key(live.kind)
        if not dry_run:
            return self.folders.save_key(pem)
        public = pins.load_private_key(pem).public_key()
        return SavedKey("", pem, pins.pin_of(public), live.kind)

    def _chosen_key(
        self, state: State, live: Live, now: datetime, asked: bool, chosen: Options | None
    ) -> SavedKey:
        """The key that the keyring names for the renewal of *live*."""
        keyring = _as_live(state, live)
        if chosen is not None:
            keyring = replace(keyring, rollover_days=chosen.rollover_days)
        ledger = state.ledger.noticed(self.store.reached(now))
        state = replace(state, keyring=keyring, ledger=ledger)
        types = keyring.key_types()
        key_type = live.kind.key_type if live.kind.key_type in types else types[0]
        decision = self._decide(state, key_type, now, asked)
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
        now: datetime,
        asked: bool = False,
        new: bool = False,
    ) -> rollover.Decision:
        """What the next certificate is issued for; the admin is told where a rollover is due.

        :raises NotSafe: where no key may be handed over, or none that was asked for
        """
        keyring = self.at_hand(state.keyring, key_type)
        decision = rollover.decide(keyring, state.ledger, now, key_type, asked)
        name = keyring.name
        if decision.key is None:
            raise Compromised(advice.locked_in(name, decision, state.ledger, now, new))
        if decision.held and asked:
            raise NotSafe(advice.refusal(name, decision))
        if decision.held:
            logger.warning("%s", advice.held(name, decision))
        elif decision.rolls_over:
            logger.info("%s", advice.rolling(name, decision))
            if decision.key.forced:
                told = advice.announcement(decision.key, state.ledger, now)
                logger.warning("The rollover of the keyring %s is forced. %s", name, told)
        return decision

    def at_hand(self, keyring: Keyring, key_type: KeyType) -> Keyring:
        """The keyring without the backups whose files cannot be used; these are told."""
        lost = self.lost(keyring, key_type)
        for sentence in lost.values():
            logger.error("%s", sentence)
        return keyring.without(lost)

    def lost(self, keyring: Keyring, key_type: KeyType) -> dict[str, str]:
        """The backups whose files cannot be used: by their pins, why, as sentences."""
        lost = {}
        for key in keyring.backups(key_type):
            try:
                self.load_key(key)
            except BadKey as error:
                lost[key.pin] = f"{error} It is no backup any more."
        return lost

    def _next_best(self, state: State, key_type: KeyType, live: Live, now: datetime) -> SavedKey:
        """What is handed over where the primary's file is lost: the live key where it is pinned,
        else a backup that is safe, else the live key."""
        known = state.keyring.key(live.pin)
        best, verdict = rollover.best_backup(
            self.at_hand(state.keyring, key_type), state.ledger, now, key_type
        )
        pinned = known is not None and known.role != "compromised"
        if not pinned and best is not None and verdict.at(now):
            return self.load_key(best)
        if known is not None and known.role == "compromised":
            raise Compromised(
                f"The key of {live.name} is compromised and is not handed over again, and the file "
                "of the key to be used is lost. Restore it from a backup of certbot's folder."
            )
        return self.folders.load_key(os.path.relpath(live.key_path, self.config_dir), live.pin)

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

    def load_key(self, key: Key) -> SavedKey:
        """The private key of *key*.

        :raises BadKey: when it is not here, or cannot be used
        """
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
            old = self._load_state(chosen.keyring, now)
            self.store.tick(now)
            state = (
                self._adopted(live, chosen, server, now, pinned_before)
                if old is None
                else _brought_into_step(_out_of_doubt(old, chosen, now), live)
            )
            state = _with_age(state, chosen)
            state, csr_paths = self._staged(state, chosen, live, now)
            state = self._recorded(state, chosen, server, now)
            if state != old:
                state = self.store.save(state)
            if remember is not None:
                remember()
            published, state = self._publish(state, server, now)
            reloaded, state = self._load_into_apache(state, live, server, now)
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
        text = apache.read_snippet(self._snippet(keyring, None))
        published = apache.read_policy(text) if text else None
        return published is None or pin in published.pins

    def _server(self, chosen: Options) -> Server:
        """Where the snippet goes and how Apache loads it.

        :raises BadOption: when the folder or a program does not exist
        """
        if chosen.snippet_dir is not None:
            apache.check_snippet_dir(chosen.snippet_dir)
            self._check_foreign(chosen.snippet_dir)
        snippet = self._snippet(chosen.keyring, chosen)
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

    def _snippet(self, keyring: str, chosen: Options | None) -> str:
        folder = chosen.snippet_dir if chosen else None
        folder = folder or os.path.join(self.store.folder, "apache")
        return os.path.join(folder, f"{keyring}.conf")

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
        for key_type in keyring.key_types():
            at_hand = {key.pin for key in self.at_hand(keyring, key_type).keys}
            keyring = keyring.with_lost(key.pin for key in keyring.keys if key.pin not in at_hand)
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
                csr = self._made_csr(key, live)
            paths.append(csr.path or "" if csr else "")
        return replace(state, keyring=keyring), paths

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
            keyring=_loaded(state, live, now),
            ledger=state.ledger.confirm(now).prune(now),
        )
        return True, self.store.save(state)

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


def _as_live(state: State, live: Live) -> Keyring:
    """The keyring with the lineage as it is now, where its key is pinned: a run that was killed
    may not have come to note it."""
    current = state.ledger.current
    if current is None or live.pin not in current.policy.pins or not state.keyring.key(live.pin):
        return state.keyring
    return state.keyring.with_member(_member(live))


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
