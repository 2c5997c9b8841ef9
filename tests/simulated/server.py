"""A server as an admin has it: certbot with the plugin, certbot-pinkeep, and an Apache.

Certbot and the plugin are the real ones, with their command line, files and exit handlers. Each call is a
fork of this process. The rest is simulated. The CA signs at once. The test sets the clock. At a reload Apache
copies what it would load, and every port of a host serves that. A zone may pin the keys of these ports.
"""

from __future__ import annotations

import atexit
import gettext
import importlib
import logging
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import certbot.util
from acme import messages
from certbot._internal import client as certbot_client
from certbot._internal import constants as certbot_constants
from certbot._internal import eff
from certbot._internal import main as certbot_main
from certbot._internal import renewal as certbot_renewal
from certbot._internal import updater as certbot_updater
from certbot._internal.plugins import disco
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import certbot_pinkeep
from certbot_pinkeep import installer
from certbot_pinkeep.adapters import certbots, clock, lineage, probe, renewal_conf
from certbot_pinkeep.carriers import apache, layout, running
from certbot_pinkeep.carriers.zones import credentials
from certbot_pinkeep.cli import main as command
from certbot_pinkeep.core import options, pins
from certbot_pinkeep.core.observations import HttpObservation, Target, TlsObservation
from certbot_pinkeep.core.pem import load_certificate, usable
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.core.zone_observations import PortObservation
from certbot_pinkeep.workflow import looks
from simulated.machine import register
from simulated.no_network import somebody_else
from simulated.values import csr_of, named, to_sign
from simulated.workflow import Workflow
from simulated.zone import KeptZone

