"""The keyring file: what is written is read, and what is damaged is never guessed at (G8)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.core.errors import DamagedState, PinkeepError, UnreadableState
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic, keyring_file
from certbot_pinkeep.storage.store import Store
from simulated.values import (
    DAY,
    EC,
    NO_WORK_DIR,
    NOW,
    RSA,
    A,
    B,
    C,
    D,
    fake_pin,
    mode_of,
    policy,
    policy_strategy,
    ring_key,
    tree,
)

HOST = st.text(alphabet="aZ0.-_*:,;#%=[]' $\u00fc", max_size=12)
TEXT = st.text(alphabet="aZ0.-_*:,;#%=[]'\"\\ $/\u00fc\u20ac", max_size=12)


@st.composite
def states(draw: st.DrawFn) -> State:
    """States with names that a file format trips over."""
    moments = st.integers(0, 800).map(lambda days: NOW - days * DAY)
    kinds = (EC, RSA)
    keys = tuple(
        Key(
            fake_pin(n),
            draw(st.sampled_from(kinds)),
            draw(st.sampled_from(["backup", "in-service", "retired", "compromised"])),
            draw(st.none() | st.just(f"keys/{n:04d}_key-certbot.pem")),
            draw(moments),
            draw(st.none() | moments),
            draw(st.sampled_from(["", "asked", "revoked"])),
            draw(st.booleans()),
        )
        for n in range(draw(st.integers(1, 5)))
    )
    members = tuple(
        Member(
            draw(TEXT.map(lambda text, n=n: f"{n}{text}")),  # type: ignore[misc]
            tuple(draw(st.lists(HOST, max_size=3))),
            draw(st.sampled_from([key.pin for key in keys])),
            draw(st.none() | st.just("ab" * 32)),
            draw(st.sampled_from(["", "other.keyring"])),
        )
        for n in range(draw(st.integers(0, 3)))
    )
    history = Ledger(latest_known=draw(st.none() | moments))
    for why, until in draw(st.lists(st.tuples(TEXT, st.none() | moments), max_size=2)):
        history = history.with_uncertainty(why, until)
    now = NOW
    for wait, what in draw(
        st.lists(st.tuples(st.integers(0, 90), st.none() | policy_strategy()), max_size=5)
    ):
        now += wait * DAY
        hosts = tuple(draw(st.lists(HOST, max_size=2)))
        history = history.record(what, now, hosts) if what else history.confirm(now)
    history = history.with_imported(history, (draw(HOST),)).prune(
        now + draw(st.integers(0, 90)) * DAY
    )
    days = draw(st.none() | st.integers(0, 36500))
    return State(
        Keyring("ring", members, keys, days),
        history,
        draw(TEXT),
        draw(TEXT),
        draw(st.booleans()),
        draw(st.integers(0, 10**9)),
        draw(st.dictionaries(st.sampled_from(["max-age", "reload-command"]), TEXT)),
    )


@given(states())
def test_round_trip(state: State) -> None:
    """Odd host names, URIs with %, # and commas, empty lists: all come back as they were."""
    assert keyring_file.read("ring", keyring_file.write(state)) == state


WHOLE = State(
    Keyring(
        "ring",
        (Member("example.com", ("example.com", "*.example.com"), A, "ab" * 32),),
        (ring_key(A, "primary", first_served=NOW), ring_key(B), ring_key(C, "retired", path=None)),
    ),
    Ledger()
    .record(policy(A, B), NOW)
    .confirm(NOW)
    .record(policy(A, B, report_uri="https://report.example/%41#,"), NOW + DAY)
    .with_uncertainty("it was lost", NOW + 10 * DAY),
    "/etc/letsencrypt/pinkeep/apache/ring.conf",
)


def saved(root: Path, state: State = WHOLE) -> Store:
    """A store with this state on the disk."""
    found = Store(str(root), NO_WORK_DIR)
    found.save(state)
    return found


def damaged(found: Store, content: bytes) -> str:
    """See that the keyring file with this content is damaged; return the error."""
    Path(found.path("ring")).write_bytes(content)
    with pytest.raises(DamagedState) as caught:
        found.load("ring")
    assert caught.value.path == found.path("ring")
    return str(caught.value)


def test_g8_every_truncation_is_damaged(tmp_path: Path) -> None:
    """A file that was cut short anywhere is never read, however whole it looks."""
    found, content = saved(tmp_path), keyring_file.write(WHOLE)
    assert found.load("ring") == replace(WHOLE, saved=1)
    for size in range(len(content)):
        damaged(found, content[:size])


