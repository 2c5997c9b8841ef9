"""A renewed certificate is loaded by the server, whatever else is wrong (G12).

The rules:

* At the end of a run pinkeep looks once more at every lineage that had its turn. pinkeep loads the
  certificates that were renewed in this run, and those of a run that was killed. What was wrong with pins,
  options, folders or files does not matter.
* The server is tested as it is then, and reloaded if the test passes (G6). That happens once for the same
  reload commands, and not again if the publication has done so. If an option cannot be used, the
  keyring's earlier option counts, else the default.
* Apache's test does not look into certificates. Apache ends if a certificate has another private key than the
  file beside it. So nothing is reloaded while that goes for a lineage that has its turn, or whose keyring is
  published (G6).
* Only a certificate whose key is known to be refused is not loaded (G2): clients hold pins at its names that
  lack the key, and the server never served it for this lineage. What another keyring pins does not count if
  the lineage's own keyring accepts the key. If the refused certificate is new in this run, the same command
  is not run for the others either.
* Nothing here raises: what could not be loaded is told, beside what went wrong before.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from certbot_pinkeep.adapters import lineage
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import apache, servers, snippets
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.carriers.servers import Commands, Words
from certbot_pinkeep.core import options, rollover
from certbot_pinkeep.core.errors import ApacheFailed, BadKey, BadOption, PinkeepError
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow.accepted import draws, publishes
from certbot_pinkeep.workflow.workspace import Workspace

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Renewed:
    """A lineage that had its turn, as it is live.

    :ivar names: of its certificate, in lower case
    :ivar pin: of its key, of whatever kind
    :ivar fingerprint: SHA-256 (hex) of its certificate
    """

    lineage: str
    keyring: str
    names: tuple[str, ...]
    pin: str
    fingerprint: str
    server: Server


class Loader:
    """Has the server load what was renewed in one run.

    :param tried: the reload commands of this run, and whether they have worked
    """

    def __init__(self, workspace: Workspace, tried: dict[Commands, bool]) -> None:
        self.workspace = workspace
        self.tried = tried
        self._renewed: dict[str, Renewed] = {}
        self._issued: set[str] = set()  # the certificates of this run, by their fingerprints
        #: The lineages whose loading was tried, and whether it worked.
        self._loaded: dict[str, bool] = {}

    @property
    def waiting(self) -> bool:
        """Whether a certificate was issued that nobody has loaded."""
        return any(map(self.is_new, self._renewed.values()))

    @property
    def present(self) -> dict[str, Commands]:
        """The lineages that had their turn, and their reload commands."""
        return {name: one.server.reload for name, one in self._renewed.items()}

    def is_new(self, one: Live | Renewed) -> bool:
        """Return whether the certificate was issued in this run."""
        return one.fingerprint in self._issued

    def told(self, name: str) -> str:
        """Return whether a lineage was renewed in this run, and whether its certificate is loaded, as a
        sentence; empty: it was not."""
        with suppress(BadKey):
            if lineage.glance(self.workspace.live_file(name)).fingerprint in self._issued:
                done = ""
                if name in self._loaded:
                    done = " and loaded" if self._loaded[name] else ", but not loaded"
                return f"{name} was renewed. Its new certificate is stored{done}."
        return ""

    def note(self, name: str, keyring: str, values: Mapping[str, object], *, issued: bool) -> None:
        """Remember a lineage that has its turn.

        :param keyring: the one that it draws on, or is to draw on
        :param values: its options as text
        :param issued: whether its certificate is new in this run
        """
        path = self.workspace.live_file(name)
        try:
            names, pin, fingerprint = lineage.glance(path)
        except BadKey as error:
            logger.debug("%s", error)
            return
        if issued and fingerprint not in self._issued:
            self._issued.add(fingerprint)
            self.tried.clear()  # whatever was loaded before, this certificate was not
        server = self._server(keyring, values)
        self._renewed[name] = Renewed(name, keyring, names, pin, fingerprint, server)

    def load(self, now: datetime) -> None:
        """Have Apache load what it is not known to have loaded."""
        waiting: dict[Commands, list[Renewed]] = {}
        present = list(self._renewed.values())
        for one in present:
            loaded = self._is_loaded(one)
            if one.server.reload:
                self._loaded[one.lineage] = bool(loaded)
            if one.server.reload and (loaded is False or (loaded is None and self.is_new(one))):
                waiting.setdefault(one.server.reload, []).append(one)
        self._renewed.clear()
        for command, together in waiting.items():
            refused = [one for one in together if self.is_refused(one, now)]
            accepted = [one for one in together if one not in refused]
            if not accepted or any(map(self.is_new, refused)):
                continue
            try:
                if command not in self.tried:
                    self.tried[command] = False
                    names = (one.lineage for one in present if one.server.reload == command)
                    tests = (one.server.configtest for one in accepted)
                    done = reload(self.workspace, accepted[0].server, names, tests)
                    self.tried[command] = done
                    if done:
                        logger.info(
                            "Reloaded %s with the renewed certificates of %s.",
                            accepted[0].server.title,
                            ", ".join(one.lineage for one in accepted),
                        )
            except PinkeepError as error:
                logger.error("%s", error)
                continue
            for one in accepted:
                self._loaded[one.lineage] = self.tried.get(command, False)
                with suppress(PinkeepError, OSError):  # it is loaded once more then
                    self._record(one, now)

    def is_refused(self, one: Renewed, now: datetime) -> bool:
        """Return whether clients are known to refuse the key that the lineage has now."""
        store = self.workspace.store
        if not os.path.exists(store.path(one.keyring)) and not store.known(one.keyring):
            published = None
            with suppress(PinkeepError):
                path = snippets.path_of(self.workspace.store, one.keyring, None)
                published = snippets.published(path)
            if published is not None and one.pin not in published.pins:
                return True
        states = list(self._states(one))
        refusing = [state.keyring.name for state in states if _refuses(state, one, now)]
        own = [s.keyring.name for s in states if draws(s, one.lineage)]
        if own and not set(own) & set(refusing):
            return False
        return bool(refusing) and not self._was_served(one)

    def _server(self, keyring: str, values: Mapping[str, object]) -> Server:
        """Return how the server is tested and loaded, by those options that can be used."""
        before: Mapping[str, str] = {}
        with suppress(PinkeepError, OSError):
            state = self.workspace.store.load(keyring)
            before = state.settings if state is not None else {}
        header = _sound(options.header, values, before)
        kind = snippets.kind_of(self.workspace.store, keyring, header)
        configtest = _sound(_configtest, values, before)
        reload = _sound(_reload, values, before)
        return servers.server(kind, "", configtest, reload)

    def _record(self, one: Renewed, now: datetime) -> None:
        """Note what was loaded. Not the policy: Apache may have loaded another one."""
        if not self.tried.get(one.server.reload):
            return
        with self.workspace.store.locked():
            name = self.workspace.store.keyring_of(one.lineage, one.keyring)
            state = self.workspace.load_state(name, now) if name else None
            member = state.keyring.member(one.lineage) if state else None
            if state is None or member is None or member.pin != one.pin:
                return
            keyring = state.keyring.loaded(one.lineage, one.fingerprint)
            if not state.ledger.is_ahead_of(now):
                keyring = keyring.served_since({one.pin: now}, now)
            if keyring != state.keyring:
                self.workspace.store.save(replace(state, keyring=keyring))

    def _is_loaded(self, one: Renewed) -> bool | None:
        """Return whether Apache is known to have loaded the certificate; ``None``: no keyring tells."""
        with suppress(PinkeepError, OSError):
            state = self.workspace.state_of(one.lineage, one.keyring)
            member = state.keyring.member(one.lineage) if state else None
            return None if member is None else member.loaded == one.fingerprint
        return None

    def _was_served(self, one: Renewed) -> bool:
        """Return whether a certificate of the lineage with the same key is known to have been loaded."""
        for state in self._states(one):
            member = state.keyring.member(one.lineage)
            loaded = member.loaded if member is not None else None
            path = self.workspace.live_file(one.lineage)
            if loaded and lineage.pin_of_version(path, loaded) == one.pin:
                return True
        return False

    def _states(self, one: Renewed) -> Iterator[State]:
        """Yield the keyrings that have the lineage, or may pin its names."""
        store = self.workspace.store
        names: list[str] = []
        with suppress(OSError):
            names = sorted({*store.near(one.names), *store.of_lineage(one.lineage)})
        for name in names:
            with suppress(PinkeepError, OSError):
                state = store.load(name)
                if state is not None:
                    yield state


def reload(
    workspace: Workspace, server: Server, lineages: Iterable[str], configtests: Iterable[Words]
) -> bool:
    """Have the server load what is there, if it passes these tests.

    :param lineages: those that it loads
    :returns: whether it runs: if not, it loads everything when it starts
    :raises ApacheFailed: if it does not, or would end because a private key is not that of the certificate
    """
    for name in dict.fromkeys(lineages):
        path = lineage.foreign_key(os.path.dirname(workspace.live_file(name)))
        if path is not None:
            raise ApacheFailed(
                f"pinkeep has not reloaded {server.title}: the private key {path} does not belong to the "
                f"certificate beside it, and {server.title} ends if it loads both. Renew that certificate.",
                run=f"certbot renew --cert-name {shlex.quote(name)} --force-renewal",
            )
    for configtest in dict.fromkeys(configtests):
        apache.test(replace(server, configtest=configtest))
    return apache.reload(server)


def _refuses(state: State, one: Renewed, now: datetime) -> bool:
    """Return whether somebody holds pins of the keyring that lack the key. A published key is what the admin
    wants to have served, also if a forced rollover locks somebody out."""
    key = state.keyring.key(one.pin)
    if publishes(state, one.pin) and (key is None or key.role != "retired"):
        return False
    return bool(rollover.locked_out(one.pin, state.ledger, now, one.names))


def _sound(
    option: Callable[[Mapping[str, object]], _T | None], *given: Mapping[str, object]
) -> _T | None:
    """Return an option's value in the first of these in which it can be used; ``None``: the default."""
    for values in given:
        try:
            return option(values)
        except BadOption as error:
            logger.debug("%s", error)  # enrolling tells
    return None


def _configtest(values: Mapping[str, object]) -> tuple[str, ...] | None:
    words = options.command(values, "configtest-command")
    return None if words is None else apache.command("--pinkeep-configtest-command", words)


def _reload(values: Mapping[str, object]) -> Commands | None:
    given = options.reload_commands(values)
    if given is None:
        return None
    return tuple(apache.command("--pinkeep-reload-command", words) for words in given)
