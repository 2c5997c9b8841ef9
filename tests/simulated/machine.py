"""A machine with certificates: lineages as certbot leaves them, an Apache, and a workspace for each run.

:class:`Site` is a lineage that has a machine for itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from certbot_pinkeep.adapters import lineage
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import apache, running
from certbot_pinkeep.core import options
from certbot_pinkeep.core.key_and_csr import KeyAndCsr
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow import requests
from certbot_pinkeep.workflow.publish import Report
from certbot_pinkeep.workflow.requests import Asked
from simulated.values import (
    DAY,
    HOUR,
    NO_WORK_DIR,
    NOW,
    SIXTY_DAYS,
    certificate,
    make_pem,
    pem_of,
    pin_of_key,
    tree,
)
from simulated.workflow import Workflow

RSA_KEY = pem_of(rsa.generate_private_key(65537, 2048))


#: What commands do that stand for a server's: an exit code, and what they say. No process is run.
_COMMANDS: dict[str, Callable[[], tuple[int, str]]] = {
    "/bin/true": lambda: (0, ""),
    "/bin/false": lambda: (1, ""),
}
_with_a_process = running.run


def _run(words: Sequence[str], seconds: float) -> tuple[int, str]:
    command = _COMMANDS.get(words[0])
    return command() if command is not None else _with_a_process(words, seconds)


def register(words: tuple[str, ...], does: Callable[[], tuple[int, str]]) -> None:
    """Have a command do something that needs no process: it gives an exit code, and what it says."""
    _COMMANDS[words[0]] = does


setattr(running, "run", _run)  # noqa: B010 - for good, in this process


class FakeApache:
    """Commands that stand for apache2ctl: a test that can fail, a reload that is counted.

    :ivar refuses: whether it would not start with what is there
    :ivar stuck: while there is such a file, the reload fails
    :ivar reloads: how often it was reloaded
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "apache.conf"
        self.stuck = root / "reload.fails"
        self.refuses: Callable[[], bool] = lambda: False
        self.reloads = 0
        self.mend_config()
        self.configtest = self._command("configtest", self._test)
        self.reload = self._command("reload", self._reload)

    def _command(self, name: str, does: Callable[[], tuple[int, str]]) -> tuple[str, ...]:
        words = self.script(name, "exit 70")
        register(words, does)
        return words

    def _test(self) -> tuple[int, str]:
        broken = "broken" in self.config.read_text() or self.refuses()
        return (1, "Syntax error, line 1") if broken else (0, "")

    def _reload(self) -> tuple[int, str]:
        if self.stuck.exists():
            return 3, "not running"
        self.reloads += 1
        return 0, ""

    def script(self, name: str, body: str) -> tuple[str, ...]:
        """A command that runs the given shell script."""
        path = self.root / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return (str(path),)

    def break_config(self) -> None:
        """From now on the configuration test fails."""
        self.config.write_text("broken\n")

    def mend_config(self) -> None:
        """From now on the configuration test passes."""
        self.config.write_text("ServerName localhost\n")


