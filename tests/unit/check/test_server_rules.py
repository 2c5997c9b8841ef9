"""A header that is not sent: what the server's own configuration tells, and what mends it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from certbot_pinkeep import check
from certbot_pinkeep.carriers import nginx, reading, servers
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.check.findings import Finding, Severity
from certbot_pinkeep.core import nginx_map, server_config
from certbot_pinkeep.core.observations import Seen, TlsObservation
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.server_config import Block, ServerConfig, read_apache, read_nginx
from simulated.seen import HOST, LEDGER, PKP, POLICY, RING, SHOWN, sound
from simulated.values import NOW

UNSEEN = TlsObservation(HOST, stopped="unreachable", error="refused")
SILENT = replace(SHOWN, headers=())
VARIABLE = nginx_map.variable(RING, PKP)
LINE = f"add_header {PKP} {VARIABLE} always;"

# What Apache 2.4 says of DUMP_INCLUDES and DUMP_VHOSTS.
APACHE = """\
Included configuration files:
  (*) /etc/apache2/apache2.conf
    (146) /etc/apache2/mods-enabled/ssl.conf
    (225) {snippet}
VirtualHost configuration:
*:443                  is a NameVirtualHost
         default server example.com (/etc/apache2/sites-enabled/a.conf:2)
         port 443 namevhost example.com (/etc/apache2/sites-enabled/a.conf:2)
                 alias WWW.example.com
                 wild alias *.b.test
         port 443 namevhost other.example (/etc/apache2/sites-enabled/b.conf:1)
*:80                   example.com (/etc/apache2/sites-enabled/000.conf:1)
"""
#: nginx.conf of a machine with the snippet, and a site in a file of its own.
NGINX = """\
events {}
http {
    include conf.d/*.conf;  # not a } block
    include sites/*;
    server { listen 80; server_name example.com; return 301 "https://$host;{"; }
}
"""
SITE = """\
server {
    listen 443 ssl;
    server_name .example.com "other.example";
    # SERVER
    location /own {
        add_header X-Own "a;{ b" always;
        # LOCATION
    }
    location /plain {
        return 204;
    }
}
"""


class FakeNginx:
    """An nginx that tells its files as the real one does, and its test and reload pass."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site, self.snippet = folder / "sites" / "site", folder / "conf.d" / "ring.conf"
        for path in (self.site, self.snippet):
            path.parent.mkdir(exist_ok=True)
        self.main = folder / "nginx.conf"
        self.main.write_text(NGINX)
        self.snippet.write_text("map $https $pinkeep { default ''; }\n")
        self.site.write_text(SITE)
        self.program = folder / "nginx"
        self.program.write_text(
            '#!/bin/sh\n[ "$1" = -T ] || exit 0\n'
            f"for file in {folder}/nginx.conf {folder}/*/*; do\n"
            'echo "# configuration file $file:"; cat $file; echo; done\n'
        )
        self.program.chmod(0o755)

    @property
    def config(self) -> ServerConfig:
        """What it reads."""
        words = str(self.program)
        found = reading.read(Server("", (words, "-t"), ((words, "-s", "reload"),), "nginx"))
        assert found is not None
        return found

    def seen(self, *shown: TlsObservation) -> Seen:
        """A site of it."""
        found = sound(shown=shown or (SILENT,), server_config=self.config)
        state = replace(found.state, snippet=str(self.snippet))
        text = nginx.render(found.state.keyring, POLICY)
        return replace(found, state=state, snippet=text, snippet_path=str(self.snippet))

    def add(self, mark: str) -> None:
        """Have the line in a block."""
        self.site.write_text(self.site.read_text().replace(f"# {mark}", LINE))


@pytest.fixture
def server(tmp_path: Path) -> FakeNginx:
    """The server."""
    return FakeNginx(tmp_path)


def with_apache(config: ServerConfig | None, *shown: TlsObservation) -> Seen:
    """A site of Apache, whose snippet is ``/s.conf``."""
    return sound(shown=shown or (SILENT,), server_config=config, snippet_path="/s.conf")


