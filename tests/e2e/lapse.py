"""Years of a pinned site within a minute: one calendar, the same visitors, three ways to renew.

A :class:`Lapse` is a site with an Apache, a certbot and visitors of its own. Every run of certbot
and every visit is told what time it is; Apache and Pebble stay in the present. A week begins, in
the small hours, with what the admin does in it, then with certbot's timer, ``certbot renew``;
visitors come at noon.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from e2e.world import NAME, Bot, Pinned, refusal, snippet_of, times_in
from lab import Apache, Certbot, VirtualHost, Wget2, wait_for

T = TypeVar("T")

TIMER = timedelta(hours=4)
NOON = timedelta(hours=12)

# A header written by hand: it has a second pin as well, but no renewal can be issued for that key.
SPARE = "A" * 43 + "="
HEADER = 'pin-sha256="{pin}"; pin-sha256="{spare}"; max-age={seconds}'
SNIPPET = """Header always set Public-Key-Pins "{value}" "expr=%{{HTTPS}} == 'on'"\n"""

How = Literal["by name", "by path", "by its own key", "with deletion"]


class Seen(NamedTuple):
    """What a site serves: which certificate and key, in the order of appearance, and the max-age."""

    certificate: int
    key: int
    max_age: int


@dataclass
class Visitor:
    """Somebody who visits on certain days, and what became of it."""

    rhythm: str
    days: Collection[int]
    agent: Wget2
    visits: int = 0
    refused: int = 0

    def visit(self, url: str, day: int) -> None:
        """Come at noon."""
        self.visits += 1
        if self.agent.visit(url, faketime=timedelta(days=day) + NOON).mismatch:
            self.refused += 1


@dataclass(frozen=True)
class Tally:
    """What became of a world's visitors."""

    title: str
    keys: int
    visitors: int
    visits: int
    refused: int
    locked_out: tuple[str, ...]


def table(tallies: Sequence[Tally]) -> str:
    """The counts, side by side."""
    lines: list[tuple[str, ...]] = [("", "keys", "visits", "refused", "visitors locked out")]
    for tally in tallies:
        counts = (str(count) for count in (tally.keys, tally.visits, tally.refused))
        locked_out = f"{len(tally.locked_out)} of {tally.visitors}"
        lines.append((tally.title, *counts, locked_out))
    title, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        "  ".join(
            [line[0].ljust(title)]
            + [cell.rjust(width) for cell, width in zip(line[1:], others, strict=True)]
        )
        for line in lines
    )


class Lapse(ABC):
    """A site that lives through a calendar. How it keeps its key, and its pins, is what differs."""

    title: str

    def __init__(
        self,
        folder: Path,
        template: Certbot,
        root: Path,
        rhythms: Mapping[str, Collection[int]],
    ) -> None:
        self.folder = folder
        self.bot = Bot(folder / "certbot", template.ca)
        self.bot.copy_of(template)
        self.visitors = [
            Visitor(rhythm, days, Wget2(folder / f"visitor-{number}", root, (NAME,)))
            for number, (rhythm, days) in enumerate(rhythms.items())
        ]
        self.began = datetime.now(timezone.utc)
        self.day = 0
        self.max_age = 0
        self.seen: list[Seen] = []
        self._serials: list[int] = []
        self._pins: list[str] = []

    def live(self, weeks: Sequence[Sequence[Callable[[Lapse], None]]]) -> Tally:
        """Live through the weeks, with what the admin does in each.

        :attr:`seen` tells afterwards what was served in each of them.
        """
        with ExitStack() as running:
            host = VirtualHost((NAME,), (self.bot.live(NAME),), snippet_of(self.bot, NAME))
            server = running.enter_context(Apache(self.folder / "apache", [host]))
            self.site = Pinned(self.bot, server)
            for week, acts in enumerate(weeks):
                self.day = 7 * week
                for act in acts:
                    act(self)
                self.bot.renew(faketime=self.clock).check()
                wait_for(self._up_to_date, f"Apache to serve what is on disk in week {week}")
                self._look()
                self._receive(range(self.day, self.day + 7))
        assert not self.bot.told.exists(), self.bot.told.read_text()
        return Tally(
            self.title,
            len(self._pins),
            len(self.visitors),
            sum(visitor.visits for visitor in self.visitors),
            sum(visitor.refused for visitor in self.visitors),
            tuple(visitor.rhythm for visitor in self.visitors if visitor.refused),
        )

    def _up_to_date(self) -> bool:
        if self.site.server.served_serial(NAME) != self.site.live_serial:
            return False
        snippet = self.site.snippet.read_text().replace(r"\"", '"')
        pins = self.site.server.get(NAME).pins
        return len(pins) == 1 and f' "{pins[0]}" ' in snippet

    def _look(self) -> None:
        server = self.site.server
        pin, serial = server.served_pin(NAME), server.served_serial(NAME)
        (header,) = server.get(NAME).pins
        assert f'pin-sha256="{pin}"' in header
        (seconds,) = re.findall(r"max-age=(\d+)", header)
        max_age = timedelta(seconds=int(seconds)).days
        self.seen.append(Seen(_number(serial, self._serials), _number(pin, self._pins), max_age))

    def _receive(self, days: Sequence[int]) -> None:
        for day in days:
            for visitor in self.visitors:
                if day in visitor.days:
                    visitor.visit(self.site.url, day)

    @property
    def clock(self) -> timedelta:
        """The time of what happens in the small hours of this day, from the present on."""
        return timedelta(days=self.day) + TIMER

    @property
    def max_age_seconds(self) -> int:
        """The max-age as headers and options have it."""
        return int(timedelta(days=self.max_age).total_seconds())

    # What the admin does.

    def begin(self, max_age: int) -> None:
        """Publish pins for the first time."""
        self.max_age = max_age
        self._begin()

    def change_max_age(self, days: int) -> None:
        """Publish another max-age."""
        self.max_age = days
        self._change_max_age()

    @abstractmethod
    def renew(self) -> None:
        """Renew the certificate, which is due."""

    def revoke(self, how: How, reason: str) -> None:
        """Revoke the certificate, and take another one at once.

        A CA takes no key again that is compromised, or that signed the revocation (Let's Encrypt).
        """
        live = self.bot.live(NAME)
        name, path = f"--cert-name={NAME}", f"--cert-path={live / 'cert.pem'}"
        options = {
            "by name": [name, "--no-delete-after-revoke"],
            "by path": [path, "--no-delete-after-revoke"],
            "by its own key": [
                *(path, f"--key-path={live / 'privkey.pem'}"),
                "--no-delete-after-revoke",
            ],
            "with deletion": [name, "--delete-after-revoke"],
        }[how]
        revoke = ["revoke", *self.bot.account, f"--reason={reason}", *options]
        self.bot.run(*revoke, faketime=self.clock).check()
        if how == "with deletion":
            assert not live.exists()
            self._obtain_again()
        else:
            self._replace(burnt=how == "by its own key" or reason == "keycompromise")

    @abstractmethod
    def roll_over(self, *options: str) -> None:
        """Ask for another key, if one can be asked for."""

    @abstractmethod
    def roll_over_now(self) -> None:
        """Renew for another key at once, if one can be asked for; renew if not."""

    @abstractmethod
    def roll_over_too_early(self, safe_on: int) -> None:
        """Ask for another key, if one can be asked for, and be told the day that is safe."""

    @abstractmethod
    def _begin(self) -> None: ...

    @abstractmethod
    def _change_max_age(self) -> None: ...

    @abstractmethod
    def _replace(self, *, burnt: bool) -> None: ...

    @abstractmethod
    def _obtain_again(self) -> None: ...


