"""An Apache with a configuration of its own, so that the machine's stays untouched."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.look import Answer, get, get_plain, served_pin, served_serial
from lab.processes import Completed, Daemon, LabError, clean_env, program, run
from lab.waiting import HOST, Ports, accepts, wait_for

MODULES = Path("/usr/lib/apache2/modules")

# A page that every Debian has and every user can read, wherever the lab's own folder lies.
PAGES = "/usr/share/common-licenses"
PAGE = "Apache-2.0"

SERVER = """\
ServerRoot {root}
DefaultRuntimeDir {root}
PidFile {pid_file}
ErrorLog {log}
LogLevel notice
ServerName localhost
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule ssl_module {modules}/mod_ssl.so
# One small child process at a time: a graceful restart is over within moments.
StartServers 1
ServerLimit 2
ThreadsPerChild 8
MaxRequestWorkers 16
MinSpareThreads 1
MaxSpareThreads 9
KeepAlive Off
Listen {host}:{http_port}
Listen {host}:{https_port}
DocumentRoot {pages}
DirectoryIndex {page}
"""

HTTP = """\
<VirtualHost {host}:{http_port}>
{names}
{include}
</VirtualHost>
"""

HTTPS = """\
<VirtualHost {host}:{https_port}>
{names}
SSLEngine on
{certificates}
{include}
</VirtualHost>
"""


@dataclass(frozen=True)
class VirtualHost:
    """One virtual host: its names, the lineages it serves (``live/NAME``), what it includes."""

    names: tuple[str, ...]
    live: tuple[Path, ...]
    include: Path | None = None


class Apache:
    """A web server with TLS and plain HTTP on loopback ports. Use it as a context manager."""

    def __init__(self, folder: Path, sites: Sequence[VirtualHost]) -> None:
        self.root = folder
        self.sites = tuple(sites)
        self._ports = Ports(2)
        self.http_port, self.https_port = self._ports.numbers
        self.config = folder / "httpd.conf"
        self.pid_file = folder / "httpd.pid"
        self.log = folder / "error.log"
        self._binary = program("apache2")
        self._daemon: Daemon | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.write_config()

    @property
    def configtest_command(self) -> str:
        """For ``--pinkeep-configtest-command``."""
        return shlex.join([*self._call(), "-t"])

    @property
    def reload_command(self) -> str:
        """For ``--pinkeep-reload-command``."""
        return shlex.join([*self._call(), "-k", "graceful"])

    def __enter__(self) -> Apache:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._ports.release()

    def write_config(self, extra: str = "", without: str = "") -> None:
        """Write ``httpd.conf`` for the sites, with ``extra`` at its end, and without one module."""
        values = {
            "root": self.root,
            "pid_file": self.pid_file,
            "log": self.log,
            "modules": MODULES,
            "host": HOST,
            "http_port": self.http_port,
            "https_port": self.https_port,
            "pages": PAGES,
            "page": PAGE,
            # Only root may, and must, say whom its children are to run as.
            "user": "User www-data\nGroup www-data" if os.geteuid() == 0 else "",
        }
        parts = [SERVER.format(**values)]
        for site in self.sites:
            for host in (HTTP, HTTPS):
                parts.append(host.format(**values, **_directives(site)))
        text = "".join([*parts, extra])
        if without:
            text = re.sub(f"^LoadModule {without}_module .*\n", "", text, flags=re.MULTILINE)
        self.config.write_text(text)

    def start(self) -> None:
        """Start it and wait until it answers, and until a reload can be noticed."""
        # In the foreground it is a child of this process, and `-k graceful` works all the same.
        command = [*self._call(), "-DFOREGROUND"]
        daemon = self._daemon = Daemon(command, self.root / "apache.out", clean_env())
        try:
            wait_for(lambda: self._up(daemon), "Apache to listen")
            # It listens a moment before its first child is there, by which a reload is noticed.
            wait_for(self.children, "Apache's first child")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, and whatever `-k graceful` may have started while it was down."""
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None
        stray = self._pid()
        if stray is not None and str(self.config) in _command_line(stray):
            os.kill(stray, signal.SIGTERM)
            wait_for(lambda: not _command_line(stray), "a stray Apache to end")

    def configtest(self) -> Completed:
        """What Apache says of its configuration."""
        return run([*self._call(), "-t"])

    def reload(self) -> None:
        """Reload it and wait until nothing of the earlier configuration serves any more."""
        with self.reloading():
            run([*self._call(), "-k", "graceful"]).check()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Around something that is to make Apache reload: waits afterwards until it has done so.

        A graceful restart replaces every child process; it is over when no earlier one is left.
        """
        earlier = self.children()
        yield
        wait_for(
            lambda: not any(map(_lives, earlier)) and self.children(),
            "Apache to be reloaded",
        )

    def children(self) -> frozenset[int]:
        """The process ids of Apache's children, all of them new after a reload."""
        return _children_of(self._daemon.pid) if self._daemon else frozenset()

    def get(self, name: str, path: str = "/") -> Answer:
        """Ask over TLS."""
        return get(name, self.https_port, path)

    def get_plain(self, name: str, path: str = "/") -> Answer:
        """Ask over plain HTTP."""
        return get_plain(name, self.http_port, path)

    def served_pin(self, name: str) -> str:
        """The pin of the key that is served for ``name``."""
        return served_pin(name, self.https_port)

    def served_serial(self, name: str) -> int:
        """The serial number of the certificate that is served for ``name``."""
        return served_serial(name, self.https_port)

    def url(self, name: str) -> str:
        """The address of the site ``name``."""
        return f"https://{name}:{self.https_port}/"

    def _call(self) -> list[str]:
        return [self._binary, "-d", str(self.root), "-f", str(self.config)]

    def _up(self, daemon: Daemon) -> bool:
        try:
            return daemon.alive() and accepts(self.https_port) and accepts(self.http_port)
        except LabError as error:
            said = self.log.read_text(errors="replace") if self.log.exists() else ""
            raise LabError(f"{error}\n{said}") from error

    def _pid(self) -> int | None:
        try:
            return int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None


def _directives(site: VirtualHost) -> dict[str, str]:
    names = [f"ServerName {site.names[0]}", *(f"ServerAlias {name}" for name in site.names[1:])]
    certificates = [
        f"SSLCertificateFile {live}/fullchain.pem\nSSLCertificateKeyFile {live}/privkey.pem"
        for live in site.live
    ]
    return {
        "names": "\n".join(names),
        "certificates": "\n".join(certificates),
        "include": f"IncludeOptional {site.include}" if site.include else "",
    }


def _children_of(parent: int) -> frozenset[int]:
    with suppress(OSError):
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return frozenset(pid for pid in map(int, listed) if _lives(pid))
    return frozenset()


def _lives(pid: int) -> bool:
    try:
        # The fields after the program's name, which may itself hold spaces and brackets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