def test_g8_every_changed_byte_is_damaged(tmp_path: Path) -> None:
    """A single changed bit anywhere, in the checksum too, is noticed."""
    found, content = saved(tmp_path), keyring_file.write(WHOLE)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        damaged(found, bytes(changed))


def test_g8_appended_and_foreign_content_is_damaged(tmp_path: Path) -> None:
    """Something added at the end, nothing at all, or another program's file."""
    found, content = saved(tmp_path), keyring_file.write(WHOLE)
    for other in (content + b"\n", content + content, b"", b"\0" * 4096, b"a = b\n[c]\n"):
        damaged(found, other)


def test_g8_damage_is_told_with_file_and_remedy(tmp_path: Path) -> None:
    """The error names the file and says what still works and what to do."""
    said = damaged(saved(tmp_path), b"junk")
    assert "ring.conf" in said and "Restore" in said and "current key" in said


def test_g8_damaged_folder_is_left_untouched(tmp_path: Path) -> None:
    """Reading a damaged file changes, moves and adds nothing."""
    found = saved(tmp_path)
    Path(found.path("ring")).write_bytes(b"junk")
    before = tree(tmp_path)
    with pytest.raises(DamagedState):
        found.load("ring")
    assert found.keyring_of("example.com") is None
    assert tree(tmp_path) == before


def sealed(change: Callable[[str], str]) -> bytes:
    """The file with a change and a right checksum: a contradiction that no accident makes."""
    body = keyring_file.write(WHOLE).partition(b"\n")[2].decode()
    changed = change(body)
    assert changed != body
    digest = hashlib.sha256(changed.encode()).hexdigest()
    return f"checksum = {digest}\n{changed}".encode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version = 3", "version = 1"),
        ("version = 3", "version = 4"),
        ("version = 3", "version = two"),
        ("version = 3\n", ""),
        ("keyring = ring", "keyring = other"),
        ("role = retired", "role = primary"),
        ("role = primary", "role = boss"),
        ("kind = secp256r1", "kind = secp256k1"),
        ("type = ecdsa", "type = dsa"),
        ("type = ecdsa", "type = rsa"),
        (f"pin = {B}", f"pin = {A}"),
        (f"pin = {B}", "pin = short"),
        (f"pin = {A}", f"pin = {D}"),
        ("created = 2025", "created = year 2025"),
        ("max_age = 5184000", "max_age = -5184000"),
        ("recorded = 2026-03-01", "recorded = 2026-04-01"),
        ("include_subdomains = False", "include_subdomains = maybe"),
        ("[ledger]", "[legder]"),
        ("[keys]", "[keys"),
        ("snippet = ", "snippets = "),
        ("latest_known = ", "latest = "),
        ("latest_known = ", "latest_known = yesterday"),
        ("why = it was lost\n", ""),
        ("until = 2026-03-11T12:00:00Z", "until = soon"),
        ("until = 2026-03-11T12:00:00Z", 'until = ""'),
        ('cause = ""', "cause = clock"),
        ('confirmed = ""\nreplaced = ""', 'confirmed = ""\nreplaced = 2026-03-09T12:00:00Z'),
        ("recorded = 2026-03-02", "recorded = 2026-02-02"),
        ("[expired]", "[expired]\n[[1]]"),
        ("[releases]", "[releases]\n[[1]]\npins = a, b"),
        ("saved = 0", "saved = often"),
        ("saved = 0\n", ""),
        ("unpin = False", "unpin = perhaps"),
        ("unpin = False\n", ""),
        ("rollover_days = never", "rollover_days = 2y"),
        ("rollover_days = never\n", ""),
        ("[uncertain]", "[sure]"),
        ("retire_reason = ", "retire_reason = bored"),
        ("forced = False", "forced = 1"),
    ],
)
def test_g8_contradictions_are_damage(tmp_path: Path, old: str, new: str) -> None:
    """Two primaries, a key twice, a lineage with an unknown key, another keyring's file, ..."""
    damaged(saved(tmp_path), sealed(lambda body: re.sub(re.escape(old), new, body, count=1)))


def test_g8_what_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    """A folder in the file's place is no missing file: nothing is adopted anew."""
    found = Store(str(tmp_path), NO_WORK_DIR)
    Path(found.path("ring")).mkdir(parents=True)
    with pytest.raises(DamagedState, match="cannot be read"):
        found.load("ring")


