"""Find why certbot cannot renew a lineage: its renewal file, its links in live/, its files in archive/.

The rules:

* Certbot skips a lineage, night after night, if the renewal file lacks a reference, renewalparams or an
  authenticator; if files in live/ are not links to files that exist; or if the certificate cannot be read.
  This module finds the same, and writes nothing.
* A command of the shell mends a tree: certbot has none for it. The command changes nothing if it cannot tell
  which files belong together, and loses no key.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress

from certbot_pinkeep.adapters import renewal_conf
from certbot_pinkeep.core import pins
from certbot_pinkeep.core.errors import BadKey
from certbot_pinkeep.core.observations import Broken
from certbot_pinkeep.core.pem import load_certificate, load_private_key
from certbot_pinkeep.storage import atomic

PARTS = ("cert", "chain", "fullchain", "privkey")


def broken(config_dir: str, name: str) -> Broken | None:
    """Find what is wrong with the files of a lineage; ``None``: nothing.

    :param name: the name of a lineage that has a renewal file
    """
    path = renewal_conf.path_of(config_dir, name)
    try:
        content = renewal_conf.parsed(atomic.read(path))
    except (OSError, ValueError, SyntaxError) as error:
        return _skipped(f"certbot cannot read {path}: {error}.", _restore(path, config_dir))
    tree = _Tree(config_dir, name, path, content)
    return tree.without_references() or tree.without_links() or tree.unrenewable() or tree.damaged()


def _skipped(why: str, mend: str) -> Broken:
    return Broken(True, f"{why[0].upper()}{why[1:]} Certbot skips this certificate.", mend)


def _restore(what: str, config_dir: str) -> str:
    return f"Restore {what} from a backup of {config_dir}."


class _Tree:
    """Look at the files of one lineage."""

    def __init__(
        self, config_dir: str, name: str, path: str, content: Mapping[str, object]
    ) -> None:
        self.config_dir = config_dir
        self.name = name
        self.path = path
        self.content = content
        self.live = os.path.join(config_dir, "live", name)
        self.archive = os.path.join(config_dir, "archive", name)

    def without_references(self) -> Broken | None:
        """Find references that the renewal file lacks, or that lead somewhere else."""
        lacking = [part for part in PARTS if not isinstance(self.content.get(part), str)]
        if lacking:
            lines = [f"1i {part} = {self.live}/{part}.pem" for part in lacking]
            mend = " ".join(f"-e {shlex.quote(line)}" for line in lines)
            return _skipped(
                f"{self.path} does not say where to find: {', '.join(lacking)}.",
                f"Run: sed -i {mend} {shlex.quote(self.path)}",
            )
        offline = [
            part
            for part in PARTS
            if not os.path.islink(str(self.content[part])) and os.path.islink(self._in_live(part))
        ]
        if offline:
            lines = [f"s#^{part} = .*#{part} = {self._in_live(part)}#" for part in PARTS]
            lines.append(f"s#^archive_dir = .*#archive_dir = {self.archive}#")
            mend = " ".join(f"-e {shlex.quote(line)}" for line in lines)
            return _skipped(
                f"{self.path} names {self.content[offline[0]]}, which is missing. The file is in "
                f"{self.live}.",
                f"Run: sed -i {mend} {shlex.quote(self.path)}",
            )
        return None

    def without_links(self) -> Broken | None:
        """Find files in live/ that are no links, or lead nowhere."""
        wrong = []
        for part in PARTS:
            path = str(self.content[part])
            if not os.path.lexists(path):
                wrong.append(f"{path} is missing")
            elif not os.path.islink(path):
                wrong.append(f"{path} is not a symbolic link into {self.archive}")
            elif not os.path.exists(path):
                wrong.append(f"{path} leads to {os.readlink(path)}, which is missing")
        if not wrong:
            return None
        mend, archive = self._relinked(), self.content.get("archive_dir")
        if archive and not os.path.isdir(str(archive)) and mend.startswith("Run: "):
            wrong.append(f"{self.path} names the folder {archive}, which is missing")
            line = shlex.quote(f"s#^archive_dir = .*#archive_dir = {self.archive}#")
            mend = f"Run: sed -i {line} {shlex.quote(self.path)} && {mend.removeprefix('Run: ')}"
        return _skipped(f"{'; '.join(wrong)}.", mend)

    def unrenewable(self) -> Broken | None:
        """Find what else certbot needs and does not have."""
        parameters = self.content.get("renewalparams")
        if not isinstance(parameters, Mapping) or "authenticator" not in parameters:
            return _skipped(
                f"{self.path} names no authenticator.",
                f"Run: certbot certonly --cert-name {shlex.quote(self.name)} --force-renewal --installer "
                "pinkeep -- "
                "with the authenticator that the certificate had, e.g. --webroot -w DIR",
            )
        if not _holds_certificate(self._in_live("cert")):
            cert, full = self._in_live("cert"), self._in_live("fullchain")
            mend = f"Run: openssl x509 -in {shlex.quote(full)} -out {shlex.quote(cert)}"
            if not _holds_certificate(full):
                mend = self._relinked()
            return _skipped(f"certbot cannot read {cert}.", mend)
        return None

    def damaged(self) -> Broken | None:
        """Find damage that certbot passes over, in the file that the server loads."""
        cert, chain, full = (self._in_live(part) for part in ("cert", "chain", "fullchain"))
        if _first(full) == _first(cert):
            return None
        quoted = [shlex.quote(path) for path in (cert, chain, full)]
        return Broken(
            False,
            f"{full} does not begin with the certificate in {cert}. Certbot may have been stopped while it "
            "wrote the file. The server cannot load the file.",
            f"Run: cat {quoted[0]} {quoted[1]} > {quoted[2]}"
            if _holds_certificate(chain)
            else f"Run: certbot renew --cert-name {shlex.quote(self.name)} --force-renewal",
        )

    def _in_live(self, part: str) -> str:
        return os.path.join(self.live, f"{part}.pem")

    def _in_archive(self, part: str, version: int) -> str:
        return os.path.join(self.archive, f"{part}{version}.pem")

    def _relinked(self) -> str:
        """Tell what makes the links anew."""
        sound = self._versions()
        shown = atomic.content(self._in_live("cert"))
        same = [n for n in sound if shown and atomic.content(self._in_archive("cert", n)) == shown]
        live = [self._in_live(part) for part in PARTS]
        copied = all(map(os.path.isfile, live)) and not all(map(os.path.islink, live))
        where, to = shlex.quote(self.live), shlex.quote(os.path.relpath(self.archive, self.live))
        parts = " ".join(PARTS)
        if copied and not same:
            # The live files are nowhere else: they become a version of their own.
            number, archive = max(self._numbers(), default=0) + 1, shlex.quote(self.archive)
            return (
                f"Run: mkdir -p -m 0700 {archive} && cd {where} && for part in {parts}; do mv "
                f"$part.pem {archive}/${{part}}{number}.pem && ln -s {to}/${{part}}{number}.pem "
                "$part.pem; done"
            )
        key = self._saved_key()
        if key:
            target = os.path.realpath(self._in_live("privkey"))
            return f"Run: install -m 0600 {shlex.quote(key)} {shlex.quote(target)}"
        if same or sound:
            number = max(same or sound)
            # A key that is no link may be nowhere else: the command leaves it there, as privkey.pem~.
            beside = any(os.path.isfile(one) and not os.path.islink(one) for one in live)
            options = "-sfnb" if beside else "-sfn"
            return (
                f"Run: mkdir -p {where} && cd {where} && for part in {parts}; do ln {options} "
                f"{to}/${{part}}{number}.pem $part.pem; done"
            )
        return _restore(f"{self.live} and {self.archive}", self.config_dir)

    def _saved_key(self) -> str | None:
        """Find the live key in ``keys/``, if nothing but the file of the live key is missing."""
        link, cert = self._in_live("privkey"), self._in_live("cert")
        there = all(_holds_certificate(self._in_live(part)) for part in PARTS[:-1])
        if not there or not os.path.islink(link) or os.path.exists(link):
            return None
        pin = pins.pin_of_certificate(atomic.content(cert))
        for path in sorted(glob.glob(os.path.join(glob.escape(self.config_dir), "keys", "*.pem"))):
            with suppress(BadKey):
                if pins.pin_of(load_private_key(atomic.content(path)).public_key()) == pin:
                    return path
        return None

    def _versions(self) -> list[int]:
        """List the versions in archive/ that are whole, with the key of the certificate."""
        return sorted(filter(self._is_sound, self._numbers()))

    def _numbers(self) -> set[int]:
        """List all versions of which archive/ has a file."""
        names: list[str] = []
        with suppress(OSError):  # it is missing, or closed to the user who runs this
            names = os.listdir(self.archive)
        found = (re.fullmatch(r"[a-z]+(\d{1,9})\.pem", name) for name in names)
        return {int(one[1]) for one in found if one}

    def _is_sound(self, version: int) -> bool:
        try:
            certificate = load_certificate(atomic.content(self._in_archive("cert", version)))
            key = load_private_key(atomic.content(self._in_archive("privkey", version)))
            chains = [self._in_archive(part, version) for part in ("chain", "fullchain")]
            return pins.pin_of(certificate.public_key()) == pins.pin_of(key.public_key()) and all(
                map(_holds_certificate, chains)
            )
        except BadKey:
            return False


def _first(path: str) -> bytes | None:
    """Find the signature of the first certificate of a file; ``None``: there is none."""
    try:
        return load_certificate(atomic.content(path)).signature
    except BadKey:
        return None


def _holds_certificate(path: str) -> bool:
    return _first(path) is not None
