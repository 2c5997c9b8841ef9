"""The options: good values, and an error for each bad one that names option and value (G10)."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

import simulated.values  # noqa: F401 - the same examples every time
from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import BadOption
from certbot_pinkeep.core.options import Options

LINEAGE = "example.com"


def test_defaults_are_those_of_the_contract() -> None:
    """Nothing given, or None as certbot has it, means the contract's defaults."""
    expected = Options("example.com", 2, 5184000, False, None, False, 730, None, None, None)
    nothing = ("keyring", "backup-keys", "max-age", "include-subdomains", "report-uri")
    assert options.parse({}, LINEAGE) == expected
    assert options.parse(dict.fromkeys(nothing), LINEAGE) == expected


BAD: dict[str, list[str]] = {
    "keyring": [
        "",
        ".",
        "..",
        ".hidden",
        "-option",
        "a/b",
        "../up",
        "a b",
        "a\n",
        "\u00fc",
        "a\0",
        "x" * 251,
    ],
    "backup-keys": ["0", "-1", "101", "two", "1.5", "", " 2", "+2", "\u0662", "9" * 30],
    "rollover-days": ["-1", "36501", "", "2y", "1.5", "none", "never ", "+1", "9" * 5000],
    "max-age": ["-1", "60d", "1e6", "", "315360001", "9" * 5000, "0x10", "5184000.0"],
    "include-subdomains": ["maybe", "", "2", "truefalse"],
    "report-only": ["maybe", "", "-1", "y"],
    "report-uri": [
        "",
        "report.example",
        "//report.example/",
        "ftp://report.example/",
        "mailto:a@b.example",
        "https://",
        "https:///path",
        'https://a.example/"',
        "https://a.example/\\",
        "https://a.example/ b",
        "https://a.example/\nHeader",
        "https://a.example:port/",
        "https://[::1/",
        "https://\u00fc.example/",
        "https://[::1]]/",
        "https://[::1]x/",
        "https://[::1%25eth0]/",
        "https://./",
        "https://../",
        "https://a..example/",
        "https://*.a.example/",
        "https://a.example/%zz",
        "https://a.example/%",
        "https://%61.example/",
        "https://-/",
        "https://a.example:99999/",
        "https://192.0.2.256/",
    ],
    "snippet-dir": ["", "relative", "./here", "~/there", "/etc/\nInclude", "/a\0b"],
    "configtest-command": ['apache2ctl "configtest', "it's", "apachectl \\"],
    "reload-command": ['apache2ctl "graceful', "it's", "apachectl \\"],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in BAD.items() for value in values],
    ids=lambda text: repr(text)[:30],
)
def test_g10_bad_value_is_told_with_option_and_value(name: str, value: str) -> None:
    """The error names the option as it is typed, and the value that was given."""
    with pytest.raises(BadOption) as caught:
        options.parse({name: value}, LINEAGE)
    assert caught.value.option == f"--pinkeep-{name}"
    assert caught.value.value == value
    assert str(caught.value).startswith(f"--pinkeep-{name} {value!r}: ")


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [
        ({"keyring": "shop_1.example-com"}, Options("shop_1.example-com")),
        ({"keyring": "_x"}, Options("_x")),
        ({"backup-keys": "1"}, Options(LINEAGE, backup_keys=1)),
        ({"backup-keys": 100}, Options(LINEAGE, backup_keys=100)),
        ({"max-age": "0"}, Options(LINEAGE, max_age=0)),
        ({"max-age": "315360000"}, Options(LINEAGE, max_age=315360000)),
        ({"rollover-days": "0"}, Options(LINEAGE, rollover_days=0)),
        ({"rollover-days": 36500}, Options(LINEAGE, rollover_days=36500)),
        ({"rollover-days": "never"}, Options(LINEAGE, rollover_days=None)),
        ({"rollover-days": "NEVER"}, Options(LINEAGE, rollover_days=None)),
        ({"rollover-days": None}, Options(LINEAGE, rollover_days=730)),
        ({"include-subdomains": "TRUE"}, Options(LINEAGE, include_subdomains=True)),
        ({"include-subdomains": "yes"}, Options(LINEAGE, include_subdomains=True)),
        ({"include-subdomains": True}, Options(LINEAGE, include_subdomains=True)),
        ({"include-subdomains": "false"}, Options(LINEAGE)),
        ({"report-only": "on"}, Options(LINEAGE, report_only=True)),
        ({"report-only": "Off"}, Options(LINEAGE)),
        (
            {"report-uri": "https://r.example:8443/a?b=%20#c"},
            Options(LINEAGE, report_uri="https://r.example:8443/a?b=%20#c"),
        ),
        (
            {"report-uri": "HTTP://[2001:db8::1]/"},
            Options(LINEAGE, report_uri="HTTP://[2001:db8::1]/"),
        ),
        ({"snippet-dir": "/etc/apache2//pins/"}, Options(LINEAGE, snippet_dir="/etc/apache2/pins")),
        (
            {"configtest-command": "apachectl -f '/etc/my conf' -t"},
            Options(LINEAGE, configtest=("apachectl", "-f", "/etc/my conf", "-t")),
        ),
        ({"reload-command": ""}, Options(LINEAGE, reload=())),
        (
            {"reload-command": "echo $HOME [ '; true'"},
            Options(LINEAGE, reload=(("echo", "$HOME", "[", "; true"),)),
        ),
        (
            {"reload-command": ["postfix reload", "doveadm reload"]},
            Options(LINEAGE, reload=(("postfix", "reload"), ("doveadm", "reload"))),
        ),
        ({"reload-command": ["one", "one"]}, Options(LINEAGE, reload=(("one",),))),
        ({"reload-command": '["one"'}, Options(LINEAGE, reload=(("[one",),))),
    ],
)
def test_good_values(given_values: dict[str, object], expected: Options) -> None:
    """Each option takes what the contract says, and nothing else changes."""
    assert options.parse(given_values, LINEAGE) == expected