CERTBOT, PINKEEP = "certbot", "certbot-pinkeep"
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Said:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that was said."""
        return f"{self.out}{self.err}"

    @property
    def commands(self) -> list[str]:
        """The commands that it names."""
        return commands_in(self.text)


_VERBS = {
    CERTBOT: "renew certonly run install delete revoke certificates reconfigure",
    PINKEEP: " ".join(command._COMMANDS),
}
#: Of other programs, the parts that are named.
_OTHERS = {"openssl": "pkcs8 x509 req", "chmod": "", "chown": "", "mv": ""}
COMMAND = re.compile(
    "|".join(
        rf"(?<![\w./-]){name} (?:{'|'.join(verbs.split())})"
        for name, verbs in {**_VERBS, **_OTHERS}.items()
    )
)


def commands_in(text: str) -> list[str]:
    """The commands of certbot and of certbot-pinkeep that a text names, each once.

    A command that follows ``Run:`` at the beginning of a line is all of that line. Another one ends with the
    quote before it, before a dash, a semicolon, a bracket or a comma; or with its sentence.
    """
    found = []
    for match in COMMAND.finditer(text):
        rest = text[match.start() :].partition("\n")[0]
        if re.search(r"(?m)^ *Run: \Z", text[: match.start()]):
            found.append(rest.strip())
            continue
        end = (
            r"'" if text[: match.start()].endswith("'") else r"\.?$|\.\s| -- |; | \(|, (?=[a-z])|\)"
        )
        found.append(re.split(end, rest)[0].strip())
    return list(dict.fromkeys(found))


class Server:
    """Lineages, certbot, the plugin, and an Apache that serves what it loaded last.

    :ivar age: how many days ago certificates began when they are issued: from 60 on they are due
    :ivar include: whose snippet the site of a host includes, if that is not the lineage's own
    :ivar sites: the headers that the admin's own lines set at every host
    :ivar unseen: the hosts that nobody can connect to
    :ivar environ: what stands in the environment of commands, besides the usual
    :ivar refused: by the pins of keys, why the CA refuses them; by an empty one, all
    :ivar zone: has the records of the ports; its provider is asked with the credentials file
    :ivar stale: the pin of the key that all ports but Apache's still serve; ``None``: what is loaded
    :ivar changed: what is done to certbot first, in each fork; ``cli.ini`` has no options of pinkeep then
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config, self.work, self.logs = (root / name for name in ("etc", "lib", "log"))
        self.loaded = root / "loaded"
        self.system = root / "system"
        self.debian = self.system / "etc" / "apache2"
        self.stopped = root / "reload-fails"
        self.broken = root / "configtest-fails"
        self.clock_offset = timedelta(0)
        self.age = 0
        self.include: dict[str, str] = {}
        self.sites: list[tuple[str, str]] = []
        self.unseen: set[str] = set()
        self.environ: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.zone = KeptZone(root / "zone", "ns1", "ns2")
        self.stale: str | None = None
        self.changed: Callable[[], None] | None = None
        self.start = datetime.now(timezone.utc).replace(microsecond=0)
        _preload()
        self.config.mkdir()
        self.home = root / "home"
        self.home.mkdir()
        self.credentials = self.home / "rfc2136.ini"
        self.credentials.write_text(
            "dns_rfc2136_server = 192.0.2.53\ndns_rfc2136_name = key.\ndns_rfc2136_secret = c2VjcmV0\n"
        )
        self.credentials.chmod(0o600)
        hook = self.home / PINKEEP  # certbot looks whether a hook can be run
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o755)
        self.cli_ini = [
            "authenticator = standalone",
            "agree-tos = true",
            "register-unsafely-without-email = true",
            "non-interactive = true",
            "max-log-backups = 0",  # else certbot looks for a thousand files in each run
            f"pinkeep-reload-command = {self._script('reload', self._reload())}",
            f"pinkeep-configtest-command = {self._script('configtest', self._configtest())}",
        ]
        # The plugin's own calls need no process.
        register((str(root / "reload"),), self._reloaded)
        register((str(root / "configtest"),), self._tested)

    # Apache

    def _script(self, name: str, body: str) -> Path:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def _configtest(self) -> str:
        return f'if [ -e {self.broken} ]; then echo "Syntax error on line 1" >&2; exit 1; fi'

    def _reload(self) -> str:
        copy = [f"rm -rf {self.loaded}", f"mkdir -p {self.loaded}/snippets"]
        copy += [
            f"cp -rL {self.config}/live {self.loaded}/ 2>/dev/null",
            f"find {self.config}/pinkeep/apache -type f -exec cp {{}} {self.loaded}/snippets/ ';'",
            "true",
        ]
        return f'if [ -e {self.stopped} ]; then echo "httpd not running" >&2; exit 3; fi\n' + (
            "\n".join(copy)
        )

    def _tested(self) -> tuple[int, str]:
        return (1, "Syntax error on line 1") if self.broken.exists() else (0, "")

    def _reloaded(self) -> tuple[int, str]:
        if self.stopped.exists():
            return 3, "httpd not running"
        shutil.rmtree(self.loaded, ignore_errors=True)
        live = {path: path.relative_to(self.config) for path in self.config.glob("live/*/*.pem")}
        ours = (self.config / "pinkeep" / "apache").rglob("*")
        for path, place in {**live, **{path: Path("snippets", path.name) for path in ours}}.items():
            if path.is_file():
                (self.loaded / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, self.loaded / place)
        return 0, ""

    def install_apache(self) -> None:
        """Have an Apache as Debian lays it out: it sends what it includes, and pinkeep knows its commands."""
        for name in ("available", "enabled"):
            (self.debian / f"conf-{name}").mkdir(parents=True)
            (self.debian / f"mods-{name}").mkdir()
        (self.debian / "mods-available" / "headers.load").touch()
        includes = f'for file in {self.debian}/apache2.conf $snippets; do echo "  (1) $file"; done'
        self._script("sbin/a2enmod", "exit 1")
        self._script(
            "sbin/apache2ctl",
            f"if [ -e {self.debian}/conf-enabled/pinkeep.conf ]; then\n"
            f"snippets=$(echo {self.config}/pinkeep/apache/*.conf); fi\n"
            f'case "$*" in\nconfigtest) {self._configtest()};;\ngraceful) {self._reload()};;\n'
            f"-M) echo so_module; ! [ -e {self.debian}/mods-enabled/headers.load ] || echo headers_module;;\n"
            f"*DUMP_INCLUDES*) {includes};;\nesac",
        )
        self.cli_ini = [one for one in self.cli_ini if not one.startswith("pinkeep")]

    @property
    def _sends(self) -> bool:
        """Whether Apache includes snippets, and can send headers."""
        needed = ("conf-enabled/pinkeep.conf", "mods-enabled/headers.load")
        return not self.debian.exists() or all(os.path.lexists(self.debian / one) for one in needed)

    def install_nginx(self) -> None:
        """Have an nginx that runs beside."""
        self._script("sbin/nginx", "exit 0")

    def reload(self) -> None:
        """The admin reloads Apache."""
        status, said = self._reloaded()
        assert status == 0, said

    def served_pin(self, name: str) -> str | None:
        """The pin of the key that Apache serves for a lineage; ``None``: it serves none."""
        path = self.loaded / "live" / name / "cert.pem"
        return pins.pin_of_certificate(path.read_bytes()) if path.exists() else None

    def sent(self, keyring: str) -> Policy | None:
        """What Apache sends for a keyring."""
        path = self.loaded / "snippets" / f"{keyring}.conf"
        return apache.read_policy(path.read_text()) if path.exists() else None

    def _look(
        self, targets: Sequence[Target], way: object
    ) -> tuple[list[TlsObservation], list[HttpObservation]]:
        return [shown for target in targets for shown in self._shown(target)], []

    def _glance(self, hosts: Sequence[str]) -> list[TlsObservation]:
        shown = [one for host in hosts for one in self._shown(Target(host))]
        closed = [one.host for one in shown if one.stopped and one.host not in self.unseen]
        return [one for one in shown if one.host not in closed] + somebody_else(closed)

    def _shown(self, target: Target) -> list[TlsObservation]:
        found: list[TlsObservation] = []
        for cert in sorted(self.loaded.glob("live/*/cert.pem")):
            names = lineage.glance(str(cert)).names
            if target.name not in names or target.name in self.unseen:
                continue
            own = self.include.get(target.name, cert.parent.name)
            snippets = [self.loaded / "snippets" / f"{own}.conf"]
            snippets += sorted((self.loaded / "snippets").glob("*.conf"))
            policy = next(
                (apache.read_policy(one.read_text()) for one in snippets if one.exists()), None
            )
            sent = [(policy.header_name, policy.header_value)] if policy and self._sends else []
            headers = (*self.sites, *sent)
            der = load_certificate(cert.read_bytes()).public_bytes(serialization.Encoding.DER)
            found.append(TlsObservation(target.name, der, headers))
        wanted = max(len(target.key_types), 1)
        return found[:wanted] or [
            TlsObservation(target.name, stopped="unreachable", error="refused")
        ]

    # The zone and its ports

    def _eyes(self) -> looks.Eyes:
        return looks.Eyes(self.zone.records, self._ports, self._provider, sleep=lambda _: None)

    def _provider(self, path: str) -> KeptZone:
        credentials.load(path)
        return self.zone

    def _ports(self, ports: Sequence[Port]) -> list[PortObservation]:
        loaded = {port: self.stale or self._loaded_pin(port.host) for port in ports}
        return [
            PortObservation(
                port, "192.0.2.25", (pin,) if pin else (), "" if pin else "it is closed"
            )
            for port, pin in loaded.items()
        ]

    def _loaded_pin(self, host: str) -> str | None:
        for cert in sorted(self.loaded.glob("live/*/cert.pem")):
            names, pin, _ = lineage.glance(str(cert))
            if host in names:
                return pin
        return None

    # Certbot and the command

    def run(self, line: str | Sequence[str]) -> Said:
        """Run a command line as the admin would type it; the shell's words are split as it does."""
        program, *words = shlex.split(line) if isinstance(line, str) else line
        if program in _OTHERS:
            other = subprocess.run(
                [program, *words], cwd=self.home, capture_output=True, text=True, check=False
            )
            return Said(other.returncode, other.stdout, other.stderr)
        path = self.home / ".config" / "letsencrypt" / "cli.ini"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [one for one in self.cli_ini if self.changed is None or "pinkeep" not in one]
        path.write_text("".join(f"{one}\n" for one in lines))
        folders = ["--config-dir", self.config, "--work-dir", self.work, "--logs-dir", self.logs]
        if program == CERTBOT:
            main: Callable[[list[str]], Any] = certbot_main.main
            if "renew" in words:
                words.append("--no-random-sleep-on-renew")
        else:
            assert program == PINKEEP, line
            main = command.main
        return self._forked(main, program, [*words, *map(str, folders)])

    def run_without_plugin(self, line: str) -> Said:
        """Run certbot as it is where the plugin is missing."""
        before, self.changed = self.changed, take_plugin_away
        said = self.run(line)
        self.changed = before
        return said

    def _forked(self, main: Callable[[list[str]], Any], program: str, words: list[str]) -> Said:
        self.clock_offset += timedelta(minutes=1)  # however long anything takes
        paths = [self.root / f"{name}-{os.getpid()}" for name in ("out", "err")]
        child = os.fork()
        if not child:
            self._be(main, program, words, paths)
        _, status = os.waitpid(child, 0)
        self.zone.load()
        out, err = (path.read_text(errors="replace") for path in paths)
        return Said(os.waitstatus_to_exitcode(status), out, err)

    def _be(
        self,
        main: Callable[[list[str]], Any],
        program: str,
        words: list[str],
        paths: Sequence[Path],
    ) -> NoReturn:
        """In a fork: be a program, and end."""
        code = 70
        try:
            atexit._clear()  # those of the tests
            vars(certbot.util)["_INITIAL_PID"] = os.getpid()  # else certbot skips its own
            logging.getLogger().handlers.clear()
            os.chdir(self.home)
            os.environ.clear()
            os.environ.update(
                {
                    "HOME": str(self.home),
                    "PATH": f"{self.home}:/usr/bin:/bin",
                    "COLUMNS": "80",
                    "LINES": "24",  # else each argument of a parser asks the terminal
                    **self.environ,
                }
            )
            for number, path in zip((1, 2), paths, strict=True):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.argv = [program, *words]
            sys.stdin = open(0, closefd=False)  # noqa: SIM115
            sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
            self._prepare_fork()
            code = _code_of(main, words)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException as error:
            os.write(2, repr(error).encode())
        os._exit(code)

    def _prepare_fork(self) -> None:
        """What is not real."""
        moment = self.now
        replace(clock, "now", lambda: moment)
        replace(probe, "look", self._look)
        replace(probe, "glance", lambda hosts, connect=None: self._glance(hosts))
        replace(looks, "real", self._eyes)
        for module in (layout, certbots):
            replace(module, "ROOT", str(self.system))
        replace(apache, "_SYSTEM_PATH", (str(self.root / "sbin"), "/usr/bin", "/bin"))
        if self.debian.exists():
            replace(
                running,
                "is_stopped",
                lambda words: "nginx" not in words[0] and self.stopped.exists(),
            )
        if hasattr(disco, "importlib_metadata"):
            replace(disco, "importlib_metadata", _Metadata)
        replace(gettext, "find", _no_translations)
        replace(eff, "handle_subscription", lambda *words: None)
        if hasattr(certbot_renewal, "_ari_renewal_time"):
            replace(certbot_renewal, "_ari_renewal_time", lambda *words: None)
        replace(certbot_main, "_init_le_client", _client)
        replace(certbot_client.Client, "_get_order_and_authorizations", _order)
        replace(
            certbot_client.Client, "obtain_certificate_from_csr", _issued(self.age, self.refused)
        )
        if self.changed is not None:
            self.changed()
        original = subprocess.run

        def run(words: Sequence[str], **others: Any) -> Any:
            if "from certbot.main import main" not in " ".join(map(str, words)):
                return original(words, **others)
            said = self._forked(certbot_main.main, CERTBOT, list(words[3:]))  # rollover --now
            os.write(1, said.text.encode())
            return SimpleNamespace(returncode=said.code)

        replace(subprocess, "run", run)

    @property
    def now(self) -> datetime:
        """What pinkeep's clock says."""
        return self.start + self.clock_offset

    def wait(self, days: int) -> None:
        """Let days go by."""
        self.clock_offset += days * _DAY

    # What an admin does, and looks at

    def certify(self, name: str, *hosts: str, installer: str = "pinkeep", more: str = "") -> Said:
        """Have certbot make a certificate."""
        domains = " ".join(f"-d {host}" for host in hosts or (name,))
        said = self.run(f"certbot certonly --cert-name {name} {domains} -i {installer} {more}")
        assert said.code == 0, said.text
        return said

    def pinned(self, name: str = "a.test", *hosts: str, more: str = "") -> None:
        """A certificate that pinkeep keeps, with everything up to date."""
        self.certify(name, *hosts, more=more)

    def pinned_anyhow(self, name: str = "a.test") -> None:
        """The same, whatever is to be said of it."""
        self.certify(name)

    def put_live(self, key: bytes, name: str = "a.test", more: tuple[str, ...] = ()) -> None:
        """A certificate for a key, with some names more, is live, put there by hand."""
        names = (*lineage.glance(str(self.live(name) / "cert.pem"))[0], *more)
        made, chain = sign(csr_of(key, names), self.age)
        parts = {"cert": made, "privkey": key, "chain": chain, "fullchain": made + chain}
        for part, content in parts.items():
            link = self.live(name) / f"{part}.pem"
            number = len(list(link.resolve().parent.glob(f"{part}*.pem"))) + 1
            target = link.resolve().with_name(f"{part}{number}.pem")
            target.write_bytes(content)
            target.chmod(0o600 if part == "privkey" else 0o644)
            link.unlink()
            link.symlink_to(f"../../archive/{name}/{target.name}")

    def forget(self, keyring: str) -> None:
        """The record of a keyring is lost, and its copy."""
        for path in (self.keyring_file(keyring), *self.copies()):
            if path.name == f"{keyring}.conf":
                path.unlink()

    def killed_before_publishing(self, name: str) -> None:
        """A run that was killed once it had recorded what is live."""
        values = {"reload-command": f"{self.root}/reload", "configtest-command": ""}
        chosen = options.parse(values, name)
        workflow = Workflow(str(self.config), str(self.work))
        live = self.live(name)
        found = lineage.look(
            name, str(live / "cert.pem"), str(live / "privkey.pem"), must_staple=False
        )
        renewal_conf.remember(str(self.config), name, "pinkeep")
        workflow.enrol(found, chosen, self.now)

    def sound(self) -> None:
        """See that nothing is wrong."""
        said = self.run("certbot-pinkeep check")
        assert (said.code, said.err) == (0, ""), said.text

    def live(self, name: str = "a.test") -> Path:
        """A lineage's folder in ``live/``."""
        return self.config / "live" / name

    def renewal(self, name: str = "a.test") -> Path:
        """Certbot's renewal file of a lineage."""
        return self.config / "renewal" / f"{name}.conf"

    def keyring_file(self, name: str = "a.test") -> Path:
        """The file of a keyring."""
        return self.config / "pinkeep" / f"{name}.conf"

    def snippet(self, name: str = "a.test") -> Path:
        """The snippet of a keyring."""
        return self.config / "pinkeep" / "apache" / f"{name}.conf"

    def copies(self) -> list[Path]:
        """The copies of keyring files below the work dir, and the clock there."""
        return sorted((self.work / "pinkeep").glob("*/*"))

    def copy(self, keyring: str = "a.test") -> str:
        """The copy of a keyring file below the work dir."""
        return Workflow(str(self.config), str(self.work)).store.shadow.path(keyring)

    def live_pin(self, name: str = "a.test") -> str:
        """The pin of the key that is live."""
        return pins.pin_of_certificate((self.live(name) / "cert.pem").read_bytes())

    def serial(self, name: str = "a.test") -> int:
        """The serial number of the certificate that is live."""
        return load_certificate((self.live(name) / "cert.pem").read_bytes()).serial_number

    def loaded_serial(self, name: str = "a.test") -> int:
        """The serial number of the certificate that Apache serves."""
        content = (self.loaded / "live" / name / "cert.pem").read_bytes()
        return load_certificate(content).serial_number

    def state(self, keyring: str = "a.test") -> State:
        """What the record of a keyring says."""
        found = Workflow(str(self.config), str(self.work)).load_state(keyring, self.now)
        assert found is not None, f"there is no keyring {keyring}"
        return found

    def backups(self, keyring: str = "a.test") -> list[str]:
        """The pins of the backups of a keyring."""
        return [key.pin for key in self.state(keyring).keyring.keys if key.role == "backup"]

    def key_file(self, pin: str, keyring: str = "a.test") -> Path:
        """The file of a key."""
        key = self.state(keyring).keyring.key(pin)
        assert key is not None and key.path, pin
        return self.config / key.path

    def replaced_by_hand(self, name: str = "a.test") -> None:
        """A certificate for a new key is live, made without pinkeep."""
        before = self.renewal(name).read_text()
        said = self.run_without_plugin(
            f"certbot certonly --cert-name {name} -i null --force-renewal --new-key"
            f" {self._domains(name)}"
        )
        assert said.code == 0, said.text
        self.renewal(name).write_text(before)

    def _domains(self, name: str) -> str:
        names = lineage.glance(str(self.live(name) / "cert.pem")).names
        return " ".join(f"-d {one}" for one in names)

    def delete_lineage(self, name: str = "a.test") -> Said:
        """``certbot delete``."""
        return self.run(f"certbot delete --cert-name {name}")


