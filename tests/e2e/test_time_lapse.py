"""Two years of weekly `certbot renew`, a dozen visitors, every reason for a rollover (G2)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

from e2e.lapse import How, Lapse, Pinkeep, PlainCertbot, ReuseKey, Seen, Tally, table
from e2e.reasons import PLAIN
from e2e.world import NAME, check_whole
from lab import Certbot

Act = Callable[[Lapse], None]

REPOSITORY = Path(__file__).parents[2]
# How the rows of a timeline are labelled.
KEY = re.compile(r"[A-Za-z0-9+/]{10} (retired|compromised|primary|backup)\b")
POLICY = re.compile(r"3 pins, (60|120|30) days")
WEEKS = 105  # two years, and the week after
DAYS = 7 * WEEKS


def adoption(max_age: int) -> Act:
    """Pins are published for the first time; pinkeep stages two backup keys."""
    return lambda world: world.begin(max_age)


def renewal() -> Act:
    """The certificate is due."""
    return lambda world: world.renew()


def max_age(days: int) -> Act:
    """The admin changes his mind about max-age."""
    return lambda world: world.change_max_age(days)


def rollover(*options: str) -> Act:
    """`certbot-pinkeep rollover`, which asks the next renewal for it."""
    return lambda world: world.roll_over(*options)


def rollover_now() -> Act:
    """`certbot-pinkeep rollover --now` in place of a renewal."""
    return lambda world: world.roll_over_now()


def too_early(safe_on: int) -> Act:
    """`certbot-pinkeep rollover` is refused: it is safe from that day on."""
    return lambda world: world.roll_over_too_early(safe_on)


def revocation(how: How, reason: str) -> Act:
    """`certbot revoke`, and another certificate at once."""
    return lambda world: world.revoke(how, reason)


class Row(NamedTuple):
    """What the admin does in a week, and what is served from then on.

    With plain certbot the key is as new as the certificate. With ``--reuse-key`` it is new if the CA refuses
    the old one, or if that was deleted.
    """

    week: int
    max_age: int
    certificate: int
    key_of_pinkeep: int
    key_of_reuse_key: int
    act: Act


# fmt: off
CALENDAR = [
    # week
    #   |  max-age in days
    #   |    |  certificate
    #   |    |   |  key of pinkeep
    #   |    |   |  |  key of --reuse-key
    Row(0,  60,  1, 1, 1, adoption(max_age=60)),
    Row(9,  60,  2, 1, 1, renewal()),
    Row(18, 60,  3, 1, 1, renewal()),
    Row(27, 60,  4, 1, 1, renewal()),
    # The key is older than 240 days.
    Row(36, 60,  5, 2, 1, renewal()),
    Row(40, 120, 5, 2, 1, max_age(120)),
    Row(43, 120, 5, 2, 1, rollover()),
    Row(45, 120, 6, 3, 1, renewal()),
    # Key 4 is pinned since week 36. What was noted before bound for 60 days, until week 45.
    Row(47, 120, 7, 4, 2, revocation("by its own key", "keycompromise")),
    # Key 5 is pinned since week 45. What was noted before binds for 120 days, until week 63.
    Row(50, 120, 7, 4, 2, too_early(safe_on=7 * 45 + 120)),
    Row(52, 120, 8, 4, 2, revocation("by name", "superseded")),
    Row(54, 120, 9, 4, 2, renewal()),
    Row(63, 120, 10, 5, 2, renewal()),
    Row(70, 30, 10, 5, 2, max_age(30)),
    Row(72, 30, 11, 5, 2, renewal()),
    # Key 6 is pinned since week 47. What was noted before bound for 120 days, until week 65.
    Row(75, 30, 12, 6, 3, revocation("with deletion", "cessationofoperation")),
    # Key 7 is pinned since week 63. What was noted before binds until week 81, although the
    # max-age is 30 days now.
    Row(77, 30, 12, 6, 3, too_early(safe_on=7 * 63 + 120)),
    Row(77, 30, 12, 6, 3, rollover("--when-safe")),
    Row(78, 30, 13, 6, 3, renewal()),
    Row(81, 30, 14, 7, 3, renewal()),
    # Key 8 is pinned since week 75, key 9 since week 81.
    Row(90, 30, 15, 8, 3, rollover_now()),
    Row(95, 30, 16, 9, 3, revocation("by path", "unspecified")),
    Row(99, 30, 17, 9, 3, renewal()),
]

VISITORS = {
    "every week":                         range(0, DAYS, 7),
    "every week, on another day":         range(5, DAYS, 7),
    "every second week":                  range(1, DAYS, 14),
    "every 29 days":                      range(2, DAYS, 29),
    "every 50 days":                      range(3, DAYS, 50),
    "every 59 days":                      range(4, DAYS, 59),
    "every 61 days":                      range(6, DAYS, 61),
    "every 100 days":                     range(12, DAYS, 100),
    "every 119 days":                     range(77, DAYS, 119),
    "twice a year":                       range(30, DAYS, 182),
    "once, and again after a year":       (300, 665),
    # On the eve of weeks 36, 45 and 63, before new backups came; and as late as those pins bind.
    "as rarely as the pins let one come": (251, 310, 314, 433, 440, 559),
}
# fmt: on


@pytest.mark.long
def test_g2_two_years(
    template: Certbot, quick_root: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Roll the key over eight times with pinkeep, and lock nobody out."""
    world = Pinkeep(tmp_path, template, quick_root, VISITORS)
    tally = lived_through(world)

    assert world.seen == expected(lambda row: row.key_of_pinkeep)
    check_whole(world.bot, NAME)
    check_timeline(world, request.config.getoption("--picture"))
    assert tally.refused == 0, tally.locked_out


