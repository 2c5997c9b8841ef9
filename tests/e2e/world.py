"""What the end-to-end tests look at: a pinned site, the files of a config dir, forked certbots."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import certbot
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from lab import Apache, Ca, Certbot, Completed, VirtualHost, Wget2, wait_for
from lab.certbot import COMMAND_MAIN
from lab.look import pin_of
from lab.zygote import Order, Zygote, fork

NAME = "www.pin.test"
OTHER = "other.pin.test"
DOMAIN = "pin.test"
API = "api.pin.test"
SHOP = "shop.pin.test"
KEYRING = "family"
VERSION = tuple(int(part) for part in certbot.__version__.split(".")[:2])

# For tests in which no Apache has to take notice.
OFFLINE = [
    "--installer",
    "pinkeep",
    "--pinkeep-configtest-command=true",
    "--pinkeep-reload-command=true",
]

# A stand-in for Apache's control program: a test that lets the plugin choose its default must not
# reach the machine's own Apache, and must be told.
GUARD = '#!/bin/sh\necho "$0 $*" >> {told}\nexit 1\n'

Tree = dict[str, tuple[int, int, bytes]]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


RELOAD, GRACEFUL = "--pinkeep-reload-command=", " -k graceful"
#: Runs what needs a clock of its own. The session ends it.
ZYGOTE = Zygote()


class Bot(Certbot):
    """A certbot to whom the machine's own Apache is out of reach."""

    def __init__(self, folder: Path, ca: Ca) -> None:
        super().__init__(folder, ca)
        self.real = False
        self.told = folder / "reached-out"
        self._bin = folder / "bin"
        self._bin.mkdir()
        for name in ("apache2ctl", "apachectl", "nginx"):
            script(self._bin / name, GUARD.format(told=self.told))

    def env(self, faketime: timedelta | None = None) -> dict[str, str]:
        """As the lab's, with the stand-ins first on the PATH."""
        env = super().env(faketime)
        return env | {"PATH": f"{self._bin}:{env['PATH']}"}

    def others_asked(self) -> list[str]:
        """What the servers of the machine were asked since this was asked last; that was in order."""
        lines = self.told.read_text().splitlines() if self.told.exists() else []
        self.told.unlink(missing_ok=True)
        return sorted({line.removeprefix(f"{self._bin}/") for line in lines})

    @property
    def cli_ini(self) -> Path:
        """The configuration file that this certbot reads at every run."""
        path = self.home / ".config" / "letsencrypt" / "cli.ini"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def copy_of(self, template: Certbot) -> None:
        """Take over the config dir of another certbot, as if it had been here all the time."""
        shutil.copytree(template.config_dir, self.config_dir, symlinks=True)
        for path in (self.config_dir / "renewal").glob("*.conf"):
            text = path.read_text().replace(str(template.folder), str(self.folder))
            path.write_text(text)

    def arguments(self, *args: str) -> list[str]:
        """Certbot's words: the lab's own reload command counts if a test gives no other one."""
        others = [one for one in args if one.startswith(RELOAD) and not one.endswith(GRACEFUL)]
        own = [one for one in args if others and one.startswith(RELOAD) and one.endswith(GRACEFUL)]
        return super().arguments(*(one for one in args if one not in own))

    def hook(self) -> str:
        """The command ``certbot-pinkeep deploy-hook``, as ``pip`` would install it."""
        path = self._bin / "certbot-pinkeep"
        if not path.exists():
            script(path, f"#!{sys.executable}\n{COMMAND_MAIN.replace('; ', chr(10))}\n")
        return f"{path} deploy-hook --logs-dir={self.logs_dir} --work-dir={self.work_dir}"

    def run(
        self,
        *args: str,
        faketime: timedelta | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = 120,
    ) -> Completed:
        """Run certbot in a fork of this process, which is quicker. It may have to be a real one
        (:attr:`real`), or need an environment of its own. One with a clock of its own is a fork of
        :data:`ZYGOTE`, which has such clocks."""
        if self.real or env:
            return super().run(*args, faketime=faketime, env=env, seconds=seconds)
        if not faketime:
            return self.fork(*args)
        return ZYGOTE.run(self._order(self.arguments(*args), faketime=faketime), seconds)

    def fork(self, *args: str, before: Callable[[], None] | None = None) -> Completed:
        """Run certbot in a fork of this process, after ``before``: it may patch what it likes.

        The answer's ``returncode`` is negative if a signal ended it.
        """
        return fork(self._order(self.arguments(*args)), before)

    def pinkeep(
        self,
        *args: str,
        faketime: timedelta | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run the plugin's own command, in the same ways as certbot."""
        if self.real or env:
            return super().pinkeep(*args, faketime=faketime, env=env)
        order = self._order([*args, *self.folders], "certbot-pinkeep", faketime)
        return ZYGOTE.run(order) if faketime else fork(order)

    def _order(
        self,
        command: Sequence[str],
        program: str = "certbot",
        faketime: timedelta | None = None,
    ) -> Order:
        out = self.folder / "forked.out"
        err = out if program == "certbot" else self.folder / "forked.err"
        return Order(program, tuple(command), self.env(faketime), self.home, out, err)

    def fork_renew(self, *args: str, before: Callable[[], None] | None = None) -> Completed:
        """The same for ``renew``."""
        return self.fork("renew", *self.account, *args, before=before)


@dataclass
class Pinned:
    """A site: its lineage, its Apache, and where its pins are published."""

    bot: Bot
    server: Apache
    name: str = NAME

    @property
    def commands(self) -> list[str]:
        """The options that keep the plugin to the lab's own Apache."""
        return [
            f"--pinkeep-configtest-command={self.server.configtest_command}",
            f"--pinkeep-reload-command={self.server.reload_command}",
        ]

    @property
    def options(self) -> list[str]:
        """The same with the installer."""
        return ["--installer", "pinkeep", *self.commands]

    def adopt(self, *more: str) -> None:
        """Bring the lineage up to date by a run that renews nothing; Apache is reloaded by it."""
        with self.server.reloading():
            self.bot.renew(*self.options, *more).check()

    def renew(self, *more: str, faketime: timedelta | None = None) -> Completed:
        """Renew now; Apache is reloaded by it."""
        with self.server.reloading():
            return self.bot.renew(
                "--force-renewal", *self.options, *more, faketime=faketime
            ).check()

    def certonly(self, *more: str, faketime: timedelta | None = None) -> Completed:
        """``certonly --cert-name`` for this lineage, now."""
        return self.bot.certonly(
            *("--cert-name", self.name, "--force-renewal"),
            *(*self.options, *more),
            faketime=faketime,
        )

    @property
    def snippet(self) -> Path:
        """The header snippet."""
        return snippet_of(self.bot, self.name)

    @property
    def keyring(self) -> Path:
        """The keyring's file."""
        return self.bot.config_dir / "pinkeep" / f"{self.name}.conf"

    @property
    def pins(self) -> list[str]:
        """The published pins."""
        return pins_in(self.snippet)

    @property
    def live_pin(self) -> str:
        """The pin of the live certificate."""
        return live_pin(self.bot, self.name)

    @property
    def live_serial(self) -> int:
        """The serial number of the live certificate."""
        return live_certificate(self.bot, self.name).serial_number

    def await_certificate(self) -> None:
        """Wait until Apache, which was told to reload, serves the live certificate."""
        wait_for(
            lambda: self.server.served_serial(self.name) == self.live_serial,
            "Apache to serve the renewed certificate",
        )

    @property
    def url(self) -> str:
        """The site's address."""
        return self.server.url(self.name)

    def status(self, faketime: timedelta | None = None) -> dict[str, Any]:
        """This keyring in ``certbot-pinkeep status --json``."""
        done = self.bot.pinkeep("status", self.name, "--json", faketime=faketime).check()
        found: dict[str, Any] = json.loads(done.stdout)["keyrings"][0]
        return found

    def state(self, faketime: timedelta | None = None) -> dict[str, Any]:
        """What the status says of the next rollover."""
        found: dict[str, Any] = self.status(faketime)["rollover"]
        return found

    def safe_from(self) -> datetime:
        """From when the status says that a rollover is safe."""
        return time_of(self.state()["safe_from"])

    def role(self, pin: str) -> str:
        """A key's role."""
        (role,) = [key["role"] for key in self.status()["keys"] if key["pin"] == pin]
        return str(role)

    def rollover(self, *more: str, faketime: timedelta | None = None) -> Completed:
        """``certbot-pinkeep rollover``."""
        return self.bot.pinkeep("rollover", self.name, *more, faketime=faketime)

    def rollover_now(self) -> None:
        """Roll over to the first backup at once."""
        with self.server.reloading():
            self.rollover("--now").check()
        self.await_certificate()

    def export(self, form: str, *more: str) -> str:
        """``certbot-pinkeep export``, and what it prints."""
        return self.bot.pinkeep("export", self.name, "--format", form, *more).check().stdout

    def confirm(self, faketime: timedelta | None = None) -> str:
        """``certbot-pinkeep confirm``, and what it says."""
        return self.bot.pinkeep("confirm", self.name, faketime=faketime).check().stdout

    def revoke(self, *more: str) -> Completed:
        """``certbot revoke``; the certificate stays on the disk unless told otherwise."""
        how = more or (f"--cert-name={self.name}", "--no-delete-after-revoke")
        return self.bot.run("revoke", *self.bot.account, *how)

    def spend(self) -> None:
        """Adopt with one backup key and roll over to it: the next one is not safe for 60 days."""
        self.adopt("--pinkeep-backup-keys=1")
        self.rollover().check()
        self.renew()

    def check_whole(self) -> None:
        """Assert what always holds: see :func:`check_whole`."""
        check_whole(self.bot, self.name)


@dataclass
class Family(Pinned):
    """Lineages that draw on one keyring, :attr:`name`; each is a virtual host of one Apache."""

    name: str = KEYRING
    lineages: tuple[str, ...] = (DOMAIN, NAME, API)

    @property
    def options(self) -> list[str]:
        """The installer, the keyring, and the lab's own Apache."""
        return [*super().options, f"--pinkeep-keyring={self.name}"]

    @property
    def live_pins(self) -> dict[str, str]:
        """The pin of each live certificate, by lineage."""
        return {name: live_pin(self.bot, name) for name in self.lineages}

    @property
    def served_pins(self) -> dict[str, str]:
        """The pin of the key that Apache serves for each lineage of that name."""
        return {name: self.server.served_pin(name) for name in self.lineages}

    def renew_one(self, lineage: str, *more: str, faketime: timedelta | None = None) -> Completed:
        """Renew one of them now; Apache is reloaded by it."""
        with self.server.reloading():
            return self.bot.renew(
                *("--cert-name", lineage, "--force-renewal", *self.options, *more),
                faketime=faketime,
            ).check()

    def take(self, lineage: str, *more: str, faketime: timedelta | None = None) -> Completed:
        """Ask for a new certificate of the keyring's, named like its host."""
        return self.bot.certonly("-d", lineage, *self.options, *more, faketime=faketime)

    def await_certificates(self) -> None:
        """Wait until Apache, which was told to reload, serves every live certificate."""
        for name in self.lineages:
            Pinned(self.bot, self.server, name).await_certificate()

    def host(self, lineage: str, keyring: str | None = "") -> VirtualHost:
        """The virtual host of a lineage, with the header of a keyring: this one, or none."""
        included = snippet_of(self.bot, keyring or self.name)
        return VirtualHost(
            (lineage,), (self.bot.live(lineage),), None if keyring is None else included
        )

    def serve(self, *hosts: VirtualHost) -> None:
        """Serve these virtual hosts from now on."""
        self.server.sites = hosts
        self.server.write_config()
        self.server.reload()

    def serve_too(self, *hosts: VirtualHost) -> None:
        """Serve these virtual hosts as well."""
        self.serve(*self.server.sites, *hosts)

    def check_whole(self) -> None:
        """Assert what always holds: :func:`check_whole` for several lineages and key types.

        What is in service comes first; each type in service has a pinned key that is not (G4).
        """
        published, saved, live = self.pins, keys(self.bot), set(self.live_pins.values())
        assert set(published[: len(live)]) == live
        assert len(published) == len(set(published))
        assert set(published) <= set(saved)
        types = {pin: key_kind(saved[pin]).split()[0] for pin in published}
        assert {types[pin] for pin in live} <= {types[pin] for pin in published[len(live) :]}
        check_closed(self.bot)
        check_finished(self.bot)


def refused_at(
    visitor: Wget2, server: Apache, names: Iterable[str], faketime: timedelta | None = None
) -> list[str]:
    """Where a visitor is refused that comes, to each name, with the memory that it has now."""
    memory = visitor.store.read_bytes()
    refused = []
    for name in names:
        if visitor.visit(server.url(name), faketime=faketime).mismatch:
            refused.append(name)
        visitor.store.write_bytes(memory)
    return refused


def said(done: Completed) -> str:
    """Everything that was printed, on one line."""
    return " ".join(done.output.split())


def refusal(done: Completed) -> str:
    """What the command says of why it did nothing, and what helps, on one line."""
    assert done.returncode == 1, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def time_of(text: str) -> datetime:
    """A time as the plugin writes it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def times_in(text: str) -> list[datetime]:
    """The times in a message."""
    return [time_of(found) for found in TIME.findall(text)]


def clock_at(then: datetime) -> timedelta:
    """How far a clock has to be moved to show this time now."""
    return then - datetime.now(timezone.utc)


def script(path: Path, text: str) -> Path:
    """Write a program."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def snippet_of(bot: Certbot, name: str) -> Path:
    """The header snippet of a keyring."""
    return bot.config_dir / "pinkeep" / "apache" / f"{name}.conf"


def pins_in(snippet: Path) -> list[str]:
    """The pins in a snippet's one directive."""
    directives = [line for line in snippet.read_text().splitlines() if line[:1] not in "#<"]
    assert len(directives) == 1, directives
    return re.findall(r'pin-sha256=\\"([^"\\]+)\\"', directives[0])


def pins_in_header(value: str) -> list[str]:
    """The pins in a header's value, as it is sent."""
    return re.findall(r'pin-sha256="([^"]+)"', value)


def live_certificate(bot: Certbot, name: str) -> x509.Certificate:
    """The certificate in ``live/NAME``."""
    return x509.load_pem_x509_certificate((bot.live(name) / "cert.pem").read_bytes())


def live_pin(bot: Certbot, name: str) -> str:
    """The pin of ``live/NAME``; its private key must fit its certificate."""
    pin = pin_of(live_certificate(bot, name))
    assert key_pin(bot.live(name) / "privkey.pem") == pin
    return pin


def names_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> set[str]:
    """The DNS names and IP addresses of a certificate or CSR."""
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in found.get_values_for_type(x509.IPAddress)}
    return {*found.get_values_for_type(x509.DNSName), *addresses}


