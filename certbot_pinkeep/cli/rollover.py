"""``certbot-pinkeep rollover``."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import partial

from certbot_pinkeep.adapters import clock, renewal_conf
from certbot_pinkeep.cli import context
from certbot_pinkeep.cli.parser import Commands, Parser, add_command, add_name
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.workflow import requests
from certbot_pinkeep.workflow.workspace import Workspace

_HELP = "roll over to a backup at the next renewal; refused while that locks clients out"
_MORE = (
    "The next renewal is issued for the first backup that every client accepts, and pinkeep stages a new "
    "backup. If no backup is safe yet, the command names the earliest time and changes nothing. --force "
    "takes the backup that locks clients out for the shortest time. The command says first which clients, "
    "and until when. Without --now, --undo takes that back until the next renewal."
)
_EXAMPLE = """\
  certbot-pinkeep rollover example.com
  certbot-pinkeep rollover example.com --when-safe
  certbot-pinkeep rollover example.com --now
  certbot-pinkeep rollover example.com --undo
  certbot-pinkeep rollover example.com --compromised --now --force
"""


def add(commands: Commands) -> None:
    command = add_command(commands, "rollover", _HELP, _EXAMPLE, more=_MORE)
    add_name(command)
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--when-safe",
        action="store_true",
        help="if a rollover is not safe yet, let the first renewal after that time roll over",
    )
    how.add_argument(
        "--force",
        action="store_true",
        help="roll over though that locks clients out; first says which, and until when",
    )
    how.add_argument(
        "--undo",
        action="store_true",
        help="take the request back, unless something forces the rollover",
    )
    command.add_argument(
        "--compromised",
        action="store_true",
        help="other people know the present key: never use it again",
    )
    command.add_argument(
        "--now", action="store_true", help="renew the keyring's certificates at once"
    )
    command.set_defaults(run=partial(_rollover, command), writes=True)


def _rollover(command: Parser, parsed: argparse.Namespace) -> int:
    if parsed.undo and (parsed.now or parsed.compromised):
        command.error("--undo goes with neither --now nor --compromised")
    if parsed.undo:
        with context.at_work(parsed) as (workspace, name):
            told = requests.take_back(workspace, name, clock.now())
        print(told)
        return 0
    workspace, name = context.named(parsed)
    lineages = _renewable(workspace, name) if parsed.now else {}
    with context.holding_certbot(workspace.config_dir):  # certbot takes it itself when it renews
        asked = requests.ask(
            workspace,
            name,
            clock.now(),
            when_safe=parsed.when_safe,
            compromised=parsed.compromised,
            force=parsed.force,
        )
    print("\n".join(asked.told), flush=True)
    if parsed.now and asked.ready:
        _renew_all(workspace, name, lineages, context.folders(parsed))
    return 0


def _renewable(workspace: Workspace, name: str) -> dict[str, str]:
    """Find the certificates of the keyring that certbot has, and by which name certbot knows each."""
    state, folder = workspace.store.load(name), workspace.config_dir
    lineages = [member.lineage for member in state.keyring.drawing] if state else []
    return {
        one: renewal_conf.certbots_name(folder, one)
        for one in lineages
        if renewal_conf.load(folder, one) is not None
    }


def _renew_all(
    workspace: Workspace, name: str, lineages: Mapping[str, str], folders: list[str]
) -> None:
    """Have certbot renew the certificates of a keyring now.

    :param lineages: by which name certbot knows each of them
    :param folders: the words that tell certbot its folders
    :raises PinkeepError: if one of them is not renewed for the new key
    """
    if not lineages:
        print(
            f"Certbot has no certificate of the keyring {name} to renew. The next certificate that you ask "
            "for with --installer pinkeep is issued for the new key."
        )
    before = workspace.live_pins(context.load_one(workspace, name).keyring)
    failed = [one for one, known in lineages.items() if _renew(known, folders) != 0]
    after = workspace.live_pins(context.load_one(workspace, name).keyring)
    kept = [one for one in lineages if after.get(one) == before.get(one)]
    left = [one for one in failed if one in kept]
    if left:
        raise PinkeepError(
            f"The rollover of {name} is on record, but certbot could not renew these certificates: "
            f"{', '.join(left)}.",
            "Mend what certbot's output above says, and renew each of them.",
            run=f"certbot renew --force-renewal --cert-name {shlex.quote(lineages[left[0]])}",
        )
    if failed:
        raise PinkeepError(
            f"Certbot renewed {', '.join(failed)} for the new key. But the keyring {name} is not up to "
            "date, or a server has not loaded the certificate.",
            "Mend what certbot's output above says.",
            run="certbot renew",
        )
    if kept:
        raise PinkeepError(
            f"{', '.join(kept)} was renewed, but kept its key.",
            "Certbot's output above says why. The rollover stays on record.",
        )


def _renew(lineage_name: str, folders: list[str]) -> int:
    """Have certbot renew a certificate now, as it is set up; its output goes to ours."""
    command = [sys.executable, "-c", "import sys; from certbot.main import main; sys.exit(main())"]
    command += ["renew", "--cert-name", lineage_name, "--force-renewal", *folders]
    command += ["--non-interactive", "--no-random-sleep-on-renew"]
    # Python imports from the working directory first.
    done = subprocess.run(
        command, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=False
    )
    return done.returncode
