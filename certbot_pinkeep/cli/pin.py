"""``certbot-pinkeep pin``: enrols lineages at once, whatever installer renews them.

The rules:

* What is wrong with an option, a lineage or the key's file is said before anything is written.
* A lineage without an installer is renewed by pinkeep from now on. Another installer stays, and keeps
  the key (``reuse_key``): what is to be done so that its renewals bring the header up to date is said.
* If clients pin another key than the live one already, the next renewal is issued for it. A key of another
  type than the live one needs a certificate of that type first.
* The key's file is a regular file of sane size, with one unencrypted private key; it is never printed
  (G7).
"""

from __future__ import annotations

import argparse
import os
import shlex
from argparse import BooleanOptionalAction
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from certbot_pinkeep.adapters import certbot_config, clock, renewal_conf
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.carriers import snippets
from certbot_pinkeep.cli import context, dns, output, served
from certbot_pinkeep.cli.check import address
from certbot_pinkeep.cli.parser import Commands, add_command
from certbot_pinkeep.core import options, pins, rollover, text
from certbot_pinkeep.core.errors import BadBackup, BadKey, BadOption, PinkeepError
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.options import OPTIONS, REPEATED, TABLE, as_text
from certbot_pinkeep.core.pem import (
    PrivateKey,
    is_common,
    is_encrypted,
    kind_of,
    load_private_key,
    write_private_key,
)
from certbot_pinkeep.workflow import stage
from certbot_pinkeep.workflow.publish import Publisher
from certbot_pinkeep.workflow.workspace import Workspace

_HELP = "pin certificates now, whatever installer renews them"
_MORE = (
    "pinkeep looks at each host before it pins the host, and records pins that the host sends already. "
    "If clients pin a key already, say an app in a store, give that key as --key."
)
_EXAMPLE = """\
  certbot-pinkeep pin example.com
  certbot-pinkeep pin example.com www.example.com --keyring example.com --max-age 86400
  certbot-pinkeep pin example.com --key old.key
"""


def add(commands: Commands) -> None:
    command = add_command(commands, "pin", _HELP, _EXAMPLE, run=_run, writes=True, more=_MORE)
    command.add_argument(
        "lineages", nargs="+", metavar="LINEAGE", help="as 'certbot certificates' names it"
    )
    command.add_argument(
        "--key",
        metavar="FILE",
        help="the private key that clients pin already, if that is not the live key",
    )
    command.add_argument(
        "--connect",
        metavar="HOST:PORT",
        type=address,
        help="look at every host here, not at the host itself and port 443",
    )
    for name, metavar, told in TABLE:
        if metavar:
            action = "append" if name in REPEATED else "store"
            command.add_argument(f"--{name}", metavar=metavar, help=told, action=action)
        else:
            help_ = f"{told} (default: off), or take that back"
            command.add_argument(f"--{name}", action=BooleanOptionalAction, help=help_)


def _run(parsed: argparse.Namespace) -> int:
    key = None if parsed.key is None else _key(parsed.key)
    config = context.certbots_config(parsed)
    with context.holding_certbot(config.config_dir):
        return _pin(parsed, config, key)


def _pin(parsed: argparse.Namespace, config: Any, key: PrivateKey | None) -> int:
    also = {name: as_text(getattr(parsed, name.replace("-", "_"))) for name in OPTIONS}
    also = {name: value for name, value in also.items() if value is not None}
    given = {**options.given(config), **also}
    found = [_renewal(config, name) for name in dict.fromkeys(parsed.lineages)]
    workspace = context.workspace_of(config, parsed.connect)
    if key is not None:
        workspace.imported = {pins.pin_of(key.public_key()): write_private_key(key)}
    publisher = Publisher(workspace)
    for renewal in found:
        _check(workspace, renewal, given, also, key)
    try:
        for renewal in found:
            noted = partial(_remember, config, renewal)
            one = context.enrol(workspace, renewal, given, noted)
            publisher.add(one)
            if key is not None:
                stage.pin_key(workspace, one.chosen.keyring, write_private_key(key), clock.now())
    finally:
        # Whatever comes next: what is on record by now is published.
        names = publisher.waiting
        reports, failures = publisher.publish_all(publisher.waiting, clock.now())
        for report in reports:
            output.print_step(report)
    for renewal in found:
        print(_renewed_by(renewal))
    for report in reports:
        for sentence in served.told(config, workspace, report, parsed.connect):
            output.tell(sentence)
    if key is not None:
        for report in reports:
            print(_next(workspace, report.keyring, key, found))
    zone_error = next(filter(None, [dns.tell_step(workspace, name) for name in names]), None)
    if failures:
        raise failures[0].error
    if zone_error is not None:
        raise zone_error
    print(_to_know(config.config_dir, reports[0].keyring))
    return 0


def _renewal(config: Any, name: str) -> Renewal:
    known = renewal_conf.names(config.config_dir)
    if name not in known:
        raise PinkeepError(
            f"There is no certificate {name!r} in {config.config_dir}.",
            f"Certificates here: {', '.join(known) or 'none'}.",
        )
    renewal = renewal_conf.load(config.config_dir, name)
    assert renewal is not None
    return renewal


