"""``certbot-pinkeep backup``."""

from __future__ import annotations

import argparse
import getpass
import shlex
import sys
from datetime import datetime

from certbot_pinkeep.adapters import clock, renewal_conf
from certbot_pinkeep.cli import context, output
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.core import text
from certbot_pinkeep.core.errors import BadBackup, BadKey, PinkeepError
from certbot_pinkeep.core.pem import encrypted_block, is_encrypted, load_private_key
from certbot_pinkeep.reports import status
from certbot_pinkeep.workflow import offline_backups, requests
from certbot_pinkeep.workflow.offline_backups import Imported
from certbot_pinkeep.workflow.publish import Publisher
from certbot_pinkeep.workflow.workspace import Workspace

_HELP = "keep backup keys of your own: offline, known by a CSR or public key, or encrypted"
_EXAMPLE = """\
  certbot-pinkeep backup example.com add --csr offline.csr
  certbot-pinkeep backup example.com list
  certbot-pinkeep backup example.com add --key offline.key
  certbot-pinkeep backup example.com drop PIN
"""
_LIST = "show the backups, where their private keys are, and which are safe"
_LIST_EXAMPLE = "  certbot-pinkeep backup example.com list\n"
_ADD = "pin a backup, or bring the private key of a backup"
_ADD_EXAMPLE = """\
  certbot-pinkeep backup example.com add --csr offline.csr
  certbot-pinkeep backup example.com add --key offline.key
  certbot-pinkeep backup example.com add --key encrypted.pem --keep-encrypted --passphrase-file FILE
"""
_DROP = "take a backup out of the pins; its file stays"
_DROP_EXAMPLE = """\
  certbot-pinkeep backup example.com drop SRUtjoqQp9GXejx/iwi4EroSMCO+PZU/jqt0B3Ktg2Q=
"""


def add(commands: Commands) -> None:
    command = add_command(commands, "backup", _HELP, _EXAMPLE)
    add_name(command)
    verbs = command.add_subparsers(required=True, metavar="add|list|drop")
    add_command(verbs, "list", _LIST, _LIST_EXAMPLE, run=_list)
    verb = add_command(verbs, "drop", _DROP, _DROP_EXAMPLE, run=_drop, writes=True)
    verb.add_argument("pin", metavar="PIN", help="as 'list' shows it")
    verb = add_command(verbs, "add", _ADD, _ADD_EXAMPLE, run=_add, writes=True)
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--csr", metavar="FILE", help="a CSR or public key: you bring its private key later"
    )
    what.add_argument("--key", metavar="FILE", help="a private key")
    verb.add_argument(
        "--passphrase-file",
        metavar="FILE",
        help="its first line is the passphrase of an encrypted key (default: you are asked)",
    )
    verb.add_argument(
        "--keep-encrypted",
        action="store_true",
        help="keep an encrypted key as it is until its turn comes",
    )
    verb.add_argument(
        "--new",
        action="store_true",
        help="add one more backup, though others wait for their private keys",
    )


def _list(parsed: argparse.Namespace) -> int:
    _, state = context.look_up(parsed)
    found = status.backup_lines(state, clock.now())
    print(text.escaped("\n".join(found)) or f"The keyring {state.keyring.name} has no backup.")
    return 0


def _add(parsed: argparse.Namespace) -> int:
    if parsed.csr is not None and (parsed.passphrase_file or parsed.keep_encrypted or parsed.new):
        raise BadBackup(
            "--csr goes with none of --passphrase-file, --keep-encrypted and --new: give --key."
        )
    workspace, name = context.named(parsed)
    if name not in workspace.store.names():
        raise _no_keyring(workspace, name, parsed.key)
    imported = None if parsed.csr is not None else _imported(parsed)
    with context.holding_certbot(workspace.config_dir):
        _add_to(workspace, name, parsed, imported)
    return 0


