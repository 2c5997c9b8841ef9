"""Pebble, Let's Encrypt's test CA, with the DNS server that decides what it validates."""

from __future__ import annotations

import json
import shlex
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lab.listener import write_listener
from lab.processes import Daemon, LabError, clean_env, program
from lab.waiting import HOST, Ports, accepts, wait_for

T = TypeVar("T")
# Nothing listens there: every server of the lab binds 127.0.0.1 alone.
NOWHERE = "127.0.0.9"

# No random waits and no random refusals.
PEBBLE_ENV = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}

DNS_HOOK = '''\
"""certbot's hook for dns-01: puts the TXT record into the lab's DNS server, or takes it out."""
import json, os, sys, urllib.request
record = {"host": "_acme-challenge." + os.environ["CERTBOT_DOMAIN"] + "."}
if sys.argv[1] == "set-txt":
    record["value"] = os.environ["CERTBOT_VALIDATION"]
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
    sys.argv[2] + "/" + sys.argv[1], json.dumps(record).encode()
)
'''


class Ca:
    """An ACME server on loopback ports. Use it as a context manager.

    Every name resolves to 127.0.0.1, where http-01 is validated on ``http_port``, until
    :meth:`point` says otherwise. With ``reuse`` a name is validated once per account, which saves
    certbot a second or two at each renewal; without it, anew for each order.
    """

    def __init__(self, folder: Path, *, reuse: bool = False) -> None:
        self.folder = folder
        self._reuse = reuse
        folder.mkdir(parents=True, exist_ok=True)
        self._ports = Ports(6)
        (
            self.http_port,
            self._tls_port,
            self._dns_port,
            self._dns_control_port,
            self._acme_port,
            self._control_port,
        ) = self._ports.numbers
        self.directory_url = f"https://localhost:{self._acme_port}/dir"
        self.listener_ca, self._certificate, self._key = write_listener(folder)
        self._daemons: list[Daemon] = []

    def __enter__(self) -> Ca:
        try:
            self._start_dns()
            self._start_pebble()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End both servers."""
        while self._daemons:
            self._daemons.pop().stop()
        self._ports.release()

    def root(self, path: Path | None = None) -> Path:
        """Save the root certificate that signs what this CA issues, and return where."""
        path = path or self.folder / "root.pem"
        path.write_bytes(self.call(self._get, f"https://localhost:{self._control_port}/roots/0"))
        return path

    def point(self, name: str, address: str = NOWHERE) -> None:
        """Let the CA see ``name`` at ``address``; where nothing listens, its validation fails.

        That is certain for a name that the account never had validated. For one that it had, Pebble
        reuses one validation in a hundred even without ``reuse``. With ``reuse`` there is a sure way:
        a ``renew --dry-run`` that fails, as certbot first gives up the valid authorisations then.
        """
        self._dns("add-a", {"host": f"{name}.", "addresses": [address]})

    def unpoint(self, name: str) -> None:
        """Let the CA see ``name`` at 127.0.0.1 again."""
        self._dns("clear-a", {"host": f"{name}."})

    def dns_options(self) -> list[str]:
        """Certbot's options for dns-01 against this CA, which is what a wildcard needs."""
        script = self.folder / "dns_hook.py"
        script.write_text(DNS_HOOK)
        control = f"http://{HOST}:{self._dns_control_port}"
        call = [sys.executable, str(script)]
        return [
            "--manual",
            "--preferred-challenges=dns",
            f"--manual-auth-hook={shlex.join([*call, 'set-txt', control])}",
            f"--manual-cleanup-hook={shlex.join([*call, 'clear-txt', control])}",
        ]

    def daemon(self, command: list[str], log: Path, env: dict[str, str]) -> Daemon:
        """Start a server where the CA is to be."""
        return Daemon(command, log, env)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Return what a function returns where the CA is."""
        return function(*args)

    def _start_dns(self) -> None:
        command = [
            program("pebble-challtestsrv"),
            *("-http01", "", "-https01", "", "-tlsalpn01", ""),
            *("-dns01", f"{HOST}:{self._dns_port}"),
            *("-management", f"{HOST}:{self._dns_control_port}"),
            *("-defaultIPv4", HOST, "-defaultIPv6", ""),
        ]
        daemon = self.daemon(command, self.folder / "dns.log", clean_env())
        self._daemons.append(daemon)
        for port in (self._dns_port, self._dns_control_port):
            wait_for(
                lambda port=port: daemon.alive() and self.call(accepts, port),  # type: ignore[misc]
                "the DNS server",
            )

    def _start_pebble(self) -> None:
        config = {
            "listenAddress": f"{HOST}:{self._acme_port}",
            "managementListenAddress": f"{HOST}:{self._control_port}",
            "certificate": str(self._certificate),
            "privateKey": str(self._key),
            "httpPort": self.http_port,
            "tlsPort": self._tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            # Later Pebbles ask clients to wait three and five seconds.
            "retryAfter": {"authz": 1, "order": 1},
        }
        path = self.folder / "pebble.json"
        path.write_text(json.dumps({"pebble": config}, indent=2))
        command = [
            program("pebble"),
            *("-config", str(path)),
            *("-dnsserver", f"{HOST}:{self._dns_port}"),
        ]
        env = clean_env(**PEBBLE_ENV, PEBBLE_AUTHZREUSE="100" if self._reuse else "0")
        daemon = self.daemon(command, self.folder / "pebble.log", env)
        self._daemons.append(daemon)
        wait_for(lambda: daemon.alive() and self._answers(), "Pebble's directory")

    def _answers(self) -> bool:
        try:
            return bool(self.call(self._get, self.directory_url))
        except (urllib.error.URLError, LabError):
            return False

    def _get(self, url: str) -> bytes:
        trust = ssl.create_default_context(cafile=str(self.listener_ca))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        with opener.open(url, timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def _dns(self, call: str, message: dict[str, object]) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"http://{HOST}:{self._dns_control_port}/{call}"
        with opener.open(url, json.dumps(message).encode(), timeout=10) as answer:
            if answer.status != 200:
                raise LabError(f"{url} answered {answer.status}")
