"""The pages name what is there, all of it, and nothing else."""

from __future__ import annotations

import argparse
import io
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import configobj
import pytest
from zope.interface.verify import verifyObject

import certbot_pinkeep
from certbot_pinkeep import exports
from certbot_pinkeep.carriers import zones
from certbot_pinkeep.cli import main, output
from certbot_pinkeep.core.errors import BadCredentials, ZoneRefused
from certbot_pinkeep.core.holdings import Entry, Release, ZoneEntry
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.ledger import Ledger, Uncertainty
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.tlsa import Port, TlsaRecord, record_of
from certbot_pinkeep.core.zone import Service
from certbot_pinkeep.installer import Installer
from certbot_pinkeep.reports import status
from certbot_pinkeep.storage import keyring_file
from simulated.values import DAY, EC, NOW, RSA, A, B, policy, ring_key

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.rglob("*.rst"), *DOCS.rglob("*.inc"), *REPOSITORY.glob("*.rst")])
#: Certbot's own options, which every command takes: the page has them once.
_SHARED = {"-h", "--help", "--config-dir", "--work-dir", "--logs-dir", "-c", "--config"}
_FIELD = re.compile(r"^``([\w-]+)``$", re.M)


def page(name: str) -> str:
    """The text of a page."""
    return (DOCS / name).read_text("utf-8")


def sections(text: str) -> dict[str, str]:
    """The sections of a page, by their titles."""
    parts = re.split(r"^(\S.*)\n[-=]{3,}$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# The command


def parsers(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, Any]]:
    """A parser and those below it, by their calls without NAME."""
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from parsers(below, f"{path} {name}")


PARSERS = dict(parsers(main._parser(), "certbot-pinkeep"))


def documented() -> dict[str, set[str]]:
    """The options on the page of the command, by its calls without NAME."""
    found: dict[str, set[str]] = {}
    current = ""
    for kind, value in re.findall(
        r"^\.\. (program|option):: (.*)$", page("reference/command.rst"), re.M
    ):
        if kind == "program":
            current = value
            found.setdefault(current, set())
        else:
            found[current].update(word.split()[0] for word in value.split(","))
    return found


def test_command_page_has_every_command_and_option_and_no_other() -> None:
    """Nobody reads of a flag that is not there, or misses one that is."""
    there = {
        path: {word for action in parser._actions for word in action.option_strings}
        - (_SHARED if path != "certbot-pinkeep" else set())
        for path, parser in PARSERS.items()
        if not any(isinstance(a, argparse._SubParsersAction) for a in parser._actions)
        or path == "certbot-pinkeep"
    }
    assert documented() == there


def test_command_page_has_every_exit_code_and_no_other() -> None:
    """The codes that ``--help`` names, and those of a shell for Ctrl-C and a closed pipe."""
    codes: dict[str, set[str]] = {"Exit codes": {"130", "141"}, "Exit codes of check": set()}
    assert {int(code) for code in codes["Exit codes"]} == {output.INTERRUPTED, output.UNREAD}
    for path, parser in PARSERS.items():
        told = parser.epilog.partition("exit codes:")[2]
        title = "Exit codes of check" if path.endswith(" check") else "Exit codes"
        codes[title].update(re.findall(r"(?<![\w.])(\d+) [a-z]", told))
    found = sections(page("reference/command.rst"))
    assert {title: set(_FIELD.findall(found[title])) for title in codes} == codes


def test_command_page_has_every_export_format_and_no_other() -> None:
    """The formats that this package brings."""
    formats = _FIELD.findall(sections(page("reference/command.rst"))["export NAME"])
    assert set(formats) == set(exports.names())


# The options


def plugin_options() -> set[str]:
    """The plugin's options as certbot shows them."""
    parser = argparse.ArgumentParser()

    def add(name: str, **given: Any) -> None:
        parser.add_argument(f"--pinkeep-{name}", **given)

    Installer.add_parser_arguments(add)
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return {w for action in shown for w in action.option_strings} - {"-h", "--help"}


def test_plugin_page_has_every_option() -> None:
    """The package's documentation is the page of the options, as with certbot's own plugins."""
    assert certbot_pinkeep.__doc__ is not None
    assert named_options(certbot_pinkeep.__doc__) == plugin_options()


def named_options(text: str) -> set[str]:
    """The plugin's options that a text names."""
    return set(re.findall(r"--pinkeep-[a-z-]*[a-z]", text))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_pages_name_only_options_and_commands_that_exist(path: Path) -> None:
    """Every call of the command on a page is one that the command takes."""
    text = path.read_text("utf-8")
    assert named_options(text) <= plugin_options()
    refused = [call for call in calls(text) if not is_taken(call)]
    assert refused == []


def calls(text: str) -> list[str]:
    """The calls of the command in blocks and in literals within sentences."""
    blocks = re.findall(r"^ {2,}(?:[#$] )?(certbot-pinkeep [^\n]*)$", text, re.M)
    inline = re.findall(r"``(certbot-pinkeep [^`]*)``", text)
    return [" ".join(call.split()) for call in (*blocks, *inline)]


def is_taken(call: str) -> bool:
    """Whether the command takes a call, or it names a command without what follows."""
    words = shlex.split(call, comments=True)
    if " ".join(words) in PARSERS or words[1].startswith("["):
        return True
    try:
        PARSERS["certbot-pinkeep"].parse_args(words[1:])
    except SystemExit as end:
        return not end.code  # --help
    return True


# What programs read


