"""Rollover histories: what happens on which day, and what follows from it (G2, G3, G8).

Each history is a table of steps, played with the real workflow on a config dir: the true day (counted
from the first certificate), what is done then, and the outcome. Keys have letters in the order in
which they were made: A is the adopted one. Pins bind for 60 days, if nothing else is said.

============================  ====================================================================
outcome                       meaning
============================  ====================================================================
``A B C``                     the pins that are published, in their order
``B | B C D``                 the renewal is issued for B; after it, B C D are published
``A, not before day 70 | …``  a rollover is due; it is safe from that day on, and A goes on
``A, time unknown | …``       a rollover is due; from when it is safe is not known
``…, not loaded``             Apache is not known to have loaded what is published
``next: B``                   the next renewal rolls over to B
``refused before day 70``     nothing is issued, or noted; safe from that day on
``locks out until day 70``    what the admin is told before it is forced
``LOCKED OUT until day 70``   what happened to the clients
============================  ====================================================================

Beside each history runs a crowd of clients, somebody of whom visits at every moment. After each step
it is asked for somebody who holds pins without the key that is served. So that no history ends in
``LOCKED OUT``, but for those with a forced rollover, is what is shown here.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certbot_pinkeep.adapters import revocation
from certbot_pinkeep.adapters.revocation import Answer
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core import times
from certbot_pinkeep.core.errors import NotSafe, PinkeepError, PublishFailed
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.workflow import requests
from simulated.machine import Site
from simulated.values import DAY, NOW
from simulated.visitors import Served, Visitors
from simulated.workflow import Workflow

BEGIN = NOW - DAY
_RELOADS: dict[str, tuple[tuple[str, ...], ...]] = {
    "reloads": (("/bin/true",),),
    "fails": (("/bin/false",),),
    "by hand": (),
}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Play:
    """A lineage, its workflow, an Apache, and everybody who ever visited it.

    :ivar served: what Apache has loaded; ``None``: nothing yet
    """

    def __init__(self, root: Path) -> None:
        self.site = Site(root)
        self.chosen = Options(self.site.name, configtest=(), reload=_RELOADS["reloads"])
        self.visitors = Visitors()
        self.served: Served | None = None
        self.true = BEGIN
        self.shift = timedelta(0)
        self.kept_copy = root / "copy"
        self.pinned = False
        self.revoked: dict[str, str] = {}
        self.told: list[str] = []

    @property
    def now(self) -> datetime:
        """What the clock of the machine says."""
        return self.true + self.shift

    @property
    def workflow(self) -> Workflow:
        """A new one, as each run has."""
        return self.site.workflow

    def on(self, day: int, step: Step) -> str:
        """The outcome of a step."""
        self.true = BEGIN + day * DAY
        self.told.clear()
        outcome = step(self)
        refused = self.visitors.refuse(self.served, self.true) if self.served else ()
        until = max((until for *_, until in refused), default=None)
        return outcome + (f"; LOCKED OUT until {self.day(until + self.shift)}" if until else "")

    def day(self, moment: datetime) -> str:
        """A time of the machine's clock as a day."""
        days = (moment - BEGIN) / DAY
        return f"day {int(days) if days == int(days) else days}"

    def letter(self, pin: str) -> str:
        """The letter of a key: its files are numbered in the order in which they were made."""
        found = self.workflow.folders.find_key(pin)
        return _LETTERS[int(Path(found.path).name[:4])] if found else "?"

    def load(self) -> None:
        """Apache loads what is on the disk."""
        text = apache.read_snippet(str(self.site.snippet))
        policy = apache.read_policy(text) if text is not None else None
        if self.served is not None:
            self.visitors.visit(self.served, self.true)
        self.served = Served(self.site.name, self.site.look().pin, policy)

    def keep(self) -> str:
        """A run of pinkeep; what is published after it."""
        try:
            report = self.workflow.keep(
                self.site.look(), self.chosen, self.now, pinned_before=self.pinned
            )
        except PublishFailed:
            return f"{self.published()}, not loaded"
        except PinkeepError as error:
            return type(error).__name__
        self.pinned = True
        if report.reloaded:
            self.load()
        return self.published() + (", not loaded" if report.pending else "")

    def published(self) -> str:
        """The pins in the snippet."""
        policy = apache.read_policy(self.site.snippet.read_text())
        if policy is None:
            return "no header"
        what = " ".join(map(self.letter, policy.pins))
        what += ", report-only" if policy.report_only else ""
        return what + (", max-age 0" if policy.max_age == 0 else "")

    def when(self, text: str) -> str:
        """What a message says of the time from which a rollover is safe."""
        found = re.search(r"The new key is safe from (\S+Z)\.", text)
        if found:
            return f" before {self.day(times.parse(found[1]))}"
        return ", time unknown" if "does not know yet" in text else ""

    def next(self, sentences: tuple[str, ...] | list[str]) -> str:
        """What sentences about the next rollover say."""
        text = " ".join(sentences)
        pin = re.search(r"with the pin (\S+?)[.:]", text)
        victims = re.findall(r"until (\S+Z)(?= or later|[.;])", text) if "locks out" in text else []
        when = "" if victims else self.when(text).replace(" before", ", not before")
        told = max(map(times.parse, victims), default=None)
        locks = f"; locks out until {self.day(told)}" if told else ""
        return f"next: {self.letter(pin[1]) if pin else '?'}{when}{locks}"


