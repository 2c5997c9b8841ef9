"""What a keyring publishes: recorded, written, tested, loaded into Apache.

The rules:

* The ledger is saved first, then the snippet is written and tested; Apache is reloaded last, and what
  it loaded is recorded after that (G5).
* A lineage that was deleted leaves the keyring here. The others are looked at anew, because Apache
  loads their certificates as well: where clients do not accept one, nothing is published (G2).
* A client meets the keys of all certificates for a host. So those of the neighbours, which are not
  enrolled, are pinned as they are at each publication, and get backups of their types: to pin a key
  locks nobody out, to leave it out may. It leaves when no lineage serves it for the host any more.
* Pins stay pending while Apache has not loaded mod_headers, and each run says so: it sends none of them.
* Nothing is published where another user could write what the server loads.
* A first policy is not published beside a certificate whose key cannot be pinned.
* includeSubDomains is left out while it would lock out clients of another lineage of this machine.
* Several keyrings are published together, with one reload for each reload command.
* Apache is never reloaded with a configuration that was not tested (G6). Where a keyring could not be
  published, what was renewed is loaded all the same: see ``loading``.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from certbot_pinkeep.adapters import clock, lineage, renewal_conf
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import apache, servers
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.carriers.servers import KINDS
from certbot_pinkeep.core import hostnames, options, pins, rollover
from certbot_pinkeep.core.errors import (
    BadFolder,
    BadKey,
    BadOption,
    BadPolicy,
    NotCovered,
    PinkeepError,
    PublishFailed,
    Unpinnable,
    Unpinned,
)
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.pem import load_private_key
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic, keys_and_csrs
from certbot_pinkeep.workflow.issue import Issuing, Look, is_accepted, member_of
from certbot_pinkeep.workflow.neighbours import Certificates, Seen

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """A lineage that was taken in.

    :ivar csr_paths: the CSRs with which it would be renewed, for each key of its type
    :ivar adopted: the keyring is new
    :ivar joined: the lineage is new to the keyring
    :ivar moved_from: the keyring that it came from
    :ivar rolled_over: the pin of the key that it was rolled over to
    :ivar told: what there is to say of pins that clients may hold already, as sentences
    """

    live: Live
    chosen: Options
    csr_paths: tuple[str, ...]
    adopted: bool
    joined: bool
    moved_from: str | None
    rolled_over: str | None
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a run did.

    :ivar taken: the lineages that were taken in
    :ivar dropped: those that left the keyring, because they were deleted
    :ivar neighbours: the certificates that are not enrolled, whose keys were pinned as well in this run
    :ivar unpinned: nothing is published any more, because the admin left pinning
    :ivar published: the snippet says something else than before
    :ivar reloaded: the server was reloaded
    :ivar stopped: the server does not run: it loads everything when it starts
    :ivar pending: Apache still has to load what is published
    :ivar settled: another run would change nothing
    :ivar files: the files that the keyring consists of
    :ivar issued: one of the certificates is new in this run
    """

    keyring: str
    snippet: str
    pins: tuple[str, ...]
    taken: tuple[Taken, ...]
    dropped: tuple[str, ...]
    unpinned: bool
    published: bool
    reloaded: bool
    stopped: bool
    server: Server
    pending: bool
    settled: bool
    files: tuple[str, ...]
    neighbours: tuple[str, ...] = ()
    issued: bool = False

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


@dataclass
class _Publication:
    """A keyring on its way to Apache."""

    state: State
    chosen: Options
    server: Server
    taken: dict[str, Taken]
    dropped: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    uncovered: PinkeepError | None = None
    tested: bool = False
    published: bool = False
    reloaded: bool = False
    stopped: bool = False
    headerless: bool = False  # Apache says that it sends no header

    @property
    def name(self) -> str:
        return self.state.keyring.name


