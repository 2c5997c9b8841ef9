"""Text from outside is printable and short wherever it is printed."""

from __future__ import annotations

import pytest
from acme import messages
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.adapters import certbot_client
from certbot_pinkeep.check import header_rules
from certbot_pinkeep.check.findings import Finding, Severity, lines
from certbot_pinkeep.cli import output, parser
from certbot_pinkeep.core import errors, text
from certbot_pinkeep.core.errors import BadOption, PinkeepError
from certbot_pinkeep.core.header import Header
from simulated.values import A, B, policy

#: What a terminal obeys: by its escape character, as C1 controls, by the direction of writing.
EVIL = {
    "escape": "\x1b[2J\x1b]0;pwned\x07",
    "C1": "\x9b2J",
    "backspace": "OK\b\b",
    "carriage return": "\rPINKEEP OK",
    "bidi": "\u202egnp.exe",
    "isolate": "\u2066x\u2069",
    "invisible": "a\u200bb\ufeff",
    "line separator": "a\u2028b\u0085c",
    "surrogate": "\udcff",
    "tag": "\U000e0041",
}


def is_safe(told: str) -> bool:
    """Whether a terminal prints it as it is."""
    return told.replace("\n", "").isprintable()


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_errors_findings_and_usage_are_printable(
    evil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is in them: each passes the one place."""
    told = [
        str(PinkeepError(f"The CA said: {evil}.")),
        str(BadOption("--pinkeep-keyring", evil, "no.")),
        str(errors.KeyRefused(A, evil)),
        str(errors.UnreadableState(evil, OSError(5, evil))),
        *lines([Finding(Severity.WARNING, evil, evil, evil)], ""),
        *lines([], evil),
        text.short(evil),
        text.escaped(evil),
    ]
    output.fail(evil)
    with pytest.raises(SystemExit):
        parser.Parser(prog="x").error(evil)
    output.tell(evil)
    told += capsys.readouterr()
    assert all(map(is_safe, told))
    assert not any("\n" in line for line in lines([Finding(Severity.WARNING, evil, evil, "")], ""))


def test_letters_of_all_scripts_stay() -> None:
    """Only what is no text is escaped."""
    for word in ("Größe", "日本語", "Ελληνικά", "naïve — “quoted” …", "a  b"):
        assert text.printable(word) == word
    assert text.escaped("a\nb") == "a\nb" and text.short("a\n\tb\r") == "a b"


def test_a_long_message_keeps_the_command_at_its_end() -> None:
    """Its middle is left out, and how much that is, is said."""
    told = str(PinkeepError(f"It said {'x' * 185_000}.\nRun: certbot renew"))
    assert len(told) <= text.LONGEST
    assert told.startswith("It said xxx") and told.endswith("xxx.\nRun: certbot renew")
    assert "characters]" in told
    finding = Finding(Severity.CRITICAL, "x" * 99_999, "y" * 99_999, "Run: certbot renew")
    assert all(len(line) <= text.LONGEST for line in lines([finding], ""))
    assert lines([finding], "")[1].endswith("Run: certbot renew")


def test_each_thing_that_is_wrong_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """So does each command; monitoring gets all of it in one line."""
    why = text.joined(text.listed(["One.", "Two.\nRun: mend two"]), "Then try again.")
    error = PinkeepError("Several things are wrong.", why, run="certbot renew")
    output.fail(error)
    lines_ = ["Several things are wrong.", "- One.", "- Two.", "Run: mend two", "Then try again."]
    told = "\n".join([*lines_, "Run: certbot renew"])
    assert str(error) == told and capsys.readouterr().err == f"certbot-pinkeep: {told}\n"
    in_one_line = text.one_line(str(error))
    assert in_one_line.startswith("Several things are wrong. One. Two. Run: mend two -- Then try")
    assert text.listed([]) == ""


@given(st.text(max_size=300), st.integers(60, 300))
def test_whatever_comes_is_printable_and_short(given_text: str, longest: int) -> None:
    """And what is both already stays as it is, but for white space."""
    told = text.short(given_text, longest)
    assert told.isprintable() and len(told) <= longest
    if told == text.short(given_text, 99_999):
        assert text.short(told, longest) == told
    assert is_safe(text.printable(given_text))


def test_a_strangers_header_is_told_in_a_line() -> None:
    """Its report-uri and its pins, however many there are."""
    header = Header((A, B), 60, False, "https://x.example/\x1b[2J" + "a" * 185_000)
    many = Header(tuple(str(n) * 44 for n in range(2000)), 60, False, None)
    for sent in (header, many):
        told = "; ".join(header_rules._differences(sent, policy(A, B, max_age=60)))
        assert told.isprintable() and len(told) < 900


@pytest.mark.parametrize("evil", [*EVIL.values(), "x" * 185_000], ids=[*EVIL, "long"])
def test_what_a_ca_says_is_told_in_a_line(evil: str) -> None:
    """Certbot logs it, to the terminal as well."""
    said = messages.Error.with_code("badCSR", detail=f"no: {evil}")
    told = certbot_client._said_of_csr(said)
    assert told.startswith("no: ") and told.isprintable() and len(told) <= text.SHORT
    assert is_safe(str(certbot_client._refusal(said, A) or errors.KeyRefused(A, evil)))


def test_a_sentence_begins_with_a_capital_but_no_name_of_a_host_does() -> None:
    """Also one without a dot, with its address, or with what is wrong there."""
    assert text.sentence("it took longer than 10 seconds") == "It took longer than 10 seconds."
    assert text.sentence("Connection refused") == "Connection refused."
    for name in (
        "ns2.example.com (192.0.2.2): it",
        "ns (192.0.2.2): it",
        "ns: it",
        "_25._tcp.a is",
    ):
        assert text.sentence(name) == f"{name}."