def _check(
    workspace: Workspace,
    renewal: Renewal,
    given: Mapping[str, object],
    also: Collection[str],
    key: PrivateKey | None,
) -> None:
    """See that what the admin asks for is possible.

    :param also: the options that are given to this command

    :raises PinkeepError: if it is not
    """
    live, values = context.what_counts(workspace, renewal, given)
    try:
        snippets.server_of(workspace.store, options.parse(values, renewal.name))
    except BadOption as error:
        if error.option[10:] not in also:
            raise  # it stands in cli.ini
        # What the error says to give is given to this command, too.
        own, why = (one.replace("--pinkeep-", "--") for one in (error.option, error.why))
        raise BadOption(own, error.value, why) from error
    name = str(values["keyring"] or renewal.name)
    state = workspace.load_state(name, clock.now())
    if state is not None and state.unpin:
        raise PinkeepError(
            f"The keyring {name} leaves pinning.",
            "You can stay pinned.",
            run=f"certbot-pinkeep unpin {name} --undo",
        )
    if key is None:
        return
    pin, kind = pins.pin_of(key.public_key()), kind_of(key.public_key())
    if workspace.store.is_compromised(pin):
        raise BadBackup(
            f"--key: the key with the pin {pin} is compromised, and pinkeep never uses it again."
        )
    if kind.key_type != live.kind.key_type:
        pinned = workspace.store.keyring_of(renewal.name) is not None
        raise _other_type(renewal.name, kind.key_type, live.kind.key_type, pinned=pinned)


def _other_type(name: str, wanted: KeyType, live: KeyType, *, pinned: bool) -> BadBackup:
    """Tell how to get a certificate with a key of the wanted type."""
    told = f"--key: this is an {wanted.upper()} key, and the certificate of {name} has an {live.upper()} key."
    if pinned:
        return BadBackup(
            told,
            "A pinned certificate keeps its key type. Get a second certificate for the other type, under "
            "another --cert-name, and pin that certificate.",
        )
    return BadBackup(
        told,
        "Get a certificate of that type first, then pin it.",
        run=f"certbot renew --cert-name {shlex.quote(name)} --key-type {wanted} --force-renewal",
    )


def _remember(config: Any, renewal: Renewal) -> None:
    if renewal.installer == certbot_config.INSTALLER:
        renewal_conf.remember(config.config_dir, renewal.name, certbot_config.INSTALLER)
    else:
        renewal_conf.keep_key(config.config_dir, renewal.name)


def _renewed_by(renewal: Renewal) -> str:
    by = f" The installer {renewal.installer} stays." if renewal.installer else ""
    return f"Certbot renews {renewal.name} with pinned keys from now on.{by}"


def _to_know(config_dir: str, keyring: str) -> str:
    """Tell what an admin has to know next."""
    above, name = os.path.split(os.path.abspath(config_dir))
    tar = shlex.join(["tar", "-C", above, "-czf", f"/root/{name}.tar.gz", name])
    return (
        "Next steps:\n"
        f"  Back up the keys, now and after each renewal:  (umask 077; {tar})\n"
        "  Let cron look at the site every day:           certbot-pinkeep check\n"
        f"  Never just uninstall. To leave pinning:        certbot-pinkeep unpin {keyring}"
    )


def _next(workspace: Workspace, keyring: str, key: PrivateKey, found: list[Renewal]) -> str:
    """Tell how to have the key served that clients pin."""
    public, now = key.public_key(), clock.now()
    pin = pins.pin_of(public)
    state = context.load_one(workspace, keyring)
    primary, names = state.keyring.primary(kind_of(public).key_type), state.keyring.drawing
    waiting = [m.lineage for m in names if m.pin != pin and m.lineage in [r.name for r in found]]
    app = text.joined(
        "If an app carries this pin, record until when. Otherwise a later rollover locks the app out.",
        text.command(
            f"certbot-pinkeep release {keyring} add --channel app --label VERSION --until DATE --pin {pin}"
        ),
    )
    if not waiting or primary is None:
        return text.joined(f"The key with the pin {pin} is live already.", app)
    told = f"The next renewal of {', '.join(waiting)} is issued for the key with the pin {pin}"
    verdict = rollover.safety(primary, state.ledger, now)
    if not verdict.at(now):
        return text.joined(f"{told}, after that locks nobody out: {verdict.why}.", app)
    renew = (
        text.command(f"certbot renew --cert-name {shlex.quote(name)} --force-renewal")
        for name in waiting
    )
    return text.joined(
        f"{told}. Until then clients that pin this key refuse the site.", *renew, app
    )


def _key(path: str) -> PrivateKey:
    """Read the private key in a file.

    :raises BadBackup: if there is none that can be used
    """
    pem = context.read_file("--key", path)
    if is_encrypted(pem):
        raise BadBackup(
            f"--key {path!r}: the key is encrypted, and the web server needs an unencrypted key.",
            "Decrypt the key, and give the new file.",
            run=f"(umask 077; openssl pkey -in {shlex.quote(path)} -out decrypted.key)",
        )
    try:
        key = load_private_key(pem)
    except BadKey as error:
        raise BadBackup(f"--key {path!r}: {error}.") from None
    if not is_common(key.public_key()):
        raise BadBackup(
            f"--key {path!r}: this is an {kind_of(key.public_key())} key, which public CAs do not take."
        )
    return key
