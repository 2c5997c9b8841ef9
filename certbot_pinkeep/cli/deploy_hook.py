"""``certbot-pinkeep deploy-hook``.

The rules:

* A linked hook runs for every lineage, so it says nothing of a lineage that is not pinned. Certbot may enrol
  that lineage in the same run.
* A certbot with the guard brings all its pinned lineages up to date, with one reload at its end. The hook
  leaves them to the guard.
"""

from __future__ import annotations

import argparse
import os
import shlex
from contextlib import suppress

from certbot_pinkeep.adapters import certbot_config, clock, lineage, renewal_conf
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.cli import context, output
from certbot_pinkeep.cli.parser import Commands, add_command
from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import BadKey, PinkeepError
from certbot_pinkeep.storage import settings
from certbot_pinkeep.workflow import move, run
from certbot_pinkeep.workflow.publish import Publisher
from certbot_pinkeep.workflow.workspace import Workspace

_HELP = "bring the header up to date with RENEWED_LINEAGE, in certbot's deploy hooks"
_EXAMPLE = """\
  certbot renew --deploy-hook "certbot-pinkeep deploy-hook"
  ln -s "$(command -v certbot-pinkeep)" /etc/letsencrypt/renewal-hooks/deploy/
"""


def add(commands: Commands) -> None:
    add_command(commands, "deploy-hook", _HELP, _EXAMPLE, run=_deploy_hook, writes=True)


def _deploy_hook(parsed: argparse.Namespace) -> int:
    live_dir = os.environ.get("RENEWED_LINEAGE")
    if not live_dir:
        raise PinkeepError(
            "RENEWED_LINEAGE is not set.",
            "This command is for certbot's deploy hooks: certbot sets it.",
        )
    folder, name = os.path.split(os.path.normpath(live_dir))
    config = context.certbots_config(parsed, os.path.dirname(folder))
    renewal = renewal_conf.load(config.config_dir, name)
    if renewal is None:
        raise PinkeepError(
            f"{live_dir} is not a lineage in {config.config_dir}.",
            "Give the hook certbot's --config-dir.",
        )
    workspace = context.workspace_of(config)
    pinned, guarded = workspace.store.keyring_of(name) is not None, certbot_config.is_guarded()
    if pinned and guarded:
        return 0
    if not pinned and not _is_ours(renewal):
        _see_to_others(workspace, renewal, guarded=guarded)
        return 0
    given = options.given(config)
    keyring, values = name, given
    with suppress(PinkeepError, OSError):  # enrolling tells
        values = settings.values(workspace.store, name, given, renewal.options)
        keyring = options.keyring_name(values["keyring"], name)
    # Whatever goes wrong from here on, the certificate is loaded in the end (G12).
    one = run.of(config.config_dir, config.work_dir)
    one.loader.note(name, keyring, values, issued=True)
    try:
        one.publisher.add(context.enrol(one.workspace, renewal, given))
    except Exception:
        with suppress(PinkeepError, OSError):  # what went wrong first is told
            one.finish()
        raise
    for report in one.finish():
        output.print_step(report)
    return 0


def _see_to_others(workspace: Workspace, renewal: Renewal, *, guarded: bool) -> None:
    """Pin the key of a lineage that is not enrolled, at the hosts of a keyring that it has.

    :param guarded: whether certbot's guard publishes
    :raises OtherKeyring: if clients refuse the lineage
    """
    with suppress(BadKey):  # of a kind that is never pinned
        names, pin, _ = lineage.glance(renewal.cert_path)
        keyring = move.keyring_at(workspace, names, clock.now())
        if keyring is not None and not guarded:
            output.print_step(Publisher(workspace).publish(keyring, clock.now()))
        move.check_accepted(workspace, renewal.name, names, pin, clock.now())


def _is_ours(renewal: Renewal) -> bool:
    """Say whether the hook adopts a lineage that is in no keyring yet.

    :raises PinkeepError: if it asks for the hook, but its next renewal would make a new key
    """
    if renewal.installer == certbot_config.INSTALLER:
        return True
    if "certbot-pinkeep" not in renewal.deploy_hook:
        return False  # the hook runs for all lineages, and this one is none of ours (G9)
    if renewal.reuse_key:
        return True
    raise PinkeepError(
        f"{renewal.name} was not pinned:",
        "its next renewal would make a new key, and lock out every client that holds the pins.",
        run=f"certbot renew --cert-name {shlex.quote(renewal.name)} --installer pinkeep",
    )
