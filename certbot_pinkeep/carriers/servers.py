"""The servers that send the header: one kind each, and which of them a keyring has.

The rules:

* ``--pinkeep-header`` names it. Where it is not given, a keyring stays with the server that it has a
  snippet for; a new one has the server that is installed, Apache where both or neither are.
* A keyring has to do with its own server only: no other one is tested or reloaded.
* ``none``: the pins are for apps and zones. No snippet is written, and no command is run but those that
  the admin gave.
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
    """A kind of server.

    :ivar name: as ``--pinkeep-header`` has it; also the folder of its snippets
    :ivar title: its name in sentences
    :ivar programs: those that test and reload it, the first one that is there
    :ivar binaries: the server's own programs: some systems have them without a control program
    :ivar configtest: what the program is told for a test
    :ivar reload: what the program is told for a reload
    :ivar include: what the admin does with the snippet, as a sentence without its end
    """

    name: str
    title: str
    programs: tuple[str, ...]
    binaries: tuple[str, ...]
    configtest: Words
    reload: Words
    include: str
    render: Callable[[Keyring, Policy | None], str]
    directives: Callable[[str | None], list[str]]
    condition: Callable[[str | None], str]
    read_policy: Callable[[str], Policy | None]

    def default(self, action: Words) -> Words:
        """The command that does this by default; empty: there is no program for it."""
        found = next(filter(None, map(apache.which, self.programs)), None)
        return (found, *action) if found else ()

    def is_same(self, snippet: str | None, other: str | None) -> bool:
        """Whether two snippets have the server send the same header at the same hosts."""
        first, second = ((self.directives(s), self.condition(s)) for s in (snippet, other))
        return first == second

    @property
    def installed(self) -> bool:
        """Whether the server is on this machine."""
        return any(map(apache.which, (*self.programs, *self.binaries)))

    @property
    def runs(self) -> bool:
        """Whether the server runs on this machine, as far as its control program can tell."""
        words = self.default(self.reload)
        return bool(words) and not running.is_stopped(words)


APACHE = Kind(
    "apache",
    "Apache",
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
    """The server that a snippet is for.

    :param text: what is in it; ``None``: it is not there
    """
    if text is None:
        return KINDS.get(os.path.basename(os.path.dirname(snippet)), APACHE)
    return NGINX if nginx.MARK in text else APACHE


def chosen_kind(header: str | None, snippet: str, text: str | None) -> Kind | None:
    """The server of a keyring; ``None``: none.

    :param header: what the admin chose; ``None``: nothing
    :param snippet: the one that the keyring has; empty: none yet
    :param text: what is in it; ``None``: it is not there
    """
    if header == NO_HEADER:
        return None
    if header is not None:
        return KINDS[header]
    if snippet:
        return kind_of(snippet, text)
    installed = [kind for kind in KINDS.values() if kind.installed]
    return installed[0] if len(installed) == 1 else APACHE


def running_beside(name: str) -> list[Kind]:
    """The other servers that run on this machine.

    :param name: the server that does not, as ``--pinkeep-header`` has it
    """
    return [kind for kind in KINDS.values() if kind.name != name and kind.runs]


def server(
    kind: Kind | None, snippet: str, configtest: Words | None, reload: Commands | None
) -> Server:
    """How a snippet reaches its server.

    :param configtest: the words that the admin gave; ``None``: none
    :param reload: the words of each command; ``None``: none was given
    :raises BadOption: when a program does not exist
    """
    option = "--pinkeep-reload-command"
    default = kind.default(kind.reload) if kind else ()
    return Server(
        snippet,
        _words(
            "--pinkeep-configtest-command",
            configtest,
            kind.default(kind.configtest) if kind else (),
        ),
        (default,) * bool(default)
        if reload is None
        else tuple(apache.command(option, one) for one in reload),
        kind.name if kind and reload is None else "",
        kind.title if kind else "the server",
        kind.name if kind else "",
    )


def _words(option: str, given: Words | None, default: Words) -> Words:
    return default if given is None else apache.command(option, given)
