"""RSA and ECDSA side by side on one virtual host: each client meets a pinned key (G2, G4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import ApacheMaker
from e2e.reasons import RULE
from e2e.world import (
    DAY,
    HOUR,
    KEYRING,
    NAME,
    Bot,
    Family,
    clock_at,
    live_pin,
    pins_in_header,
    refused_at,
    said,
    snippet_of,
    times_in,
)
from lab import Apache, Ca, Certbot, VirtualHost, Wget2
from lab.clients import accepts_one_of, shown_pins

# The lineages, both for the host NAME.
RSA, ECDSA = "www-rsa", "www-ecdsa"
LINEAGES = {"rsa": RSA, "ecdsa": ECDSA}


class Pair(Family):
    """Two lineages for one host, which draw on one keyring."""

    @property
    def header(self) -> list[str]:
        """The pins that a visitor is told now."""
        (value,) = self.server.get(NAME).pins
        return pins_in_header(value)

    def kinds(self, pins: list[str]) -> list[str]:
        """The types of these keys."""
        types = {key["pin"]: key["key_type"] for key in self.status()["keys"]}
        return [types[pin] for pin in pins]

    def backups(self, key_type: str) -> list[str]:
        """The pins of the backups of a type, the next one first."""
        return [
            key["pin"]
            for key in self.status()["keys"]
            if (key["key_type"], key["role"]) == (key_type, "backup")
        ]


def check_shown(pair: Pair, root: Path, noted: list[str]) -> None:
    """Assert that clients of either type are shown a key of that type that was noted, and is pinned."""
    port, header = pair.server.https_port, pair.header
    for key_type, lineage in LINEAGES.items():
        live = live_pin(pair.bot, lineage)
        assert shown_pins(NAME, port, key_type) == [live, live]
        assert pair.kinds([live]) == [key_type]
        assert live in noted
        assert live in header
        assert accepts_one_of(NAME, port, key_type, noted, root)
        others = [pin for pin in header if pin != live]
        assert not accepts_one_of(NAME, port, key_type, others, root)


@pytest.fixture(scope="session")
def pair_template(quick_ca: Ca, tmp_path_factory: pytest.TempPathFactory) -> Certbot:
    """A certbot with an RSA and an ECDSA lineage for one host. To be copied, never used."""
    made = Bot(tmp_path_factory.mktemp("pair-template"), quick_ca)
    for key_type, lineage in LINEAGES.items():
        name = ["--cert-name", lineage, "-d", NAME, "--duplicate"]
        made.certonly(*name, f"--key-type={key_type}").check()
    return made


def host_of(bot: Bot, *lineages: str) -> VirtualHost:
    """The one virtual host, with the certificates of these lineages."""
    return VirtualHost((NAME,), tuple(bot.live(one) for one in lineages), snippet_of(bot, KEYRING))


@pytest.fixture
def pair(empty_bot: Bot, pair_template: Certbot, apache: ApacheMaker) -> Pair:
    """Both on one keyring and one virtual host."""
    empty_bot.copy_of(pair_template)
    server: Apache = apache(host_of(empty_bot, RSA, ECDSA))
    made = Pair(empty_bot, server, lineages=(RSA, ECDSA))
    made.adopt()
    return made


@RULE
def test_g4_the_header_has_what_is_in_service_and_backups_of_both(pair: Pair) -> None:
    """Two keys in service, then two unserved backups of each type, in the order of their use."""
    header = pair.header
    assert header == pair.pins
    assert set(header[:2]) == set(pair.live_pins.values())
    assert sorted(pair.kinds(header[:2])) == ["ecdsa", "rsa"]
    for key_type in LINEAGES:
        backups = [pin for pin in header[2:] if pair.kinds([pin]) == [key_type]]
        assert len(backups) == 2
        assert backups == pair.backups(key_type)
    assert len(header) == 6
    pair.check_whole()

    # With one type's backup in a header, the other's live pin is none.
    pair.adopt("--pinkeep-backup-keys=1")
    assert pair.header == [*header[:2], *(pair.backups(one)[0] for one in LINEAGES)]
    pair.check_whole()


def test_g2_clients_of_either_type_meet_a_pinned_key(
    pair: Pair, regular: Wget2, quick_root: Path
) -> None:
    """Through renewals of each, and of both, and a rollover of both: with what was noted at first."""
    noted, live = pair.header, pair.live_pins
    assert regular.visit(pair.server.url(NAME)).accepted
    check_shown(pair, quick_root, noted)
    for lineage in LINEAGES.values():
        pair.renew_one(lineage)
        assert pair.live_pins == live
    pair.renew()
    assert (pair.live_pins, pair.header) == (live, noted)
    check_shown(pair, quick_root, noted)

    backups = {LINEAGES[one]: pair.backups(one) for one in LINEAGES}
    pair.rollover().check()
    for lineage in LINEAGES.values():
        pair.renew_one(lineage)
        live[lineage] = backups[lineage][0]
        assert pair.live_pins == live
        check_shown(pair, quick_root, noted)
        assert pair.backups(pair.kinds([live[lineage]])[0])[0] == backups[lineage][1]
        pair.check_whole()
    assert not pair.state()["due"]
    assert refused_at(regular, pair.server, [NAME]) == []


@RULE
def test_g2_now_rolls_both_over(pair: Pair, quick_root: Path) -> None:
    """`rollover --now`: both lineages serve the first backup of their type."""
    noted = pair.header
    first = {LINEAGES[one]: pair.backups(one)[0] for one in LINEAGES}
    with pair.server.reloading():
        pair.rollover("--now").check()
    assert pair.live_pins == first
    pair.server.reload()
    check_shown(pair, quick_root, noted)
    pair.check_whole()


@RULE
def test_a_client_of_one_type_refuses_a_key_that_is_not_pinned(
    pair: Pair, quick_root: Path
) -> None:
    """The counter-case: a new RSA key without the plugin is refused, by those that are shown it."""
    bot, noted = pair.bot, pair.header
    bot.renew_without_plugin("--cert-name", RSA, "--no-reuse-key").check()
    pair.server.reload()
    port = pair.server.https_port
    assert not accepts_one_of(NAME, port, "rsa", noted, quick_root)
    assert accepts_one_of(NAME, port, "ecdsa", noted, quick_root)
    assert set(shown_pins(NAME, port, "rsa")) == {live_pin(bot, RSA)}
    assert live_pin(bot, RSA) not in noted


def test_g2_g4_two_types_are_enrolled_one_after_the_other(
    empty_bot: Bot,
    pair_template: Certbot,
    apache: ApacheMaker,
    regular: Wget2,
    quick_root: Path,
) -> None:
    """The first publication has the live keys of both, with backups of each; the second call joins."""
    empty_bot.copy_of(pair_template)
    pair = Pair(empty_bot, apache(host_of(empty_bot, RSA, ECDSA)), lineages=(RSA, ECDSA))
    with pair.server.reloading():
        told = said(empty_bot.renew("--cert-name", RSA, *pair.options).check())
    assert f"certbot-pinkeep pin {ECDSA}" in told
    noted = pair.header
    assert sorted(pair.kinds(noted)) == ["ecdsa"] * 3 + ["rsa"] * 3
    assert regular.visit(pair.server.url(NAME)).accepted
    check_shown(pair, quick_root, noted)
    with pair.server.reloading():
        empty_bot.renew("--cert-name", ECDSA, *pair.options).check()
    assert sorted(pair.header) == sorted(noted)
    for lineage in LINEAGES.values():
        pair.renew_one(lineage)
        check_shown(pair, quick_root, noted)
        assert refused_at(regular, pair.server, [NAME]) == []
    pair.check_whole()


# The type that joins later


@pytest.fixture
def single(empty_bot: Bot, apache: ApacheMaker) -> Iterator[Pair]:
    """An ECDSA lineage, pinned, that is to have an RSA one at its side."""
    empty_bot.certonly("--cert-name", ECDSA, "-d", NAME, "--key-type=ecdsa").check()
    server = apache(host_of(empty_bot, ECDSA))
    made = Pair(empty_bot, server, lineages=(ECDSA,))
    made.adopt()
    yield made


JOINING = ("-d", NAME, "--cert-name", RSA, "--duplicate", "--key-type=rsa")


def test_g2_a_type_that_joins_later_waits_until_it_is_safe(
    single: Pair, regular: Wget2, quick_root: Path
) -> None:
    """Pinned at once, refused with a date until then, issued for the pinned key after that."""
    bot, server, before = single.bot, single.server, single.header
    assert regular.visit(server.url(NAME)).accepted
    with server.reloading():
        done = bot.certonly(*JOINING, *single.options)
    assert done.returncode == 1
    assert not bot.live(RSA).exists()
    # A second may pass between two sentences.
    safe = max(times_in(done.output))
    assert 59 * DAY < clock_at(safe) <= 60 * DAY
    noted = single.header
    assert [pin for pin in noted if pin in before] == before
    added = [pin for pin in noted if pin not in before]
    assert single.kinds(added) == ["rsa"] * 3
    assert noted[0] == before[0]

    done = bot.certonly(*JOINING, *single.options, faketime=clock_at(safe) - HOUR)
    assert done.returncode == 1
    assert set(times_in(done.output)) == {safe}
    assert not bot.live(RSA).exists()

    after = clock_at(safe) + HOUR
    bot.certonly(*JOINING, *single.options, faketime=after).check()
    assert live_pin(bot, RSA) == added[0]
    single.serve(host_of(bot, RSA, ECDSA))
    check_shown(single, quick_root, noted)
    assert not accepts_one_of(NAME, server.https_port, "rsa", before, quick_root)
    assert refused_at(regular, server, [NAME], after) == []
    single.lineages = (ECDSA, RSA)
    single.check_whole()


@RULE
def test_g2_a_type_that_is_there_already_is_pinned_at_once(single: Pair, regular: Wget2) -> None:
    """Its host may serve it: it joins with the RSA key that it has, and keeps it."""
    bot, server = single.bot, single.server
    assert regular.visit(server.url(NAME)).accepted
    bot.certonly_without_plugin(*JOINING).check()
    own = live_pin(bot, RSA)
    told = said(single.renew_one(RSA))
    assert f"keyring {KEYRING}" in told
    assert live_pin(bot, RSA) == own
    assert own in single.header
    assert len(single.header) == 6
    assert sorted(single.status()["lineages"]) == sorted([ECDSA, RSA])
    assert refused_at(regular, server, [NAME]) == []


@RULE
def test_a_type_that_joins_if_nobody_is_bound(empty_bot: Bot, apache: ApacheMaker) -> None:
    """Report-only pins hold nobody: the second type is issued at once, with a key of its own."""
    bot = empty_bot
    bot.certonly("--cert-name", ECDSA, "-d", NAME, "--key-type=ecdsa").check()
    pair = Pair(bot, apache(host_of(bot, ECDSA)), lineages=(ECDSA, RSA))
    pair.adopt("--pinkeep-report-only")
    with pair.server.reloading():
        bot.certonly(*JOINING, *pair.options).check()
    assert set(pair.live_pins.values()) == set(pair.pins[:2])
    assert len(pair.pins) == 6
    pair.check_whole()
