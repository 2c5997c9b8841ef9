"""Know the kinds of servers that send the header, and which server a keyring has.

The rules:

* ``--pinkeep-header`` names the server. Without that option a keyring keeps the server of its snippet. A new
  keyring has the server that is installed: Apache if both or neither are.
* pinkeep tests and reloads the server of a keyring, and no other server.
* ``none``: the pins are for apps and zones. pinkeep writes no snippet, and runs only commands that the admin
  gave.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from certbot_pinkeep.carriers import apache, nginx, running
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.options import NO_HEADER
from certbot_pinkeep.core.policy import Policy

Words = tuple[str, ...]
Commands = tuple[Words, ...]


@dataclass(frozen=True)
class Kind:
    """Hold what pinkeep knows of a kind of server.

    :ivar name: its name in ``--pinkeep-header``, and the name of the folder of its snippets
    :ivar programs: the programs that test and reload it; the first one that exists counts
    :ivar binaries: the server's own programs: some systems have them without a control program
    :ivar configtest: the words after the program for a test
    :ivar reload: the words after the program for a reload
    :ivar include: what the admin does with the snippet, as a sentence without its end
    """

    name: str
    programs: tuple[str, ...]
    binaries: tuple[str, ...]
    configtest: Words
    reload: Words
    include: str
    render: Callable[[Keyring, Policy | None], str]
    directives: Callable[[str | None], list[str]]
    condition: Callable[[str | None], str]
    read_policy: Callable[[str], Policy | None]

    @property
    def title(self) -> str:
        """Its name in sentences."""
        return apache.TITLES[self.name]

    def default(self, action: Words) -> Words:
        """Return the default command for an action; empty: there is no program for it."""
        found = next(filter(None, map(apache.which, self.programs)), None)
        return (found, *action) if found else ()

    def is_same(self, snippet: str | None, other: str | None) -> bool:
        """Say whether two snippets have the server send the same header at the same hosts."""
        first, second = ((self.directives(s), self.condition(s)) for s in (snippet, other))
        return first == second

    def sends_everywhere(self, snippet: str) -> bool:
        """Say whether the server sends the header of a snippet wherever it includes the snippet."""
        return self is APACHE and not self.condition(snippet) and bool(self.read_policy(snippet))

    @property
    def installed(self) -> bool:
        """Say whether the server is on this machine."""
        return any(map(apache.which, (*self.programs, *self.binaries)))

    @property
    def runs(self) -> bool:
        """Say whether the server runs on this machine, as far as its control program can tell."""
        words = self.default(self.reload)
        return bool(words) and not running.is_stopped(words)


APACHE = Kind(
    "apache",
    ("apache2ctl", "apachectl"),
    ("apache2", "httpd"),
    ("configtest",),
    ("graceful",),
    "Include the file in Apache's configuration, or in the site's <VirtualHost>",
    apache.render,
    apache.directives,
    apache.condition,
    apache.read_policy,
)
NGINX = Kind(
    "nginx",
    ("nginx",),
    (),
    ("-t",),
    ("-s", "reload"),
    "Include the file in nginx's http block, and put the line that it names into the sites",
    nginx.render,
    nginx.directives,
    nginx.condition,
    nginx.read_policy,
)
KINDS = {kind.name: kind for kind in (APACHE, NGINX)}


def kind_of(snippet: str, text: str | None) -> Kind:
    """Return the server of a snippet.

    :param text: the snippet's text; ``None``: there is no such file
    """
    if text is None:
        return KINDS.get(os.path.basename(os.path.dirname(snippet)), APACHE)
    return NGINX if nginx.MARK in text else APACHE


def chosen_kind(header: str | None, snippet: str, text: str | None) -> Kind | None:
    """Return the server of a keyring; ``None``: none.

    :param header: what the admin chose; ``None``: nothing
    :param snippet: the keyring's snippet; empty: none yet
    :param text: the snippet's text; ``None``: there is no such file
    """
    if header == NO_HEADER:
        return None
    if header is not None:
        return KINDS[header]
    if snippet:
        return kind_of(snippet, text)
    return NGINX if NGINX.installed and not APACHE.installed else APACHE


def running_beside(name: str) -> list[Kind]:
    """Return the other servers that run on this machine.

    :param name: the server that does not run, as ``--pinkeep-header`` has it
    """
    return [kind for kind in KINDS.values() if kind.name != name and kind.runs]


def server(
    kind: Kind | None,
    snippet: str = "",
    configtest: Words | None = None,
    reload: Commands | None = None,
) -> Server:
    """Return how a snippet reaches its server.

    :param configtest: the words that the admin gave; ``None``: none
    :param reload: the words of each command that the admin gave; ``None``: none
    :raises BadOption: if a program does not exist
    """
    if configtest is not None:
        configtest = apache.command("--pinkeep-configtest-command", configtest)
    elif kind:
        configtest = kind.default(kind.configtest)
    default = kind is not None and reload is None
    if reload is not None:
        reload = tuple(apache.command("--pinkeep-reload-command", one) for one in reload)
    elif kind:
        words = kind.default(kind.reload)
        reload = (words,) if words else ()
    return Server(snippet, configtest or (), reload or (), kind.name if kind else "", default)