def key_pin(path: Path) -> str:
    """The pin of a private key's file."""
    return pin_of(_PublicKeyOf(load_pem_private_key(path.read_bytes(), None)))  # type: ignore[arg-type]


class _PublicKeyOf:
    def __init__(self, key: Any) -> None:
        self._key = key

    def public_key(self) -> Any:
        return self._key.public_key()


def key_kind(path: Path) -> str:
    """What kind of key a file holds, e.g. ``rsa 2048`` or ``ecdsa secp384r1``."""
    key: Any = load_pem_private_key(path.read_bytes(), None)
    curve = getattr(key, "curve", None)
    return f"ecdsa {curve.name}" if curve else f"rsa {key.key_size}"


def csr_pin(csr: x509.CertificateSigningRequest) -> str:
    """The pin of a CSR's key."""
    return pin_of(csr)  # type: ignore[arg-type]


def keys(bot: Certbot) -> dict[str, Path]:
    """The saved private keys by their pins."""
    return {key_pin(path): path for path in sorted((bot.config_dir / "keys").iterdir())}


def csrs(bot: Certbot) -> dict[Path, bytes]:
    """The files in ``csr/``."""
    folder = bot.config_dir / "csr"
    return {path: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}


def csrs_of(bot: Certbot, pin: str) -> dict[Path, bytes]:
    """The saved CSRs of a key."""
    found = {}
    for path, content in csrs(bot).items():
        if path.suffix == ".pem" and csr_pin(x509.load_pem_x509_csr(content)) == pin:
            found[path] = content
    return found