class Lineages:
    """Lineages as certbot leaves them, an Apache, and a workspace for each run.

    :ivar installer: what certbot's renewal files name
    """

    def __init__(self, root: Path, installer: str = "pinkeep") -> None:
        self.root = root
        self.installer = installer
        self.config = root / "etc"
        self.work = root / "work"
        self.versions: dict[str, int] = {}
        for folder, mode in (("keys", 0o700), ("csr", 0o755), ("renewal", 0o755)):
            (self.config / folder).mkdir(parents=True, mode=mode)
        self.work.mkdir()
        self.apache = FakeApache(root)

    @property
    def workflow(self) -> Workflow:
        """A new one, as every run has."""
        return Workflow(str(self.config), str(self.work))

    def put_live(
        self, name: str, key: bytes, names: tuple[str, ...], start: datetime | None = None
    ) -> bytes:
        """Make a certificate live, as a renewal does; return it."""
        self.versions[name] = version = self.versions.get(name, 0) + 1
        made = certificate(key, names, start or NOW - DAY + (version - 1) * HOUR)
        parts = {"cert": made, "privkey": key, "chain": made, "fullchain": made + made}
        live, archive = (self.config / part / name for part in ("live", "archive"))
        for folder in (live, archive):
            folder.mkdir(parents=True, exist_ok=True)
        for part, content in parts.items():
            target = archive / f"{part}{version}.pem"
            target.write_bytes(content)
            target.chmod(0o600 if part == "privkey" else 0o644)
            link = live / f"{part}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../archive/{name}/{target.name}")
        if version == 1:
            lines = ["version = 5.8.0", f"archive_dir = {archive}"]
            lines += [f"{part} = {live / part}.pem" for part in parts]
            lines += ["[renewalparams]", "authenticator = webroot", f"installer = {self.installer}"]
            self.renewal(name).write_text("\n".join(lines) + "\n")
        return made

    def issue(self, name: str, key: bytes | None = None, hosts: tuple[str, ...] = ()) -> str:
        """Make a certificate live; return the pin of its key."""
        key = key or make_pem()
        self.put_live(name, key, hosts or (name,))
        return pin_of_key(key)

    def renewal(self, name: str) -> Path:
        """A lineage's renewal file."""
        return self.config / "renewal" / f"{name}.conf"

    def delete(self, name: str) -> None:
        """``certbot delete``."""
        self.renewal(name).unlink()
        for part in ("live", "archive"):
            shutil.rmtree(self.config / part / name)
        del self.versions[name]

    def look(self, name: str, must_staple: bool = False) -> Live:
        """What is live."""
        live = self.config / "live" / name
        return lineage.look(
            name, str(live / "cert.pem"), str(live / "privkey.pem"), must_staple=must_staple
        )

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

    def state(self, keyring: str) -> State:
        """What a keyring file says."""
        state = self.workflow.store.load(keyring)
        assert state is not None, f"there is no keyring {keyring}"
        return state

    def store_text(self, keyring: str) -> str:
        """The keyring file."""
        return Path(self.workflow.store.path(keyring)).read_text()

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
        """How long the pins bind if nothing else is said."""
        return SIXTY_DAYS


class Machine(Lineages):
    """Lineages, and what is done with them at any time that a test names."""

    def keep(
        self, name: str, keyring: str, now: datetime = NOW, pinned: bool = False, **values: object
    ) -> Report:
        """Bring a lineage up to date."""
        chosen = self.options(keyring, **values)
        return self.workflow.keep(self.look(name), chosen, now, pinned_before=pinned)

    def handed(
        self, name: str, keyring: str, now: datetime, asked: bool = False, **values: object
    ) -> KeyAndCsr:
        """What the renewal of a lineage is issued for."""
        live, chosen = self.look(name), self.options(keyring, **values)
        return self.workflow.handover(live, keyring, live.names, now, asked=asked, chosen=chosen)

    def renew(self, name: str, keyring: str, now: datetime, **values: object) -> str:
        """Renew a lineage and bring it up to date; the pin of its key."""
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
        """A new certificate, brought up to date; the pin of its key."""
        names = hosts or (name,)
        handed = self.workflow.handover_new(name, keyring, key_type, names, False, now, kind=kind)
        pin = self.issue(name, handed.key_pem if handed else None, names)
        self.keep(name, keyring, now)
        return pin


