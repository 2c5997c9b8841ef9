"""Files of every earlier format are read, mean the same, and are brought to today's format once.

The samples in ``formats/`` were written by the real earlier code, oldest first: format 1 got its fields
one by one. The last but one is what version 0.1 writes, the last one is format 2.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from certbot_pinkeep.core import pins, rollover, times
from certbot_pinkeep.core.errors import DamagedState, NewerState
from certbot_pinkeep.core.holdings import Entry, Holding, Release
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.ledger import Ledger, Uncertainty
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import keyring_file
from certbot_pinkeep.storage.store import Store
from simulated.machine import Site
from simulated.values import DAY, EC, NOW, RSA, ring_key, tree
from simulated.workflow import Workflow

SAMPLES = sorted((Path(__file__).parent / "formats").glob("*.conf"))
A, B, C, D, E, F = (
    base64.b64encode(hashlib.sha256(letter.encode()).digest()).decode() for letter in "ABCDEF"
)
T = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOSTS = ("example.com", "www.example.com")
#: From which sample on there was what.
TESTED, REQUESTS, SHARED, RELEASES, BACKUPS, ESCAPED, OVER, NEIGHBOURS = 2, 3, 4, 7, 8, 9, 10, 11


def number_of(sample: Path) -> int:
    """The number of a sample."""
    return int(sample.stem.partition(".")[2])


def meant(number: int) -> State:
    """What the file of this number says, in today's terms."""
    requests, shared, backups = (number >= since for since in (REQUESTS, SHARED, BACKUPS))

    def key(pin: str, role: str, days: int, **more: object) -> Key:
        path = more.pop("path", f"keys/{days:04d}_key-certbot.pem")
        kind = RSA if pin in (D, E) else EC
        values = {"kind": kind, "role": role, "path": path, "created": T - days * DAY, **more}
        return Key(pin, **values)  # type: ignore[arg-type]

    reasons = ("revoked", "asked") if requests else ("", "")
    keys = (
        key(A, "primary", 0, first_served=T, retire_reason=reasons[0]),
        key(
            *(B, "retired", 1),
            first_served=T - 50 * DAY,
            last_served=T if backups else None,
            retire_reason=reasons[1],
        ),
        key(C, "backup", 2, forced=requests),
        key(D, "in-service", 3),
        key(E, "backup", 4, path=None, added=True, encrypted="keys/0009_key-certbot.pem")
        if backups
        else key(E, "backup", 4),
        key(F, "compromised", 5),
    )
    members = [Member("example.com", HOSTS, A, "ab" * 32)]
    if shared:
        moved = "moved.example.com"
        members.append(Member(moved, (moved,), A, None, "elsewhere"))
    if number >= NEIGHBOURS:
        members.append(Member("neighbour.example.com", HOSTS[:1], D, enrolled=False))
    return State(
        Keyring("ring", tuple(members), keys, 365 if requests else None),
        ledger(number),
        "/etc/letsencrypt/pinkeep/apache/ring.conf",
        "cd" * 32 if number >= TESTED else "",
        requests,
        7 if requests else 0,
        {"max-age": "5184000", "reload-command": "apachectl graceful"} if shared else {},
    )


def ledger(number: int) -> Ledger:
    """Its ledger."""
    hosts = HOSTS if number >= SHARED else ()
    begin, middle, end = T + 100 * DAY, T + 210 * DAY, T + 220 * DAY
    entries = (
        Entry(
            Policy((A, C), 5184000, True, "https://report.example/%41"),
            *(begin, begin, middle, hosts),
        ),
        Entry(Policy((A, C), 864000), middle, middle, None, hosts),
        Entry(Policy((A, C), 86400), end, hosts=hosts),
    )
    imported = Entry(Policy((D, E), 5184000), T + 5 * DAY, T + 5 * DAY, None, HOSTS[1:])
    label = 'Bob\'s "3.2" 100%' if number >= ESCAPED else "3.2"
    app = Release("ios", label, (A, C), HOSTS[:1], end, T + 700 * DAY, DAY, True)
    return Ledger(
        entries,
        (imported,) if number >= SHARED else (),
        (app,) if number >= RELEASES else (),
        expired(number, end),
        None,
        {1: None}.get(number, T + 220 * DAY if number >= RELEASES else T + 200 * DAY),
    )


def expired(number: int, now: datetime) -> tuple[Holding, ...]:
    """What it remembers of what expired: the windows that were drawn, and what it forgot."""
    first = Entry(Policy((A, B), 5184000), T, T, T + 100 * DAY)
    app = Release("dns", "old", (A, D), (), now, T + 213 * DAY, DAY)
    # For a while, releases counted among the longest.
    longest = 481 * 86400 if RELEASES <= number < OVER else 5184000
    forgotten = Entry(Policy(pins.FORGOTTEN, longest), now, now, now)
    return (*((first, app) if number >= RELEASES else ()), forgotten)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_file_of_an_earlier_format_means_the_same(sample: Path) -> None:
    """All that it says, and what its version took for granted."""
    assert keyring_file.read("ring", sample.read_bytes()) == meant(number_of(sample))