def _add_to(
    workspace: Workspace, name: str, parsed: argparse.Namespace, imported: Imported | None
) -> None:
    now = clock.now()
    if imported is None:
        pem = context.read_file("--csr", parsed.csr)
        key = offline_backups.add_public(workspace, name, pem, parsed.csr, now)
    else:
        key = offline_backups.add_private(workspace, name, imported, now, new=parsed.new)
    path = key.path or key.encrypted
    told = "Keep its private key: pinkeep asks for it when its turn has come."
    if path:
        told = f"Its private key is in {workspace.folders.absolute(path)}."
    output.tell(f"{key.pin} is a backup of the keyring {name}. {told}")
    _publish(workspace, name, now)


def _publish(workspace: Workspace, name: str, now: datetime) -> None:
    """Publish the backups, and tell what is due now."""
    output.print_step(Publisher(workspace).publish(name, now))
    for sentence in requests.due(workspace, name, clock.now()):
        print(sentence)


def _no_keyring(workspace: Workspace, name: str, path: str | None) -> PinkeepError:
    """Tell how to get a keyring for a backup.

    :param path: the private key's file; ``None``: the private key stays offline
    """
    key = "" if path is None else f" --key {shlex.quote(path)}"
    if name in renewal_conf.names(workspace.config_dir):
        told = f"The certificate {name} is not pinned yet, so it has no keyring."
        pin = f"certbot-pinkeep pin {shlex.quote(name)}"
        first = "in the certificate first, then add the backup."
        if key:
            carried = "If clients pin this key already, pin the certificate with this key."
            why = text.joined(carried, text.command(f"{pin}{key}"), f"If not, p{first}")
        return BadBackup(told, why if key else f"P{first}", run=pin)
    error = requests.no_keyring(workspace.store, name)
    if not key:
        return error
    return BadBackup(
        error.what,
        f"{error.why} If clients pin this key already, get a certificate with certbot first, then pin that "
        "certificate.",
        run=f"certbot-pinkeep pin LINEAGE{key}",
    )


def _imported(parsed: argparse.Namespace) -> Imported:
    """Open the private key of the file.

    :raises BadBackup: when it cannot be
    """
    pem = context.read_file("--key", parsed.key)
    sealed = encrypted_block(pem)
    if parsed.keep_encrypted and sealed is None:
        raise BadBackup(
            f"--keep-encrypted: {parsed.key!r} is not an encrypted key in PKCS#8.",
            "If the file is a private key, encrypt it.",
            run=f"openssl pkcs8 -topk8 -in {shlex.quote(parsed.key)} -out encrypted.pem",
        )
    passphrase = _passphrase(parsed) if is_encrypted(pem) else None
    try:
        key = load_private_key(sealed or pem, passphrase)
    except BadKey as error:
        raise BadBackup(f"--key {parsed.key!r}: {error}.") from None
    return Imported(parsed.key, key, sealed if parsed.keep_encrypted else None)


def _passphrase(parsed: argparse.Namespace) -> bytes:
    if parsed.passphrase_file:
        # If the passphrase was given in place of its file, it is not repeated (G7).
        content = context.read_file("--passphrase-file", parsed.passphrase_file, named=False)
        lines = content.splitlines()
        return lines[0] if lines else b""
    if sys.stdin is None or not sys.stdin.isatty():
        raise BadBackup(
            f"--key {parsed.key!r}: the key is encrypted, and no terminal can ask for the passphrase.",
            "Give --passphrase-file.",
        )
    try:
        return getpass.getpass(f"Passphrase of {parsed.key}: ").encode()
    except (EOFError, KeyboardInterrupt):
        raise BadBackup("You gave no passphrase.") from None
    except UnicodeError:  # it would quote what it could not read (G7)
        raise BadBackup(
            "The passphrase has characters that this terminal does not send as it says.",
            "Give --passphrase-file.",
        ) from None


def _drop(parsed: argparse.Namespace) -> int:
    with context.at_work(parsed) as (workspace, name):
        now = clock.now()
        key = offline_backups.drop(workspace, name, parsed.pin, now)
        carried = offline_backups.carriers(context.load_one(workspace, name), key.pin)
        told = [f"{key.pin} is no backup of the keyring {name} any more.", *carried]
        output.tell(" ".join(told))
        _publish(workspace, name, now)
    return 0
