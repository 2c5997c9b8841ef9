"""Certbot, as this Python environment has it: the newest one, or Debian's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from lab.ca import Ca
from lab.processes import Completed, clean_env, preload, run
from lab.waiting import HOST

# What /usr/bin/certbot does, for the certbot that this very Python imports. Debian's package
# `certbot` would also bring a timer that renews by itself, its package `python3-certbot` does not.
MAIN = "import sys; from certbot.main import main; sys.exit(main())"
# The same if the plugin is missing: certbot passes it over among its entry points.
MAIN_WITHOUT = """\
from certbot._internal.plugins import disco
load = disco.PluginsRegistry._load_entry_point.__func__
def load_others(cls, entry_point, plugins):
    if entry_point.name != "pinkeep":
        load(cls, entry_point, plugins)
disco.PluginsRegistry._load_entry_point = classmethod(load_others)
""" + MAIN.replace("; ", "\n")
COMMAND_MAIN = "import sys; from certbot_pinkeep.cli.main import main; sys.exit(main())"


class Certbot:
    """A certbot with its own folders, an account at ``ca`` once it needs one, and no questions."""

    def __init__(self, folder: Path, ca: Ca) -> None:
        self.folder = folder
        self.ca = ca
        self.config_dir = folder / "config"
        self.work_dir = folder / "work"
        self.logs_dir = folder / "logs"
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)

    @property
    def folders(self) -> list[str]:
        """Certbot's options for its folders, which the plugin's command takes too."""
        return [
            f"--config-dir={self.config_dir}",
            f"--work-dir={self.work_dir}",
            f"--logs-dir={self.logs_dir}",
        ]

    @property
    def account(self) -> list[str]:
        """Options that choose the CA and register there without a question."""
        return [
            f"--server={self.ca.directory_url}",
            "--agree-tos",
            "--register-unsafely-without-email",
        ]

    @property
    def by_http(self) -> list[str]:
        """Options for http-01, answered by certbot itself on the port at which the CA looks."""
        return [
            "--standalone",
            f"--http-01-port={self.ca.http_port}",
            f"--http-01-address={HOST}",
        ]

    @property
    def by_dns(self) -> list[str]:
        """Options for dns-01, which is what a wildcard needs."""
        return self.ca.dns_options()

    def command(self, *args: str) -> list[str]:
        """The command line: see :meth:`arguments`."""
        return [sys.executable, "-c", MAIN, *self.arguments(*args)]

    def arguments(self, *args: str) -> list[str]:
        """What follows certbot's name: ``args``, the folders, and no questions."""
        return [*args, *self.folders, "--non-interactive", "--no-random-sleep-on-renew"]

    def env(self, faketime: timedelta | None = None) -> dict[str, str]:
        """The environment: trust in the CA's listener, nobody's own settings, a clock of choice."""
        return clean_env(
            HOME=str(self.home),
            XDG_CONFIG_HOME=str(self.home / ".config"),
            REQUESTS_CA_BUNDLE=str(self.ca.listener_ca),
            # Debian's 140 roots, which no server here has, take longer to read than most runs take.
            SSL_CERT_FILE=str(self.ca.listener_ca),
            **preload(faketime=faketime),
        )

    def run(
        self,
        *args: str,
        faketime: timedelta | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = 120,
    ) -> Completed:
        """Run certbot to its end, with the clock moved by ``faketime`` and ``env`` on top."""
        return run(
            self.command(*args),
            env={**self.env(faketime), **(env or {})},
            # Python imports from the working directory first: the work tree must not hide the wheel.
            cwd=self.home,
            seconds=seconds,
        )

    def renew_without_plugin(self, *args: str) -> Completed:
        """Renew now, with a certbot that lacks the plugin."""
        return self._without_plugin("renew", *self.account, "--force-renewal", *args)

    def certonly_without_plugin(self, *args: str) -> Completed:
        """Ask for a certificate by http-01, with a certbot that lacks the plugin."""
        return self._without_plugin("certonly", *self.account, *self.by_http, *args)

    def _without_plugin(self, *args: str) -> Completed:
        words = self.arguments(*args)
        return run([sys.executable, "-c", MAIN_WITHOUT, *words], env=self.env(), cwd=self.home)

    def start(
        self,
        *args: str,
        faketime: timedelta | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start certbot and return at once: for tests that stop it half-way or run two of them."""
        return subprocess.Popen(
            self.command(*args),
            env={**self.env(faketime), **(env or {})},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def certonly(
        self,
        *args: str,
        by: Sequence[str] | None = None,
        faketime: timedelta | None = None,
    ) -> Completed:
        """Ask for a certificate for what ``args`` say, ``by`` http-01 unless told otherwise."""
        challenge = self.by_http if by is None else by
        return self.run("certonly", *self.account, *challenge, *args, faketime=faketime)

    def renew(
        self,
        *args: str,
        faketime: timedelta | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Renew what is due, or what ``args`` ask for.

        The CA is named once more: without it ``--dry-run`` goes to Let's Encrypt's staging server.
        """
        return self.run("renew", *self.account, *args, faketime=faketime, env=env)

    def pinkeep(
        self,
        *args: str,
        faketime: timedelta | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run the plugin's own command, ``certbot-pinkeep``, on the same folders."""
        command = [sys.executable, "-c", COMMAND_MAIN, *args, *self.folders]
        return run(command, env={**self.env(faketime), **(env or {})}, cwd=self.home)

    def live(self, name: str) -> Path:
        """The folder ``live/NAME``."""
        return self.config_dir / "live" / name

    def renewal(self, name: str) -> Path:
        """The renewal file of a lineage."""
        return self.config_dir / "renewal" / f"{name}.conf"

    @property
    def log(self) -> Path:
        """The log of the latest run."""
        return self.logs_dir / "letsencrypt.log"
