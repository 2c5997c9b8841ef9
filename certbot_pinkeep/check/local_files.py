"""Look at the files of a keyring, for ``certbot-pinkeep check``.

The rules:

* Nothing is written but the answers of CAs, and no lock is taken: certbot may be running.
* What cannot be read is told, not guessed at. Certificates of other lineages that cannot be read are passed
  over.
* The files belong to the user who runs this. If root looks, they belong to the user who owns most of them:
  one file that has strayed must not have all others given away.
* What ``cli.ini`` says counts for every renewal, before what the renewal file says.
* Nothing of a private key leaves this module, but whether it is the right key (G7).
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from certbot.compat import misc

from certbot_pinkeep.adapters import certbots, renewal_conf
from certbot_pinkeep.adapters import lineage as lineages
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.carriers import apache, reading, servers, snippets
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.check import certbot_rules, local_rules, trees
from certbot_pinkeep.check.findings import Finding, critical
from certbot_pinkeep.check.revocations import Revocations
from certbot_pinkeep.core import certificate, hostnames, options, pins
from certbot_pinkeep.core.errors import BadKey, BadOption, DamagedState, PinkeepError
from certbot_pinkeep.core.keyring import Member
from certbot_pinkeep.core.observations import (
    CERTBOT_RENEW,
    HANDED_OVER,
    Certificate,
    FileInfo,
    HttpObservation,
    Lineage,
    PlaceKind,
    Seen,
    TlsObservation,
)
from certbot_pinkeep.core.pem import load_certificate, load_private_key
from certbot_pinkeep.core.server_config import ServerConfig
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic, settings, trust
from certbot_pinkeep.storage.keys_and_csrs import Folders
from certbot_pinkeep.storage.store import Store

#: Lines of ``cli.ini`` that only a certbot with the plugin takes.
_OURS = re.compile(r"^[ \t]*pinkeep-.*$", re.M)


class LocalFiles:
    """Look at the keyrings of one config dir.

    :param config_dir: certbot's ``--config-dir``
    :param options: pinkeep's options in ``cli.ini``, by their names without ``--pinkeep-``
    :param reuse_key: what ``cli.ini`` says of it; ``None``: nothing
    :param revocations: asks the CAs; ``None``: nobody does
    """

    def __init__(
        self,
        config_dir: str,
        store: Store,
        *,
        options: Mapping[str, object] | None = None,
        reuse_key: bool | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        self.config_dir = config_dir
        self.store = store
        self.options = options or {}
        self.reuse_key = reuse_key
        self.revocations = revocations
        self.folders = Folders(config_dir)
        self._others: dict[str, Certificate | None] = {}
        self._configs: dict[Server, ServerConfig | None] = {}

    def look(
        self,
        state: State,
        now: datetime,
        shown: Iterable[TlsObservation],
        plain: Iterable[HttpObservation],
        step: str = CERTBOT_RENEW,
    ) -> Seen:
        """Look at all that there is of a keyring.

        :param shown: what its hosts showed
        :param step: the command that brings it up to date
        :raises PinkeepError, OSError: if something cannot be read that is needed
        """
        keyring = self.folders.with_faults(state.keyring)
        state = replace(state, keyring=keyring)
        chosen = state.chosen()
        text = apache.read_snippet(state.snippet) if state.snippet else None
        kind = servers.chosen_kind(chosen.header, state.snippet, text)
        server = None  # of a wrong option, which is told
        with suppress(BadOption):
            server = servers.server(kind, "", chosen.configtest, chosen.reload)
        members = keyring.drawing
        places = tuple(self._places(state, members))
        seen = Seen(
            state=state,
            chosen=chosen,
            reloads=bool(server.reload) if server else chosen.reload != (),
            configtest=shlex.join(server.configtest) if server else "",
            step=step,
            server=kind.title if kind else "the web server",
            latest_known=self.store.latest_known(now),
            owner=_owner(places),
            config_dir=self.config_dir,
            snippet=text,
            shown=tuple(shown),
            plain=tuple(plain),
            places=places,
            lineages=tuple(map(self._lineage, members)),
            requests=frozenset(self.folders.saved_csrs()),
            others=tuple(self._other_certificates({member.lineage for member in members})),
            incoming=tuple(self._incoming(keyring.name)),
        )
        return self._with_server_config(seen, server) if server and state.snippet else seen

    def _with_server_config(self, seen: Seen, server: Server) -> Seen:
        """Add what the server reads of its configuration. A sound site does not pay for that."""
        if not seen.without_header:
            return seen
        if server not in self._configs:
            self._configs[server] = reading.read(server)
        path = os.path.realpath(seen.state.snippet)
        return replace(seen, server_config=self._configs[server], snippet_path=path)

    def without_record(self, states: Iterable[State], damaged: Collection[str]) -> list[Finding]:
        """Tell of lineages that pinkeep renews and no keyring has. Tell of those that certbot skips, if they
        have a certificate for a pinned host.

        :param states: all keyrings
        :param damaged: the files of keyrings that cannot be read, and may have the lineage
        """
        states = list(states)
        known = {m.lineage for state in states for m in state.keyring.members}
        hosts = {host for state in states for host in state.keyring.hosts}
        hosts.update(
            host for state in states for one in state.ledger.holdings for host in one.hosts
        )
        found = []
        for name in renewal_conf.names(self.config_dir):
            with suppress(PinkeepError):
                renewal = None if name in known else renewal_conf.load(self.config_dir, name)
                if renewal is None:
                    continue
                ours = renewal.installer == "pinkeep"
                broken = trees.broken(self.config_dir, name)
                if broken is not None and (ours or self._was_for(name, hosts)):
                    found.append(critical(name, broken.why, broken.mend))
                elif ours and self.store.path(renewal.options.get("keyring", name)) not in damaged:
                    found.append(local_rules.without_record(name))
        return found

    def _was_for(self, lineage: str, hosts: Collection[str]) -> bool:
        """Say whether a lineage has a certificate for one of these hosts, by its name in archive/: an admin
        may have renamed a lineage that is pinned."""
        folder = glob.escape(os.path.join(self.config_dir, "archive", lineage))
        for path in glob.glob(os.path.join(folder, "cert*.pem")):
            with suppress(BadKey):
                if hostnames.covered(hosts, lineages.glance(path)[0], subdomains=False):
                    return True
        return False

    def _places(self, state: State, members: Iterable[Member]) -> Iterator[FileInfo]:
        wanted: list[tuple[str, PlaceKind]] = [
            (self.folders.keys, "keys"),
            (self.folders.csrs, "csrs"),
            (self.store.folder, "records"),
            (self.store.path(state.keyring.name), "keyring"),
            (self.store.shadow.folder, "records"),
        ]
        exposed = trust.exposed(self.store.shadow.folder)
        if exposed is not None and exposed.path != os.path.realpath(self.store.shadow.folder):
            yield FileInfo(exposed.path, "above records", exposed.mode, exposed.owner)
        if state.snippet:
            folder = os.path.dirname(state.snippet)
            own = os.path.dirname(folder) == self.store.folder
            wanted += [
                (folder, "snippets" if own else "foreign snippets"),
                (state.snippet, "snippet"),
            ]
        for key in state.keyring.keys:
            if key.role in HANDED_OVER:
                paths = filter(None, (key.encrypted, key.path))
                wanted += [(self.folders.absolute(path), "key") for path in paths]
        for member in members:
            live = os.path.join(self.config_dir, "live", member.lineage, "privkey.pem")
            wanted.append((live, "live key"))
        for path, kind in wanted:
            with suppress(OSError):  # whatever needs a missing file tells of it
                found = os.stat(path)
                yield FileInfo(path, kind, stat.S_IMODE(found.st_mode), found.st_uid)

    def _lineage(self, member: Member) -> Lineage:
        name = member.lineage
        if self.store.is_deleted(name):
            return Lineage(name, deleted=True)
        broken = trees.broken(self.config_dir, name)
        try:
            renewal = renewal_conf.load(self.config_dir, name)
            if renewal is None:
                return Lineage(name, error=f"Certbot's renewal file of {name} is gone.")
            live = _certificate(name, renewal.cert_path)
        except PinkeepError as error:
            return Lineage(name, error=str(error), broken=broken)
        path = renewal_conf.path_of(self.config_dir, name)
        misnamed = renewal_conf.certbots_name(self.config_dir, name) != name
        return Lineage(
            name,
            live=live,
            broken=broken,
            key_error=_key_error(renewal, live),
            reuse_key=renewal.reuse_key if self.reuse_key is None else self.reuse_key,
            must_staple=renewal.must_staple,
            misnamed=path if misnamed else "",
            by_hand="" if renewal.autorenew else path,
            renew_before=certificate.span(renewal.renew_before_expiry),
            reuse_denied=self.reuse_key is False,
            refused=self._refused(renewal, live),
            revoked=(
                self.revocations.reason(live.fingerprint, renewal.cert_path)
                if self.revocations
                else ""
            ),
        )

    def refused_everywhere(self) -> list[Finding]:
        """Tell of an option in ``cli.ini`` that pinkeep does not take."""
        bad = self._unusable(self.options, "any")
        return [local_rules.refused_everywhere(bad)] if bad else []

    def certbots(self, *, by_hand: bool = False) -> list[Finding]:
        """Tell of timers and jobs of cron whose certbot does not load the plugin. These jobs use certbot's
        usual folder.

        :param by_hand: whether to tell of a certbot that people run as well
        """
        usual = misc.get_default_folder("config")
        if os.path.realpath(self.config_dir) != os.path.realpath(usual):
            return []
        path = os.path.join(usual, "cli.ini")
        lines = _OURS.findall(atomic.content(path).decode("utf-8", errors="replace"))
        callers = certbots.callers(usual)
        found = certbot_rules.check(callers, path, lines)
        return [*found, *(certbot_rules.by_hand(callers) if by_hand else ())]

    def _refused(self, renewal: Renewal, live: Certificate) -> BadOption | None:
        """Find which of its options keeps a lineage from being brought up to date."""
        if self._unusable(self.options, "any"):
            return None  # told once
        values = settings.values(self.store, renewal.name, self.options, renewal.options)
        return self._unusable(values, renewal.name, live.names)

    def _unusable(
        self, values: Mapping[str, object], lineage: str, names: tuple[str, ...] = ()
    ) -> BadOption | None:
        """Find the option that pinkeep does not take for a lineage with these names."""
        try:
            snippets.server_of(self.store, options.parse(values, lineage), names)
        except BadOption as error:
            return error
        except PinkeepError:
            return None  # of a file: the rules about files tell
        return None

    def _other_certificates(self, members: set[str]) -> Iterator[Certificate]:
        for name in renewal_conf.names(self.config_dir):
            if name in members:
                continue
            if name not in self._others:
                self._others[name] = None
                with suppress(PinkeepError):
                    path = os.path.join(self.config_dir, "live", name, "cert.pem")
                    self._others[name] = _certificate(name, path)
            found = self._others[name]
            if found is not None:
                yield found

    def _incoming(self, name: str) -> Iterator[str]:
        for other in self.store.names():
            with suppress(DamagedState):
                state = self.store.load(other)
                for member in state.keyring.members if state else ():
                    if member.transferred == name:
                        yield member.lineage


def _owner(places: Iterable[FileInfo]) -> int:
    """Find the user to whom the files have to belong."""
    me = os.geteuid()
    if me != 0:
        return me
    owners = Counter(place.owner for place in places)
    return max(owners, key=lambda user: (owners[user], user == me), default=me)


def _certificate(name: str, path: str) -> Certificate:
    """Read a live certificate.

    :raises BadKey: if it cannot be read
    """
    try:
        content = atomic.read(path)
        return certificate.read(name, load_certificate(content))
    except OSError as error:
        raise BadKey(f"The certificate {path} cannot be read: {error.strerror}.") from error
    except BadKey as error:
        raise BadKey(f"The certificate {path} cannot be read: {error}.") from error


def _key_error(renewal: Renewal, live: Certificate) -> str:
    """Say why the live private key cannot be used; empty: it can."""
    path = renewal.key_path
    try:
        key = load_private_key(atomic.read(path)).public_key()
    except OSError as error:
        return f"The private key {path} cannot be read: {error.strerror}."
    except BadKey as error:
        return f"The private key {path} cannot be used: {error}."
    if pins.pin_of(key) != live.pin:
        return f"The private key {path} does not belong to the certificate beside it."
    return ""