def test_g8_what_an_earlier_format_forgot_forbids_rollovers_when_the_clock_was_wrong() -> None:
    """It knew only how long that may bind: until then, no key is safe at all."""
    book, now = meant(NEIGHBOURS).ledger, T + 150 * DAY
    assert book.is_ahead_of(now)
    right = book.accept_clock(now)
    until = now + timedelta(seconds=5184000)
    for pin in (A, B, C, D, E):
        assert right.binding(until - DAY)
        assert not rollover.safety(ring_key(pin, created=T), right, now).at(until - DAY)
    assert not any(one.pins == pins.FORGOTTEN for one in right.binding(until))


@pytest.mark.parametrize(
    ("doubt", "until", "uncertain"),
    [
        ("", NOW, Uncertainty("the record is not whole", NOW)),
        ("it was lost", NOW, Uncertainty("it was lost", NOW, "doubt")),
        ("it was lost", None, Uncertainty("it was lost", None, "doubt")),
    ],
)
def test_g8_what_was_uncertain_stays_so(
    doubt: str, until: datetime | None, uncertain: Uncertainty
) -> None:
    """A doubt that nobody has looked into, and a time until which nothing is known."""
    body = SAMPLES[-2].read_bytes().partition(b"\n")[2].decode()
    body = body.replace('doubt = ""', f'doubt = "{doubt}"')
    body = body.replace('blind_until = ""', f'blind_until = "{times.text(until) if until else ""}"')
    ledger = keyring_file.read("ring", sealed(body.encode())).ledger
    assert ledger == replace(meant(NEIGHBOURS).ledger, uncertain=uncertain)


def sealed(body: bytes) -> bytes:
    """A file with this text."""
    return f"checksum = {hashlib.sha256(body).hexdigest()}\n".encode() + body


def stored(tmp_path: Path, content: bytes) -> Store:
    """A store with a keyring file, and its copy, that are there already."""
    found = Store(str(tmp_path / "etc"), str(tmp_path / "work"))
    found.save(State(Keyring("ring"), Ledger()))
    for path in found.paths("ring"):
        Path(path).write_bytes(content)
    return Store(str(tmp_path / "etc"), str(tmp_path / "work"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_file_is_brought_to_todays_format_once(tmp_path: Path, sample: Path) -> None:
    """What was kept to be drawn goes into the history; the second time nothing is written."""
    found, said = stored(tmp_path, sample.read_bytes()), meant(number_of(sample))
    assert found.load("ring") == said and not found.history("ring")
    found.mend("ring")
    content = Path(found.path("ring")).read_bytes()
    assert not keyring_file.is_earlier(content) and keyring_file.is_earlier(sample.read_bytes())
    assert Path(found.paths("ring")[1]).read_bytes() == content
    assert keyring_file.read("ring", content) == replace(said, saved=said.saved + 1)
    assert found.history("ring") == said.ledger.past
    assert len(said.ledger.past) == (2 if number_of(sample) >= RELEASES else 0)
    before = tree(tmp_path)
    found.mend("ring")
    stored_again = Store(str(tmp_path / "etc"), str(tmp_path / "work"))
    stored_again.mend("ring")
    assert tree(tmp_path) == before


def test_run_brings_files_to_todays_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing else changed."""
    site = Site(tmp_path)
    site.keep()
    saved = site.state().saved
    site.keep()
    assert site.state().saved == saved
    with monkeypatch.context() as patched:
        patched.setattr(keyring_file, "is_earlier", lambda content: True)
        Workflow(str(site.config), str(site.work)).keep(site.look(), site.options(), NOW)
    assert site.state().saved == saved + 1


def newer(content: bytes) -> bytes:
    """The content as a later version would write it."""
    body = content.partition(b"\n")[2].replace(b"version = 3\n", b"version = 4\n")
    return sealed(body)


@pytest.mark.parametrize("which", [0, 1], ids=["file", "copy"])
def test_g8_newer_format_is_not_read(tmp_path: Path, which: int) -> None:
    """Neither of the file nor of its copy: nobody knows what it forbids. The message says so."""
    found = stored(tmp_path, keyring_file.write(meant(NEIGHBOURS)))
    assert found.load("ring") is not None
    path = Path(found.paths("ring")[which])
    path.write_bytes(newer(path.read_bytes()))
    found = Store(str(tmp_path / "etc"), str(tmp_path / "work"))
    with pytest.raises(
        NewerState, match=r"the format 4: a newer certbot-pinkeep .* up to 3"
    ) as caught:
        found.load("ring")
    assert caught.value.path == str(path) and issubclass(NewerState, DamagedState)
    assert found.known("ring") == [meant(NEIGHBOURS)]  # what the other one says (G3)
    assert found.is_compromised(F)