class Publishing(Issuing):
    """Publishes the keyrings of one config dir.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    :param look: looks at hosts before they are pinned; ``None``: nobody does
    """

    def __init__(
        self, config_dir: str, work_dir: str | None = None, look: Look | None = None
    ) -> None:
        super().__init__(config_dir, work_dir, look)
        self.certificates = Certificates(config_dir)
        self._taken: dict[str, dict[str, Taken]] = {}
        #: The reload commands of this run, and whether they have worked.
        self.tried: dict[tuple[str, ...], bool] = {}

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
        began = clock.seconds() if began is None else began
        failures: list[Failure] = []
        ready: list[_Publication] = []
        with self.store.locked():
            self.certificates.refresh()
            for name in keyrings:
                taken = self._taken.pop(name, {})
                try:
                    ready.append(self._published(name, taken, now))
                except (PinkeepError, OSError) as error:
                    failures.append(Failure(name, _lives(taken), error))
            failures += self._load_into_apache(ready, bool(failures), now, began)
        for one in ready:
            if one.uncovered is not None:
                failures.append(Failure(one.name, _lives(one.taken), one.uncovered))
        failed = {failure.keyring for failure in failures}
        return [self._report(one, now) for one in ready if one.name not in failed], failures

    def live_pins(self, keyring: Keyring) -> dict[str, str]:
        """The pins of the keys of the certificates that draw on the keyring, as they are, by lineage."""
        found = {}
        for member in keyring.drawing:
            with suppress(BadKey):  # of a kind that is never pinned, or deleted
                path = os.path.join(self.config_dir, "live", member.lineage, "cert.pem")
                found[member.lineage] = lineage.glance(path)[1]
        return found

    def check(self, chosen: Options) -> None:
        """See that the options can be used on this machine. Writes nothing.

        :raises PinkeepError: when they cannot
        """
        self._server(chosen)

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
        self.check_exposed(name, server)
        dropped = self.deleted(old.keyring)
        state = replace(old, keyring=old.keyring.without_members(dropped))
        state = self._with_others(state, taken, now)
        state = self._with_neighbours(state, now)
        keyring = self._with_backups(state.keyring, chosen.backup_keys, now)
        state = replace(state, keyring=keyring)
        uncovered, wanted = self._subdomains(state, chosen, now)
        state = self._recorded(state, wanted, server, now)
        if state != old:
            state = self.store.save(state)
        known = {(member.lineage, member.pin) for member in old.keyring.members}
        new = [m.lineage for m in state.keyring.neighbours if (m.lineage, m.pin) not in known]
        one = _Publication(state, chosen, server, taken, dropped, tuple(new), uncovered)
        self._publish(one, now)
        return one

    def notice(self, names: Iterable[str]) -> None:
        """Have these keyrings published, though no lineage is taken in."""
        for name in names:
            self._taken.setdefault(name, {})

    def refused(self, state: State, now: datetime) -> list[str]:
        """The lineages with certificates for the keyring's hosts whose live keys clients refuse."""
        self.certificates.refresh()
        return [
            one.lineage
            for one in self.certificates.at(state.keyring.hosts)
            if rollover.locked_out(one.pin, state.ledger, now, one.names)
        ]

    def _with_neighbours(self, state: State, now: datetime) -> State:
        """The state with the certificates for its hosts that are not enrolled, as they are.

        :raises Unpinnable: when the first policy would lack the key of one
        """
        if state.unpinned(now):
            return state
        keyring = state.keyring
        enrolled = {member.lineage for member in keyring.members if member.enrolled}
        found = [o for o in self.certificates.at(keyring.hosts) if o.lineage not in enrolled]
        there = {one.lineage for one in found}
        known = {one.lineage for one in self.certificates.all()}
        keyring = keyring.without_members(
            member.lineage
            for member in keyring.neighbours
            if member.lineage not in there
            and (member.lineage in known or self._is_deleted(member.lineage))
        )
        for one in found:
            hosts = tuple(hostnames.covered(one.names, keyring.hosts, False))
            member = keyring.member(one.lineage)
            if member is not None and (member.pin, member.hosts) == (one.pin, hosts):
                continue
            try:
                keyring = self._with_neighbour(keyring, one, hosts, now)
            except BadKey as error:
                unpinnable = Unpinnable(keyring.name, one.lineage, str(error), self._command(one))
                if state.ledger.current is None:
                    raise unpinnable from error
                logger.error("%s", unpinnable)
                keyring = keyring.without_members([one.lineage])
        return replace(state, keyring=keyring)

    def _with_neighbour(
        self, keyring: Keyring, one: Seen, hosts: tuple[str, ...], now: datetime
    ) -> Keyring:
        """The keyring with the key of a neighbour in service; the first one of its type is the next
        renewals' as well.

        :raises BadKey: when it cannot be pinned
        """
        path = os.path.join(os.path.dirname(one.cert_path), "privkey.pem")
        live = lineage.look(one.lineage, one.cert_path, path, False)
        compromised = self.is_compromised(live.pin)
        key = Key(live.pin, live.kind, "in-service", None, live.since, live.since)
        first = live.kind.key_type not in keyring.key_types() and not compromised
        if keyring.key(live.pin) is None and first:
            try:
                key = self.adopted_key(live, paths_of(keyring))
            except (BadKey, OSError) as error:
                logger.debug("%s", error)
                made = self.folders.save_key(keys_and_csrs.make_key(live.kind), paths_of(keyring))
                keyring = keyring.with_type(Key(made.pin, made.kind, "primary", made.path, now))
        keyring = keyring.with_neighbour(one.lineage, hosts, key)
        return keyring.with_compromised(live.pin) if compromised else keyring

    def _command(self, one: Seen) -> str:
        """What gives a certificate a key that can be pinned."""
        renewal = None
        with suppress(PinkeepError):
            renewal = renewal_conf.load(self.config_dir, one.lineage)
        own = " --installer null" if renewal is not None and renewal.installer == "pinkeep" else ""
        return (
            f"certbot renew --cert-name {one.lineage} --force-renewal{own} --new-key --key-type ecdsa "
            "--elliptic-curve secp256r1"
        )

    def adopted_key(self, live: Live, taken: Iterable[str] = ()) -> Key:
        """The live key of a lineage, saved among the others, as the primary of its type.

        :raises BadKey: when it does not belong to the certificate
        :raises OSError: when it cannot be read or saved
        """
        pem = live.key_pem()
        if pins.pin_of(load_private_key(pem).public_key()) != live.pin:
            raise BadKey(
                f"The private key {live.key_path} does not belong to the certificate of "
                f"{live.name}: it was replaced. Renew the certificate. Run: certbot renew --cert-name "
                f"{live.name} --force-renewal --installer pinkeep"
            )
        # certbot truncates archive/: a key that lives only there would be lost.
        saved = self.folders.find_copy(pem) or self.folders.save_key(pem, taken)
        return Key(live.pin, live.kind, "primary", saved.path, live.since, live.since)

    def _with_others(self, state: State, taken: Mapping[str, Taken], now: datetime) -> State:
        """The state with the lineages as they are that were not taken in: Apache loads them as well.

        :raises Unpinned: when clients do not accept one of them
        """
        for member in state.keyring.members:
            if member.lineage in taken or member.transferred or not member.enrolled:
                continue
            folder = os.path.join(self.config_dir, "live", member.lineage)
            cert, key = (os.path.join(folder, f"{part}.pem") for part in ("cert", "privkey"))
            try:
                pin = lineage.glance(cert)[1]
            except BadKey as error:
                logger.debug("%s", error)  # its own turn tells
                continue
            if pin == member.pin:
                continue
            live = self._looked_at(state, member.lineage, pin, cert, key)
            if not is_accepted(state, live, now) and not state.unpinned(now):
                raise self.unpinned_error(state, live)
            keyring = state.keyring.with_member(member_of(live, member.loaded))
            state = replace(state, keyring=keyring) if keyring.key(live.pin) else state
        return state

    def _looked_at(self, state: State, name: str, pin: str, cert: str, key: str) -> Live:
        """A lineage of the keyring as it is.

        :raises Unpinned: when its key is of a kind that is never pinned
        """
        try:
            return lineage.look(name, cert, key, False)
        except BadKey as error:
            mend = (
                f"{error} To go back to the pinned key, run: certbot renew --cert-name {name} "
                "--force-renewal --installer pinkeep"
            )
            until = held_for(_current(state).max_age)
            raise Unpinned(name, pin, state.keyring.name, until, mend) from error

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
                    holding.subdomains
                    for holding in rollover.locked_out(one.pin, state.ledger, now, one.names)
                )
                for one in others
            )
        )
        error = NotCovered(state.keyring.name, [one.lineage for one in others], stays)
        return error, chosen if stays else replace(chosen, include_subdomains=False)

    def _not_covered(self, keyring: Keyring) -> list[Seen]:
        """The certificates of this machine below the keyring's hosts whose keys its pins lack, or
        may lack soon, because they draw on another keyring."""
        published = set(keyring.published_pins())
        members = {member.lineage for member in keyring.drawing}
        found = []
        for one in self.certificates.all():
            if one.lineage in members:
                continue
            below = tuple(hostnames.covered(keyring.hosts, one.names, True))
            if below and (
                one.pin not in published or self.store.keyring_of(one.lineage) is not None
            ):
                found.append(replace(one, names=below))
        return found

    def _recorded(self, state: State, chosen: Options, server: Server, now: datetime) -> State:
        """The state with the policy in its ledger that is about to be published."""
        current = state.ledger.current
        listed = state.keyring.published_pins()
        if state.unpin and current is not None and len(listed) < 2:
            listed = current.pins  # with max-age=0 any will do, and a policy needs two
        policy = Policy(
            listed,
            # Without a header nothing is noted by a client, and nobody waits for that.
            0 if state.unpin or not server.snippet else chosen.max_age,
            chosen.include_subdomains,
            chosen.report_uri,
            chosen.report_only and not state.unpin,
        )
        ledger = state.ledger
        if not server.snippet:
            return replace(state, ledger=ledger.record(policy, now, state.keyring.hosts).prune(now))
        text = apache.read_snippet(server.snippet)
        kind = KINDS[server.kind]
        found = kind.read_policy(text) if text is not None else None
        wanted = _snippet(state, server, now) if current is not None else None
        if current is not None and kind.directives(text) != kind.directives(wanted):
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
        left = self._left_server(one)
        if not server.snippet:
            self._publish_nothing(one, left, now)
            return
        kind = KINDS[server.kind]
        text = _snippet(state, server, now)
        digest = hashlib.sha256(text.encode()).hexdigest()
        before = apache.read_snippet(server.snippet)
        changed = before != text
        moved = state.snippet != server.snippet
        if not (changed or moved or state.ledger.pending):
            return
        if os.path.dirname(server.snippet) == self.folder_of(kind):
            atomic.make_folder(os.path.dirname(server.snippet), 0o755)
        changes: dict[str, str | None] = {server.snippet: text}
        if moved and not left and state.snippet and is_ours(state.snippet, state.keyring.name):
            changes[state.snippet] = None
        confirmed = state.ledger.confirmed_policy()
        earlier = kind.render(state.keyring, confirmed) if confirmed else None
        if state.tested == digest:
            earlier = text  # it has passed its test before: it is not what is wrong now
        apache.publish(server, changes, earlier)
        one.tested = True
        if left:
            self._leave(left, state.keyring)
        # Only now: a run that was killed before must still know where the old snippet is.
        tested = replace(state, snippet=server.snippet, tested=digest)
        if tested != state:
            one.state = self.store.save(tested)
        one.headerless = apache.lacks_headers(server)
        if one.headerless:
            logger.warning("%s", apache.without_headers(server.snippet))
        one.published = before is None or kind.directives(before) != kind.directives(text)

    def _left_server(self, one: _Publication) -> Server | None:
        """The server that has sent the keyring's header until now, where another one is to do so."""
        path, name = one.state.snippet, one.state.keyring.name
        if not path or not os.path.exists(path) or not is_ours(path, name):
            return None
        kind = servers.kind_of(path, apache.read_snippet(path))
        if one.server.snippet and kind is self.kind_of(name, one.chosen.header):
            return None
        return servers.server(kind, path, None, None)

    def _leave(self, server: Server, keyring: Keyring) -> None:
        """Have a server send the keyring's header no more. Its snippet stays, without a header: its
        configuration goes on including it.

        :raises PublishFailed: when that cannot be done; it is tried again at the next run
        """
        text = apache.read_snippet(server.snippet)
        kind = KINDS[server.kind]
        empty = kind.render(keyring, None)
        apache.publish(server, {server.snippet: empty}, None)
        if server.reload:
            apache.reload(server)
        elif kind.directives(text) != kind.directives(empty):
            raise PublishFailed(
                f"{kind.title} sends the header of the keyring {keyring.name} until it is reloaded, and "
                f"there is no command for that. Reload {kind.title}, and run: certbot renew --installer "
                "pinkeep"
            )

    def _publish_nothing(self, one: _Publication, left: Server | None, now: datetime) -> None:
        """Have no server send a header; what is on record holds at once."""
        if left:
            self._leave(left, one.state.keyring)
        state = replace(one.state, snippet="", tested="", ledger=one.state.ledger.confirm(now))
        state = replace(state, ledger=state.ledger.prune(now))
        one.state, before = state, one.state
        if not one.server.reload:
            one.state = _as_loaded(one, now)
        if one.state != before:
            one.state = self.store.save(one.state)

    def _load_into_apache(
        self, ready: Iterable[_Publication], doubtful: bool, now: datetime, began: float
    ) -> list[Failure]:
        """Have Apache load what the keyrings publish and what is live; once per reload command.

        :param doubtful: whether another keyring failed, and took back what had been tested (G6)
        :returns: what went wrong
        """
        waiting: dict[tuple[str, ...], list[_Publication]] = {}
        for one in ready:
            if one.server.reload and _is_to_load(one):
                waiting.setdefault(one.server.reload, []).append(one)
        failures: list[Failure] = []
        for together in waiting.values():
            command = together[0].server.reload
            self.tried[command] = False
            try:
                if doubtful or not any(one.tested for one in together):
                    apache.test(together[0].server)
                if not apache.reload(together[0].server):
                    for one in together:
                        one.stopped = True
                    continue
                self.tried[command] = True
                # The earlier policies were served until the reload was done.
                done = clock.after(now, began)
                for one in together:
                    one.state = self.store.save(_as_loaded(one, done))
                    one.reloaded = True
            except (PinkeepError, OSError) as error:
                failures += [Failure(one.name, _lives(one.taken), error) for one in together]
        return failures

    def _report(self, one: _Publication, now: datetime) -> Report:
        state = one.state
        paths = [self.store.path(state.keyring.name), one.server.snippet]
        paths.append(os.path.dirname(one.server.snippet))
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
            stopped=one.stopped,
            server=one.server,
            pending=state.ledger.pending,
            settled=_is_settled(state, one.chosen, now) and not one.stopped,
            files=tuple(paths),
            neighbours=one.neighbours,
        )

    def _server(self, chosen: Options) -> Server:
        """Where the snippet goes and how its server loads it.

        :raises BadOption: when the folder or a program does not exist
        """
        if chosen.snippet_dir is not None:
            apache.check_snippet_dir(chosen.snippet_dir)
            self._check_foreign(chosen.snippet_dir)
        kind = self.kind_of(chosen.keyring, chosen.header)
        snippet = self.snippet_of(chosen.keyring, chosen)
        folder = os.path.dirname(snippet)
        if chosen.snippet_dir is None and os.path.exists(folder) and not os.path.isdir(folder):
            raise BadFolder(f"{folder} is not a folder. Move it away; it is made when needed.")
        if snippet and not is_ours(snippet, chosen.keyring):
            raise BadOption(
                "--pinkeep-snippet-dir",
                folder,
                f"the file {snippet} is there, and pinkeep did not write it. Name a folder of its "
                "own for the snippets, or move that file away.",
            )
        return servers.server(kind, snippet, chosen.configtest, chosen.reload)

    def check_exposed(self, keyring: str, server: Server) -> None:
        """See that nobody else can write what the server loads, or what says which keys are pinned.

        :raises DamagedState: when somebody can, and the keyring file is there
        :raises BadFolder: when somebody can
        """
        self.store.load(keyring)
        owner = os.stat(self.config_dir).st_uid
        found = atomic.all_exposed([server.snippet] if server.snippet else [], [owner])
        if found:
            what = str(found[0])
            raise BadFolder(
                f"{what[0].upper()}{what[1:]}. {server.title} loads the snippet {server.snippet} from "
                "there, so pinkeep did not publish pins in it. See that nobody changed what is there. Run: "
                f"{atomic.mend_all(found)}"
            )

    def hindrance(self, state: State) -> str:
        """Why ``certbot renew`` does not have the server send what is pending, as a sentence with what
        to do; empty: nothing is known."""
        with suppress(PinkeepError):
            server = self._server(self._chosen(state))
            if apache.is_stopped(server):
                return f"{server.title} does not run. Start it: it loads the pins then."
            if server.snippet and apache.lacks_headers(server):
                return apache.without_headers(server.snippet)
        return ""

    def _check_foreign(self, folder: str) -> None:
        """See that the admin's snippet folder is not one that certbot or we keep other files in."""
        real = os.path.realpath(folder)
        config_dir = os.path.realpath(self.config_dir)
        ours = [os.path.join(config_dir, "pinkeep", name) for name in servers.KINDS]
        if os.path.commonpath([real, config_dir]) == config_dir and real not in ours:
            raise BadOption(
                "--pinkeep-snippet-dir",
                folder,
                f"it is below certbot's folder {self.config_dir}, whose files have other purposes. "
                "Name a folder outside of it.",
            )

    def _with_backups(self, keyring: Keyring, wanted: int, now: datetime) -> Keyring:
        """The keyring with as many backups of each type, new ones where they are lacking."""
        taken = paths_of(keyring)
        new = [
            self.folders.save_key(keys_and_csrs.make_key(kind), taken)
            for kind, count in keyring.missing_backups(wanted).items()
            for _ in range(count)
        ]
        return keyring.with_keys(
            Key(saved.pin, saved.kind, "backup", saved.path, now) for saved in new
        )

    def unpinned_error(self, state: State, live: Live) -> Unpinned:
        """What there is to say of a live key that clients do not accept."""
        until = held_for(_current(state).max_age)
        mend = self._mend(state.keyring, live)
        return Unpinned(live.name, live.pin, state.keyring.name, until, mend)

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