FULL = State(
    Keyring(
        "ring",
        (Member("a.test", ("a.test",), A, "ab" * 32),),
        (ring_key(A, "primary", first_served=NOW), ring_key(B)),
        730,
    ),
    Ledger(
        uncertain=Uncertainty("it was lost", NOW),
        latest_known=NOW,
        releases=(Release("ios", "1", (A, B), ("a.test",), NOW, NOW + DAY),),
        expired=(
            Release("ios", "0", (A, B), ("a.test",), NOW - DAY, NOW),
            Entry(policy(A, B), NOW - DAY, NOW - DAY, NOW - DAY),
            ZoneEntry(Port("a.test", 25, "smtp"), (A,), DAY, NOW - DAY, NOW - DAY, NOW - DAY),
        ),
        imported=(Entry(policy(A, B), NOW - DAY, NOW - DAY, NOW, ("a.test",)),),
        zone=(ZoneEntry(Port("a.test", 25, "smtp"), (A, B), DAY, NOW),),
    ).record(policy(A, B), NOW, ("a.test",)),
    settings={"max-age": "86400"},
    services=(Service(Port("a.test", 25, "smtp"), (A,), NOW),),
)


def test_format_page_has_every_field_of_the_keyring_file_and_no_other() -> None:
    """What the writer writes is on the page, section by section."""
    written = configobj.ConfigObj(io.BytesIO(keyring_file.write(FULL)), encoding="utf-8")
    there: dict[str, set[str]] = {"Top": set(written.scalars) - {"checksum"}}
    for name in written.sections:
        there[name] = {field for item in written[name].sections for field in written[name][item]}
    there["uncertain"] = set(written["uncertain"])
    found = {
        title: set(_FIELD.findall(body))
        for title, body in sections(page("reference/keyring-file.rst")).items()
        if title not in ("The keyring file", "Form", "The history")
    }
    for title, body in sections(page("reference/keyring-file.rst")).items():
        for sentence in re.findall(r"The fields are\s+those\s+of [^.]*", body):
            found[title] = set().union(*(found[one] for one in re.findall(r"``(\w+)``", sentence)))
    assert found == there


def test_json_page_has_every_field_of_status_and_no_other() -> None:
    """What ``status --json`` prints is on the page, object by object."""
    document = status.as_data([FULL], {}, NOW, "/etc/letsencrypt")
    keyring = document["keyrings"][0]
    there: Mapping[str, Mapping[str, Any]] = {
        "The object": document,
        "A keyring": keyring,
        "A key": keyring["keys"][0],
        "The policy": keyring["policy"],
        "The rollover": keyring["rollover"],
    }
    found = sections(page("reference/status-json.rst"))
    named = {title: set(_FIELD.findall(found[title])) for title in there}
    assert named == {title: set(fields) for title, fields in there.items()}


def test_provider_on_the_page_of_zones_works() -> None:
    """Its code provides the interface, takes a change, and refuses one that somebody else was before."""
    code = re.findall(
        r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", page("reference/zones.rst"), re.M
    )
    found: dict[str, Any] = {"__name__": "my_package"}
    exec(textwrap.dedent(code[0]), found)
    with pytest.raises(BadCredentials):
        found["Example"]({})
    provider = found["Example"]({"token": "x"})
    assert verifyObject(zones.IZone, provider)
    name, before = "_25._tcp.a.test.", frozenset[TlsaRecord]()
    change = zones.Change(name, before, frozenset({record_of(A)}), 3600)
    provider.change("a.test.", [change])
    assert provider.read("a.test.", [name]) == {name: change.after}
    with pytest.raises(ZoneRefused):
        provider.change("a.test.", [change])


def test_format_on_the_page_of_formats_works() -> None:
    """Its code provides the interface, and gives what the page says; no field is missing there."""
    text = page("reference/export-formats.rst")
    code = re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text, re.M)
    found: dict[str, Any] = {"__name__": "my_package"}
    exec(textwrap.dedent(code[0]), found)
    assert verifyObject(exports.IExport, found["lines"])
    pins = (exports.Pin(A, EC, "in-service"), exports.Pin(B, RSA, "backup"))
    pinned = exports.Pinned("ring", ("a.test",), policy(A, B), pins, NOW)
    told = found["lines"].render(pinned, exports.Settings())
    assert told == f"in-service ecdsa {A}\nbackup rsa {B}\n"
    assert issubclass(exports.BadExport, Exception)
    named = sections(text)["What a format is given"]
    assert set(_FIELD.findall(named)) == {field.name for field in fields(pinned)}


# The first page, and the promises


def test_readme_is_short_and_says_first_that_no_browser_enforces_pins() -> None:
    """A reader who needs none of this sees that on the first screen."""
    lines = (REPOSITORY / "README.rst").read_text("utf-8").splitlines()
    assert len(lines) <= 150
    assert "No browser enforces" in "\n".join(lines[:25])
    named = re.findall(r"``(docs/[^`]*)``", "\n".join(lines))
    assert named and all((REPOSITORY / path).exists() for path in named)


def test_every_guarantee_on_the_page_has_tests_that_name_it() -> None:
    """And every one that a test names is on the page."""
    promised = set(re.findall(r"^G(\d+), ", page("guarantees.rst"), re.M))
    named = set[str]()
    for path in (REPOSITORY / "tests").rglob("*.py"):
        text = path.read_text("utf-8")
        named.update(one or two for one, two in re.findall(r"\bG(\d+)\b|\btest_g(\d+)_", text))
    assert promised == named
