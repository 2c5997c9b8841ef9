"""A world of several lineages that share keyrings, behind one Apache.

RSA keys are slow to make, and nothing here looks into a key: those on P-384 stand for them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_pinkeep.adapters import revocation
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import Compromised, PinkeepError
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.pem import kind_of
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.workflow import releases, requests
from simulated.visitors import Served
from simulated.workflow import Workflow
from simulated.world import World

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
class Lineage:
    """A lineage: its host, the type of its keys, and the keyring that it is told to draw on."""

    host: str
    key_type: KeyType
    keyring: str | None = None


class ManySites(World):
    """One machine, its lineages, and everybody who ever visited one of their hosts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sites: dict[str, Lineage] = {}
        self.settings: dict[str, dict[str, object]] = {}
        #: Which keyring's snippet the virtual host of a host includes.
        self.included: dict[str, str] = {}
        #: What apps carry: by which keyring it was built, and its label.
        self.apps: dict[Policy, tuple[str, str]] = {}
        make = self.make_key
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
                self.sites[name] = Lineage(host, key_type)  # type: ignore[arg-type]
                self.issue(name, self.make_key(KINDS[self.sites[name].key_type]), (host,))
            self.reload()

    # What happens

    def run(self, names: list[str], renewed: set[str]) -> None:
        """``certbot renew`` over some lineages, of which some are due; published once, at its end."""
        with self.process():
            workflow = self.workflow
            for name in names:
                with contextlib.suppress(PinkeepError):
                    if name in renewed:
                        self._renew(workflow, name)
                    self._enrol(workflow, name)
            workflow.publish_all(workflow.waiting, self.time)
        self._include()

    def new(self, name: str, host: str, key_type: KeyType, keyring: str, expressly: bool) -> None:
        """``certbot certonly`` for a lineage that is not there. If the host is served with a key
        that is not pinned, the admin pins that first: nobody can tell that Apache serves it."""
        if host not in self.included and any(site.host == host for site in self.sites.values()):
            return
        kind = KINDS[key_type]
        with self.process():
            workflow = self.workflow
            handed = workflow.handover_new(
                name, keyring, key_type, [host], False, self.time, kind=kind if expressly else None
            )
            key = handed.key_pem if handed else self.make_key(kind)
            self.sites[name] = Lineage(host, _type_of(key), keyring)
            self.issue(name, key, (host,))
            self._enrol(workflow, name)
            workflow.publish(keyring, self.time)
        self._include()

    def delete(self, name: str) -> None:
        """``certbot delete``; the admin takes the lineage out of Apache's configuration before."""
        host = self.sites.pop(name).host
        if all(site.host != host for site in self.sites.values()):
            self.included.pop(host, None)
        self.reload()
        super().delete(name)

    def ask(self, keyring: str, when_safe: bool, compromised: bool) -> None:
        """``certbot-pinkeep rollover``."""
        with self.process():
            requests.ask(
                self.workflow, keyring, self.time, when_safe=when_safe, compromised=compromised
            )

    def revoke(self, name: str, compromised: bool) -> None:
        """``certbot revoke``."""
        with self.process():
            pin = self.look(name).pin
            requests.note_revoked(self.workflow, pin, self.time, compromised=compromised)

    def confirm(self, keyring: str) -> None:
        """The admin includes the keyring's snippet wherever its lineages are, reloads, confirms."""
        with self._patched():
            state = self.workflow.store.load(keyring)
            policy = self._policy(keyring)
            members = state.keyring.members if state else ()
            live = {m.lineage: self.look(m.lineage).pin for m in members if m.lineage in self.sites}
            behind = self._left_behind({self.sites[name].host for name in live}, set(live))
        if policy is None or behind or not all(pin in policy.pins for pin in live.values()):
            return  # it is not published what the admin was told to include
        for member in members:
            if member.lineage in live and not member.transferred:
                self.included[self.sites[member.lineage].host] = keyring
        with self.process():
            self.reload()
            requests.confirm(self.workflow, keyring, self.time)

    def _left_behind(self, hosts: set[str], moved: set[str]) -> bool:
        """Whether a host has a lineage more, which draws on another keyring."""
        return any(
            site.host in hosts and name not in moved and site.keyring
            for name, site in self.sites.items()
        )

    def release(self, keyring: str, label: str, days: int) -> None:
        """An app is built with the pins of a keyring, or a known app is used for longer."""
        until = self.time + timedelta(days=days)
        known = [app for app, name in self.apps.items() if name == (keyring, label)]
        with self.process():
            if known:
                releases.extend(
                    self.workflow, releases.ReleaseRequest(keyring, "app", label, until), self.time
                )
                for app, host in [one for one in self.visitors.held if one[0] in known]:
                    self.visitors.held[app, host] = until
                return
            found = releases.add(
                self.workflow, releases.ReleaseRequest(keyring, "app", label, until), self.time
            )
            # As if it was a policy that nobody else has.
            app = Policy(found.pins, 10**9 + len(self.apps), found.subdomains)
            self.apps[app] = (keyring, label)
            self.visitors.held |= {(app, host): until for host in found.hosts}

    def withdraw(self, keyring: str, label: str) -> None:
        """Nobody uses an app any more, and the admin says so."""
        for app, name in self.apps.items():
            if name == (keyring, label):
                self.visitors.held = {
                    one: until for one, until in self.visitors.held.items() if one[0] != app
                }
        with self.process():
            releases.end(self.workflow, releases.ReleaseRequest(keyring, "app", label), self.time)

    def serves(self) -> dict[str, Served]:
        """What Apache would serve if it was reloaded now."""
        return {
            name: Served(site.host, self.look(name).pin, self._sent(site.host))
            for name, site in self.sites.items()
        }

    # How it happens

    def _sent(self, host: str) -> Policy | None:
        keyring = self.included.get(host)
        return self._policy(keyring) if keyring else None

    def _policy(self, keyring: str) -> Policy | None:
        path = self.snippet(keyring)
        return apache.read_policy(path.read_text()) if path.exists() else None

    def _include(self) -> None:
        """The admin includes a missing snippet, once it has the key that is served there."""
        with self._patched():
            for name, site in self.sites.items():
                policy = self._policy(site.keyring) if site.keyring else None
                if policy is not None and self.look(name).pin in policy.pins:
                    self.included.setdefault(site.host, site.keyring or "")

    def _enrol(self, workflow: Workflow, name: str) -> None:
        site = self.sites[name]
        keyring = site.keyring or name
        values = {
            key.replace("-", "_"): value for key, value in self.settings.get(keyring, {}).items()
        }
        workflow.enrol(
            self.look(name),
            self.options(keyring, **values),
            self.time,
            pinned_before=workflow.store.keyring_of(name) is not None,
        )

    def _renew(self, workflow: Workflow, name: str) -> None:
        """A renewal. Only a compromised key may lose it, and that is never handed over."""
        for known in workflow.store.names():
            self.look_for_compromised(known)
        live, site = self.look(name), self.sites[name]
        keyring = site.keyring or name
        gone = self.compromised | ({live.pin} if self.answer.compromised else set())
        days = self.settings.get(keyring, {}).get("rollover-days")
        chosen = options.parse({"keyring": keyring, "rollover-days": days}, name)
        try:
            handed = workflow.handover(live, keyring, live.names, self.time, chosen=chosen)
        except PinkeepError as error:
            assert gone and isinstance(error, Compromised), f"the renewal is lost: {error}"
            raise
        assert handed.pin not in gone, "a compromised key is handed over"
        self.issue(name, handed.key_pem, (site.host,))
        self.answer = revocation.Answer(None)

    @contextlib.contextmanager
    def _patched(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for module in _KIND_OF_IN:
                patch.setattr(module, "kind_of", _kind_of)
            yield

    @contextlib.contextmanager
    def process(self) -> Iterator[None]:
        """A process, in which keys on P-384 are RSA keys."""
        with self._patched(), super().process():
            yield


def _kind_of(key: Any) -> KeyKind:
    found = _KIND_OF(key)
    return KINDS["rsa"] if found.detail == "secp384r1" else found


def _type_of(key_pem: bytes) -> KeyType:
    public = serialization.load_pem_private_key(key_pem, None).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return "rsa" if public.curve.name == "secp384r1" else "ecdsa"