def test_g10_lineage_that_cannot_name_a_keyring() -> None:
    """If the default name does not do, the error asks for another one."""
    with pytest.raises(BadOption, match="Give the keyring another name, with --pinkeep-keyring"):
        options.parse({}, "a b")
    assert options.parse({"keyring": "ab"}, "a b").keyring == "ab"


def test_g12_a_command_does_not_depend_on_other_options() -> None:
    """To reload Apache for a renewed certificate, a bad max-age does not matter."""
    values = {"max-age": "junk", "configtest-command": "'", "reload-command": "r", "keyring": "k"}
    assert options.reload_commands(values) == (("r",),)
    assert options.reload_commands({}) is None
    with pytest.raises(BadOption):
        options.command(values, "configtest-command")


@pytest.mark.parametrize(
    ("given", "each"),
    [
        ("postfix reload && doveadm reload", ("postfix reload", "doveadm reload")),
        ("postfix reload; doveadm reload;", ("postfix reload", "doveadm reload")),
        ("a 'b c' ; d ;; e", ("a 'b c'", "d", "e")),
        ("postfix reload && doveadm reload || true", ()),
        ("postfix reload && doveadm reload 2>&1", ()),
    ],
)
def test_several_reloads_in_one_option_are_a_bad_option(given: str, each: tuple[str, ...]) -> None:
    """The first program would be given the other words too: the error names what to give."""
    with pytest.raises(BadOption) as caught:
        options.parse({"reload-command": given}, "ring")
    first, _, advice = caught.value.why.partition(" has no effect. Give ")[2].partition(": ")
    assert shlex.split(advice.removesuffix("."))[1::2] == list(each)
    assert first.startswith("the option once for each command" if each else "sh -c '")