def judged(seen: Seen) -> list[Finding]:
    """What is wrong."""
    return [one for one in check.check(seen, NOW) if one.severity is Severity.CRITICAL]


def apache(snippet: str, lacks_headers: bool = False) -> ServerConfig:
    """What an Apache reads that includes a file."""
    found = read_apache(APACHE.format(snippet=snippet))
    assert found is not None
    return replace(found, loading="TEST && RELOAD", lacks_headers=lacks_headers)


@pytest.mark.parametrize("shown", [SILENT, UNSEEN], ids=["silent", "unseen"])
def test_snippet_that_apache_does_not_include_is_told_with_its_virtual_host(
    shown: TlsObservation,
) -> None:
    """Once, whether the host could be looked at or not, with the command that includes it."""
    [found] = judged(with_apache(apache("/etc/other.conf"), shown))
    assert found.what.endswith(
        "Apache does not include /s.conf, so it sends no pins. It belongs to: example.com in "
        "<VirtualHost> (/etc/apache2/sites-enabled/a.conf:2)."
    )
    assert found.todo == "Run: certbot-pinkeep setup"


def test_snippet_in_a_folder_of_the_admins_is_included_by_a_line_in_the_virtual_host() -> None:
    """``setup`` includes pinkeep's own folder only."""
    seen = with_apache(apache("/etc/other.conf"))
    [found] = judged(replace(seen, chosen=Options(RING, snippet_dir="/")))
    assert found.todo == (
        "Run: sed -i -e '2a IncludeOptional \"/s.conf\"' /etc/apache2/sites-enabled/a.conf && TEST && "
        "RELOAD"
    )


def test_apache_without_mod_headers_is_told() -> None:
    """It starts, includes the snippet, and sends nothing."""
    [found] = judged(with_apache(apache("/s.conf", lacks_headers=True)))
    assert "Apache has not loaded mod_headers" in found.what
    assert found.todo == "Run: certbot-pinkeep setup"


NO_CAUSE: dict[str, Seen] = {
    "it is included": with_apache(apache("/s.conf"), UNSEEN),
    "it is sent all the same": with_apache(apache("/etc/other.conf"), SHOWN),
    "the server cannot be asked": with_apache(None, UNSEEN),
    "it is unpinned": replace(
        with_apache(apache("/etc/other.conf"), UNSEEN),
        state=replace(sound().state, unpin=True, ledger=replace(LEDGER, entries=())),
    ),
}


@pytest.mark.parametrize("why", NO_CAUSE)
def test_nothing_is_told_of_a_configuration_with_nothing_to_mend(why: str) -> None:
    """A server elsewhere may send the header, and nobody is to be alarmed."""
    assert not [one for one in check.check(NO_CAUSE[why], NOW) if "does not include" in one.what]


LACKING: dict[str, tuple[list[str], list[str]]] = {
    "both": ([], ["server", "location /own"]),
    "server": (["LOCATION"], ["server"]),
    "location": (["SERVER"], ["location /own"]),
    "none": (["SERVER", "LOCATION"], []),
}


@pytest.mark.parametrize("which", LACKING)
def test_blocks_of_nginx_that_lack_the_line_are_told_and_the_command_adds_it(
    server: FakeNginx, which: str
) -> None:
    """Those with header lines of their own, and no others; after the command none lacks it."""
    there, wanted = LACKING[which]
    for mark in there:
        server.add(mark)
    seen = server.seen()
    found = [one for one in judged(seen) if "nginx sends no pins here" in one.what]
    assert len(found) == bool(wanted)
    for one in found:
        lines = server.site.read_text().splitlines()
        where = [
            f"{block} ({server.site}:{lines.index(_opening(lines, block)) + 1})" for block in wanted
        ]
        assert one.what.endswith(f"is missing in: {', '.join(where)}.")
        command = one.todo.removeprefix("Run: ")
        assert command.endswith(f"&& {server.program} -t && {server.program} -s reload")
        subprocess.run(["sh", "-ec", command], check=True)
    [block] = [one for one in server.config.sites if one.is_for(HOST)]
    assert block.lacking(VARIABLE) == []


