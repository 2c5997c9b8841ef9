"""Rows of the table of messages and their commands: a state, what is asked, what is said, the command that
the message names, and the state after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from simulated import states
from simulated.server import Said, Server

Check = Callable[[Server, Said], None]
CHECK = "certbot-pinkeep check"


@dataclass(frozen=True)
class Row:
    """A message and its command.

    :ivar state: brings the server into the state that the message is about
    :ivar says: a literal part of the text that names the command
    :ivar run: how the command begins that the message names; all of it is taken from the message
    :ivar fill: what the admin puts in place of words such as FILE, or makes of them
    :ivar after: what holds once the command was run
    :ivar first: what else the message says to do first
    :ivar where: the module that has the message, below the package, without ``.py``
    :ivar ask: the command that says it
    """

    state: Callable[[Server], object]
    says: str
    run: str
    after: Check
    fill: Mapping[str, str | Callable[[Server], str]] = field(default_factory=dict)
    first: Callable[[Server], object] | None = None
    where: str = ""
    ask: str = ""

    @property
    def name(self) -> str:
        """What the row is about, for the list of tests."""
        return f"{self.where}: {self.state.__name__}: {self.run}"

    def follow(self, server: Server) -> None:
        """Ask, read the command in what is said, run it, and look."""
        self.state(server)
        ask = self.ask.format_map(_Words(server))
        asked = server.run(ask)
        assert self.says in asked.text, f"it is not said:\n{asked.text}"
        named = [one for one in asked.commands if one.startswith(self.run)]
        assert named, f"no command begins with {self.run!r} in:\n{asked.text}\n{asked.commands}"
        if self.first is not None:
            self.first(server)
        line = named[0]
        for word, meant in self.fill.items():
            meant = meant if isinstance(meant, str) else meant(server)
            line = line.replace(word, meant.format_map(_Words(server)))
        said = server.run(line)
        try:
            self.after(server, said)
            if self.after is gone or (self.after is sound and ask != CHECK):
                again = server.run(ask)
                assert self.says not in again.text, f"it is said again:\n{again.text}"
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n\nThe message:\n{asked.text}\nThe command: {line}\nIt said ({said.code}):\n"
                f"{said.text}"
            ) from error


def of(where: str, ask: str, *rows: Row) -> Iterator[Row]:
    """Rows of messages of one module, which one command says."""
    return (replace(row, where=where, ask=ask) for row in rows)


class _Words(dict[str, str]):
    """What stands for something of the server in a command line."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server

    def __missing__(self, word: str) -> str:
        server = self._server
        found: dict[str, Callable[[], object]] = {
            "root": lambda: server.root,
            "der": lambda: states.der_csr(server),
            "sha1": lambda: states.sha1_csr(server),
            "foreign": lambda: states.foreign_certificate(server),
            "next_year": lambda: states.next_year(server),
            "live": server.live,
            "archive": lambda: server.config / "archive" / "a.test",
            "live_pin": server.live_pin,
            "backup": lambda: server.backups()[0],
            "strange": lambda: "A" * 43 + "=",
            "plain": lambda: states.encrypted_wrongly(server),
        }
        return str(found[word]())


def done(server: Server, said: Said) -> None:
    """The command was taken."""
    assert said.code == 0, "it failed"


def says_more(server: Server, said: Said) -> None:
    """It fails, and says what to do: that is a row of its own."""
    assert said.code == 1 and said.commands, "it says no more"


def gone(server: Server, said: Said) -> None:
    """The same, and the message is not said again."""
    done(server, said)


def sound(server: Server, said: Said) -> None:
    """The same, and nothing is wrong any more."""
    done(server, said)
    server.sound()
