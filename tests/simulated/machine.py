"""A config dir with several lineages, which may share keyrings."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from certbot_pinkeep.adapters import lineage
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core import options
from certbot_pinkeep.core.key_and_csr import KeyAndCsr
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow.publish import Report
from simulated.keeper import Keeper
from simulated.values import (
    DAY,
    NOW,
    SIXTY_DAYS,
    FakeApache,
    certificate,
    make_pem,
    pem_of,
    pin_of_key,
)

RSA_KEY = pem_of(rsa.generate_private_key(65537, 2048))


class Machine:
    """Lineages as certbot leaves them, one Apache, and a keeper for each run."""

    def __init__(self, root: Path) -> None:
        self.config = root / "etc"
        self.work = root / "work"
        self.apache = FakeApache(root)
        self.versions: dict[str, int] = {}
        for folder, mode in (("keys", 0o700), ("csr", 0o755), ("renewal", 0o755)):
            (self.config / folder).mkdir(parents=True, mode=mode)
        self.work.mkdir()

    @property
    def keeper(self) -> Keeper:
        """A new one, as every run has."""
        return Keeper(str(self.config), str(self.work))

    def issue(self, name: str, key: bytes | None = None, hosts: tuple[str, ...] = ()) -> str:
        """Make a certificate live; return the pin of its key."""
        key = key or make_pem()
        self.versions[name] = version = self.versions.get(name, 0) + 1
        live, archive = (self.config / part / name for part in ("live", "archive"))
        made = certificate(key, hosts or (name,), NOW - DAY)
        for part, content in {"cert": made, "privkey": key, "chain": made}.items():
            for folder in (live, archive):
                folder.mkdir(parents=True, exist_ok=True)
            (archive / f"{part}{version}.pem").write_bytes(content)
            link = live / f"{part}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../archive/{name}/{part}{version}.pem")
        lines = [f"cert = {live}/cert.pem", f"privkey = {live}/privkey.pem", "[renewalparams]"]
        self.renewal(name).write_text("\n".join([*lines, "installer = pinkeep"]) + "\n")
        return pin_of_key(key)

    def renewal(self, name: str) -> Path:
        """A lineage's renewal file."""
        return self.config / "renewal" / f"{name}.conf"

    def delete(self, name: str) -> None:
        """``certbot delete``."""
        self.renewal(name).unlink()
        for part in ("live", "archive"):
            shutil.rmtree(self.config / part / name)

    def look(self, name: str) -> Live:
        """What is live."""
        live = self.config / "live" / name
        return lineage.look(name, str(live / "cert.pem"), str(live / "privkey.pem"), False)

    def options(self, keyring: str, **values: object) -> Options:
        """The admin's options, with ``_`` in place of ``-``."""
        given = {name.replace("_", "-"): value for name, value in values.items()}
        given = {
            "configtest-command": self.apache.configtest[0],
            "reload-command": self.apache.reload[0],
            "keyring": keyring,
            **given,
        }
        return options.parse(given, keyring)

    def keep(
        self, name: str, keyring: str, now: datetime = NOW, pinned: bool = False, **values: object
    ) -> Report:
        """Bring a lineage into step."""
        chosen = self.options(keyring, **values)
        return self.keeper.keep(self.look(name), chosen, now, pinned_before=pinned)

    def handed(
        self, name: str, keyring: str, now: datetime, asked: bool = False, **values: object
    ) -> KeyAndCsr:
        """What the renewal of a lineage is issued for."""
        live, chosen = self.look(name), self.options(keyring, **values)
        return self.keeper.handover(live, keyring, live.names, now, asked=asked, chosen=chosen)

    def renew(self, name: str, keyring: str, now: datetime, **values: object) -> str:
        """Renew a lineage and bring it into step; the pin of its key."""
        handed = self.handed(name, keyring, now, False, **values)
        live = self.look(name)
        self.issue(name, handed.key_pem, live.names)
        self.keep(name, keyring, now, pinned=True, **values)
        return handed.pin

    def new(
        self,
        name: str,
        keyring: str,
        now: datetime,
        key_type: KeyType = "ecdsa",
        kind: KeyKind | None = None,
        hosts: tuple[str, ...] = (),
    ) -> str:
        """A new certificate, brought into step; the pin of its key."""
        names = hosts or (name,)
        handed = self.keeper.handover_new(name, keyring, key_type, names, False, now, kind=kind)
        pin = self.issue(name, handed.key_pem if handed else None, names)
        self.keep(name, keyring, now)
        return pin

    def state(self, keyring: str) -> State:
        """What a keyring file says."""
        state = self.keeper.store.load(keyring)
        assert state is not None, f"there is no keyring {keyring}"
        return state

    def store_text(self, keyring: str) -> str:
        """The keyring file."""
        return Path(self.keeper.store.path(keyring)).read_text()

    def role(self, keyring: str, pin: str) -> str | None:
        """A key's role."""
        key = self.state(keyring).keyring.key(pin)
        return key.role if key else None

    def members(self, keyring: str) -> dict[str, str]:
        """The pins of the lineages' keys as the keyring has them."""
        return {m.lineage: m.pin for m in self.state(keyring).keyring.members}

    def snippet(self, keyring: str) -> Path:
        """Where a keyring is published."""
        return self.config / "pinkeep" / "apache" / f"{keyring}.conf"

    def published(self, keyring: str) -> Policy:
        """What a keyring publishes."""
        found = apache.read_policy(self.snippet(keyring).read_text())
        assert found is not None, "the snippet cannot be read"
        return found

    def max_age(self) -> int:
        """How long the pins bind where nothing else is said."""
        return SIXTY_DAYS


def without_settings(chosen: Options) -> Options:
    """The options as if nothing had been given."""
    return replace(chosen, settings={})