def _snippet(state: State, server: Server, now: datetime) -> str:
    """The text of the snippet that is to be served.

    :raises PublishFailed: when the server would not take it
    """
    policy = None if state.unpinned(now) else _current(state)
    try:
        return KINDS[server.kind].render(state.keyring, policy)
    except BadPolicy as error:
        raise PublishFailed(str(error)) from error


def _is_settled(state: State, chosen: Options, now: datetime) -> bool:
    """Whether another run with the same options would change nothing, however late."""
    waiting = state.ledger.pending and chosen.reload != ()
    if state.ledger.sending(now):
        return False  # it is looked at again, until it is seen to be gone
    return not waiting and state.unpin == state.unpinned(now)


def _is_to_load(one: _Publication) -> bool:
    """Whether there is something that Apache has not loaded: pins or a certificate."""
    members = {member.lineage: member.loaded for member in one.state.keyring.members}
    lives = [taken.live for taken in one.taken.values()]
    return (one.state.ledger.pending and not one.headerless) or any(
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
        keyring = keyring.served_since({live.pin: now for live in lives}).left_at(now)
    ledger = state.ledger if one.headerless else state.ledger.confirm(now)
    return replace(state, keyring=keyring, ledger=ledger.prune(now))


def _lives(taken: Mapping[str, Taken]) -> tuple[Live, ...]:
    return tuple(one.live for one in taken.values())


def is_ours(snippet: str, keyring: str) -> bool:
    """Whether the file is a snippet of this keyring, or not there at all."""
    text = apache.read_snippet(snippet)
    return text is None or text.startswith(apache.first_line(keyring))


def paths_of(keyring: Keyring) -> list[str]:
    """The files of the keyring's keys, below the config dir, encrypted ones among them."""
    return [path for key in keyring.keys for path in (key.path, key.encrypted) if path]


def held_for(max_age: int) -> str:
    """How long clients hold pins, as a part of a sentence; *max_age* in seconds."""
    days = max_age // 86400
    return f"for up to {days} days after their last visit" if days else f"for {max_age} seconds"
