"""What is live: a lineage's certificate as certbot's files show it."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certbot_pinkeep.core import hostnames, pins, times
from certbot_pinkeep.core.errors import BadKey
from certbot_pinkeep.core.key_and_csr import names_of
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.pem import (
    kind_of,
    load_certificate,
    load_private_key,
    quick_public_key,
    usable,
)
from certbot_pinkeep.storage import atomic


@dataclass(frozen=True)
class Live:
    """A lineage as it is now.

    :ivar name: certbot's name for it
    :ivar names: the hosts that its certificate is for
    :ivar requested: all names that a CSR for its renewal asks for, whether they are hosts or not
    :ivar pin: the pin of its certificate's key
    :ivar fingerprint: SHA-256 (hex) of its certificate
    :ivar since: from when a certificate for this key was served: the earliest one that is kept
    :ivar must_staple: whether its renewal asks for must-staple (RFC 7633)
    :ivar versions: how many of its certificates are kept
    """

    name: str
    cert_path: str
    key_path: str
    names: tuple[str, ...]
    requested: tuple[str, ...]
    pin: str
    kind: KeyKind
    fingerprint: str
    since: datetime
    must_staple: bool
    versions: int = 1

    def key_pem(self) -> bytes:
        """Return the live private key.

        :raises OSError: if it cannot be read
        """
        return atomic.read(self.key_path)

    def certificates(self) -> tuple[bytes, bytes]:
        """Return the certificate and its chain in PEM; empty if they cannot be read."""
        chain = os.path.join(os.path.dirname(self.cert_path), "chain.pem")
        return atomic.content(self.cert_path), atomic.content(chain)


def look(name: str, cert_path: str, key_path: str, *, must_staple: bool) -> Live:
    """Look at a lineage's live certificate.

    :param cert_path: ``live/NAME/cert.pem``
    :raises BadKey: if it cannot be read, or its key is of a kind that certbot cannot make
    """
    try:
        certificate = load_certificate(atomic.read(cert_path))
        key = usable(certificate.public_key())
        requested = tuple(names_of(certificate))
    except OSError as error:
        raise BadKey(
            f"The certificate {cert_path} of {name} cannot be read: {error.strerror}."
        ) from error
    except BadKey as error:
        raise BadKey(f"The certificate {cert_path} of {name} cannot be pinned: {error}.") from error
    pin, kept = pins.pin_of(key), _kept(cert_path)
    return Live(
        name=name,
        cert_path=cert_path,
        key_path=key_path,
        names=hostnames.hosts(requested),
        requested=requested,
        pin=pin,
        kind=kind_of(key),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        since=min([_start(certificate), *_earlier(kept, pin)]),
        must_staple=must_staple,
        versions=len(kept),
    )


class Glance(NamedTuple):
    """What the certificate of any lineage shows, with a key of any kind.

    :ivar names: its hosts
    :ivar fingerprint: SHA-256 (hex)
    """

    names: tuple[str, ...]
    pin: str
    fingerprint: str


def glance(cert_path: str) -> Glance:
    """Look at a certificate alone.

    :raises BadKey: if it cannot be read
    """
    try:
        certificate = load_certificate(atomic.content(cert_path))
        names, pin = hostnames.hosts(names_of(certificate)), pins.pin_of(certificate.public_key())
        return Glance(names, pin, certificate.fingerprint(hashes.SHA256()).hex())
    except BadKey as error:
        raise BadKey(f"The certificate {cert_path} cannot be read: {error}.") from error


def foreign_key(folder: str) -> str | None:
    """Return the path of the private key in ``live/NAME`` if the certificate there has another key. ``None``:
    it has this key, or that is unknown, because the private key is encrypted or not on this machine."""
    path = os.path.join(folder, "privkey.pem")
    with suppress(BadKey):
        sent = load_certificate(atomic.content(os.path.join(folder, "fullchain.pem"))).public_key()
        if pins.pin_of(quick_public_key(atomic.content(path))) != pins.pin_of(sent):
            return path
    return None


def pin_of_version(cert_path: str, fingerprint: str) -> str | None:
    """Return the pin of the certificate of this lineage with this fingerprint; ``None``: it is not kept.

    :param cert_path: ``live/NAME/cert.pem``
    """
    for path in _kept(cert_path):
        with suppress(BadKey):
            shown = glance(path)
            if shown.fingerprint == fingerprint:
                return shown.pin
    return None


def all_pins(config_dir: str) -> frozenset[str]:
    """Return the pins of the keys of all certificates that are kept, live or not."""
    return frozenset(pin for _, pin in _certificates(config_dir))


def _certificates(config_dir: str) -> Iterator[tuple[str, str]]:
    """Yield the certificates that are kept, live or not: the path of each, and its key's pin."""
    for path in glob.glob(os.path.join(glob.escape(config_dir), "*ive", "*", "cert*.pem")):
        with suppress(BadKey):
            yield path, glance(path).pin


def kept_pins(config_dir: str) -> dict[str, str]:
    """Find the keys of all certificates that certbot keeps, live or not: by each pin, a file that shows it.

    The private keys count as well: a certificate beside one may be damaged.

    :raises OSError: if a file cannot be read that is there
    """
    live = glob.glob(os.path.join(glob.escape(config_dir), "live", "*", "cert.pem"))
    archive = glob.glob(os.path.join(glob.escape(config_dir), "archive", "*"))
    folders = {os.path.dirname(path) for one in live for path in (one, os.path.realpath(one))}
    found: dict[str, str] = {}
    for path in (
        path
        for folder in sorted(folders | set(archive))
        for part in ("cert", "privkey")
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), f"{part}*.pem")))
    ):
        with suppress(BadKey, FileNotFoundError):
            pem = atomic.read(path)
            is_key = os.path.basename(path).startswith("privkey")
            public = quick_public_key(pem) if is_key else load_certificate(pem).public_key()
            found.setdefault(pins.pin_of(public), path)
    return found


def kept_key(config_dir: str, pin: str) -> bytes | None:
    """Return the private key with this pin, in PEM, if it is kept with a certificate, live or not."""
    for path, shown in _certificates(config_dir):
        if shown == pin:
            folder, name = os.path.split(path)
            pem = atomic.content(os.path.join(folder, name.replace("cert", "privkey")))
            with suppress(BadKey):
                if pins.pin_of(load_private_key(pem).public_key()) == pin:
                    return pem
    return None


def _kept(cert_path: str) -> list[str]:
    """Return the certificates of this lineage that certbot keeps."""
    archive = os.path.dirname(os.path.realpath(cert_path))
    return glob.glob(os.path.join(glob.escape(archive), "cert*.pem"))


def _earlier(kept: list[str], pin: str) -> list[datetime]:
    """Return when the certificates for this key among those that are kept began."""
    found = []
    for path in kept:
        try:
            of_key, start = _key_and_start(atomic.read(path))
        except (OSError, BadKey):
            continue  # not the live one, and says nothing about it
        if of_key == pin:
            found.append(start)
    return found


@lru_cache(maxsize=1024)
def _key_and_start(pem: bytes) -> tuple[str, datetime]:
    """Return the pin of a certificate's key, and when it began. A run looks at a certificate several times.

    :raises BadKey: if it cannot be read, or its key is of a kind that certbot cannot make
    """
    certificate = load_certificate(pem)
    return pins.pin_of(usable(certificate.public_key())), _start(certificate)


def _start(certificate: x509.Certificate) -> datetime:
    return times.within(times.of(certificate, "not_valid_before") or times.EARLIEST)