class _Plain(Lapse):
    """Certbot without the plugin. The admin writes the header by hand, after each renewal."""

    renewal: tuple[str, ...] = ()
    other_key: tuple[str, ...] = ()

    def renew(self) -> None:
        """``certbot renew``."""
        self._obtain("renew", "--force-renewal", *self.renewal)

    def roll_over(self, *options: str) -> None:
        """There is no other key."""

    def roll_over_now(self) -> None:
        """There is no other key."""
        self.renew()

    def roll_over_too_early(self, safe_on: int) -> None:
        """There is no other key."""

    def _begin(self) -> None:
        self._publish()

    def _change_max_age(self) -> None:
        self._publish()

    def _replace(self, *, burnt: bool) -> None:
        other_key = self.other_key if burnt else ()
        self._obtain("renew", "--force-renewal", *self.renewal, *other_key)

    def _obtain_again(self) -> None:
        self._obtain("certonly", *self.bot.by_http, "-d", NAME, *self.renewal)

    def _obtain(self, verb: str, *options: str) -> None:
        self.bot.run(verb, *self.bot.account, *options, faketime=self.clock).check()
        self._publish()

    def _publish(self) -> None:
        pin, seconds = self.site.live_pin, self.max_age_seconds
        value = HEADER.format(pin=pin, spare=SPARE, seconds=seconds).replace('"', r"\"")
        self.site.snippet.parent.mkdir(parents=True, exist_ok=True)
        self.site.snippet.write_text(SNIPPET.format(value=value))
        self.site.server.reload()


class PlainCertbot(_Plain):
    """A new key at each renewal, as certbot does unless told otherwise."""

    title = "certbot"


class ReuseKey(_Plain):
    """One key for as long as a CA takes it."""

    title = "certbot --reuse-key"
    renewal = ("--reuse-key",)
    other_key = ("--new-key",)


class Pinkeep(Lapse):
    """Certbot with the plugin."""

    title = "certbot with pinkeep"
    settings = ("--pinkeep-rollover-days=240", "--pinkeep-backup-keys=2")

    def renew(self) -> None:
        """``certbot renew``, which remembers every option."""
        self._run("renew", "--force-renewal")

    def roll_over(self, *options: str) -> None:
        """``certbot-pinkeep rollover``."""
        self.site.rollover(*options, faketime=self.clock).check()

    def roll_over_now(self) -> None:
        """``certbot-pinkeep rollover --now``."""
        with self.site.server.reloading():
            self.site.rollover("--now", faketime=self.clock).check()

    def roll_over_too_early(self, safe_on: int) -> None:
        """``certbot-pinkeep rollover``: refused on one line, with the earliest safe time."""
        line = refusal(self.site.rollover(faketime=self.clock))
        assert {(time - self.began).days for time in times_in(line)} == {safe_on}, line

    def _begin(self) -> None:
        self._run("renew", *self._options())

    def _change_max_age(self) -> None:
        self._run("renew", f"--pinkeep-max-age={self.max_age_seconds}")

    def _replace(self, *, burnt: bool) -> None:
        self.renew()

    def _obtain_again(self) -> None:
        self._run("certonly", *self.bot.by_http, "-d", NAME, *self._options())

    def _options(self) -> list[str]:
        return [*self.site.options, *self.settings, f"--pinkeep-max-age={self.max_age_seconds}"]

    def _run(self, verb: str, *options: str) -> None:
        with self.site.server.reloading():
            self.bot.run(verb, *self.bot.account, *options, faketime=self.clock).check()


def _number(one: T, known: list[T]) -> int:
    """The number of ``one`` in the order of appearance, from 1 on."""
    if one not in known:
        known.append(one)
    return known.index(one) + 1
