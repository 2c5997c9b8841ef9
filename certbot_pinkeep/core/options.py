"""The plugin's options: text as it was typed, checked and turned into values. Pure.

The rules:

* A value that cannot be used is an error that names the option and the value (G10).
* Nothing here asks the parser to refuse a value: a bad one in cli.ini would then stop every run of
  certbot, also for the lineages of other installers (G3, G9).
* Options are kept in the keyring file, and nowhere else. Certbot stores in renewal files each option whose
  name in its configuration begins with the plugin's. So the names there begin otherwise: a renewal file with
  options of a plugin that is not installed would stop certbot 2 (G11). So certbot's configuration has only
  the options of this run, from the command line or ``cli.ini``.
* An option that is given several times is kept as one text, a list in JSON.
* pinkeep 0.1 had certbot store the options. Certbot 2 restores only options that it knows, so the names
  of 0.1 stay known.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from certbot_pinkeep.core import hostnames, tlsa
from certbot_pinkeep.core.errors import BadOption, NoKeyringName
from certbot_pinkeep.core.tlsa import Port

#: The options by their names without ``--pinkeep-``, the word for the value (none: a switch), and what their
#: help says.
TABLE = (
    (
        "keyring",
        "NAME",
        "the keyring that this certificate draws its key from (default: the keyring that pins "
        "any of its names, else the certificate's name)",
    ),
    ("backup-keys", "N", "backups to keep staged per key type (default: 2)"),
    ("max-age", "SECONDS", "how long clients hold the pins (default: 5184000, 60 days)"),
    ("include-subdomains", "", "add includeSubDomains to the header"),
    ("report-uri", "URI", "add report-uri to the header (default: none)"),
    ("report-only", "", "publish Public-Key-Pins-Report-Only instead"),
    (
        "rollover-days",
        "DAYS",
        "after so many days in service a key rolls over at its next renewal that locks nobody "
        "out; 0: at every renewal; never (default: 730)",
    ),
    (
        "header",
        "SERVER",
        "the server that sends the header: apache, nginx, or none, if pins are for apps or "
        "zones only (default: what is installed; both or neither: apache)",
    ),
    (
        "snippet-dir",
        "DIR",
        "the folder of KEYRING.conf (default: CONFIG_DIR/pinkeep/apache or .../nginx)",
    ),
    (
        "configtest-command",
        "CMD",
        "run before a changed snippet goes live (default: apache2ctl configtest, else "
        "apachectl configtest, else none; for nginx: nginx -t)",
    ),
    (
        "reload-command",
        "CMD",
        "makes a server load the snippet and certificates; given once for each server; '' if you "
        "reload them yourself (default: only if the server runs, systemctl reload, else apache2ctl "
        "graceful or apachectl graceful; for nginx: nginx -s reload)",
    ),
    (
        "tlsa",
        "PORTS",
        "ports whose keys are also pinned by TLSA records in the zone, e.g. 25,465,993 or "
        "mail.example.com:25; none takes them back (default: none)",
    ),
    (
        "dns-credentials",
        "FILE",
        "credentials for the zone, in the format of certbot-dns-rfc2136 (default: none, "
        "pinkeep only observes the zone)",
    ),
    ("tlsa-ttl", "SECONDS", "TTL of the TLSA records that pinkeep writes (default: 3600)"),
)
OPTIONS = tuple(name for name, _, _ in TABLE)
#: The options that are given without a value, or taken back.
SWITCHES = tuple(name for name, metavar, _ in TABLE if not metavar)
#: Pins are for apps and zones: no server sends a header.
NO_HEADER = "none"
HEADERS = ("apache", "nginx", NO_HEADER)
DEFAULT_BACKUP_KEYS = 2
DEFAULT_MAX_AGE = 5184000
DEFAULT_ROLLOVER_DAYS = 730
MOST_BACKUP_KEYS = 100
#: A hundred years; who means "not at all" writes never.
MOST_ROLLOVER_DAYS = 36500
#: Ten years: more is a slip of the finger that would bind clients for ever.
MOST_MAX_AGE = 315360000

DEFAULT_TLSA_TTL = 3600
#: A minute and a week: a rollover waits for twice of it.
LEAST_TLSA_TTL, MOST_TLSA_TTL = 60, 604800

#: How the names of 0.1 begin, in renewal files.
STORED_PREFIX = "pinkeep_"
_PREFIX = "for_keyring_"
#: The options that may be given several times.
REPEATED = ("reload-command",)
Words = tuple[str, ...]

_KEYRING = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_LONGEST_NAME = 250  # with ".conf", what a file system takes
_URI = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
#: What only a shell would understand.
_SHELL_WORDS = frozenset(("&&", "||", ";", "|", "&", ">", ">>", "<", "2>&1"))
#: Of these, those after which another command begins.
_NEXT_COMMAND = frozenset(("&&", ";"))
_ON = ("true", "yes", "on", "1")
_OFF = ("false", "no", "off", "0")


@dataclass(frozen=True)
class Options:
    """What the admin set, checked.

    :ivar keyring: the keyring that the lineage draws on
    :ivar max_age: seconds
    :ivar rollover_days: the age at which a primary is left; ``None``: never
    :ivar header: the server that sends the header, or :data:`NO_HEADER`; ``None``: the default
    :ivar snippet_dir: absolute; ``None`` for the default below the config dir
    :ivar configtest: words of the command; ``None`` for the default, empty for none
    :ivar reload: the words of each command; ``None`` for the default, empty for none
    :ivar tlsa: the ports whose keys are pinned in the zone
    :ivar dns_credentials: the file with the credentials for the zone, absolute; ``None``: observe only
    :ivar tlsa_ttl: of the records that are written, in seconds
    :ivar settings: what was given of all this but the keyring's name, as text; it counts for every
        lineage of the keyring
    """

    keyring: str
    backup_keys: int = DEFAULT_BACKUP_KEYS
    max_age: int = DEFAULT_MAX_AGE
    include_subdomains: bool = False
    report_uri: str | None = None
    report_only: bool = False
    rollover_days: int | None = DEFAULT_ROLLOVER_DAYS
    header: str | None = None
    snippet_dir: str | None = None
    configtest: tuple[str, ...] | None = None
    reload: tuple[Words, ...] | None = None
    tlsa: tuple[Port, ...] = ()
    dns_credentials: str | None = None
    tlsa_ttl: int = DEFAULT_TLSA_TTL
    settings: Mapping[str, str] = field(default_factory=dict, compare=False)


def destination(option: str) -> str:
    """Return the name of an option in certbot's configuration.

    :param option: its name without ``--pinkeep-``
    """
    return _PREFIX + option.replace("-", "_")


_DESTINATIONS = {option: destination(option) for option in OPTIONS}


def stored_name(option: str) -> str:
    """Return the name by which certbot stored an option of pinkeep 0.1 in renewal files."""
    return STORED_PREFIX + option.replace("-", "_")


def given(config: object) -> dict[str, object]:
    """Return the options that are given in this run; ``None``: not given.

    :param config: certbot's configuration
    """
    known = vars(
        getattr(config, "namespace", config)
    )  # certbot's own takes long, and is asked for each lineage
    return {option: as_text(known[name]) for option, name in _DESTINATIONS.items()}


def as_text(value: object) -> object:
    """Return the value of an option as it is kept: of one that may be given several times, one text."""
    if not isinstance(value, list):
        return value
    return str(value[0]) if len(value) == 1 else json.dumps([str(one) for one in value])


def parse(values: Mapping[str, object], lineage: str) -> Options:
    """Check the values of all options.

    :param values: by the option's name without ``--pinkeep-``, e.g. ``max-age``; ``None`` and
        missing ones are defaults
    :param lineage: certbot's name for the lineage, the default name of its keyring
    :raises BadOption: for the first value that cannot be used
    """
    return Options(
        keyring=keyring_name(values.get("keyring"), lineage),
        backup_keys=_number(values, "backup-keys", DEFAULT_BACKUP_KEYS, 1, MOST_BACKUP_KEYS),
        max_age=_number(values, "max-age", DEFAULT_MAX_AGE, 0, MOST_MAX_AGE),
        include_subdomains=_switch(values, "include-subdomains"),
        report_uri=_report_uri(values.get("report-uri")),
        report_only=_switch(values, "report-only"),
        rollover_days=_rollover_days(values),
        header=header(values),
        snippet_dir=_path(values, "snippet-dir", "folder"),
        configtest=command(values, "configtest-command"),
        reload=reload_commands(values),
        tlsa=tlsa.parse_ports(values.get("tlsa")),
        dns_credentials=_path(values, "dns-credentials", "file"),
        tlsa_ttl=_number(values, "tlsa-ttl", DEFAULT_TLSA_TTL, LEAST_TLSA_TTL, MOST_TLSA_TTL),
        settings={
            name: str(value)
            for name, value in values.items()
            if name != "keyring" and value is not None
        },
    )


def unusable(values: Mapping[str, object]) -> list[str]:
    """Return the options whose values cannot be used, whatever the others are."""
    found = []
    for name, value in values.items():
        try:
            parse({name: value}, "any")
        except BadOption:
            found.append(name)
    return found


def header(values: Mapping[str, object]) -> str | None:
    """Return the server that sends the header, whatever the other options' values are.

    :raises BadOption: if there is no such server
    """
    value = values.get("header")
    if value is None:
        return None
    text = str(value).lower()
    if text not in HEADERS:
        raise BadOption("--pinkeep-header", value, f"give one of these: {', '.join(HEADERS)}.")
    return text


def reload_commands(values: Mapping[str, object]) -> tuple[Words, ...] | None:
    """Return the words of each command that reloads a server, whatever the other options' values are.

    :returns: ``None``: the default; empty: none
    :raises BadOption: if one of them cannot be used
    """
    name = "reload-command"
    value = values.get(name)
    if value is None:
        return None
    found = [command({name: one}, name) or () for one in _texts(value)]
    if len(found) > 1 and () in found:
        why = "'' says that you reload all servers yourself. Give no other command then."
        raise BadOption(f"--pinkeep-{name}", value, why)
    return tuple(dict.fromkeys(filter(None, found)))


def _texts(value: object) -> list[str]:
    """Return each value of an option that may be given several times."""
    text = str(as_text(value))
    if text.startswith("["):
        with suppress(ValueError, RecursionError):
            listed = json.loads(text)
            if listed and isinstance(listed, list) and all(isinstance(one, str) for one in listed):
                return listed
    return [text]


def command(values: Mapping[str, object], name: str) -> Words | None:
    """Return the words of one command, whatever the other options' values are.

    :param name: of the option, e.g. ``reload-command``
    :returns: ``None``: the default; empty: none
    :raises BadOption: if it cannot be used
    """
    value = values.get(name)
    if value is None:
        return None
    text = str(value)
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise BadOption(
            f"--pinkeep-{name}", text, f"it cannot be split into words: {error}."
        ) from error
    shells = next((word for word in words if word in _SHELL_WORDS or word[-1:] == ";"), None)
    if shells is not None:
        why = f"no shell reads this, so {shells!r} has no effect. {_instead(name, text, words)}"
        raise BadOption(f"--pinkeep-{name}", text, why)
    return words


def _instead(name: str, text: str, words: Words) -> str:
    """Say what to give instead of words that only a shell would understand."""
    each = [list[str]()]
    for word in words:
        if word in _NEXT_COMMAND or word[-1:] == ";":
            each[-1] += filter(None, [word.rstrip(";&")])
            each.append([])
        else:
            each[-1].append(word)
    if name in REPEATED and len(each) > 1 and not any(map(_SHELL_WORDS.intersection, each)):
        given = (f"--pinkeep-{name} {shlex.quote(shlex.join(one))}" for one in each if one)
        return f"Give the option once for each command: {' '.join(given)}."
    return f"Give sh -c {shlex.quote(text)} instead, or the path of a script that has the commands."


def keyring_name(value: object, lineage: str) -> str:
    """Return the keyring's name: the option's value, or the lineage's name.

    :raises BadOption: if it cannot be a file's name
    """
    name = lineage if value is None else str(value)
    if not _KEYRING.fullmatch(name) or len(name) > _LONGEST_NAME:
        why = (
            "a keyring's name has letters, digits, '.', '_' and '-' only. It begins with a letter, a "
            f"digit or '_', and has {_LONGEST_NAME} characters at most"
        )
        if value is None:
            better = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:_LONGEST_NAME]
            raise NoKeyringName(lineage, f"{why}.", better or "pins")
        raise BadOption("--pinkeep-keyring", name, f"{why}.")
    return name


def check_report_host(uri: str | None, hosts: tuple[str, ...], *, subdomains: bool) -> None:
    """See that reports do not go to a host that the keyring covers: a client that refuses the host
    could not report there (RFC 7469 §2.1.4).

    :raises BadOption: if they would
    """
    if uri is None:
        return
    target = (urlsplit(uri).hostname or "").lower().rstrip(".")
    for host in hosts:
        if hostnames.covers(host, target, subdomains=subdomains):
            raise BadOption(
                "--pinkeep-report-uri",
                uri,
                f"the host {target} is covered by the pins of {host}: a client that refuses them "
                "could not report there (RFC 7469 §2.1.4). Name a host that is not pinned here.",
            )


def _number(values: Mapping[str, object], name: str, default: int, least: int, most: int) -> int:
    value = values.get(name)
    if value is None:
        return default
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise BadOption(f"--pinkeep-{name}", text, f"give a whole number from {least} to {most}.")
    return int(text)


def _rollover_days(values: Mapping[str, object]) -> int | None:
    if str(values.get("rollover-days")).lower() == "never":
        return None
    try:
        return _number(values, "rollover-days", DEFAULT_ROLLOVER_DAYS, 0, MOST_ROLLOVER_DAYS)
    except BadOption as error:
        raise BadOption(error.option, error.value, f"{error.why[:-1]}, or never.") from None


def _switch(values: Mapping[str, object], name: str) -> bool:
    value = values.get(name)
    text = str(value).lower()
    if value is None or text in _OFF:
        return False
    if text in _ON:
        return True
    raise BadOption(f"--pinkeep-{name}", value, "give true or false.")


def is_report_uri(text: str) -> bool:
    """Return whether it is an http or https URI on a host (RFC 3986 §2, §3.2)."""
    if not _URI.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        named, _ = parts.hostname, parts.port
    except ValueError:
        return False
    found = hostnames.host((named or "").replace("_", "a"))  # as some networks have them
    if found is None or found.startswith("*.") or parts.scheme.lower() not in ("https", "http"):
        return False
    # What the library reads over, say "[::1]]": the authority is user, host and port, and no more.
    _, _, place = parts.netloc.rpartition("@")
    spelt = f"[{named}]" if ":" in (named or "") else named
    return re.fullmatch(rf"{re.escape(spelt or '')}(?::\d*)?", place, re.I | re.A) is not None


def _report_uri(value: object) -> str | None:
    if value is None:
        return None
    text = str(value)
    if not is_report_uri(text):
        raise BadOption(
            "--pinkeep-report-uri",
            text,
            "give an https or http URI with a host, without quotes, spaces or line breaks.",
        )
    return text


def _path(values: Mapping[str, object], name: str, what: str) -> str | None:
    value = values.get(name)
    if value is None or (what == "file" and value == ""):  # an empty one takes it back
        return None
    text = str(value)
    if not posixpath.isabs(text) or any(ord(character) < 32 for character in text):
        raise BadOption(f"--pinkeep-{name}", text, f"give the absolute path of a {what}.")
    return posixpath.normpath(text)
