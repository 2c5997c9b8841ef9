"""A world of several lineages that share keyrings, behind one Apache.

The clients: whoever visits a host at a moment notes the policy that Apache sends there, and comes
back to that host, or with includeSubDomains to one below it, at any later moment, with either type
of key where both are served.

RSA keys are slow to make, and nothing here looks into a key: those on P-384 stand for them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from world import _READ, _STEPS, BEGIN, Killed, Killer, LockedOut, issuer, numbered_keys

from certbot_pinkeep.adapters import lineage, revocation
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import apache, running
from certbot_pinkeep.core import hostnames, options
from certbot_pinkeep.core.errors import Compromised, PinkeepError
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.pem import kind_of
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.storage import keyring_file, keys_and_csrs
from certbot_pinkeep.workflow import releases, requests
from simulated.keeper import Keeper

BARE, WWW, API = "pin.test", "www.pin.test", "api.pin.test"
#: Two more lineages for WWW.
TWIN, OTHER_TYPE = "twin", f"{WWW}-rsa"
KINDS: dict[KeyType, KeyKind] = {
    "ecdsa": KeyKind("ecdsa", "secp256r1"),
    "rsa": KeyKind("rsa", "2048"),
}
_KIND_OF = kind_of
#: Where the kind of a key is looked at.
_KIND_OF_IN = [
    module
    for name, module in sorted(sys.modules.items())
    if name.startswith("certbot_pinkeep.") and getattr(module, "kind_of", None) is kind_of
]


@dataclass
class Site:
    """A lineage: its host, the type of its keys, and the keyring that it is told to draw on."""

    host: str
    key_type: KeyType
    keyring: str | None = None
    version: int = 0


@dataclass(frozen=True)
class Served:
    """What Apache serves for a lineage until it is reloaded."""

    host: str
    pin: str
    policy: Policy | None


@dataclass
class Settings:
    """What the admin set for a keyring."""

    values: dict[str, object] = field(default_factory=dict)


class Machine:
    """One machine, its lineages, and everybody who ever visited one of their hosts."""

    def __init__(self, folder: Path) -> None:
        self.config, self.work = folder / "config", folder / "work"
        for path in (self.work, *(self.config / part for part in ("live", "archive", "renewal"))):
            path.mkdir(parents=True)
        self.time = BEGIN
        self.killer = Killer(None)
        self.kill_after: int | None = None
        self.answer = revocation.Answer(None)
        self.compromised: set[str] = set()
        self.sites: dict[str, Site] = {}
        self.settings: dict[str, dict[str, object]] = {}
        #: Which keyring's snippet the virtual host of a host includes.
        self.included: dict[str, str] = {}
        self.apache: dict[str, Served] = {}
        self.held: dict[tuple[Policy, str], datetime] = {}
        #: What apps carry: by which keyring it was built, and its label.
        self.apps: dict[Policy, tuple[str, str]] = {}
        make = numbered_keys()
        self.make_key: Callable[[KeyKind], bytes] = lambda kind: make(
            KeyKind("ecdsa", "secp384r1") if kind.key_type == "rsa" else kind
        )
        with self._patched():
            for name, host, key_type in (
                (BARE, BARE, "ecdsa"),
                (WWW, WWW, "ecdsa"),
                (API, API, "rsa"),
                (TWIN, WWW, "ecdsa"),
                (OTHER_TYPE, WWW, "rsa"),
            ):
                self.sites[name] = Site(host, key_type)  # type: ignore[arg-type]
                self._issue(name, self.make_key(KINDS[self.sites[name].key_type]))
            self.reload()

    @property
    def keeper(self) -> Keeper:
        """A new one, as every run has."""
        return Keeper(str(self.config), str(self.work))

    def look(self, name: str) -> Live:
        """What is live."""
        live = self.config / "live" / name
        return lineage.look(
            name, str(live / "cert.pem"), str(live / "privkey.pem"), must_staple=False
        )

    def snippet(self, keyring: str) -> Path:
        """Where a keyring is published."""
        return self.config / "pinkeep" / "apache" / f"{keyring}.conf"

    # What happens

    def passes(self, time: timedelta) -> None:
        """Time passes; clients visit all the while."""
        self.time += time
        self._visits()

    def round(self, names: list[str], renewed: set[str]) -> None:
        """``certbot renew`` over some lineages, of which some are due; published once, at its end."""
        with self._process():
            keeper = self.keeper
            for name in names:
                with contextlib.suppress(PinkeepError):
                    if name in renewed:
                        self._renew(keeper, name)
                    self._enrol(keeper, name)
            keeper.publish_all(keeper.waiting, self.time)
        self._include()

    def new(self, name: str, host: str, key_type: KeyType, keyring: str, expressly: bool) -> None:
        """``certbot certonly`` for a lineage that is not there. Where the host is served with a key
        that is not pinned, the admin pins that first: nobody can tell that Apache serves it."""
        if host not in self.included and any(site.host == host for site in self.sites.values()):
            return
        kind = KINDS[key_type]
        with self._process():
            keeper = self.keeper
            handed = keeper.handover_new(
                name, keyring, key_type, [host], False, self.time, kind=kind if expressly else None
            )
            key = handed.key_pem if handed else self.make_key(kind)
            with self.killer.asleep():
                self.sites[name] = Site(host, _type_of(key), keyring)
                self._issue(name, key)
            self._enrol(keeper, name)
            keeper.publish(keyring, self.time)
        self._include()

    def delete(self, name: str) -> None:
        """``certbot delete``; the admin takes the lineage out of Apache's configuration before."""
        host = self.sites.pop(name).host
        if all(site.host != host for site in self.sites.values()):
            self.included.pop(host, None)
        self.reload()
        for part in ("live", "archive"):
            shutil.rmtree(self.config / part / name)
        (self.config / "renewal" / f"{name}.conf").unlink()

    def ask(self, keyring: str, when_safe: bool, compromised: bool) -> None:
        """``certbot-pinkeep rollover``."""
        with self._process():
            requests.ask(
                self.keeper, keyring, self.time, when_safe=when_safe, compromised=compromised
            )

    def revoke(self, name: str, compromised: bool) -> None:
        """``certbot revoke``."""
        with self._process():
            pin = self.look(name).pin
            requests.note_revoked(self.keeper, pin, self.time, compromised=compromised)

    def confirm(self, keyring: str) -> None:
        """The admin includes the keyring's snippet wherever its lineages are, reloads, confirms."""
        with self._patched():
            state = self.keeper.store.load(keyring)
            policy = self._policy(keyring)
            members = state.keyring.members if state else ()
            live = {m.lineage: self.look(m.lineage).pin for m in members if m.lineage in self.sites}
            behind = self._left_behind({self.sites[name].host for name in live}, set(live))
        if policy is None or behind or not all(pin in policy.pins for pin in live.values()):
            return  # it is not published what the admin was told to include
        for member in members:
            if member.lineage in live and not member.transferred:
                self.included[self.sites[member.lineage].host] = keyring
        with self._process():
            self.reload()
            requests.confirm(self.keeper, keyring, self.time)

    def _left_behind(self, hosts: set[str], moved: set[str]) -> bool:
        """Whether a host has a lineage more, which draws on another keyring."""
        return any(
            site.host in hosts and name not in moved and site.keyring
            for name, site in self.sites.items()
        )

    def release(self, keyring: str, label: str, days: int) -> None:
        """An app is built with the pins of a keyring and used for so long, or an app of that label is
        used for longer."""
        until = self.time + timedelta(days=days)
        known = [app for app, name in self.apps.items() if name == (keyring, label)]
        with self._process():
            if known:
                releases.extend(
                    self.keeper, releases.Wanted(keyring, "app", label, until), self.time
                )
                for app, host in [one for one in self.held if one[0] in known]:
                    self.held[app, host] = until
                return
            found = releases.add(
                self.keeper, releases.Wanted(keyring, "app", label, until), self.time
            )
            # As if it was a policy that nobody else has.
            app = Policy(found.pins, 10**9 + len(self.apps), found.subdomains)
            self.apps[app] = (keyring, label)
            self.held |= {(app, host): until for host in found.hosts}

    def withdraw(self, keyring: str, label: str) -> None:
        """Nobody uses an app any more, and the admin says so."""
        for app, name in self.apps.items():
            if name == (keyring, label):
                self.held = {one: until for one, until in self.held.items() if one[0] != app}
        with self._process():
            releases.end(self.keeper, releases.Wanted(keyring, "app", label), self.time)

    def reload(self) -> None:
        """Apache is reloaded; without pinkeep's doing it is not told."""
        self.apache = {
            name: Served(site.host, self.look(name).pin, self._sent(site.host))
            for name, site in self.sites.items()
        }
        self._visits()

    # What must hold

    def check(self) -> None:
        """No client is locked out; what is served is sound.

        :raises LockedOut: when one is
        """
        for name, served in self.apache.items():
            policy = served.policy
            if policy is not None and policy.binding:
                assert served.pin in policy.pins, f"the header lacks the key of {name}"
                assert len(policy.pins) >= 2, "a header without a backup"
            for (held, host), until in self.held.items():
                bound = hostnames.covers(host, served.host, subdomains=held.include_subdomains)
                if bound and served.pin not in held.pins and self.time < until:
                    what = f"{held} of {host} is held until {until}"
                    raise LockedOut(f"{name} serves {served.pin}, {what}")

    # How it happens

    def _visits(self) -> None:
        for served in self.apache.values():
            policy = served.policy
            if policy is not None and policy.binding:
                self.held[policy, served.host] = self.time + policy.binding
        self.check()
        self.held = {held: until for held, until in self.held.items() if until > self.time}

    def _sent(self, host: str) -> Policy | None:
        keyring = self.included.get(host)
        return self._policy(keyring) if keyring else None

    def _policy(self, keyring: str) -> Policy | None:
        path = self.snippet(keyring)
        return apache.read_policy(path.read_text()) if path.exists() else None

    def _include(self) -> None:
        """The admin includes a snippet where none is, once it has the key that is served there."""
        with self._patched():
            for name, site in self.sites.items():
                policy = self._policy(site.keyring) if site.keyring else None
                if policy is not None and self.look(name).pin in policy.pins:
                    self.included.setdefault(site.host, site.keyring or "")

    def _enrol(self, keeper: Keeper, name: str) -> None:
        site = self.sites[name]
        keyring = site.keyring or name
        given = {"configtest-command": "configtest", "reload-command": "reload"}
        values = {**given, **self.settings.get(keyring, {}), "keyring": keyring}
        keeper.enrol(
            self.look(name),
            options.parse(values, name),
            self.time,
            pinned_before=keeper.store.keyring_of(name) is not None,
        )

    def _renew(self, keeper: Keeper, name: str) -> None:
        """A renewal. Only a compromised key may lose it, and that is never handed over."""
        self._look_for_compromised(keeper)
        live, site = self.look(name), self.sites[name]
        keyring = site.keyring or name
        gone = self.compromised | ({live.pin} if self.answer.compromised else set())
        days = self.settings.get(keyring, {}).get("rollover-days")
        chosen = options.parse({"keyring": keyring, "rollover-days": days}, name)
        try:
            handed = keeper.handover(live, keyring, live.names, self.time, chosen=chosen)
        except PinkeepError as error:
            assert gone and isinstance(error, Compromised), f"the renewal is lost: {error}"
            raise
        assert handed.pin not in gone, "a compromised key is handed over"
        with self.killer.asleep():
            self._issue(name, handed.key_pem)
        self.answer = revocation.Answer(None)

    def _look_for_compromised(self, keeper: Keeper) -> None:
        for name in keeper.store.names():
            for state in keeper.store.known(name):
                keys = state.keyring.keys
                self.compromised |= {key.pin for key in keys if key.role == "compromised"}

    def _issue(self, name: str, key_pem: bytes) -> None:
        site = self.sites[name]
        site.version += 1
        live, archive = (self.config / part / name for part in ("live", "archive"))
        contents = {"cert": _certificate(key_pem, site.host, self.time), "privkey": key_pem}
        for kind, content in contents.items():
            live.mkdir(exist_ok=True)
            archive.mkdir(exist_ok=True)
            (archive / f"{kind}{site.version}.pem").write_bytes(content)
            link = live / f"{kind}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../archive/{name}/{kind}{site.version}.pem")
        (self.config / "renewal" / f"{name}.conf").write_text("[renewalparams]\n")

    @contextlib.contextmanager
    def _patched(self) -> Iterator[None]:
        with contextlib.ExitStack() as patches:
            for module in _KIND_OF_IN:
                patches.enter_context(mock.patch.object(module, "kind_of", _kind_of))
            patches.enter_context(mock.patch.object(keyring_file, "read", _READ))
            yield

    @contextlib.contextmanager
    def _process(self) -> Iterator[None]:
        """A process: it may refuse with an error, and be killed."""
        killer = self.killer = Killer(self.kill_after)
        self.kill_after = None
        with contextlib.ExitStack() as patches:
            for step in _STEPS:
                patches.enter_context(mock.patch.object(os, step, killer.counted(step)))
            patches.enter_context(self._patched())
            patches.enter_context(mock.patch.object(keys_and_csrs, "make_key", self.make_key))
            patches.enter_context(mock.patch.object(os, "fsync", lambda descriptor: None))
            patches.enter_context(mock.patch.object(apache, "_run", partial(self._command, killer)))
            patches.enter_context(mock.patch.object(apache, "_which", lambda program: program))
            patches.enter_context(mock.patch.object(running, "ask", lambda words: (0, "")))
            patches.enter_context(mock.patch.object(revocation, "look", lambda *_: self.answer))
            patches.enter_context(mock.patch("time.monotonic", lambda: self.time.timestamp()))
            with contextlib.suppress(Killed, PinkeepError):
                yield
        with self._patched():
            self.check()

    def _command(self, killer: Killer, words: tuple[str, ...]) -> str | None:
        self.passes(timedelta(seconds=7))  # all the while the old configuration is served
        if words[0] == "reload":
            self.reload()
        return None


def _kind_of(key: Any) -> KeyKind:
    found = _KIND_OF(key)
    return KINDS["rsa"] if found.detail == "secp384r1" else found


def _type_of(key_pem: bytes) -> KeyType:
    public = serialization.load_pem_private_key(key_pem, None).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return "rsa" if public.curve.name == "secp384r1" else "ecdsa"


@lru_cache(maxsize=4096)
def _certificate(key_pem: bytes, host: str, begin: datetime) -> bytes:
    """A certificate in PEM for a key."""
    key = serialization.load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin.replace(tzinfo=None))
        .not_valid_after((begin + timedelta(days=90)).replace(tzinfo=None))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(issuer(), hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
