"""An nginx with a configuration of its own, on loopback ports. Use it as a context manager."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from lab.apache import PAGE, PAGES
from lab.look import Answer, get, get_plain, served_serial
from lab.processes import Completed, Daemon, clean_env, program, run
from lab.waiting import HOST, Ports, accepts, wait_for

CONFIG = """\
daemon off;
worker_processes 1;
{user}
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    include {snippet};
    ssl_certificate {live}/fullchain.pem;
    ssl_certificate_key {live}/privkey.pem;
    server {{
        listen {host}:{http_port};
        listen {host}:{https_port} ssl;
        server_name {name};
        root {pages};
        index {page};
        {line}
        location /app/ {{
            add_header X-Own yes always;
            {line}
            try_files $uri /{page} =404;
        }}
        location /moved {{
            return 302 /;
        }}
    }}
    server {{
        listen {host}:{redirect_port} ssl;
        server_name {name};
        return 301 https://{name}:{https_port}$request_uri;
        {line}
    }}
}}
"""


def line_to_add(snippet: str) -> str:
    """The line that the comment of an export tells the admin to add; empty: none."""
    found = re.search(r"^# +(add_header .+;)$", snippet, re.MULTILINE)
    return found[1] if found else ""


class Nginx:
    """A server for TLS and plain HTTP, and one that redirects to it. Both have an export's file, and the line
    that its comment names."""

    def __init__(self, folder: Path, name: str, live: Path, snippet: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ports = Ports(3)
        self.http_port, self.https_port, self.redirect_port = self._ports.numbers
        self._folder = folder
        self._name = name
        self._config = folder / "nginx.conf"
        self._config.write_text(
            CONFIG.format(
                root=folder,
                host=HOST,
                http_port=self.http_port,
                https_port=self.https_port,
                name=name,
                live=live,
                pages=PAGES,
                page=PAGE,
                snippet=snippet,
                redirect_port=self.redirect_port,
                # Only root may say whom its workers are to run as, and they are to reach its folder.
                user="user root;" if os.geteuid() == 0 else "",
                line=line_to_add(snippet.read_text()),
            )
        )
        self._call = [program("nginx"), "-p", str(folder), "-c", str(self._config)]
        self._call += ["-e", str(folder / "error.log")]
        self._daemon: Daemon | None = None

    def __enter__(self) -> Nginx:
        daemon = self._daemon = Daemon(self._call, self._folder / "nginx.out", clean_env())
        wait_for(
            lambda: daemon.alive() and accepts(self.https_port) and accepts(self.http_port),
            "nginx to listen",
        )
        return self

    def __exit__(self, *error: object) -> None:
        if self._daemon is not None:
            self._daemon.stop()
        self._ports.release()

    def configtest(self) -> Completed:
        """What nginx says of its configuration."""
        return run([*self._call, "-t"])

    @property
    def configtest_command(self) -> str:
        """For ``--pinkeep-configtest-command``."""
        return shlex.join([*self._call, "-t"])

    @property
    def reload_command(self) -> str:
        """For ``--pinkeep-reload-command``."""
        return shlex.join([*self._call, "-s", "reload"])

    def served_serial(self) -> int:
        """The serial number of the certificate that is served."""
        return served_serial(self._name, self.https_port)

    @property
    def url(self) -> str:
        """The site's address."""
        return f"https://{self._name}:{self.https_port}/"

    def get(self, path: str = "/", host: str = "") -> Answer:
        """Ask over TLS, for another Host as well."""
        return get(self._name, self.https_port, path, host)

    def get_redirect(self) -> Answer:
        """Ask the server that sends visitors to the other one."""
        return get(self._name, self.redirect_port)

    def get_plain(self, path: str = "/", port: int | None = None) -> Answer:
        """Ask over plain HTTP, at the port for it or at another one."""
        return get_plain(self._name, port or self.http_port, path)