class _Metadata:
    """What certbot asks to find its plugins, asked once for all forks: it looks at all that is installed."""

    EntryPoint = metadata.EntryPoint
    entry_points = staticmethod(cache(metadata.entry_points))


def _no_translations(*words: object, **more: object) -> list[str]:
    """Where messages are in another language. Else argparse looks for that with each of its messages."""
    return []


@cache
def _preload() -> None:
    """Load what programs load, once: else each fork does."""
    disco.PluginsRegistry.find_all()
    for group in (
        certbot_constants.SETUPTOOLS_PLUGINS_ENTRY_POINT,
        certbot_constants.OLD_SETUPTOOLS_PLUGINS_ENTRY_POINT,
    ):
        _Metadata.entry_points(group=group)
    importlib.import_module("_strptime")
    importlib.import_module("cryptography.hazmat.backends.openssl.backend")
    for module in pkgutil.walk_packages(certbot_pinkeep.__path__, "certbot_pinkeep."):
        importlib.import_module(module.name)


def replace(owner: Any, name: str, value: object) -> None:
    """Put something in another's place, in a fork: nobody has to put it back."""
    setattr(owner, name, value)


def _code_of(main: Callable[[list[str]], Any], words: list[str]) -> int:
    try:
        said = main(words)
        if isinstance(said, str):
            print(said, file=sys.stderr)
        return said if isinstance(said, int) else int(bool(said))
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
        return leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    except (Exception, KeyboardInterrupt):
        with suppress(SystemExit):
            sys.excepthook(*sys.exc_info())  # certbot's own
        return 1


