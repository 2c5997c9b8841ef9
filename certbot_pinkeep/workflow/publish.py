"""What a keyring publishes: recorded, written, tested, loaded by the server.

The rules:

* The ledger is saved first, then the snippet is written and tested; the server is reloaded last, and what
  it loaded is recorded after that (G5).
* A lineage that was deleted leaves the keyring here.
* A lineage that moves to another keyring takes its hosts along: both snippets are written in one run, so
  that each host gets one header.
* Pins stay pending while Apache has not loaded mod_headers, and each run says so: it sends none of them.
* Several keyrings are published together, with one reload for the same reload commands.
* The server is never reloaded with a configuration that was not tested (G6). If a keyring could not be
  published, what was renewed is loaded all the same: see ``load``.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from certbot_pinkeep.adapters import clock, renewal_conf
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import apache, servers, snippets
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.carriers.servers import KINDS, Commands
from certbot_pinkeep.core import membership
from certbot_pinkeep.core.errors import BadPolicy, PinkeepError, PublishFailed
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.workflow import load, neighbours, stage, subdomains
from certbot_pinkeep.workflow.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Enrolled:
    """A lineage that was enrolled.

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


@dataclass
class Report:
    """A keyring that is published, and what became of it.

    :ivar state: as it was saved last
    :ivar now: when that began
    :ivar enrolled: its lineages that were enrolled in this run
    :ivar dropped: those that left the keyring, because they were deleted
    :ivar neighbours: the certificates that are not enrolled, whose keys were pinned as well in this run;
        and whether certbot renews them
    :ivar errors: what went wrong, and what is not as the admin asked
    :ivar tested: the snippet passed its test in this run
    :ivar published: the snippet says something else than before
    :ivar rewritten: the server sends the header at other hosts, or another one, after a reload
    :ivar reloaded: the server was reloaded
    :ivar stopped: the server does not run: it loads everything when it starts
    :ivar headerless: Apache says that it sends no header
    :ivar issued: one of the certificates is new in this run
    """

    state: State
    chosen: Options
    server: Server
    now: datetime
    enrolled: tuple[Enrolled, ...] = ()
    dropped: tuple[str, ...] = ()
    neighbours: Mapping[str, bool] = field(default_factory=dict)
    errors: tuple[PinkeepError | OSError, ...] = ()
    tested: bool = False
    published: bool = False
    rewritten: bool = False
    reloaded: bool = False
    stopped: bool = False
    headerless: bool = False
    issued: bool = False

    @property
    def keyring(self) -> str:
        """The name of the keyring."""
        return self.state.keyring.name

    @property
    def snippet(self) -> str:
        """Where the header is written; empty: no server sends it."""
        return self.server.snippet

    @property
    def pins(self) -> tuple[str, ...]:
        """The pins that are published."""
        current = self.state.ledger.current
        return current.pins if current is not None else ()

    @property
    def pending(self) -> bool:
        """Whether Apache still has to load what is published."""
        return self.state.ledger.pending

    @property
    def unpinned(self) -> bool:
        """Whether nothing is published any more, because the admin left pinning."""
        return self.state.unpinned(self.now)

    @property
    def settled(self) -> bool:
        """Whether another run with the same options would change nothing, however late."""
        ledger = self.state.ledger
        if self.stopped or (ledger.pending and self.chosen.reload != ()):
            return False
        if ledger.sending(self.now) or self.chosen.tlsa or ledger.zone:
            return False  # what hosts send, and a zone, is looked at again
        return self.state.unpin == self.unpinned

    @property
    def adopted(self) -> bool:
        """Whether the keyring is new."""
        return any(one.adopted for one in self.enrolled)

    @property
    def rolled_over(self) -> str | None:
        """The pin of the key that was rolled over to in this run."""
        return next((one.rolled_over for one in self.enrolled if one.rolled_over), None)


@dataclass(frozen=True)
class Failure:
    """A keyring that could not be published, or not as the admin asked."""

    keyring: str
    error: PinkeepError | OSError