Step = Callable[[Play], str]


# The steps


def run(apache: str | None = None, max_age: int | None = None, **changes: Any) -> Step:
    """``certbot renew`` while nothing is due, perhaps after the admin changed options.

    :param apache: what happens to Apache from now on: it ``reloads``, that ``fails``, or it is
        reloaded ``by hand``
    :param max_age: in days
    """

    def step(play: Play) -> str:
        _choose(play, apache, max_age, changes)
        return play.keep()

    return step


def renew(
    apache: str | None = None, max_age: int | None = None, new_key: bool = False, **changes: Any
) -> Step:
    """A renewal, with or without ``--new-key``, perhaps after the admin changed options."""

    def step(play: Play) -> str:
        _choose(play, apache, max_age, changes)
        live, name = play.site.look(), play.site.name
        try:
            handed = play.workflow.handover(
                live, name, live.names, play.now, asked=new_key, chosen=play.chosen
            )
        except NotSafe as error:
            return f"refused{play.when(str(error))}"
        when = play.when(" ".join(play.told)).replace(" before", ", not before")
        play.site.issue(handed.key_pem)
        return f"{play.letter(handed.pin)}{when} | {play.keep()}"

    return step


def _choose(play: Play, apache: str | None, max_age: int | None, changes: dict[str, Any]) -> None:
    if apache is not None:
        changes = {**changes, "reload": _RELOADS[apache]}
    if max_age is not None:
        changes = {**changes, "max_age": max_age * 86400}
    play.chosen = replace(play.chosen, **changes)


def rollover(when_safe: bool = False, compromised: bool = False, force: bool = False) -> Step:
    """``certbot-pinkeep rollover``."""

    def step(play: Play) -> str:
        try:
            asked = requests.ask(
                play.workflow,
                play.site.name,
                play.now,
                when_safe=when_safe,
                compromised=compromised,
                force=force,
            )
        except NotSafe as error:
            return f"refused{play.when(str(error))}"
        return play.next(asked.told)

    return step


def confirm(play: Play) -> str:
    """``certbot-pinkeep confirm``."""
    try:
        said = requests.confirm(play.workflow, play.site.name, play.now)
    except PinkeepError:
        return "refused"
    return "nothing pending" if "nothing pending" in said else "confirmed"


def unpin(undo: bool = False) -> Step:
    """``certbot-pinkeep unpin``."""

    def step(play: Play) -> str:
        requests.unpin(play.workflow, play.site.name, play.now, undo=undo)
        return play.keep()

    return step


