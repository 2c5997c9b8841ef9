"""Read what a server tells of its own configuration: files and sites. Pure.

The rules:

* Apache tells which files it reads, and in which file and line each virtual host begins.
* nginx tells the text of all files. Blocks are read here with the files that they include, as nginx does.
* nginx sends the ``add_header`` lines of the innermost block that has any. A block without such lines has
  those of the block around it.
* What cannot be read says nothing: no site is found there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

#: How deep blocks and included files are followed.
_DEEPEST = 32
_FILE = re.compile(r"^# configuration file (?P<path>.+):$", re.M)
_WORD = re.compile(
    r"""\s+ | \#[^\n]* | (?P<end>[;{}])
    | (?P<word> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | (?:[^\s;{}"'\\$]|\\.|\$\{[^}]*\}|\$)[^\s;{}]* )""",
    re.X | re.S,
)
_GROUP = re.compile(r"^\S+:(?P<port>\d+|\*)\s")
_VHOST = re.compile(r"^(?P<told>.*)\((?P<file>/[^()]*):(?P<line>\d+)\)\s*$")
_ALIAS = re.compile(r"^\s+(?:wild )?alias (?P<name>\S+)\s*$")


@dataclass(frozen=True)
class Place:
    """A place in a configuration.

    :ivar what: the block that begins there
    :ivar line: where the block begins
    :ivar opens: whether the line ends with the beginning of the block: a line can follow it
    """

    what: str
    file: str
    line: int
    opens: bool = True

    def __str__(self) -> str:
        return f"{self.what} ({self.file}:{self.line})"


@dataclass(frozen=True)
class Block:
    """A virtual host, or a server block with TLS.

    :ivar names: in lower case, as they are configured
    :ivar port: the port that it answers at; empty: unknown, or any (Apache)
    :ivar headers: the values of the headers that it adds (nginx)
    :ivar inner: the blocks within that add headers of their own, and the values (nginx)
    """

    names: tuple[str, ...]
    place: Place
    headers: tuple[str, ...] = ()
    inner: tuple[tuple[Place, tuple[str, ...]], ...] = ()
    port: str = ""

    def is_for(self, host: str) -> bool:
        """Say whether it is configured for a host, by the host's name or a wildcard."""
        # Python before 3.10.6 fails at what a regular expression may have: [\w-.] is no pattern.
        plain = (name for name in self.names if not name.startswith("~"))
        return any(
            fnmatchcase(host, name) or (name.startswith(".") and f".{host}".endswith(name))
            for name in plain
        )

    def lacking(self, value: str) -> list[Place]:
        """Find the blocks that send headers, and not the one with this value."""
        found = [] if value in self.headers else [self.place]
        return found + [place for place, values in self.inner if value not in values]


@dataclass(frozen=True)
class ServerConfig:
    """Hold what a server reads.

    :ivar files: all files, as the server names them
    :ivar sites: its virtual hosts or server blocks
    :ivar loading: the commands that test the configuration and load it
    :ivar lacks_headers: whether Apache has not loaded mod_headers
    """

    files: tuple[str, ...]
    sites: tuple[Block, ...] = ()
    loading: str = ""
    lacks_headers: bool = False


def read_apache(said: str) -> ServerConfig | None:
    """Read what Apache says of DUMP_INCLUDES and DUMP_VHOSTS; ``None``: it does not say that."""
    head, _, rest = said.partition("VirtualHost configuration:")
    files = re.findall(r"^\s*\((?:\*|\d+)\) (/.*)$", head, re.M)
    if not files:
        return None
    sites: dict[tuple[str, int], list[str]] = {}
    ports: dict[tuple[str, int], str] = {}
    current, port = list[str](), ""
    for line in rest.splitlines():
        found, alias, group = _VHOST.match(line), _ALIAS.match(line), _GROUP.match(line)
        port = group["port"] if group else port
        if found:
            place = found["file"], int(found["line"])
            ports[place] = port
            current = sites.setdefault(place, [])
            current += found["told"].split()[-1:]
        elif alias:
            current.append(alias["name"])
    return ServerConfig(
        tuple(files),
        tuple(
            Block(
                tuple(dict.fromkeys(map(str.lower, names))),
                Place("<VirtualHost>", *place),
                port=ports[place],
            )
            for place, names in sites.items()
        ),
    )


@dataclass
class _Node:
    """A directive of nginx, with what is inside its block."""

    words: list[str]
    place: Place
    inner: list[_Node] = field(default_factory=list)


def read_nginx(said: str) -> ServerConfig | None:
    """Read what nginx says with ``-T``; ``None``: it does not say that."""
    parts = _FILE.split(said)
    files = dict(zip(parts[1::2], parts[2::2], strict=True))
    if not files:
        return None
    first = next(iter(files))
    main = _Reader(files, posixpath.dirname(first)).read(first, 0)
    sites = [
        site
        for http in _named("http", main)
        for server in _named("server", http.inner)
        for site in _sites(server, _headers(http))
    ]
    return ServerConfig(tuple(files), tuple(sites))


def _sites(server: _Node, inherited: tuple[str, ...]) -> Iterator[Block]:
    """Yield a server block, if it answers over TLS."""
    listens = any({"ssl", "quic"} & set(one.words) for one in _named("listen", server.inner))
    if not listens and not any(one.words == ["ssl", "on"] for one in server.inner):
        return
    names = [name.lower() for one in _named("server_name", server.inner) for name in one.words[1:]]
    inner = tuple((node.place, _headers(node)) for node in _below(server) if _headers(node))
    yield Block(tuple(names), server.place, _headers(server) or inherited, inner)


def _below(node: _Node) -> Iterator[_Node]:
    for inner in node.inner:
        if inner.inner:
            yield inner
            yield from _below(inner)


def _headers(node: _Node) -> tuple[str, ...]:
    return tuple(one.words[2] for one in _named("add_header", node.inner) if one.words[2:])


def _named(name: str, nodes: list[_Node]) -> list[_Node]:
    return [one for one in nodes if one.words[:1] == [name]]


class _Reader:
    """Reads the files of nginx.

    :param files: the text of each
    :param folder: where relative names begin
    """

    def __init__(self, files: dict[str, str], folder: str) -> None:
        self._files = files
        self._folder = folder

    def read(self, path: str, depth: int) -> list[_Node]:
        """Read a file, with the files that it includes."""
        text = self._files[path]
        top = _Node([], Place("", path, 0))
        open_, words, begin = [top], list[str](), 0
        at = 0
        while at < len(text):
            found = _WORD.match(text, at)
            if found is None:
                break  # nginx takes no such thing
            begin = begin if words else found.start("word")
            at = found.end()
            if found["word"]:
                words.append(_unquoted(found["word"]))
            elif found["end"] == "}":
                open_[1:] = open_[1:-1]
                words = []
            elif found["end"]:
                self._add(open_, words, Place(" ".join(words), path, *_line(text, at)), depth)
                if found["end"] == "{" and words:
                    open_.append(open_[-1].inner[-1])
                words = []
        return top.inner

    def _add(self, open_: list[_Node], words: list[str], place: Place, depth: int) -> None:
        if words[:1] == ["include"] and words[1:] and depth < _DEEPEST:
            pattern = posixpath.join(self._folder, words[1])
            for path in self._files:
                if fnmatchcase(path, pattern):
                    open_[-1].inner += self.read(path, depth + 1)
        elif words:
            open_[-1].inner.append(_Node(words, place))


def _line(text: str, at: int) -> tuple[int, bool]:
    """Count the lines in front of *at*, and say whether the line ends there. Each file begins a line."""
    rest = text[at:].partition("\n")[0].strip()
    return text.count("\n", 1, at) + 1, not rest or rest.startswith("#")


def _unquoted(word: str) -> str:
    if word[:1] in "\"'" and word[-1:] == word[:1]:
        return re.sub(r"\\(.)", r"\1", word[1:-1])
    return word