class Publisher:
    """Publishes the keyrings of one config dir, in one process.

    :ivar tried: the reload commands of this run, and whether they have worked
    :ivar present: the lineages that had their turn in this run, and their reload commands
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.tried: dict[Commands, bool] = {}
        self.present: dict[str, Commands] = {}
        self._enrolled: dict[str, dict[str, Enrolled]] = {}
        self._left: set[str] = set()  # the keyrings that lineages have moved from in this run

    @property
    def waiting(self) -> tuple[str, ...]:
        """The keyrings that are to be published."""
        return tuple(self._enrolled)

    def add(self, enrolled: Enrolled) -> None:
        """Have the keyring published that a lineage was enrolled in, and the one that it came from:
        that one's header goes out at the lineage's hosts no more."""
        self._enrolled.setdefault(enrolled.chosen.keyring, {})[enrolled.live.name] = enrolled
        if enrolled.moved_from:
            self._left.add(enrolled.moved_from)
            self.notice([enrolled.moved_from])

    def notice(self, names: Iterable[str]) -> None:
        """Have these keyrings published, though no lineage was enrolled."""
        for name in names:
            self._enrolled.setdefault(name, {})

    def publish(self, keyring: str, now: datetime) -> Report:
        """Publish what the keyring is to publish, and have the server load it.

        :raises PinkeepError: with what is wrong and what to do
        :raises OSError: if the disk does not take what has to be recorded; nothing is published
        """
        reports, failures = self.publish_all([keyring], now)
        if failures:
            raise failures[0].error
        return reports[0]

    def publish_all(
        self, keyrings: Iterable[str], now: datetime
    ) -> tuple[list[Report], list[Failure]]:
        """Publish what the keyrings are to publish, and have the server load all of it at once.

        :returns: what was done, and what went wrong, a keyring each
        """
        began = clock.seconds()
        keyrings = tuple(keyrings)
        if not keyrings:
            return [], []
        failures: list[Failure] = []
        ready: list[Report] = []
        with self.workspace.store.locked():
            self.workspace.certificates.refresh()
            for name in keyrings:
                enrolled = tuple(self._enrolled.pop(name, {}).values())
                try:
                    ready.append(
                        _prepared(self.workspace, name, enrolled, now, moved=name in self._left)
                    )
                except (PinkeepError, OSError) as error:
                    failures.append(Failure(name, error))
            self._load(ready, now, began, doubtful=bool(failures))
        failures += [Failure(one.keyring, error) for one in ready for error in one.errors]
        return [one for one in ready if not one.errors], failures

    def _load(self, ready: list[Report], now: datetime, began: float, *, doubtful: bool) -> None:
        """Have the server load what the keyrings publish and what is live; once for the same commands.

        :param doubtful: whether another keyring failed, and took back what had been tested (G6)
        """
        waiting: dict[Commands, list[Report]] = {}
        for one in ready:
            if one.server.reload and _is_to_load(one):
                waiting.setdefault(one.server.reload, []).append(one)
        for command, together in waiting.items():
            self.tried[command] = False
            lineages = [
                member.lineage
                for one in ready
                if one.server.reload == command
                for member in one.state.keyring.drawing
            ]
            lineages += [name for name, reload in self.present.items() if reload == command]
            try:
                untested = doubtful or not any(one.tested for one in together)
                server = together[0].server
                tests = [server.configtest] if untested else []
                self.tried[command] = load.reload(self.workspace, server, lineages, tests)
                if not self.tried[command]:
                    for one in together:
                        one.stopped = True
                    continue
                # The earlier policies were served until the reload was done.
                done = clock.after(now, began)
                for one in together:
                    one.state = self.workspace.store.save(_as_loaded(one, done))
                    one.reloaded = True
            except (PinkeepError, OSError) as error:
                for one in together:
                    one.errors = (error, *one.errors)


def _prepared(
    workspace: Workspace, name: str, enrolled: tuple[Enrolled, ...], now: datetime, *, moved: bool
) -> Report:
    """Return the keyring with its snippet in place and tested, before the server is reloaded.

    :param moved: whether lineages have moved from the keyring in this run
    """
    old = workspace.load_state(name, now)
    if old is None or (not old.keyring.members and not enrolled and not old.snippet):
        raise PinkeepError(f"The keyring {name} has no certificate yet.")
    # The options that were given last count.
    chosen = enrolled[-1].chosen if enrolled else old.chosen()
    server = snippets.server_of(workspace.store, chosen)
    snippets.check_exposed(workspace.store, name, server)
    if moved and not old.keyring.drawing:
        # All went to others: its policy stays on record, and goes out at none of their hosts.
        one = Report(old, chosen, server, now)
        if server.snippet and server.snippet == old.snippet and old.ledger.current is not None:
            _write_snippet(workspace, one, None)
        return one
    dropped = workspace.deleted(old.keyring)
    state = replace(old, keyring=membership.without_members(old.keyring, dropped))
    state = neighbours.with_members(workspace, state, {one.live.name for one in enrolled}, now)
    state = neighbours.with_neighbours(workspace, state, now)
    keyring = stage.with_backups(workspace, state.keyring, chosen.backup_keys, now)
    state = replace(state, keyring=keyring)
    uncovered, wanted = subdomains.publishable(workspace, state, chosen, now)
    state = _recorded(state, wanted, server, now)
    if state != old:
        state = workspace.store.save(state)
    known = {(member.lineage, member.pin) for member in old.keyring.members}
    new = {
        m.lineage: os.path.exists(renewal_conf.path_of(workspace.config_dir, m.lineage))
        for m in state.keyring.neighbours
        if (m.lineage, m.pin) not in known
    }
    errors = (uncovered,) if uncovered else ()
    one = Report(state, chosen, server, now, enrolled, dropped, new, errors)
    left = _left_server(workspace, one)
    if server.snippet:
        _write_snippet(workspace, one, left)
    else:
        _publish_nothing(workspace, one, left)
    return one


def _recorded(state: State, chosen: Options, server: Server, now: datetime) -> State:
    """Return the state with the policy in its ledger that is about to be published."""
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
    if server.snippet and current is not None:
        kind, text = KINDS[server.kind], apache.read_snippet(server.snippet)
        # At other hosts the same policy is no edit: lineages came or left, or the snippet is of version 0.1.
        if kind.directives(text) != kind.directives(_snippet(state, server, now)):
            # Pinning was left for good, or somebody edited, removed or moved the snippet: Apache may
            # have loaded what is there.
            found = kind.read_policy(text) if text is not None else None
            if found is not None and not ledger.may_be_served(found):
                ledger = ledger.record(found, now, state.keyring.hosts)
            else:
                ledger = ledger.reopen()
    ledger = ledger.record(policy, now, state.keyring.hosts).prune(now)
    return replace(state, ledger=ledger)


def _write_snippet(workspace: Workspace, one: Report, left: Server | None) -> None:
    """Have the snippet say what is on record, and test it."""
    state, server = one.state, one.server
    kind = KINDS[server.kind]
    text = _snippet(state, server, one.now)
    digest = hashlib.sha256(text.encode()).hexdigest()
    before = apache.read_snippet(server.snippet)
    changed = before != text
    moved = state.snippet != server.snippet
    if not (changed or moved or state.ledger.pending):
        return
    if os.path.dirname(server.snippet) == snippets.folder_of(workspace.store, kind):
        atomic.make_folder(os.path.dirname(server.snippet), 0o755)
    changes: dict[str, str | None] = {server.snippet: text}
    if moved and not left and state.snippet and snippets.is_ours(state.snippet, state.keyring.name):
        changes[state.snippet] = None
    confirmed = state.ledger.confirmed_policy()
    earlier = kind.render(state.keyring, confirmed) if confirmed else None
    if state.tested == digest:
        earlier = text  # it has passed its test before: it is not what is wrong now
    apache.publish(server, changes, earlier)
    one.tested = True
    if left:
        _leave(left, state.keyring)
    # Only now: a run that was killed before must still know where the old snippet is.
    tested = replace(state, snippet=server.snippet, tested=digest)
    if tested != state:
        one.state = workspace.store.save(tested)
    one.headerless = apache.lacks_headers(server)
    if one.headerless:
        logger.warning("%s", apache.without_headers(server.snippet))
    one.published = before is None or kind.directives(before) != kind.directives(text)
    one.rewritten = not kind.is_same(before, text)


def _left_server(workspace: Workspace, one: Report) -> Server | None:
    """Return the server that has sent the keyring's header until now, if another server is to send it."""
    path, name = one.state.snippet, one.keyring
    if not path or not os.path.exists(path) or not snippets.is_ours(path, name):
        return None
    kind = servers.kind_of(path, apache.read_snippet(path))
    if one.server.snippet and kind is snippets.kind_of(workspace.store, name, one.chosen.header):
        return None
    return servers.server(kind, path)