def certbot_revoke(reason: str = "") -> Step:
    """``certbot revoke`` on this machine."""

    def step(play: Play) -> str:
        pin, compromised = play.site.look().pin, reason == "keyCompromise"
        return play.next(
            requests.note_revoked(play.workflow, pin, play.now, compromised=compromised)
        )

    return step


def ca_revokes(reason: str = "superseded") -> Step:
    """The live certificate is revoked, and only the CA knows."""

    def step(play: Play) -> str:
        play.revoked[play.site.look().fingerprint] = reason
        return ""

    return step


def restart(play: Play) -> str:
    """The admin restarts Apache."""
    play.load()
    return ""


def edit(letters: str) -> Step:
    """Somebody edits the snippet, so that it lists other pins, and reloads Apache."""

    def step(play: Play) -> str:
        state = play.workflow.store.load(play.site.name)
        assert state is not None and state.ledger.current is not None
        listed = {play.letter(key.pin): key.pin for key in state.keyring.keys}
        policy = replace(state.ledger.current.policy, pins=tuple(map(listed.__getitem__, letters)))
        play.site.snippet.write_text(apache.render(state.keyring, policy))
        play.load()
        return ""

    return step


def clock(days: int) -> Step:
    """From now on the machine's clock is ahead by so many days."""

    def step(play: Play) -> str:
        play.shift = days * DAY
        return ""

    return step


def lose_key(letter: str) -> Step:
    """The file of a private key is lost."""

    def step(play: Play) -> str:
        path = play.site.config / "keys" / f"{_LETTERS.index(letter):04d}_key-certbot.pem"
        path.write_bytes(b"")  # its number stays taken, so that letters stay unique
        return ""

    return step


def lose_file(play: Play) -> str:
    """The keyring file is lost; its copy below the work dir is there."""
    play.site.file.unlink()
    return ""


def lose_file_and_copy(play: Play) -> str:
    """The keyring file is lost, and so is certbot's work dir."""
    play.site.file.unlink()
    shutil.rmtree(play.site.work)
    return ""


def lose_snippet(play: Play) -> str:
    """The snippet is lost; Apache serves it still."""
    play.site.snippet.unlink()
    return ""


def back_up(play: Play) -> str:
    """The admin makes a copy of certbot's config dir."""
    shutil.copytree(play.site.config, play.kept_copy, symlinks=True)
    return ""


def put_back(part: str = "") -> Step:
    """The admin puts the older copy back, the whole config dir or a part of it."""

    def step(play: Play) -> str:
        old, new = play.kept_copy / part, play.site.config / part
        if old.is_dir():
            shutil.rmtree(new)
            shutil.copytree(old, new, symlinks=True)
        else:
            shutil.copy2(old, new)
        return ""

    return step