def _take_wrappings_away() -> None:
    """Have certbot's functions as they are if the plugin was never loaded."""
    for owner in (certbot_main, certbot_renewal, certbot_updater, certbot_client.Client):
        for name, found in list(vars(owner).items()):
            one = found
            while getattr(one, "__globals__", {}).get("__name__", "").startswith("certbot_pinkeep"):
                one = one.__wrapped__
            if one is not found:
                setattr(owner, name, one)


def take_plugin_away() -> None:
    """Have certbot as it is without the plugin."""
    _take_wrappings_away()
    find_all = disco.PluginsRegistry.find_all

    def found_without() -> Any:
        plugins = {name: find_all()[name] for name in find_all() if name != "pinkeep"}
        return disco.PluginsRegistry(plugins)

    replace(disco.PluginsRegistry, "find_all", found_without)


def be_strange() -> None:
    """Have certbot as no release of it is yet: what renews takes other parameters."""
    _take_wrappings_away()
    known = certbot_renewal.renew_cert
    replace(certbot_renewal, "renew_cert", lambda *words: known(*words))
    replace(installer, "_unguarded", installer._guard())


# The CA


def _client(config: Any, authenticator: object, installer: object) -> certbot_client.Client:
    client = certbot_client.Client.__new__(certbot_client.Client)
    vars(client).update(
        config=config, account=None, auth_handler=authenticator, installer=installer, acme=None
    )
    return client


