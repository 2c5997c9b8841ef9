"""Odd numbers, dates and paths: refused in a sentence, never a traceback (G10, G8)."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from argparse import ArgumentTypeError
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certbot_pinkeep.cli import check, export, main, output
from certbot_pinkeep.cli import release as release_command
from certbot_pinkeep.core import options, rollover, times
from certbot_pinkeep.core.errors import BadExport, BadOption, BadRelease, DamagedState, PinkeepError
from certbot_pinkeep.core.holdings import Release
from certbot_pinkeep.core.options import OPTIONS
from certbot_pinkeep.core.state import State
from certbot_pinkeep.reports import status, timeline
from certbot_pinkeep.storage import atomic, keyring_file
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.workflow import releases
from simulated.machine import Site
from simulated.values import DAY, NO_WORK_DIR, NOW, STATE, A, B, fake_pin, policy

HUGE = "9" * 5000
#: Digits that int() and strptime() read as well.
FULL_WIDTH = "\N{FULLWIDTH DIGIT TWO}\N{FULLWIDTH DIGIT ZERO}"


# A keyring file with a right checksum


def rich() -> State:
    """A keyring with something of everything."""
    carried = Release("ios", "3.2", (A, B), ("example.com",), NOW, NOW + 90 * DAY, 30 * DAY)
    ledger = STATE.ledger.record(policy(A, fake_pin(1)), NOW + DAY).confirm(NOW + DAY)
    ledger = replace(
        ledger,
        imported=STATE.ledger.entries,
        releases=(carried, replace(carried, until=NOW + 300 * DAY)),
    )
    ledger = ledger.with_uncertainty("it was lost", NOW).prune(NOW + 200 * DAY)
    return replace(STATE, ledger=ledger, settings={"max-age": "60", "rollover-days": "1"}, saved=3)


TEXT = keyring_file.write(rich()).partition(b"\n")[2].decode()
LINES = [n for n, line in enumerate(TEXT.splitlines()) if " = " in line]
VALUES = st.one_of(
    st.sampled_from(
        [
            *("", ",", "a, b", HUGE, "-1", "1e9", "9" * 18, "1" + "0" * 4000, FULL_WIDTH, "²"),
            *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "8999-12-31T23:59:59Z"),
            *("1970-01-01T00:00:00Z", "never", "True", "None", A, "rsa", "ecdsa", "primary"),
            *("retired", "compromised", "in-service", "asked", "'a', 'b', 'c'", '"', "[x]"),
        ]
    ),
    st.integers().map(str),
    st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ")),
    st.text(max_size=20),
)


def used(state: State) -> None:
    """Do with it what the commands do."""
    for now in (NOW, NOW + 400 * DAY):
        status.as_text([state], now)
        status.as_data([state], {}, now, "/etc/letsencrypt")
        line = timeline.timeline(state, now)
        timeline.as_text(line, 100, plain=True)
        for key_type in state.keyring.key_types():
            rollover.decide(state.keyring, state.ledger, now, key_type)
    keyring_file.write(state)


@given(st.sampled_from(LINES), VALUES, st.sampled_from(["value", "section", "gone", "twice"]))
@example(next(n for n in LINES if "max_age" in TEXT.splitlines()[n]), "9" * 18, "value")
@example(next(n for n in LINES if "rollover_days" in TEXT.splitlines()[n]), "9" * 18, "value")
def test_g8_a_file_with_a_right_checksum_is_a_state_or_damaged(
    number: int, value: str, how: str
) -> None:
    """Whatever stands in a field, and nothing else fails with what is read."""
    lines = TEXT.splitlines()
    name = lines[number].partition(" = ")[0]
    depth = len(re.findall(r"^\[+", lines[number])) or 2
    lines[number : number + 1] = {
        "value": [f"{name} = {value}"],
        "section": [f"{'[' * depth}{name.strip()}{']' * depth}", f"x = {value}"],
        "gone": [],
        "twice": [lines[number], f"{name} = {value}"],
    }[how]
    body = ("\n".join(lines) + "\n").encode(errors="surrogatepass")
    content = f"checksum = {hashlib.sha256(body).hexdigest()}\n".encode() + body
    with tempfile.TemporaryDirectory() as folder:
        atomic.make_folder(f"{folder}/pinkeep", 0o755)
        Path(folder, "pinkeep", "ring.conf").write_bytes(content)
        try:
            state = Store(folder, NO_WORK_DIR).load("ring")
        except DamagedState as error:
            assert "ring.conf" in str(error)
            return
    assert state is not None
    with suppress(PinkeepError):
        used(state)


@pytest.mark.parametrize("moment", ["0001-01-01", "9999-12-31"])
def test_g8_times_beyond_reckoning_are_none(moment: str) -> None:
    """Not in the clock either."""
    with pytest.raises(ValueError, match="time"):
        times.parse(f"{moment}T00:00:00Z")
    assert times.within(NOW) == NOW


@pytest.mark.parametrize(
    "written", ["", "-1", "+1", " 1", "1 ", "1_0", "1e1", "101", "0101", HUGE, FULL_WIDTH, "²"]
)
def test_g8_a_number_is_few_ascii_digits_and_small(written: str) -> None:
    """Whatever else Python takes for a number."""
    with pytest.raises(ValueError, match="number") as caught:
        times.number(written, 100)
    assert len(str(caught.value)) < 80
    assert [times.number(one, 100) for one in ("0", "007", "100")] == [0, 7, 100]


# Options and arguments


@given(st.sampled_from(sorted(OPTIONS)), st.text() | st.sampled_from([HUGE, FULL_WIDTH, "[::1]]"]))
def test_g10_any_option_value_is_taken_or_named(name: str, value: str) -> None:
    """As text of any kind."""
    try:
        options.parse({name: value}, "example.com")
    except BadOption as error:
        assert error.option == f"--pinkeep-{name}" and str(error).isprintable()


PORTS = ["0", "65536", HUGE, "443/tls", "-1", "+1", " 1", FULL_WIDTH, "", "/tcp", "4 4"]


@pytest.mark.parametrize("written", PORTS, ids=ascii)
def test_g10_port_is_a_number(written: str) -> None:
    """In ASCII digits, and few of them."""
    with pytest.raises(BadExport, match="--port") as caught:
        export._port(written)
    assert len(str(caught.value)) < 400


DATES = ["", "2027", HUGE, f"{FULL_WIDTH}27-11-24", "2027-13-01", "9999-12-31", "0001-01-01"]
DATES += ["2027-11-24T12:00:00", "2027-11-24T12:00:00+01:00", f"{FULL_WIDTH}27-11-24T12:00:00Z"]


@pytest.mark.parametrize("written", DATES, ids=ascii)
def test_g10_date_is_in_ascii_and_near(written: str) -> None:
    """Full-width digits are digits for Python, and not for the admin who reads the record."""
    with pytest.raises(BadRelease, match="--until"):
        releases.until(written, NOW)
    with pytest.raises(BadExport, match="--expires"):
        export._expires(written if written != "9999-12-31" else "9999", NOW)


@given(st.text() | st.sampled_from([*PORTS, *DATES]))
def test_g10_any_argument_is_taken_or_refused(written: str) -> None:
    """Each with its own error, and never another one."""
    parsers = (
        (lambda: export._port(written), BadExport),
        (lambda: export._expires(written, NOW), BadExport),
        (lambda: releases.until(written, NOW), BadRelease),
        (lambda: release_command._seconds(written), BadRelease),
        (lambda: check.address(written), ArgumentTypeError),
        (lambda: check._seconds(written), ArgumentTypeError),
    )
    for parse, error in parsers:
        try:
            parse()
        except error:
            continue


@pytest.mark.parametrize("port", ["", "0", "65536", "+1", "-1", "1_0", " 1", FULL_WIDTH, HUGE])
def test_g10_address_has_a_port_in_ascii(port: str) -> None:
    """Whatever the library takes for a port."""
    assert check.address("192.0.2.1:443") == ("192.0.2.1", 443)
    assert check.address("[2001:db8::1]:8443") == ("2001:db8::1", 8443)
    with pytest.raises(ArgumentTypeError, match="HOST:PORT"):
        check.address(f"192.0.2.1:{port}")


def test_g10_seconds_to_wait() -> None:
    """With a fraction or without."""
    assert [check._seconds(one) for one in ("5", "0.5", ".5", "5.")] == [5, 0.5, 0.5, 5]
    for wrong in ("", ".", "0", "inf", "nan", "1e3", FULL_WIDTH, "1_0", "-1", HUGE):
        with pytest.raises(ArgumentTypeError):
            check._seconds(wrong)


@pytest.mark.parametrize(
    ("words", "code"), [(["status"], 1), (["check"], 3), (["timeline", "x"], 1)]
)
def test_g10_config_dir_that_is_not_there(
    tmp_path: Path, words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip of the finger is not taken for a machine without keyrings."""
    missing = str(tmp_path / "nowhere")
    folders = [f"--work-dir={tmp_path}/work", f"--logs-dir={tmp_path}/logs"]
    assert main.main([*words, "--config-dir", missing, *folders]) == code
    told = "".join(capsys.readouterr())
    assert missing in told and "no such folder" in told and "No keyring yet" not in told
    assert not os.path.exists(missing)


