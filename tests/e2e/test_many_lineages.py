"""Many lineages on one keyring: one run, one configtest and one reload, nobody left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from e2e.conftest import ApacheMaker
from e2e.reasons import RULE
from e2e.world import (
    KEYRING,
    OTHER,
    Bot,
    Family,
    live_certificate,
    said,
    script,
    snippet_of,
)
from lab import Ca, Certbot, VirtualHost, wait_for

LINEAGES = tuple(f"host-{number:02}.pin.test" for number in range(12))
FIRST, LAST = LINEAGES[0], LINEAGES[-1]


class Crowd(Family):
    """Many lineages on one keyring, and a count of what Apache was asked to do."""

    @property
    def told(self) -> Path:
        """What the commands of :attr:`commands` write to."""
        return self.bot.folder.with_name("told")

    @property
    def commands(self) -> list[str]:
        """As ever, but each call leaves a trace, and a test what it has tested."""
        test = f"#!/bin/sh\necho configtest >> {self.told}\nexec {self.server.configtest_command}\n"
        load = f"#!/bin/sh\necho reload >> {self.told}\nexec {self.server.reload_command}\n"
        folder = self.bot.folder.parent
        return [
            f"--pinkeep-configtest-command={script(folder / 'configtest', test)}",
            f"--pinkeep-reload-command={script(folder / 'reload', load)}",
        ]

    def count(self) -> tuple[int, int]:
        """How often Apache's configuration was tested and loaded since it was asked last."""
        text = self.told.read_text() if self.told.exists() else ""
        self.told.unlink(missing_ok=True)
        return text.count("configtest"), text.count("reload")

    @property
    def serials(self) -> list[int]:
        """The serial numbers of the live certificates."""
        return [live_certificate(self.bot, name).serial_number for name in self.lineages]

    def is_served(self) -> bool:
        """Whether Apache serves every live certificate."""
        return [self.server.served_serial(name) for name in self.lineages] == self.serials

    def await_all(self) -> None:
        """Wait until Apache, which was told to reload, serves every live certificate."""
        wait_for(self.is_served, "Apache to serve all renewed certificates")


@pytest.fixture(scope="session")
def crowd_template(quick_ca: Ca, tmp_path_factory: pytest.TempPathFactory) -> Certbot:
    """A certbot with many lineages. To be copied, never used."""
    made = Bot(tmp_path_factory.mktemp("crowd-template"), quick_ca)
    # The CA validates all names in one order sooner than in many; a real certbot waits for that.
    made.real = True
    made.certonly("--cert-name", "all", f"--domains={','.join(LINEAGES)}").check()
    made.real = False
    made.run("delete", "--cert-name", "all").check()
    for name in LINEAGES:
        made.certonly("-d", name).check()
    return made


@pytest.fixture
def crowd(empty_bot: Bot, crowd_template: Certbot, apache: ApacheMaker) -> Crowd:
    """Many lineages that have joined a keyring in one run; what that took is still to be counted."""
    empty_bot.copy_of(crowd_template)
    header = snippet_of(empty_bot, KEYRING)
    hosts = [VirtualHost((name,), (empty_bot.live(name),), header) for name in LINEAGES]
    made = Crowd(empty_bot, apache(*hosts), lineages=LINEAGES)
    made.adopt()
    return made


def test_one_configtest_and_one_reload_for_all(crowd: Crowd) -> None:
    """Joining, renewing for the shared key, renewing again: tested and loaded once each."""
    server, own = crowd.server, set(crowd.live_pins.values())
    assert crowd.count() == (1, 1)
    assert set(crowd.pins[: len(own)]) == own
    assert len(crowd.pins) == len(LINEAGES) + 2
    crowd.check_whole()

    # Pinkeep's last lineage is not the last one that certbot comes to.
    crowd.bot.certonly("-d", OTHER).check()
    assert OTHER > LAST
    for _ in range(2):
        serials = crowd.serials
        with server.reloading():
            crowd.bot.renew("--force-renewal").check()
        assert crowd.count() == (1, 1)
        assert len(crowd.pins) == 3
        assert not set(serials) & set(crowd.serials)
        crowd.await_all()
        assert set(crowd.served_pins.values()) == {crowd.pins[0]}
        crowd.check_whole()

    # And the counter-cases: nothing to do, and one run for each.
    crowd.bot.renew().check()
    assert crowd.count() == (0, 0)
    for name in (FIRST, LAST):
        crowd.renew_one(name)
    assert crowd.count() == (2, 2)


