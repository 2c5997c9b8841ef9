"""Keys and CSRs in certbot's own folders, ``keys/`` and ``csr/``.

The rules:

* A CSR is matched by its public key, its names, and must-staple (RFC 7633), never by its file's name. Its own
  signature must be valid, and not of a kind that CAs refuse.
* Files that are no CSRs, damaged ones, and those of other keys are passed over.
* Whether a key of a keyring can be used is found here, once each time a keyring is loaded: its file is
  there, is a regular one, and holds that key. All else asks ``Key.fault``.
* Key files are 0600 in a 0700 folder, CSR files 0644 in one that only we write in (G7).
* Every file is numbered and named as certbot does it, and never overwritten. Only ``prune`` deletes any.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Generic, TypeVar

from acme import crypto_util as acme_crypto
from certbot import crypto_util
from cryptography import x509

from certbot_pinkeep.core import pins
from certbot_pinkeep.core.errors import BadFolder, BadKey
from certbot_pinkeep.core.key_and_csr import CsrRequest, SavedCsr, SavedKey, names_of
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.pem import (
    encrypted_block,
    is_encrypted,
    kind_of,
    load_private_key,
    quick_public_key,
    usable,
)
from certbot_pinkeep.storage import atomic

_REFUSED_HASHES = ("md5", "sha1")


@dataclass(frozen=True)
class FilesOfKey:
    """The files of a key, by their absolute paths.

    :ivar csrs: the CSRs of the key
    :ivar keys: the files that hold the private key, encrypted or not
    """

    csrs: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them, the CSRs first."""
        return (*self.csrs, *self.keys)


K = TypeVar("K")
V = TypeVar("V")


class _Index(Generic[K, V]):
    """The files of a folder by what they hold. The files are read once, while none comes or goes.

    :param entry: of a path and what the file holds; ``None``: it is passed over
    """

    def __init__(self, folder: str, entry: Callable[[str, bytes], tuple[K, V] | None]) -> None:
        self._folder = folder
        self._entry = entry
        self._found: dict[K, V] = {}
        self._stamp: int | None = None

    def found(self) -> dict[K, V]:
        """Return the files; of several that hold the same, the one whose name sorts first."""
        stamp = _changed(self._folder)
        if self._stamp != stamp:
            self._found = {}
            for path, content in _small_files(self._folder):
                self._add(path, content)
            self._stamp = stamp
        return self._found

    def save(self, create: Callable[[], str], content: bytes) -> str:
        """Create a file; return its path."""
        known = self._stamp == _changed(self._folder)
        path = create()
        if known:
            self._add(path, content)
            self._stamp = _changed(self._folder)
        return path

    def _add(self, path: str, content: bytes) -> None:
        entry = self._entry(path, content)
        if entry is not None:
            self._found.setdefault(*entry)