def test_g8_what_must_not_be_read_counts_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails closed as a damaged file does, but may be sound: who may read it is told."""
    saved(tmp_path)
    found = Store(str(tmp_path), NO_WORK_DIR)

    def closed(path: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(atomic, "read_closed", closed)
    with pytest.raises(DamagedState) as caught:
        found.load("ring")
    assert isinstance(caught.value, UnreadableState) and caught.value.path == found.path("ring")
    assert "Run this as the user who runs certbot" in str(caught.value)
    assert "move it away" not in str(caught.value)


def test_missing_file_is_no_keyring(tmp_path: Path) -> None:
    """Before the first run there is nothing, and looking makes nothing."""
    found = Store(str(tmp_path), NO_WORK_DIR)
    assert (found.load("ring"), found.names(), found.keyring_of("x")) == (None, [], None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_g7_keyring_file_is_for_its_owner_only(tmp_path: Path, umask: int) -> None:
    """Mode 0600 whatever the umask says, also when it replaces a file that was open to all."""
    before = os.umask(umask)
    try:
        path = saved(tmp_path).path("ring")
        first = mode_of(path)
        os.chmod(path, 0o666)
        saved(tmp_path)
    finally:
        os.umask(before)
    assert (first, mode_of(path)) == (0o600, 0o600)
    assert os.listdir(tmp_path / "pinkeep") == ["ring.conf"]


def test_each_version_has_a_number(tmp_path: Path) -> None:
    """What is saved comes back as it is on the disk, numbered one higher than what it was."""
    found = Store(str(tmp_path), NO_WORK_DIR)
    first = found.save(WHOLE)
    assert first == replace(WHOLE, saved=1) == found.load("ring")
    assert found.save(first) == replace(WHOLE, saved=2) == found.load("ring")


def test_revocation_is_noted_by_what_it_says(tmp_path: Path) -> None:
    """Revoked: left when that is safe; compromised: never handed over again; others stay."""
    revoked = WHOLE.with_revoked(A, compromised=False).keyring.key(A)
    assert revoked is not None and (revoked.role, revoked.retire_reason) == ("primary", "revoked")
    compromised = WHOLE.with_revoked(A, compromised=True).keyring.key(A)
    assert compromised is not None and (compromised.role, compromised.retire_reason) == (
        "compromised",
        "",
    )
    assert (
        WHOLE.with_revoked(D, compromised=True) == WHOLE.with_revoked(D, compromised=False) == WHOLE
    )
    assert WHOLE.with_revoked(A, compromised=True).keyring.keys[1:] == WHOLE.keyring.keys[1:]


@pytest.mark.parametrize(
    ("unpin", "days", "expected"),
    [(False, 999, False), (True, 60, False), (True, 61, True)],
)
def test_unpinned_for_good_once_nothing_binds(unpin: bool, days: int, expected: bool) -> None:
    """The request alone is not enough, and neither is a policy that binds nobody."""
    ledger = WHOLE.ledger.confirm(NOW + DAY).record(policy(A, B, max_age=0), NOW + DAY)
    ledger = ledger.confirm(NOW + DAY)
    state = replace(WHOLE, ledger=ledger, unpin=unpin)
    assert state.unpinned(NOW + days * DAY) == expected


def test_g5_failed_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk is full the earlier state is still there, and no rest of the new one."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    found = saved(tmp_path)
    before = tree(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        found.save(State(WHOLE.keyring, Ledger()))
    assert tree(tmp_path) == before


def test_keyrings_are_listed_and_found_by_lineage(tmp_path: Path) -> None:
    """Names are sorted; a lineage is found in its keyring, also after the file has changed, but not
    after certbot has deleted it."""
    found = saved(tmp_path)
    (tmp_path / "live" / "example.com").mkdir(parents=True)
    found.save(State(Keyring("more.conf"), Ledger()))
    (tmp_path / "pinkeep" / "apache").mkdir()
    assert found.names() == ["more.conf", "ring"]
    assert found.keyring_of("example.com") == "ring"
    (tmp_path / "live" / "example.com").rmdir()
    assert found.keyring_of("example.com") is None
    (tmp_path / "renewal").mkdir()
    (tmp_path / "renewal" / "example.com.conf").touch()
    assert found.keyring_of("example.com") == "ring"
    found.save(State(Keyring("ring"), Ledger()))
    assert found.keyring_of("example.com") is None


def test_g10_what_no_file_can_hold_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    """As a sentence, which those who save several keyrings can tell of this one."""
    found = Store(str(tmp_path), NO_WORK_DIR)
    saved = found.save(State(Keyring("ring"), Ledger()))
    before = Path(found.path("ring")).read_bytes()
    odd = "x '''y''' " + 3 * '"' + "z" + 3 * '"'
    with pytest.raises(PinkeepError, match="The keyring file of ring cannot hold"):
        found.save(replace(saved, settings={"reload-command": odd}))
    assert Path(found.path("ring")).read_bytes() == before