# Where an export goes


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder like /tmp."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    return tmp_path / "tmp"


def test_g9_output_does_not_follow_somebody_elses_link(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In /tmp anybody can put one that leads to a file of root's."""
    target = tmp_path / "passwd"
    target.write_text("root")
    for link, leads in (("out", target), ("new", tmp_path / "fresh"), ("dir", tmp_path)):
        (shared / link).symlink_to(leads)
    output.write(str(shared / "out"), b"followed")
    assert target.read_bytes() == b"followed" and (shared / "out").is_symlink()
    output.write(str(shared / "new"), b"new")
    assert (tmp_path / "fresh").read_bytes() == b"new"
    real = os.lstat

    def lstat(path: str) -> os.stat_result:
        seen = real(path)
        if os.path.dirname(path) != str(shared):
            return seen
        return os.stat_result([*seen[:4], 4711, *seen[5:]])

    monkeypatch.setattr(os, "lstat", lstat)
    for path in ("out", "new", "dir/passwd"):
        with pytest.raises(PinkeepError, match="is a link of the user 4711"):
            output.write(str(shared / path), b"evil")
    assert target.read_bytes() == b"followed" and (tmp_path / "fresh").read_bytes() == b"new"


def test_output_is_written_where_it_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, folders above, and links in a chain."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("a/../a/three")
    for path in ("plain", "./a/here", "a/../up", "one"):
        output.write(path, path.encode())
    assert Path("plain").read_text() == "plain" and Path("up").read_text() == "a/../up"
    assert Path("a/here").read_text() == "./a/here" and Path("a/three").read_text() == "one"
    for wrong in ("b/new", "plain/new", "a"):
        with pytest.raises(PinkeepError, match="cannot be written"):
            output.write(wrong, b"")
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(PinkeepError, match="cannot be written"):
        output.write("round", b"")


def test_a_certificate_from_the_end_of_time_is_looked_at(tmp_path: Path) -> None:
    """Its age is reckoned with."""
    site = Site(tmp_path)
    site.start = times.LATEST + timedelta(days=300)
    site.issue(site.key)
    assert site.look().since <= times.LATEST
