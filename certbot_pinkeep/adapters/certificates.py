"""The certificates that this machine has, found by their names.

The rules:

* All lineages count, whoever renews them: those with a renewal file, and those in ``live/`` alone.
* Each certificate is read once in a run, and again only when its file has changed.
* A certificate that cannot be read is not known to have any name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from certbot_pinkeep.adapters import lineage, renewal_conf
from certbot_pinkeep.core import hostnames
from certbot_pinkeep.core.errors import BadKey


@dataclass(frozen=True)
class LiveCertificate:
    """A lineage's live certificate.

    :ivar names: in lower case
    :ivar pin: of its key
    """

    lineage: str
    cert_path: str
    names: tuple[str, ...]
    pin: str


class Certificates:
    """The live certificates of one config dir.

    :param config_dir: certbot's ``--config-dir``
    """

    def __init__(self, config_dir: str) -> None:
        self.config_dir = config_dir
        self._read: dict[str, tuple[object, LiveCertificate | None]] = {}
        self._all: dict[str, LiveCertificate] = {}
        self._by_name: dict[str, list[LiveCertificate]] = {}
        self._complete = False

    def stamps(self) -> dict[str, object]:
        """Return the files of the live certificates as they are, by lineage: values that JSON can
        hold."""
        found = {name: _stamp(self._path(name)) for name in self._lineages()}
        return {name: stamp for name, stamp in found.items() if stamp is not None}

    def refresh(self, lineages: Iterable[str] | None = None) -> None:
        """Look which certificates there are; those that have changed are read.

        :param lineages: those to look at; ``None``: all
        """
        self._all = {}
        self._by_name = {}
        self._complete = lineages is None
        for name in self._lineages() if lineages is None else lineages:
            seen = self._look(name)
            if seen is None:
                continue
            self._all[name] = seen
            for host in seen.names:
                for key in {host, _above(host)}:
                    self._by_name.setdefault(key, []).append(seen)

    def all(self) -> list[LiveCertificate]:
        """Return all that were looked at last."""
        return list(self._all.values())

    def above(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the hosts above these names that certificates of this machine have."""
        if not self._complete:
            self.refresh()
        found = []
        for name in names:
            own = name.removeprefix("*.")
            labels = own.split(".")
            found += [own] if own != name else []
            found += [".".join(labels[first:]) for first in range(1, len(labels))]
        return tuple(
            host
            for host in dict.fromkeys(found)
            if any(host in seen.names for seen in self._by_name.get(host, ()))
        )

    def at(self, hosts: Iterable[str]) -> list[LiveCertificate]:
        """Return those that one of the hosts may serve, in the order of their lineages' names."""
        hosts = tuple(hosts)
        keys = {key for host in hosts for key in (host, _above(host))}
        near = {seen.lineage: seen for key in keys for seen in self._by_name.get(key, ())}
        return [
            near[name]
            for name in sorted(near)
            if hostnames.covered(hosts, near[name].names, subdomains=False)
        ]

    def _lineages(self) -> list[str]:
        try:
            live = os.listdir(os.path.join(self.config_dir, "live"))
        except OSError:
            live = []
        return sorted({*renewal_conf.names(self.config_dir), *live})

    def _path(self, name: str) -> str:
        return os.path.join(self.config_dir, "live", name, "cert.pem")

    def _look(self, name: str) -> LiveCertificate | None:
        path = self._path(name)
        stamp = _stamp(path)
        if stamp is None:
            return None
        if name not in self._read or self._read[name][0] != stamp:
            self._read[name] = (stamp, _seen(name, path))
        return self._read[name][1]


def _stamp(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino]


def _seen(name: str, path: str) -> LiveCertificate | None:
    with suppress(BadKey):
        return LiveCertificate(name, path, *lineage.glance(path)[:2])
    return None


def _above(host: str) -> str:
    """Return the wildcard that stands for a host; for a wildcard, what it is below."""
    return f"*.{host.partition('.')[2]}"