class Site:
    """One lineage on a machine, as a rule its own. Its keyring has the same name.

    :ivar backups: how many backups the admin wants
    :ivar by_hand: whether the admin reloads Apache
    :ivar copies: whether there is a work dir, for copies of the keyring file and the latest time
    :ivar start: when the next certificate begins, if that matters
    """

    def __init__(
        self,
        root: Path,
        name: str = "example.com",
        key: bytes | None = None,
        backups: int = 2,
        machine: Machine | None = None,
    ) -> None:
        self.machine = machine or Machine(root, installer="None")
        self.root, self.name = root, name
        self.names: tuple[str, ...] = (name, f"www.{name}")
        self.config, self.work = self.machine.config, self.machine.work
        self.apache = self.machine.apache
        self.key = key or make_pem()
        self.backups = backups
        self.by_hand = False
        self.copies = True
        self.start: datetime | None = None
        self.issue(self.key)

    @property
    def workflow(self) -> Workflow:
        """A new one, as every run has."""
        return Workflow(str(self.config), str(self.work) if self.copies else NO_WORK_DIR)

    def issue(self, key: bytes, names: tuple[str, ...] | None = None) -> bytes:
        """Make a certificate for *key* live, as a renewal does; return it."""
        self.key = key
        self.names = names or self.names
        return self.machine.put_live(self.name, self.key, self.names, self.start)

    @property
    def renewal(self) -> Path:
        """Certbot's renewal file of the lineage."""
        return self.machine.renewal(self.name)

    @property
    def snippet(self) -> Path:
        """The snippet in the default folder."""
        return self.machine.snippet(self.name)

    @property
    def file(self) -> Path:
        """The keyring file."""
        return self.config / "pinkeep" / f"{self.name}.conf"

    def look(self, must_staple: bool = False) -> Live:
        """What is live."""
        return self.machine.look(self.name, must_staple)

    def options(
        self,
        keyring: str | None = None,
        backup_keys: int | None = None,
        max_age: int = SIXTY_DAYS,
        report_uri: str | None = None,
        report_only: bool = False,
        snippet_dir: str | None = None,
        reload: tuple[tuple[str, ...], ...] | None = None,
        configtest: tuple[str, ...] | None = None,
    ) -> Options:
        """The admin's options, with the fake Apache's commands."""
        return Options(
            keyring=keyring or self.name,
            backup_keys=self.backups if backup_keys is None else backup_keys,
            max_age=max_age,
            report_uri=report_uri,
            report_only=report_only,
            snippet_dir=snippet_dir,
            configtest=self.apache.configtest if configtest is None else configtest,
            reload=self._reload if reload is None else reload,
        )

    @property
    def _reload(self) -> tuple[tuple[str, ...], ...]:
        return () if self.by_hand else (self.apache.reload,)

    def keep(
        self,
        chosen: Options | None = None,
        now: datetime = NOW,
        remember: Callable[[], None] | None = None,
    ) -> Report:
        """Bring everything up to date."""
        return self.workflow.keep(self.look(), chosen or self.options(), now, remember)

    def run(self, days: int = 0, max_age: int = 60, **chosen: Any) -> Report:
        """Bring everything up to date on a day, with a max-age in days."""
        return self.keep(self.options(max_age=max_age * 86400, **chosen), NOW + days * DAY)

    def roll_over(self, days: int) -> None:
        """Renew for the first backup."""
        self.issue(self.key_pem(self.published().pins[1]))
        self.run(days)

    def next_pin(self, days: int) -> str:
        """The key that a renewal on a day is issued for."""
        at = NOW + days * DAY
        return self.workflow.handover(self.look(), self.name, self.names, at).pin

    def ask(
        self,
        *,
        when_safe: bool = False,
        compromised: bool = False,
        force: bool = False,
        days: int = 20,
    ) -> Asked:
        """Ask for a rollover, on day 20 as a rule."""
        return requests.ask(
            self.workflow,
            self.name,
            NOW + days * DAY,
            when_safe=when_safe,
            compromised=compromised,
            force=force,
        )

    def confirm(self, days: int) -> str:
        """The admin says that Apache has loaded what is published."""
        return requests.confirm(self.workflow, self.name, NOW + days * DAY)

    def state(self) -> State:
        """What the keyring file says."""
        state = self.workflow.store.load(self.name)
        assert state is not None, "there is no keyring file"
        return state

    def pins(self) -> list[str]:
        """All keys in the order in which they are used."""
        return [key.pin for key in self.state().keyring.keys]

    def key_of(self, pin: str) -> Key:
        """A key of the keyring."""
        key = self.state().keyring.key(pin)
        assert key is not None
        return key

    def file_of(self, pin: str) -> Path:
        """The file of a key."""
        path = self.key_of(pin).path
        assert path is not None
        return self.config / path

    def published(self, snippet: Path | None = None) -> Policy:
        """What the snippet says."""
        found = apache.read_policy((snippet or self.snippet).read_text())
        assert found is not None, "the snippet cannot be read"
        return found

    def key_pem(self, pin: str) -> bytes:
        """The private key with this pin, from the folder of keys."""
        found = self.workflow.folders.find_key(pin)
        assert found is not None, f"the key with the pin {pin} is lost"
        return found.pem

    def tree(self) -> dict[str, tuple[int, bytes | str | None, int]]:
        """Everything below the config dir."""
        return tree(self.config)
