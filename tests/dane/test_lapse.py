"""Months of renewals and rollovers of a mail server, in which no mail is refused (G2, G13)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from certbot_pinkeep.carriers.zones import Change
from certbot_pinkeep.carriers.zones.powerdns import PowerDns as Api
from dane.lapse import TTL, ByHand, Mail, Records, Secondary, Senders, ask
from dane.world import FIRST, SECOND, Network, example
from e2e.world import Bot
from lab import Ca
from lab.name_servers import API, API_KEY, PowerDns

#: Neither of them has a protocol inside TLS: the servers below speak none, and take one connection at a time.
PORTS = (25, 5465)
HOSTS = {"pinkeep": "127.0.2.1", "danebot": "127.0.2.2", "plain": "127.0.2.3"}
DAY = timedelta(days=1)
#: How often a certificate is renewed, and how long after it the second port is reloaded.
WEEK, LATE = 7, 2
#: On which days of the week the timer runs.
TIMER = (0, 3, 5)
#: How long the second name server lags: longer than the two days for which danebot waits.
LAG = 4


def host_of(name: str) -> str:
    """The host of one of the ways to renew."""
    return f"{name}.example.test"


class Story:
    """One calendar: a certbot with pinkeep, and two others; all of them write through one provider."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.folder = folder
        self.ca = running.enter_context(Ca(folder / "ca", reuse=True))
        self.bot = Bot(folder / "certbot", self.ca)
        self.host = host_of("pinkeep")
        self.bot.run("certonly", *self.bot.account, *self.bot.by_http, "-d", self.host).check()
        self.provider = Api({"api_url": API, "api_key": API_KEY})
        self.second = Secondary(folder / "first", folder / "second")
        self.by_hand = {name: ByHand(folder / name) for name in ("danebot", "plain")}
        lives = {"pinkeep": self.bot.live(self.host)}
        lives |= {name: one.live for name, one in self.by_hand.items()}
        self.mail = {
            name: [Mail(HOSTS[name], number, live) for number in PORTS]
            for name, live in lives.items()
        }
        for mail in self.mail.values():
            for one in mail:
                running.callback(one.stop)
        self.senders = {
            name: Senders(host_of(name), (FIRST, SECOND), mail) for name, mail in self.mail.items()
        }
        self.seen: dict[str, int] = {}
        self.keys: set[str] = set()

    def command(self, *words: str, day: float = 0) -> str:
        """Run the plugin's command; what it said."""
        return self.bot.pinkeep(*words, faketime=day * DAY).output

    def put(self, name: str, *folders: Path) -> None:
        """Enter the records of keys by hand, at every port."""
        one = self.by_hand[name]
        after: Records = frozenset(map(one.record, folders))
        changes = [
            Change(owner, ask(FIRST, owner), after, int(TTL.total_seconds()))
            for owner in (f"_{number}._tcp.{host_of(name)}." for number in PORTS)
        ]
        self.provider.change("example.test.", changes)

    def pin(self, credentials: Path) -> None:
        """Begin."""
        told = self.bot.pinkeep(
            *("pin", self.host, "--header", "none", "--tlsa", "25/tls,5465"),
            *("--dns-credentials", str(credentials), "--tlsa-ttl", str(int(TTL.total_seconds()))),
            *("--rollover-days", "14"),
        )
        # Not every name server has the records yet: the second one lags.
        assert told.returncode == 0, told.output
        for name in ("danebot", "plain"):
            self.put(name, self.by_hand[name].live)
        self.second.follow()

    def live_through(self, day: int, asked: set[int], revoked: set[int]) -> None:
        """A day: the timer's run, reloads, changes of records, and mail after each of them."""
        if day in asked:
            self.command("rollover", self.host, "--when-safe", day=day)
        if day in revoked:
            path = str(self.bot.live(self.host) / "cert.pem")
            self.bot.run(
                *("revoke", *self.bot.account, "--cert-path", path, "--no-delete-after-revoke"),
                faketime=day * DAY,
            ).check()
        force = ["--force-renewal"] if day % WEEK == 0 else []
        if day % WEEK in TIMER:
            self.bot.renew(*force, faketime=day * DAY)
        if day % WEEK == 0:
            self.others_renew(day)
        self.deliver(day * DAY)
        for name, mail in self.mail.items():
            if day % WEEK == 0:
                mail[0].reload()
            if day % WEEK == LATE:
                mail[1].reload()
                if name == "plain":
                    self.put(name, self.by_hand[name].live)
        if day % LAG == 0:
            self.second.follow()
        self.deliver((day + 0.5) * DAY)
        self.keys.add(self.mail["pinkeep"][0].pin)

    def others_renew(self, day: int) -> None:
        """Danebot's rule: the next key was seen by one resolver two days ago. Plain: a new key each month."""
        bot, plain = self.by_hand["danebot"], self.by_hand["plain"]
        seen = self.seen.get("danebot")
        if bot.staged.is_dir() and seen is not None and day - seen >= 2:
            bot.switch()
            del self.seen["danebot"]
        bot.make(bot.staged)
        self.put("danebot", bot.live, bot.staged)
        if bot.record(bot.staged) in ask(FIRST, f"_25._tcp.{host_of('danebot')}."):
            self.seen["danebot"] = day
        if day % (4 * WEEK) == 0:
            plain.make(plain.live)
            self.put("plain", plain.live)

    def deliver(self, now: timedelta) -> None:
        """Mail from every cache, to each host."""
        for senders in self.senders.values():
            senders.deliver(now)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Network]:
    """A provider with an HTTP API, and a second name server that lags."""
    lines = [f"{name} A {address}" for name, address in HOSTS.items()]
    with ExitStack() as running:
        world = Network(tmp_path, running)
        for address in HOSTS.values():
            world.ns.add_address(address)
        zone = example(*lines)
        world.start(PowerDns(world.ns, tmp_path / "first", FIRST, [zone], caches=False))
        world.start(
            PowerDns(world.ns, tmp_path / "second", SECOND, [zone], caches=False, api=False)
        )
        world.open(zone)
        yield world


def told(folder: Path, days: int) -> dict[str, tuple[int, int, int]]:
    """Live through some days: the deliveries, what was refused, and the keys of pinkeep's host."""
    credentials = folder / "powerdns.ini"
    credentials.write_text(f"dns_powerdns_api_url = {API}\ndns_powerdns_api_key = {API_KEY}\n")
    credentials.chmod(0o600)
    with ExitStack() as running:
        story = Story(folder, running)
        story.pin(credentials)
        asked, revoked = {12}, {24}
        for day in range(1, days):
            story.live_through(day, asked, revoked)
        return {
            name: (senders.deliveries, len(senders.refused), len(story.keys))
            for name, senders in story.senders.items()
        }


def test_g2_g13_no_mail_is_refused_in_months(servers: Network, days: int) -> None:
    """By age, on command and after a revocation; a port and a name server lag. By the rule of others mail is
    refused, so the judge means something."""
    found = servers.ns.call(told, servers.folder, days)
    print(f"in {days} days: deliveries, refused, keys of pinkeep's host", found)
    deliveries, refused, keys = found["pinkeep"]
    assert refused == 0 and deliveries > 4 * (days - 1)
    assert keys >= 4  # the first one, and one for each reason to roll over
    assert found["danebot"][1] and found["plain"][1]