History = list[tuple[int, Step, str]]
HISTORIES: dict[str, History] = {
    # When a rollover is due
    "a key is rolled over after two years, and the next one after two more": [
        (0, run(), "A B C"),
        (60, renew(), "A | A B C"),
        (729, renew(), "A | A B C"),
        (731, renew(), "B | B C D"),
        (1460, renew(), "B | B C D"),
        (1461, renew(), "C | C D E"),
    ],
    "rollover-days is changed: today's counts": [
        (0, run(rollover_days=None), "A B C"),
        (5000, renew(), "A | A B C"),
        (5001, renew(rollover_days=5002), "A | A B C"),
        (5002, renew(), "B | B C D"),
        (5003, renew(rollover_days=1), "C | C D E"),
    ],
    "a rollover is asked for": [
        (0, run(), "A B C"),
        (5, rollover(), "next: B"),
        (5, run(), "A B C"),
        (30, renew(), "B | B C D"),
        (31, renew(), "B | B C D"),
    ],
    "--new-key is a rollover now, or an error that says when": [
        (0, run(backup_keys=1), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (11, renew(new_key=True), "refused before day 70"),
        (11, renew(), "B | B C"),
        (70, renew(new_key=True), "C | C D"),
    ],
    # When it is safe
    "the new backup is not in what clients hold": [
        (0, run(backup_keys=1), "A B"),
        (10, rollover(), "next: B"),
        (10, renew(), "B | B C"),
        (11, rollover(), "refused before day 70"),
        (11, renew(), "B | B C"),
        (11, rollover(when_safe=True), "next: C, not before day 70"),
        (69, renew(), "B, not before day 70 | B C"),
        (70, renew(), "C | C D"),
    ],
    "max-age is lowered: the long pins of before still count": [
        (0, run(backup_keys=1, max_age=365), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (20, run(max_age=1), "B C"),
        (30, rollover(), "refused before day 375"),
        (374, rollover(), "refused before day 375"),
        (375, rollover(), "next: C"),
        (375, renew(), "C | C D"),
        (376, rollover(), "refused before day 385"),
        (385, rollover(), "next: D"),
    ],
    "max-age is raised: the short pins of before do not last longer": [
        (0, run(backup_keys=1, max_age=1), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (10, run(max_age=365), "B C"),
        (11, renew(new_key=True), "C | C D"),
        (12, rollover(), "refused before day 376"),
    ],
    "max-age goes up and down between two rollovers: the longest counts": [
        (0, run(backup_keys=1, max_age=30), "A B"),
        (5, run(max_age=300), "A B"),
        (6, run(max_age=30), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (11, rollover(), "refused before day 306"),
    ],
    "a backup whose file is old was published yesterday": [
        (0, run(), "A B C"),
        (1, run(backup_keys=1), "A B"),
        (300, renew(new_key=True), "B | B C"),
        (301, rollover(), "refused before day 360"),
        (360, rollover(), "next: C"),
    ],
    "a backup is dropped and staged again within max-age": [
        (0, run(), "A B C"),
        (20, run(backup_keys=1), "A B"),
        (25, run(backup_keys=2), "A B C"),
        (30, renew(new_key=True), "B | B C D"),
        (31, rollover(), "refused before day 85"),
        (85, renew(new_key=True), "C | C D E"),
    ],
    "the snippet is edited, so that the first backup is missing: the second is taken": [
        (0, run(), "A B C"),
        (5, edit("AC"), ""),
        (6, run(), "A B C"),
        (7, renew(new_key=True), "C | C B D"),
        (66, renew(new_key=True), "B | B D E"),
    ],
    "the file of the first backup is lost: the second is taken": [
        (0, run(), "A B C"),
        (5, lose_key("B"), ""),
        (6, rollover(), "next: C"),
        (6, renew(), "C | C D E"),
    ],
    "a key rolls over twice within max-age: two backups were known": [
        (0, run(), "A B C"),
        (10, renew(new_key=True), "B | B C D"),
        (20, renew(new_key=True), "C | C D E"),
        (30, rollover(), "refused before day 70"),
        (70, renew(new_key=True), "D | D E F"),
        (71, rollover(), "refused before day 80"),
    ],
    # A rollover at every renewal
    "rollover-days 0, one backup: at every second or third renewal": [
        (0, run(backup_keys=1, rollover_days=0), "A B"),
        (30, renew(), "B | B C"),
        (60, renew(), "B, not before day 90 | B C"),
        (90, renew(), "C | C D"),
        (120, renew(), "C, not before day 150 | C D"),
        (150, renew(), "D | D E"),
    ],
    "rollover-days 0, two backups: at every renewal, on the very day": [
        (0, run(backup_keys=2, rollover_days=0), "A B C"),
        (30, renew(), "B | B C D"),
        (60, renew(), "C | C D E"),
        (89, renew(), "C, not before day 90 | C D E"),
        (90, renew(), "D | D E F"),
        (120, renew(), "E | E F G"),
    ],
    "rollover-days 0, three backups: at every renewal": [
        (0, run(backup_keys=3, rollover_days=0), "A B C D"),
        (20, renew(), "B | B C D E"),
        (40, renew(), "C | C D E F"),
        (60, renew(), "D | D E F G"),
        (80, renew(), "E | E F G H"),
        (100, renew(), "F | F G H I"),
    ],
    # What Apache has loaded
    "the reload fails for weeks: who visits meanwhile notes the old pins": [
        (0, run(backup_keys=1), "A B"),
        (10, renew(new_key=True, apache="fails"), "B | B C, not loaded"),
        (40, rollover(), "refused, time unknown"),
        (70, renew(rollover_days=0), "B | B C, not loaded"),
        (99, rollover(), "refused, time unknown"),
        (100, run(apache="reloads", rollover_days=730), "B C"),
        (101, rollover(), "refused before day 160"),
        (160, renew(new_key=True), "C | C D"),
    ],
    "Apache is reloaded by hand, and that is confirmed late": [
        (0, run(apache="by hand", backup_keys=1), "A B, not loaded"),
        (0, restart, ""),
        (1, confirm, "confirmed"),
        (10, renew(new_key=True), "B | B C, not loaded"),
        (10, restart, ""),
        (49, rollover(), "refused, time unknown"),
        (50, confirm, "confirmed"),
        (50, confirm, "nothing pending"),
        (51, rollover(), "refused before day 110"),
        (110, renew(new_key=True), "C | C D, not loaded"),
    ],
    "pins that are published, but never loaded, may be served any time": [
        (0, run(), "A B C"),
        (5, run(apache="fails", backup_keys=1), "A B, not loaded"),
        (10, restart, ""),
        (20, run(apache="fails", backup_keys=2), "A B C, not loaded"),
        (30, run(apache="reloads"), "A B C"),
        (31, renew(new_key=True), "B | B C D"),
        (32, rollover(), "refused before day 90"),
    ],
    "a first phase is report-only: nobody holds anything": [
        (0, run(report_only=True, backup_keys=1), "A B, report-only"),
        (5, renew(new_key=True), "B | B C, report-only"),
        (6, renew(new_key=True), "C | C D, report-only"),
        (7, run(report_only=False), "C D"),
        (8, renew(new_key=True), "D | D E"),
        (9, rollover(), "refused before day 68"),
    ],
    "report-only after the fact releases nobody": [
        (0, run(backup_keys=1), "A B"),
        (10, run(report_only=True), "A B, report-only"),
        (20, renew(new_key=True), "B | B C, report-only"),
        (30, rollover(), "refused before day 70"),
        (70, renew(new_key=True), "C | C D, report-only"),
    ],
    # Revocation
    "certbot revoke: the next renewal rolls over": [
        (0, run(), "A B C"),
        (5, certbot_revoke(), "next: B"),
        (6, renew(), "B | B C D"),
        (7, renew(), "B | B C D"),
    ],
    "revoked while nothing is safe: the key goes on until something is": [
        (0, run(backup_keys=1), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (20, certbot_revoke(), "next: C, not before day 70"),
        (20, renew(), "B, not before day 70 | B C"),
        (50, renew(), "B, not before day 70 | B C"),
        (70, renew(), "C | C D"),
        (99, renew(), "C | C D"),
    ],
    "revoked by somebody else: noticed at the renewal, and not forgotten by the next one": [
        (0, run(backup_keys=1), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (20, ca_revokes(), ""),
        (40, renew(), "B, not before day 70 | B C"),
        (69, renew(), "B, not before day 70 | B C"),
        (70, renew(), "C | C D"),
    ],
    "compromised: the first safe backup, at once": [
        (0, run(), "A B C"),
        (5, certbot_revoke("keyCompromise"), "next: B"),
        (5, run(), "A B C"),
        (6, renew(), "B | B C D"),
        (400, run(backup_keys=5), "B C D E F G"),
    ],
    "compromised while nothing is safe: renewals fail until something is": [
        (0, run(backup_keys=1), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (20, ca_revokes("keyCompromise"), ""),
        (20, renew(), "refused before day 70"),
        (21, run(), "B C"),
        (69, renew(), "refused before day 70"),
        (70, renew(), "C | C D"),
    ],
    "compromised while nothing is safe, and forced": [
        (0, run(backup_keys=1), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (20, rollover(compromised=True), "refused before day 70"),
        (21, renew(), "refused before day 70"),
        (21, rollover(force=True), "next: C; locks out until day 70"),
        (21, renew(), "C | C D; LOCKED OUT until day 70"),
        (69, run(), "C D; LOCKED OUT until day 70"),
        (70, run(), "C D"),
        (70, rollover(), "refused before day 81"),
    ],
    "forced: who is locked out is told before": [
        (0, run(backup_keys=1, max_age=100), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (20, rollover(), "refused before day 110"),
        (20, rollover(force=True), "next: C; locks out until day 110"),
        (30, renew(), "C | C D; LOCKED OUT until day 110"),
        (110, renew(), "C | C D"),
    ],
    "forced, but by the next renewal it is safe": [
        (0, run(backup_keys=1), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (20, rollover(force=True), "next: C; locks out until day 70"),
        (70, renew(), "C | C D"),
    ],
    # Lost and wrong records
    "the keyring file is lost: its copy counts, in doubt": [
        (0, run(backup_keys=1), "A B"),
        (10, lose_file, ""),
        (11, rollover(), "refused, time unknown"),
        (12, renew(rollover_days=0), "A, time unknown | A B"),
        (13, renew(), "A, not before day 72 | A B"),
        (72, renew(), "B | B C"),
    ],
    "the keyring file and its copy are lost: blind for as long as pins may bind": [
        (0, run(backup_keys=1), "A B"),
        (10, lose_file_and_copy, ""),
        (11, renew(), "A | A B"),
        (12, rollover(), "refused before day 71"),
        (12, renew(rollover_days=0), "A, not before day 71 | A B"),
        (71, renew(), "B | B C"),
    ],
    "the keyring file and its copy are lost, and max-age was longer than the default": [
        (0, run(backup_keys=1, max_age=200), "A B"),
        (10, lose_file_and_copy, ""),
        (11, run(max_age=1), "A B"),
        (12, rollover(), "refused before day 211"),
    ],
    "the keyring file, its copy and the snippet are lost: blind at least for the default max-age": [
        (0, run(backup_keys=1), "A B"),
        (10, lose_file_and_copy, ""),
        (10, lose_snippet, ""),
        (11, run(max_age=1), "A C"),
        (12, rollover(), "refused before day 71"),
        (71, renew(new_key=True), "C | C D"),
    ],
    "the keyring file and its copy are lost, and the key is compromised: no key is known to be safe": [
        (0, run(backup_keys=1), "A B"),
        (10, lose_file_and_copy, ""),
        (10, ca_revokes("keyCompromise"), ""),
        (11, renew(), "refused"),
    ],
    "an older keyring file is put back: what happened since counts, in doubt": [
        (0, run(backup_keys=1), "A B"),
        (5, back_up, ""),
        (10, renew(new_key=True), "B | B C"),
        (20, put_back("pinkeep/example.com.conf"), ""),
        (21, rollover(), "refused, time unknown"),
        (22, renew(rollover_days=0), "B, time unknown | B C"),
        (81, renew(), "B, not before day 82 | B C"),
        (82, renew(), "C | C D"),
    ],
    "the whole config dir of before a change is put back: what was served since counts": [
        (0, run(backup_keys=2), "A B C"),
        (10, back_up, ""),
        (20, run(backup_keys=1), "A B"),
        (30, put_back(), ""),
        (30, restart, ""),
        (31, rollover(), "refused, time unknown"),
        (32, renew(), "A | A B"),
        (33, rollover(), "refused before day 92"),
        (92, renew(new_key=True), "B | B C"),
    ],
    "the whole config dir of before new keys is put back: their files are lost": [
        (0, run(backup_keys=1), "A B"),
        (10, back_up, ""),
        (20, run(backup_keys=2), "A B C"),
        (30, put_back(), ""),
        (31, rollover(), "refused, time unknown"),
        (32, renew(), "A | A B D"),
        (33, run(), "A B D"),
    ],
    "the whole config dir of before a rollover is put back, and pinkeep runs first": [
        (0, run(backup_keys=1), "A B"),
        (10, back_up, ""),
        (20, renew(new_key=True), "B | B C"),
        (30, put_back(), ""),
        (31, renew(), "B | B D"),
        (33, run(), "B D"),
    ],
    "the clock is set back during a change, and set right again": [
        (0, run(backup_keys=1), "A B"),
        (100, renew(new_key=True, apache="fails"), "B | B C, not loaded"),
        (110, clock(-50), ""),
        (110, run(apache="reloads"), "B C, not loaded"),
        (111, rollover(), "refused, time unknown"),
        (111, renew(rollover_days=0), "B | B C, not loaded"),
        (120, clock(0), ""),
        (121, run(rollover_days=None), "B C"),
        (122, rollover(), "refused before day 181"),
        (181, renew(new_key=True), "C | C D"),
    ],
    "the clock was a year ahead for a day": [
        (0, run(backup_keys=1), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (20, clock(+365), ""),
        (20, run(), "B C"),
        (21, clock(0), ""),
        (22, rollover(), "refused, time unknown"),
        (22, renew(rollover_days=0), "B, time unknown | B C"),
        (384, rollover(), "refused, time unknown"),
        (385, rollover(), "next: C"),
    ],
    # Leaving pinning
    "unpinned: max-age 0 until nobody holds pins, then no header": [
        (0, run(), "A B C"),
        (10, unpin(), "A B C, max-age 0"),
        (69, renew(), "A | A B C, max-age 0"),
        (70, run(), "no header"),
        (71, renew(), "A | no header"),
    ],
    "a rollover while unpinning keeps to what is still held": [
        (0, run(backup_keys=1), "A B"),
        (10, renew(new_key=True), "B | B C"),
        (20, unpin(), "B C, max-age 0"),
        (21, rollover(), "refused before day 70"),
        (70, renew(new_key=True), "C | C D, max-age 0"),
        (79, run(), "C D, max-age 0"),
        (80, run(), "no header"),
        (81, renew(new_key=True), "D | no header"),
        (82, renew(new_key=True), "E | no header"),
    ],
    "unpinned while Apache does not reload: nothing runs out": [
        (0, run(apache="by hand"), "A B C, not loaded"),
        (0, restart, ""),
        (1, confirm, "confirmed"),
        (10, unpin(), "A B C, max-age 0, not loaded"),
        (90, run(), "A B C, max-age 0, not loaded"),
        (100, restart, ""),
        (100, confirm, "confirmed"),
        (159, run(), "A B C, max-age 0"),
        (160, run(), "no header, not loaded"),
    ],
    "pinned again: those who were told to forget hold pins anew": [
        (0, run(backup_keys=1), "A B"),
        (10, unpin(), "A B, max-age 0"),
        (70, run(), "no header"),
        (80, unpin(undo=True), "A B"),
        (90, renew(new_key=True), "B | B C"),
        (91, rollover(), "refused before day 150"),
    ],
}


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """A new beginning, in which the CA says what the history says."""
    found = Play(tmp_path)

    def look(certificate: bytes, chain: bytes, now: datetime) -> Answer:
        live = found.site.look()
        assert certificate == live.certificates()[0]
        reason = found.revoked.get(live.fingerprint, "")
        return Answer(bool(reason), reason)

    monkeypatch.setattr(revocation, "look", look)
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: found.told.append(record.getMessage()))
    logger = logging.getLogger("certbot_pinkeep")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


@pytest.mark.parametrize("name", HISTORIES)
def test_g2_history(play: Play, name: str) -> None:
    """The table above: each step has the outcome that is written beside it."""
    history = HISTORIES[name]
    outcomes = [(day, play.on(day, step)) for day, step, _ in history]
    assert outcomes == [(day, expected) for day, _, expected in history]
    forced = any("locks out" in outcome for _, outcome in outcomes)
    assert forced or not any("LOCKED OUT" in outcome for _, outcome in outcomes)