@PLAIN
@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        pytest.param(ReuseKey, lambda row: row.key_of_reuse_key, id="reuse-key"),
        pytest.param(PlainCertbot, lambda row: row.certificate, id="certbot"),
    ],
)
def test_two_years_without_pinkeep(
    kind: type[Lapse],
    key: Callable[[Row], int],
    template: Certbot,
    quick_root: Path,
    tmp_path: Path,
) -> None:
    """Lock visitors out by the same calendar without pinkeep."""
    world = kind(tmp_path, template, quick_root, VISITORS)
    tally = lived_through(world)

    assert world.seen == expected(key)
    assert tally.refused > 0


def lived_through(world: Lapse) -> Tally:
    """Live through the calendar, every visitor coming as often as planned."""
    weeks = [[row.act for row in CALENDAR if row.week == week] for week in range(WEEKS)]
    tally = world.live(weeks)
    print(f"\n{table([tally])}")
    assert tally.visits == sum(map(len, VISITORS.values()))
    return tally


def check_timeline(world: Lapse, picture: str | None) -> None:
    """It shows every key and policy; so does the picture in docs/how-it-works.rst, and its words say as many.

    :param picture: where to draw it
    """
    if picture is not None:
        drawn = str(Path(picture).absolute())
        world.bot.pinkeep("timeline", NAME, "-o", drawn, faketime=world.clock).check()
    text = world.bot.pinkeep("timeline", NAME, faketime=world.clock).check().stdout
    texts = ET.parse(REPOSITORY / "docs/timeline.svg").iter("{http://www.w3.org/2000/svg}text")
    shown = [line.text or "" for line in texts]
    keys = len({row.key_of_pinkeep for row in CALENDAR})
    policies = len(list(groupby((row.key_of_pinkeep, row.max_age) for row in CALENDAR)))
    for lines in (text.splitlines(), shown):
        labels = [line.strip() for line in lines]
        assert sum(map(bool, map(KEY.match, labels))) == keys + 2, lines
        assert sum(map(bool, map(POLICY.match, labels))) == policies, lines
    assert (keys, policies) == (9, 11)
    assert "Nine keys, one after the other, and two backups; eleven policies" in " ".join(
        (REPOSITORY / "docs/how-it-works.rst").read_text("utf-8").split()
    )


def expected(key: Callable[[Row], int]) -> list[Seen]:
    """What is to be served in each week."""
    seen: list[Seen] = []
    for week in range(WEEKS):
        *_, row = [row for row in CALENDAR if row.week <= week]
        seen.append(Seen(row.certificate, key(row), row.max_age))
    return seen
