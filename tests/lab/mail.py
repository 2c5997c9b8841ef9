"""Mail servers in a :class:`~lab.namespace.Namespace`: Postfix and Dovecot, with certificates from files.

Each of them reads its certificates when it starts and when it is told to reload, as on any machine. Both
work with Debian 12 and with Debian 13, whose Dovecot has another configuration language.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.namespace import Namespace
from lab.processes import Daemon, LabError, program, run
from lab.waiting import wait_for

#: The files of a certificate with its chain, and of its key.
Files = tuple[Path, Path]

_MAIN = {
    "compatibility_level": "3.6",
    "queue_directory": "/var/spool/postfix",
    "command_directory": "/usr/sbin",
    "daemon_directory": "/usr/lib/postfix/sbin",
    "data_directory": "/var/lib/postfix",
    "mail_owner": "postfix",
    "setgid_group": "postdrop",
    "inet_interfaces": "all",
    "inet_protocols": "all",
    "alias_maps": "",
    "alias_database": "",
    "mynetworks_style": "host",
    "smtpd_tls_security_level": "may",
    "smtpd_tls_loglevel": "1",
    "smtp_dns_support_level": "dnssec",
    "smtp_tls_security_level": "dane",
    "smtp_host_lookup": "dns",
}
#: What Postfix cannot do without, and its ports.
_SERVICES = """\
smtp       inet n - n - - smtpd
submission inet n - n - - smtpd {submission}
smtps      inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
tlsmgr     unix - - n 1000? 1 tlsmgr
anvil      unix - - n - 1 anvil
rewrite    unix - - n - - trivial-rewrite
proxymap   unix - - n - - proxymap
pickup     unix n - n 60 1 pickup
cleanup    unix n - n - 0 cleanup
qmgr       unix n - n 300 1 qmgr
bounce     unix - - n - 0 bounce
defer      unix - - n - 0 bounce
flush      unix n - n 1000? 0 flush
error      unix - - n - - error
retry      unix - - n - - error
smtp       unix - - n - - smtp
postlog    unix-dgram n - n - 1 postlogd
"""


def self_signed(folder: Path, host: str, kind: str) -> Files:
    """Make a key and a certificate for a host, in place of what is there.

    :param kind: ``ecdsa`` or ``rsa``
    """
    folder.mkdir(parents=True, exist_ok=True)
    full, key = folder / "fullchain.pem", folder / "privkey.pem"
    size = "rsa:2048" if kind == "rsa" else "ec"
    curve = () if kind == "rsa" else ("-pkeyopt", "ec_paramgen_curve:P-256")
    run(
        [
            *(program("openssl"), "req", "-x509", "-nodes", "-days", "90", "-newkey", size, *curve),
            *("-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"),
            *("-keyout", f"{key}.new", "-out", f"{full}.new"),
        ]
    ).check()
    for path in (full, key):
        Path(f"{path}.new").replace(path)  # a server may read them at any time
    return full, key


class _Server:
    """A server that reloads on command. Use it as a context manager."""

    def __init__(self, ns: Namespace, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ns = ns
        self.folder = folder
        self.log = folder / "log"

    reload_words: Sequence[str] = ()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it."""
        raise NotImplementedError

    @property
    def reload_command(self) -> str:
        """For ``--pinkeep-reload-command``."""
        return shlex.join(self.ns.command(self.reload_words))

    def reload(self) -> None:
        """The admin has it load its files."""
        self.ns.run(self.reload_words).check()


class Postfix(_Server):
    """Postfix on the ports 25 and 587, with STARTTLS, and 465.

    :param more: further lines of its ``main.cf``
    :param submission: what differs on port 587, as ``master.cf`` has it
    """

    reload_words = ("postfix", "reload")

    def __init__(
        self,
        ns: Namespace,
        folder: Path,
        certificates: Sequence[Files],
        more: Mapping[str, str] | None = None,
        submission: str = "",
    ) -> None:
        super().__init__(ns, folder)
        self._more = dict(more or {})
        etc = ns.path("/etc/postfix")
        etc.mkdir(exist_ok=True)
        (etc / "master.cf").write_text(_SERVICES.format(submission=submission))
        self.serves(certificates)
        for owner, place in (("root", "/var/spool/postfix"), ("postfix", "/var/lib/postfix")):
            ns.run(["install", "-d", "-o", owner, place]).check()

    def __enter__(self) -> Postfix:
        self.ns.run(["postfix", "start"]).check()
        listens(self.ns, 25, 465, 587)
        return self

    def stop(self) -> None:
        """End it."""
        self.ns.run(["postfix", "abort"])

    def serves(self, certificates: Sequence[Files]) -> None:
        """Have its configuration name these certificates, of which it may have one of each key type."""
        files = [str(path) for full, key in certificates for path in (key, full)]
        lines = _MAIN | {
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(self.folder),
            "smtpd_tls_chain_files": ", ".join(files),
            **self._more,
        }
        text = "".join(f"{name} = {value}\n" for name, value in lines.items())
        self.ns.path("/etc/postfix/main.cf").write_text(text)


class Dovecot(_Server):
    """Dovecot on the ports 110 and 143, with STARTTLS, 993 and 995."""

    reload_words = ("doveadm", "reload")

    def __init__(self, ns: Namespace, folder: Path, certificates: Sequence[Files]) -> None:
        super().__init__(ns, folder)
        found = re.match(r"(\d+)\.(\d+)", ns.run(["dovecot", "--version"]).check().stdout)
        if found is None:
            raise LabError("dovecot does not tell its version")
        self._new = (int(found[1]), int(found[2])) >= (2, 4)
        self._daemon: Daemon | None = None
        self.serves(certificates)

    def __enter__(self) -> Dovecot:
        self._daemon = self.ns.start(["dovecot", "-F"], self.folder / "output")
        listens(self.ns, 110, 143, 993, 995)
        return self

    def stop(self) -> None:
        """End it."""
        if self._daemon is not None:
            self._daemon.stop()

    def serves(self, certificates: Sequence[Files]) -> None:
        """Have its configuration name these certificates, of which it may have one of each key type."""
        lines = [
            f"log_path = {self.log}",
            "protocols = imap pop3",
            "ssl = yes",
            f"{self._password()}",
        ]
        if self._new:
            lines = ["dovecot_config_version = 2.4.0", "dovecot_storage_version = 2.4.0", *lines]
        for kind, (full, key) in zip(("", "alt_"), certificates, strict=False):
            names = (f"ssl_{kind}cert = <", f"ssl_{kind}key = <")
            if self._new:
                names = (f"ssl_server_{kind}cert_file = ", f"ssl_server_{kind}key_file = ")
            lines += [f"{name}{path}" for name, path in zip(names, (full, key), strict=True)]
        path = self.ns.path("/etc/dovecot/dovecot.conf")
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))

    def _password(self) -> str:
        if self._new:
            return "passdb static {\n  password = secret\n}\nuserdb static {\n}"
        return "passdb {\n  driver = static\n  args = password=secret\n}\nuserdb {\n  driver = static\n}"


def listens(ns: Namespace, *ports: int) -> None:
    """Wait until servers listen on ports of the namespace."""

    def all_listen() -> bool:
        shown = ns.run(["ss", "-Hltn"]).check().stdout
        return all(f":{port} " in shown for port in ports)

    wait_for(all_listen, f"servers on {ports}")