def _opening(lines: list[str], block: str) -> str:
    return next(line for line in lines if line.strip() == f"{block} {{")


def test_line_that_a_server_block_inherits_is_not_lacking(server: FakeNginx) -> None:
    """From the http block; nginx sends the lines of the innermost block that has any."""
    server.main.write_text(
        NGINX.replace("events", "events {}\nevents", 0).replace("http {", f"http {{ {LINE}")
    )
    [site] = [one for one in server.config.sites if one.is_for(HOST)]
    assert [place.what for place in site.lacking(VARIABLE)] == ["location /own"]


def test_block_of_nginx_in_one_line_gets_no_command(server: FakeNginx) -> None:
    """A line after it would be outside of the block."""
    server.site.write_text(f"server {{ listen 443 ssl; server_name {HOST}; }}\n")
    [found] = judged(server.seen())
    assert found.todo == f"Add this line there, and reload the server: {LINE}"


def test_snippet_that_nginx_does_not_include_is_told(server: FakeNginx) -> None:
    """With the server block whose hosts it is for."""
    server.snippet.unlink()
    [found] = judged(server.seen())
    assert f"It belongs to: {HOST} in server ({server.site}:1)." in found.what
    assert found.todo == "Run: certbot-pinkeep setup"


def _names(config: ServerConfig | None) -> list[tuple[str, ...]]:
    return [site.names for site in config.sites] if config else []


READ: dict[str, tuple[Callable[[str], ServerConfig | None], str, list[tuple[str, ...]]]] = {
    "apache": (
        read_apache,
        APACHE,
        [("example.com", "www.example.com", "*.b.test"), ("other.example",), ("example.com",)],
    ),
    "apache fails": (read_apache, "Syntax error on line 1 of /etc/apache2/apache2.conf:\n", []),
    "nginx fails": (read_nginx, "nginx: configuration file /e/nginx.conf test failed\n", []),
    "nginx, damaged": (read_nginx, '# configuration file /e/n:\nhttp { server { } } } ; { " {', []),
    "nginx includes itself": (
        read_nginx,
        "# configuration file /e/n:\nhttp { server { listen 1 ssl; server_name A; } } include n;\n",
        [("a",)] * 33,
    ),
}


@pytest.mark.parametrize("which", READ)
def test_what_a_server_tells_is_read(which: str) -> None:
    """Whatever it is: what cannot be read says nothing."""
    read, said, wanted = READ[which]
    assert _names(read(said)) == wanted


@pytest.mark.parametrize(
    ("name", "host", "wanted"),
    [
        ("example.com", "example.com", True),
        ("example.com", "www.example.com", False),
        ("*.example.com", "www.example.com", True),
        (".example.com", "example.com", True),
        (".example.com", "www.example.com", True),
        ("~^www", "www.example.com", False),
        ("www.*", "www.example.com", True),
        ("_", "example.com", False),
    ],
)
def test_names_of_a_block_are_matched_as_servers_do(name: str, host: str, wanted: bool) -> None:
    """Regular expressions say nothing."""
    assert Block((name,), None).is_for(host) is wanted  # type: ignore[arg-type]


def test_a_regular_expression_is_taken_as_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python before 3.10.6 raises an error for such a pattern, and ``check`` ended."""

    def fails(host: str, pattern: str) -> bool:
        raise re.error(f"bad character range in {pattern}")

    monkeypatch.setattr(server_config, "fnmatchcase", fails)
    assert not Block((r"~^[\w-.]+$",), None).is_for("www.example.com")  # type: ignore[arg-type]


def test_no_server_is_asked_that_is_tested_with_a_command_of_the_admins() -> None:
    """What it would do with another word is unknown."""
    for kind in servers.KINDS.values():
        for words in (("/opt/test-it",), (), ("/opt/httpd", "-t", "-q")):
            assert reading.read(Server("", words, (), kind=kind.name)) is None