@pytest.mark.parametrize("name", ["reload-command", "configtest-command"])
@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("apache2ctl graceful && true | tee log", "&&"),
        ("apache2ctl -t | tee log", "|"),
        ("apache2ctl graceful || true", "||"),
        ("apache2ctl graceful > /dev/null", ">"),
        ("apache2ctl graceful 2>&1", "2>&1"),
        ("apache2ctl graceful &", "&"),
    ],
)
def test_g10_command_for_a_shell_is_a_bad_option(name: str, given: str, word: str) -> None:
    """Words that only a shell knows have no effect; the error names the word, and what does work."""
    with pytest.raises(BadOption) as caught:
        options.parse({name: given}, "ring")
    assert caught.value.option == f"--pinkeep-{name}"
    assert repr(word) in caught.value.why
    advice = caught.value.why.partition("Give ")[2].rpartition(" instead, or the path")[0]
    assert options.command({name: advice}, name) == ("sh", "-c", given)


def test_command_with_such_a_word_inside_quotes_is_taken() -> None:
    """Only a word of its own would have been meant for a shell."""
    assert options.command({"reload-command": "sh -c 'a && b; c'"}, "reload-command") is not None
    assert options.command({"reload-command": ""}, "reload-command") == ()


@pytest.mark.parametrize(
    ("uri", "hosts", "subdomains", "refused"),
    [
        (None, ("example.com",), True, False),
        ("https://report.test/", ("example.com",), True, False),
        ("https://example.com/r", ("example.com",), False, True),
        ("https://EXAMPLE.com:444/r", ("example.com",), False, True),
        ("https://user@example.com/r", ("example.com",), False, True),
        ("https://www.example.com/r", ("example.com",), False, False),
        ("https://www.example.com/r", ("example.com",), True, True),
        ("https://a.b.example.com/r", ("example.com",), True, True),
        ("https://notexample.com/r", ("example.com",), True, False),
        ("https://example.com/r", ("www.example.com",), True, False),
        ("https://r.example.com/r", ("a.test", "r.example.com"), False, True),
        ("https://r.example.com/r", ("*.example.com",), False, True),
        ("https://a.r.example.com/r", ("*.example.com",), False, False),
        ("https://a.r.example.com/r", ("*.example.com",), True, True),
        ("https://example.com/r", ("*.example.com",), True, False),
        ("https://192.0.2.1/r", ("192.0.2.1",), False, True),
    ],
)
def test_g10_report_host_must_not_be_covered(
    uri: str | None, hosts: tuple[str, ...], subdomains: bool, refused: bool
) -> None:
    """A client that refuses the pinned host could not report there (RFC 7469 §2.1.4)."""
    try:
        options.check_report_host(uri, hosts, subdomains=subdomains)
    except BadOption as error:
        assert refused
        assert error.option == "--pinkeep-report-uri" and error.value == uri
    else:
        assert not refused


NAMES = (
    "keyring",
    "backup-keys",
    "max-age",
    "include-subdomains",
    "report-uri",
    "rollover-days",
    "snippet-dir",
)


@given(st.lists(st.text(), min_size=1))
def test_commands_are_kept_as_one_text(given: list[str]) -> None:
    """Whatever they are, in their order; one alone is kept as it was typed."""
    text = options.as_text(given)
    assert options.as_text([text]) == text and (len(given) > 1 or text == given[0])
    try:
        found = options.reload_commands({"reload-command": given})
    except BadOption as error:
        assert str(error.value) == str(given) or error.value in given
    else:
        assert found == options.reload_commands({"reload-command": text})


def test_g10_no_command_and_another_one_is_a_bad_option() -> None:
    """An empty one says that the admin reloads."""
    with pytest.raises(BadOption, match="'' says that you reload"):
        options.parse({"reload-command": ["", "postfix reload"]}, "ring")


@given(st.dictionaries(st.sampled_from([*NAMES, "reload-command"]), st.none() | st.text()))
def test_g10_any_text_is_a_value_or_a_bad_option(values: dict[str, object]) -> None:
    """Whatever is typed: options that can be used, or BadOption, never another error."""
    try:
        chosen = options.parse(values, LINEAGE)
    except BadOption as error:
        assert str(error.value) in map(str, values.values())
    else:
        assert chosen.keyring and 0 <= chosen.max_age <= options.MOST_MAX_AGE
        assert 1 <= chosen.backup_keys <= options.MOST_BACKUP_KEYS
