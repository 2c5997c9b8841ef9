"""What the unit tests build on: keys, certificates, a config dir like certbot's, a fake Apache."""

from __future__ import annotations

import base64
import hashlib
import shlex
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from certbot_pinkeep.adapters import lineage
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core import options
from certbot_pinkeep.core.pem import PrivateKey
from certbot_pinkeep.workflow.publish import Report
from simulated import (
    no_network,  # noqa: F401 - for what it does
    no_time,  # noqa: F401 - for what it does
)
from simulated.keeper import Keeper

NOW = datetime(2026, 11, 23, 9, 0, 0, tzinfo=timezone.utc)
NAME = "www.pin.test"
DAY = timedelta(days=1)


def fake_pin(text: str) -> str:
    """A pin that is as good as any, told apart by *text*."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def ec_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: PrivateKey) -> bytes:
    """A private key as certbot writes it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def certificate(key: PrivateKey, names: list[str], begin: datetime = NOW - DAY) -> bytes:
    """A self-signed certificate in PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + 365 * DAY)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


class Site:
    """A config dir with one lineage, and an Apache that only says yes or no."""

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self.name = name
        self.config = folder / "config"
        self.reloads = folder / "reloads"
        self.bad_word = folder / "bad-word"
        self.broken_reload = folder / "broken-reload"
        self.version = 0
        self.key: PrivateKey = ec_key()
        self.names = [name]
        for part in ("live", "archive", "renewal"):
            (self.config / part).mkdir(parents=True, exist_ok=True)
        self.issue()
        self.renewal.write_text("cert = x\n[renewalparams]\nauthenticator = standalone\n")

    @property
    def renewal(self) -> Path:
        """The lineage's renewal file."""
        return self.config / "renewal" / f"{self.name}.conf"

    @property
    def snippet(self) -> Path:
        """Where the snippet goes."""
        return self.config / "pinkeep" / "apache" / f"{self.name}.conf"

    @property
    def state(self) -> Path:
        """The keyring file."""
        return self.config / "pinkeep" / f"{self.name}.conf"

    @property
    def keeper(self) -> Keeper:
        """A new keeper, as every run has."""
        return Keeper(str(self.config))

    def issue(self, key: PrivateKey | None = None) -> None:
        """Put a new certificate live, as certbot does."""
        self.key = key or self.key
        self.version += 1
        contents = {"cert": certificate(self.key, self.names), "privkey": pem_of(self.key)}
        live, archive = (self.config / part / self.name for part in ("live", "archive"))
        for kind, content in contents.items():
            live.mkdir(exist_ok=True)
            archive.mkdir(exist_ok=True)
            (archive / f"{kind}{self.version}.pem").write_bytes(content)
            link = live / f"{kind}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../archive/{self.name}/{kind}{self.version}.pem")

    def look(self) -> Live:
        """What is live."""
        live = self.config / "live" / self.name
        return lineage.look(self.name, str(live / "cert.pem"), str(live / "privkey.pem"), False)

    def keep(self, now: datetime = NOW, **values: object) -> Report:
        """A run with these options, with ``_`` in place of ``-``."""
        given = {"configtest-command": self.configtest(), "reload-command": self.reload()}
        given |= {name.replace("_", "-"): str(value) for name, value in values.items()}
        return self.keeper.keep(self.look(), options.parse(given, self.name), now)

    def configtest(self) -> str:
        """Fails while the snippet has the word in the file ``bad-word``."""
        code = 'if [ -e "$1" ] && [ -e "$2" ]; then ! grep -qFf "$1" "$2"; fi'
        words = ["/bin/sh", "-c", code, "sh", str(self.bad_word), str(self.snippet)]
        return shlex.join(words)

    def reload(self) -> str:
        """Appends to a log; fails while there is a file ``broken-reload``."""
        return shlex.join(
            [
                "/bin/sh",
                "-c",
                'test ! -e "$1" && echo reload >> "$2"',
                "sh",
                str(self.broken_reload),
                str(self.reloads),
            ]
        )

    def reload_count(self) -> int:
        """How often Apache was reloaded."""
        return len(self.reloads.read_text().splitlines()) if self.reloads.exists() else 0

    def tree(self) -> dict[str, tuple[int, bytes | None]]:
        """Every file and folder with its mode and content."""
        return {
            str(path.relative_to(self.config)): (
                path.lstat().st_mode,
                path.read_bytes() if path.is_file() else None,
            )
            for path in sorted(self.config.rglob("*"))
        }


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """A new RSA key."""
    return rsa.generate_private_key(65537, bits)