def _order(self: certbot_client.Client, csr_pem: bytes, best_effort: bool) -> Any:
    request = _request(csr_pem)
    values = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = [str(getattr(one, "value", one)) for one in values]
    return SimpleNamespace(
        authorizations=[
            SimpleNamespace(
                body=SimpleNamespace(identifier=SimpleNamespace(value=name.removeprefix("*.")))
            )
            for name in names
        ]
    )


def _issued(age: int, refused: dict[str, str]) -> Callable[..., tuple[bytes, bytes]]:
    def obtain_certificate_from_csr(
        self: certbot_client.Client, csr: Any, orderr: object = None
    ) -> tuple[bytes, bytes]:
        request = _request(csr.data)
        why = refused.get(pins.pin_of(usable(request.public_key())))
        if why or "" in refused:
            code = "badPublicKey" if why else "serverInternal"
            raise messages.Error.with_code(code, detail=why or refused[""])
        return sign(request, age)

    return obtain_certificate_from_csr


def sign(request: x509.CertificateSigningRequest, age: int) -> tuple[bytes, bytes]:
    """Issue a certificate; with its chain."""
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    key, root = _ca()
    begin = datetime.now(timezone.utc) - timedelta(days=age, hours=1)
    values = [str(getattr(one, "value", one)) for one in names]
    built = to_sign(request.public_key(), values, begin, root.subject).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    return built.public_bytes(pem), root.public_bytes(pem)


def _request(data: bytes) -> x509.CertificateSigningRequest:
    if data.startswith(b"-----"):
        return x509.load_pem_x509_csr(data)
    return x509.load_der_x509_csr(data)


@cache
def _ca() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = named("the CA of a test")
    begin = datetime.now(timezone.utc).replace(tzinfo=None) - _DAY
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + 3650 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, built
