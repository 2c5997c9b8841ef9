"""Ask a server what it reads of its configuration. Nothing is written, and nothing is reloaded.

The rule: pinkeep asks a server only if its test is a command that pinkeep knows: the same program, the same
arguments. Of every other server it knows nothing.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import replace

from certbot_pinkeep.carriers import apache, running
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.core.server_config import Block, Place, ServerConfig, read_apache, read_nginx

_APACHE = ("-t", "-D", "DUMP_INCLUDES", "-D", "DUMP_VHOSTS")


def read(server: Server) -> ServerConfig | None:
    """Read a server's configuration, every file by its real path; ``None``: that cannot be known."""
    program, test = server.configtest[:-1], server.configtest[-1:]
    found = None
    if server.kind == "apache" and test in (("configtest",), ("-t",)):
        status, said = running.ask((*program, *_APACHE))
        found = read_apache(said) if status == 0 else None
    if server.kind == "nginx" and test == ("-t",):
        status, said = running.ask((*program, "-T"))
        found = read_nginx(said) if status == 0 else None
    if found is None:
        return None
    files = tuple(map(os.path.realpath, found.files))
    lacks = apache.lacks_headers(server)
    return ServerConfig(files, tuple(map(_real, found.sites)), _loading(server), lacks)


def _real(site: Block) -> Block:
    inner = tuple((_real_place(place), values) for place, values in site.inner)
    return replace(site, place=_real_place(site.place), inner=inner)


def _real_place(place: Place) -> Place:
    return replace(place, file=os.path.realpath(place.file))


def _loading(server: Server) -> str:
    """Write the commands that test the configuration and load it, as a shell reads them."""
    words = [server.configtest, *apache.reload_words(server)]
    return " && ".join(shlex.join(one) for one in words if one)