def _leave(server: Server, keyring: Keyring) -> None:
    """Have a server send the keyring's header no more. Its snippet stays, without a header: its
    configuration goes on including it.

    :raises PublishFailed: if that cannot be done; it is tried again at the next run
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
            "there is no command for that.",
            f"Reload {kind.title}.",
            run="certbot renew --installer pinkeep",
        )


def _publish_nothing(workspace: Workspace, one: Report, left: Server | None) -> None:
    """Have no server send a header; what is on record holds at once."""
    now = one.now
    if left:
        _leave(left, one.state.keyring)
    state = replace(one.state, snippet="", tested="", ledger=one.state.ledger.confirm(now))
    state = replace(state, ledger=state.ledger.prune(now))
    one.state, before = state, one.state
    if not one.server.reload:
        one.state = _as_loaded(one, now)
    if one.state != before:
        one.state = workspace.store.save(one.state)


def _snippet(state: State, server: Server, now: datetime) -> str:
    """Return the text of the snippet that is to be served."""
    current = state.ledger.current
    assert current is not None
    policy = None if state.unpinned(now) else current.policy
    try:
        return KINDS[server.kind].render(state.keyring, policy)
    except BadPolicy as error:
        raise PublishFailed(str(error)) from error


def _is_to_load(one: Report) -> bool:
    """Return whether there is something that Apache has not loaded: pins, a host or a certificate."""
    members = {member.lineage: member.loaded for member in one.state.keyring.members}
    lives = [each.live for each in one.enrolled]
    return ((one.state.ledger.pending or one.rewritten) and not one.headerless) or any(
        members.get(live.name) != live.fingerprint for live in lives
    )


def _as_loaded(one: Report, now: datetime) -> State:
    """Return the state once Apache has loaded what was published and what is live."""
    state, keyring = one.state, one.state.keyring
    lives = [each.live for each in one.enrolled]
    for live in lives:
        keyring = keyring.loaded(live.name, live.fingerprint)
    # If the clock runs wrong, nobody knows from when it was served (G8).
    if not state.ledger.is_ahead_of(now):
        keyring = keyring.served_since({live.pin: now for live in lives}, now)
    ledger = state.ledger if one.headerless else state.ledger.confirm(now)
    return replace(state, keyring=keyring, ledger=ledger.prune(now))