def test_g6_what_cannot_be_published_fails_the_run(crowd: Crowd) -> None:
    """Exit 1, whoever comes after pinkeep's last lineage; the certificates wait for the next run."""
    crowd.bot.certonly("-d", OTHER).check()
    text, header = crowd.snippet.read_text(), crowd.server.get(FIRST).pins
    crowd.server.write_config("Nonsense on\n")
    done = crowd.bot.renew("--force-renewal")
    assert done.returncode == 1
    assert "Nonsense" in said(done)
    assert crowd.snippet.read_text() == text
    assert crowd.server.get(FIRST).pins == header
    crowd.server.write_config()
    crowd.count()
    with crowd.server.reloading():
        crowd.bot.renew().check()
    assert crowd.count() == (1, 1)
    crowd.await_all()
    crowd.check_whole()


@RULE
def test_two_keyrings_take_one_reload(crowd: Crowd) -> None:
    """A test for each changed snippet, and one reload for both."""
    crowd.count()
    bot, others = crowd.bot, ("shop.pin.test", "news.pin.test")
    rest = Crowd(bot, crowd.server, "others", others)
    for name in others:
        rest.take(name).check()
    rest.serve_too(*(rest.host(name) for name in others))
    crowd.count()
    change = ["--pinkeep-max-age=86400"]
    with crowd.server.reloading():
        bot.renew("--force-renewal", "--installer", "pinkeep", *change).check()
    assert crowd.count() == (2, 1)
    for one in (crowd, rest):
        one.await_all()
        assert "max-age=86400" in crowd.server.get(one.lineages[0]).pins[0]
        one.check_whole()


def test_g3_the_last_renewal_fails(crowd: Crowd) -> None:
    """The CA is out of reach for the last one: the others' certificates are loaded all the same."""
    crowd.count()
    renewal, serials = crowd.bot.renewal(LAST), crowd.serials
    lines = renewal.read_text().splitlines(keepends=True)
    gone = "server = https://127.0.0.9:9/directory\n"
    renewal.write_text("".join(gone if one.startswith("server =") else one for one in lines))
    with crowd.server.reloading():
        done = crowd.bot.run("renew", "--force-renewal")
    assert done.returncode == 1
    assert "127.0.0.9" in said(done)
    assert crowd.count() == (1, 1)
    assert crowd.serials[-1] == serials[-1]
    assert not set(serials[:-1]) & set(crowd.serials[:-1])
    crowd.await_all()
    assert crowd.live_pins[LAST] in crowd.pins
    assert len(crowd.pins) == 4  # the shared key, the last one's own, and two backups
    crowd.check_whole()


def _at_last_order(act: Callable[[], object]) -> None:
    """Do something when the last lineage is about to get its certificate."""
    from acme import client

    real, left = client.ClientV2.finalize_order, [len(LINEAGES)]

    def finalize_order(self: object, *args: object, **named: object) -> object:
        left[0] -= 1
        if not left[0]:
            act()
        order: object = real(self, *args, **named)  # type: ignore[arg-type]
        return order

    setattr(client.ClientV2, "finalize_order", finalize_order)  # noqa: B010


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_g5_killed_before_the_last_renewal(crowd: Crowd) -> None:
    """Nobody reloads Apache then, which serves on; the next run has it load all, once."""
    crowd.count()
    served = crowd.served_pins
    done = crowd.bot.fork_renew("--force-renewal", before=partial(_at_last_order, _kill))
    assert done.returncode == -signal.SIGKILL
    assert crowd.count() == (0, 0)
    assert not crowd.is_served()
    assert crowd.served_pins == served
    with crowd.server.reloading():
        crowd.bot.renew().check()
    assert crowd.count() == (1, 1)
    crowd.await_all()
    assert len(crowd.pins) == 4
    crowd.check_whole()


def test_g3_interrupted_at_the_last_renewal(crowd: Crowd) -> None:
    """Somebody presses Ctrl-C: what is renewed by then is loaded when certbot ends."""
    crowd.count()
    with crowd.server.reloading():
        done = crowd.bot.fork_renew("--force-renewal", before=partial(_at_last_order, _interrupt))
    assert done.returncode != 0
    assert crowd.count() == (1, 1)
    crowd.await_all()
    assert len(crowd.pins) == 4
    crowd.check_whole()
