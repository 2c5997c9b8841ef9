"""An nginx with a configuration of its own, on loopback ports. Use it as a context manager."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from lab.apache import PAGE, PAGES
from lab.look import Answer, get, get_plain
from lab.processes import Completed, Daemon, clean_env, program, run
from lab.waiting import HOST, Ports, accepts, wait_for

CONFIG = """\
daemon off;
master_process off;
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
    server {{
        listen {host}:{http_port};
        listen {host}:{https_port} ssl;
        server_name {name};
        ssl_certificate {live}/fullchain.pem;
        ssl_certificate_key {live}/privkey.pem;
        root {pages};
        index {page};
        include {snippet};
    }}
}}
"""


class Nginx:
    """One server block for TLS and plain HTTP, which includes a snippet."""

    def __init__(self, folder: Path, name: str, live: Path, snippet: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ports = Ports(2)
        self.http_port, self.https_port = self._ports.numbers
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._daemon is not None:
            self._daemon.stop()
        self._ports.release()

    def configtest(self) -> Completed:
        """What nginx says of its configuration."""
        return run([*self._call, "-t"])

    @property
    def url(self) -> str:
        """The site's address."""
        return f"https://{self._name}:{self.https_port}/"

    def get(self, path: str = "/") -> Answer:
        """Ask over TLS."""
        return get(self._name, self.https_port, path)

    def get_plain(self, path: str = "/") -> Answer:
        """Ask over plain HTTP."""
        return get_plain(self._name, self.http_port, path)