def sent_csrs(bot: Certbot) -> list[bytes]:
    """Every CSR (DER) that the latest run sent to the CA, out of certbot's own debug log."""
    latest = bot.log.read_text().rpartition("certbot._internal.main:certbot version:")[2]
    encoded = re.findall(r'"csr": "([A-Za-z0-9_-]+)"', latest)
    return [base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) for text in encoded]


def der(pem: bytes) -> bytes:
    """A CSR in DER."""
    return x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)


def spki(certificate: x509.Certificate) -> bytes:
    """A certificate's public key."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def tree(folder: Path, *, without: Iterable[str] = ()) -> Tree:
    """Everything below a folder: mode, time of change and content, certbot's locks aside."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        where = str(path.relative_to(folder))
        if path.name == ".certbot.lock" or any(where.startswith(part) for part in without):
            continue
        seen = path.lstat()
        content = b""
        if path.is_symlink():
            content = os.readlink(path).encode()
        elif path.is_file():
            content = path.read_bytes()
        # Certbot's lock file comes and goes in the folders that it locks.
        time = 0 if path.is_dir() and not path.is_symlink() else seen.st_mtime_ns
        found[where] = (seen.st_mode, time, content)
    return found


def changed(before: Tree, after: Tree) -> list[str]:
    """What differs, by name."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def check_whole(bot: Certbot, name: str, keyring: str | None = None) -> None:
    """Assert what always holds of an adopted lineage.

    The live key is pinned and its key fits; every published pin has a key file, closed to others;
    two pins at least, one of them unserved (G4); nothing unfinished lies about (G5).
    """
    published = pins_in(snippet_of(bot, keyring or name))
    live = live_pin(bot, name)
    saved = keys(bot)
    assert published[0] == live
    assert len(published) == len(set(published)) >= 2
    assert set(published) <= set(saved)
    check_closed(bot)
    check_finished(bot)


def check_finished(bot: Certbot) -> None:
    """Assert that nothing unfinished lies about (G5)."""
    left = [path for path in bot.config_dir.rglob("*") if path.name.startswith(".pinkeep")]
    assert left == []


def check_closed(bot: Certbot) -> None:
    """Assert that private keys are for their owner only, and in no log (G7)."""
    folder = bot.config_dir / "keys"
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    for path in (bot.config_dir / "pinkeep").glob("*.conf"):
        assert path.stat().st_mode & 0o777 == 0o600, path
    for path in (bot.config_dir / "csr").glob("*_csr-certbot.pem"):
        assert path.stat().st_mode & 0o777 == 0o644, path
    allowed = ("keys/", "archive/", "live/", "accounts/")
    for path in [*bot.folder.rglob("*")]:
        where = path.relative_to(bot.folder)
        if path.is_file() and not str(where).startswith(
            tuple(f"config/{part}" for part in allowed)
        ):
            assert b"PRIVATE KEY" not in path.read_bytes(), path


def cli_ini(bot: Bot, settings: Mapping[str, object]) -> None:
    """Write the certbot's cli.ini."""
    bot.cli_ini.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))


def put_key(bot: Certbot, name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    """Put a key that certbot would not make into ``live/NAME``; return its pin.

    Its certificate, for the one host of that name, is signed by itself.
    """
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    begin = datetime.now(timezone.utc) - DAY
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + 90 * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    (bot.live(name) / "cert.pem").write_bytes(pem)
    (bot.live(name) / "fullchain.pem").write_bytes(pem)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (bot.live(name) / "privkey.pem").write_bytes(private)
    return pin_of(certificate)