class Folders:
    """The folders ``keys/`` and ``csr/`` of one config dir.

    :param config_dir: certbot's ``--config-dir``
    """

    def __init__(self, config_dir: str) -> None:
        self.config_dir = config_dir
        self.keys = os.path.join(config_dir, "keys")
        self.csrs = os.path.join(config_dir, "csr")
        self._csr_index = _Index(self.csrs, _csr_entry)
        self._key_index = _Index(self.keys, lambda path, pem: (pem, path))
        #: The files that hold the keys of these pins, as ``stat`` saw them then.
        self._sound: dict[tuple[str, str], object] = {}

    def check(self) -> None:
        """See that both, if they exist, are ours and closed enough.

        :raises BadFolder: if one is not
        """
        wrong = []
        for path, forbidden, advice in ((self.keys, 0o077, "0700"), (self.csrs, 0o022, "0755")):
            try:
                atomic.check_folder(path, forbidden, advice)
            except BadFolder as error:
                wrong.append(error)
        if len(wrong) > 1:  # as after a chown -R: one command mends both
            what, why = (" ".join(filter(None, (one.what, one.why))) for one in wrong)
            raise BadFolder(what, why, run=" && ".join(one.run for one in wrong if one.run))
        if wrong:
            raise wrong[0]

    def absolute(self, path: str) -> str:
        """Return the absolute form of a path that is kept relative to the config dir."""
        return os.path.join(self.config_dir, path)

    def load_key(self, path: str, pin: str) -> SavedKey:
        """Read a key's file and compare it with its pin.

        :param path: below the config dir
        :raises BadKey: if it is missing, unreadable or another key
        """
        saved = self.read_key(path)
        if saved.pin != pin:
            raise BadKey(_other_key(self.absolute(path), pin))
        return saved

    def read_key(self, path: str) -> SavedKey:
        """Read a key's file, whichever key it holds.

        :param path: below the config dir
        :raises BadKey: if it is missing, unreadable or no key that can be used
        """
        where = self.absolute(path)
        pem = _content(where)
        with _used(where):
            return SavedKey(path, pem, *_key_facts(pem))

    def with_faults(self, keyring: Keyring) -> Keyring:
        """Return the keyring with what is wrong with the files of its keys. Keys that are never used again
        have no fault."""
        spare = {key.pin for key in keyring.spare()}
        used = ("primary", "backup", "in-service")
        keys = []
        for key in keyring.keys:
            fault = self.fault(key) if key.role in used or key.pin in spare else ""
            keys.append(key if fault == key.fault else replace(key, fault=fault))
        return replace(keyring, keys=tuple(keys))

    def fault(self, key: Key) -> str:
        """Return why the file of a key cannot be used, as a sentence; empty: it can, or there is none
        here."""
        if key.path is None:
            return self._sealed_fault(key.encrypted) if key.encrypted else ""
        where = self.absolute(key.path)
        # A keyring may have hundreds of keys, and is loaded for each of its lineages.
        stamp = atomic.stamp(where)
        if stamp is not None and self._sound.get((where, key.pin)) == stamp:
            return ""
        try:
            pem = _content(where)
            if not pem:
                return f"The key file {where} is empty."
            if is_encrypted(pem):
                return f"The key file {where} is encrypted, and there is no passphrase for it here."
            with _used(where):
                found = _quick_pin(pem)
        except BadKey as error:
            return error.what
        if found != key.pin:
            return _other_key(where, key.pin)
        self._sound[where, key.pin] = stamp
        return ""

    def holds(self, key: Key) -> bool:
        """Return whether the private key is here, and can be used."""
        return key.path is not None and not self.fault(key)

    def _sealed_fault(self, path: str) -> str:
        """Return the same of an encrypted private key that the admin imported."""
        where = self.absolute(path)
        try:
            if encrypted_block(_content(where)):
                return ""
        except BadKey as error:
            return error.what
        return f"The key file {where} holds no encrypted private key any more."

    def find_key(self, pin: str) -> SavedKey | None:
        """Return the key with this pin, if a file in ``keys/`` holds it."""
        for path, content in _small_files(self.keys):
            try:
                found, kind = _key_facts(content)
            except BadKey:
                continue
            if found == pin:
                return SavedKey(os.path.relpath(path, self.config_dir), content, pin, kind)
        return None

    def save_key(self, pem: bytes, taken: Iterable[str] = ()) -> SavedKey:
        """Save a private key, unless a file in ``keys/`` is a copy of it, to the byte.

        :param taken: paths below the config dir whose numbers are not to be used, though no file
            may be there
        :raises BadKey: if it is none that can be used
        :raises OSError: if it cannot be written
        """
        pin, kind = _key_facts(pem)
        path = self._copy_of(pem) or self._key_index.save(lambda: self._create_key(pem, taken), pem)
        return SavedKey(os.path.relpath(path, self.config_dir), pem, pin, kind)

    def _copy_of(self, pem: bytes) -> str:
        path = self._key_index.found().get(pem, "")
        with suppress(OSError):
            if path and atomic.read(path) == pem:
                return path
        return ""

    def _create_key(self, pem: bytes, taken: Iterable[str]) -> str:
        atomic.make_folder(self.keys, 0o700)
        names = {os.path.basename(path) for path in taken}
        return atomic.create_numbered(self.keys, "key-certbot.pem", pem, 0o600, names)

    def save_encrypted(self, pem: bytes, taken: Iterable[str] = ()) -> str:
        """Save an encrypted private key as it is.

        :param taken: as for :meth:`save_key`
        :returns: its path below the config dir
        :raises OSError: if it cannot be written
        """
        return os.path.relpath(self._create_key(pem, taken), self.config_dir)

    def saved_csrs(self) -> dict[CsrRequest, SavedCsr]:
        """Return all saved CSRs by what they ask for; of several that ask for the same, the one whose
        name sorts first."""
        return self._csr_index.found()

    def save_csr(self, pem: bytes) -> SavedCsr:
        """Save a CSR.

        :raises OSError: if it cannot be written
        """
        atomic.make_folder(self.csrs, 0o755)
        # One that a power failure takes is made anew: its key has outlasted that.
        create = partial(
            atomic.create_numbered, self.csrs, "csr-certbot.pem", pem, 0o644, sync=False
        )
        return SavedCsr(self._csr_index.save(create, pem), pem)

    def files_of(self, keys: Iterable[Key]) -> dict[str, FilesOfKey]:
        """Find the files of keys in both folders, by the pins of the keys. A link is none of them."""
        pins_ = {key.pin: key for key in keys}
        csrs: dict[str, list[str]] = {pin: [] for pin in pins_}
        found: dict[str, list[str]] = {pin: [] for pin in pins_}
        for path, content in _small_files(self.csrs) if pins_ else ():
            facts = _csr_facts(content)
            if facts is not None and facts.pin in csrs and not os.path.islink(path):
                csrs[facts.pin].append(path)
        sealed = {self.absolute(key.encrypted): pin for pin, key in pins_.items() if key.encrypted}
        for path, content in _small_files(self.keys) if pins_ else ():
            pin = sealed.get(path, "") if encrypted_block(content) else _pin_or_none(content)
            if pin in found and not os.path.islink(path):
                found[pin].append(path)
        return {pin: FilesOfKey(tuple(csrs[pin]), tuple(found[pin])) for pin in pins_}

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files that :meth:`files_of` found, in this order.

        :raises OSError: if one cannot be deleted
        """
        for path in paths:
            with suppress(FileNotFoundError):
                atomic.remove(path)


def make_key(kind: KeyKind) -> bytes:
    """Make a private key in PEM, of the given kind.

    Its pin's digest does not end in a zero byte: GNU Wget2 2.2 refuses the keys of such pins.
    """
    for _ in range(9):
        pem = _made(kind)
        if base64.b64decode(_quick_pin(pem))[-1]:
            break
    return pem


def _made(kind: KeyKind) -> bytes:
    if kind.key_type == "rsa":
        return crypto_util.make_key(bits=int(kind.detail), key_type="rsa")
    return crypto_util.make_key(key_type="ecdsa", elliptic_curve=kind.detail)


def make_csr(key_pem: bytes, names: Iterable[str], *, must_staple: bool) -> bytes:
    """Return a new CSR in PEM for the names, in their order; IP addresses among them."""
    domains, addresses = [], []
    for name in names:
        try:
            addresses.append(ip_address(name))
        except ValueError:
            domains.append(name)
    return acme_crypto.make_csr(key_pem, domains, must_staple=must_staple, ipaddrs=addresses)


def _small_files(folder: str) -> Iterator[tuple[str, bytes]]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return  # none that could be used
    for name in names:
        if atomic.is_temporary(name):
            continue  # it is going to be swept away
        path = os.path.join(folder, name)
        try:
            content = atomic.read(path)
        except OSError:
            continue  # gone, not ours to read, or no file of that kind: passed over
        yield path, content


def _content(where: str) -> bytes:
    try:
        return atomic.read(where)
    except OSError as error:
        why = error.strerror or error
        raise BadKey(f"The key file {where} cannot be read: {why}.") from error


@contextmanager
def _used(where: str) -> Iterator[None]:
    try:
        yield
    except BadKey as error:
        raise BadKey(f"The key file {where} cannot be used: {error}.") from error


def _other_key(where: str, pin: str) -> str:
    return f"The key file {where} holds another key than the one with the pin {pin}."


def _changed(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4096)
def _key_facts(pem: bytes) -> tuple[str, KeyKind]:
    """Return a private key's pin and kind.

    :raises BadKey: if it is none that can be used
    """
    key = load_private_key(pem).public_key()
    return pins.pin_of(key), kind_of(key)


@lru_cache(maxsize=4096)
def _quick_pin(pem: bytes) -> str:
    """Return a private key's pin. An RSA key is not proven whole: that takes a thousand times as long.

    :raises BadKey: if it is none that can be used
    """
    return pins.pin_of(quick_public_key(pem))


def _pin_or_none(pem: bytes) -> str:
    """Return a private key's pin; empty, if it is none that can be used."""
    try:
        return _quick_pin(pem)
    except BadKey:
        return ""


def _csr_entry(path: str, pem: bytes) -> tuple[CsrRequest, SavedCsr] | None:
    facts = _csr_facts(pem)
    return (facts, SavedCsr(path, pem)) if facts is not None else None


@lru_cache(maxsize=65536)
def _csr_facts(pem: bytes) -> CsrRequest | None:
    try:
        csr = x509.load_pem_x509_csr(pem)
        if not csr.is_signature_valid:
            return None
        digest = csr.signature_hash_algorithm
        if digest is None or digest.name in _REFUSED_HASHES:
            return None
        extensions = csr.extensions
        if _names_something_else(extensions):
            return None
        return CsrRequest(
            pins.pin_of(usable(csr.public_key())),
            frozenset(names_of(csr)),
            _asks_for_stapling(extensions),
        )
    except Exception:  # whatever a stranger's file makes the library raise: it is passed over
        return None


def _names_something_else(extensions: x509.Extensions) -> bool:
    """Return whether a CSR also asks for a mail address, a URI or the like, which certbot never does."""
    try:
        sans = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return not all(isinstance(name, (x509.DNSName, x509.IPAddress)) for name in sans)


def _asks_for_stapling(extensions: x509.Extensions) -> bool:
    try:
        features = extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in features
