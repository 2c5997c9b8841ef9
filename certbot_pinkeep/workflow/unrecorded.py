"""Which key a lineage is renewed for that no keyring has on record.

The rules:

* live/ may hold another key than the certificate's, and no record may say which keys clients accept. Then the
  renewal is issued for the key in live/, as certbot would. If the snippet says that clients refuse that one,
  it is issued for a pinned key.
* A lineage that was pinned nowhere is issued for the shared primary at once, if that is safe there; else it
  joins with the key that it has. A lineage keeps its key, too, if its hosts are seen sending pins already, or
  cannot be believed (see ``core.earlier_headers``).
* A compromised key is never handed over.
"""

from __future__ import annotations

import logging
import os
import shlex
from contextlib import suppress

from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.carriers import snippets
from certbot_pinkeep.core import pins, rollover
from certbot_pinkeep.core.errors import BadKey, Compromised, DamagedState, PublishFailed
from certbot_pinkeep.core.key_and_csr import SavedKey
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.pem import load_private_key
from certbot_pinkeep.core.rollover import Certificate
from certbot_pinkeep.storage import keys_and_csrs
from certbot_pinkeep.workflow import earlier_headers
from certbot_pinkeep.workflow.issue_request import IssueRequest
from certbot_pinkeep.workflow.workspace import Workspace

logger = logging.getLogger(__name__)


def key_for(workspace: Workspace, request: IssueRequest, *, compromised: bool) -> SavedKey:
    """Choose the key: the shared one of the keyring that the lineage is to join, if that is safe; else
    the live one, unless that is compromised.

    :param compromised: whether the CA has revoked the live one for that
    :raises BadKey: if there is none that could be handed over
    :raises Compromised: if the key is compromised, and which other one clients accept is unknown
    """
    live = request.renewed
    snippet = snippets.path_of(workspace.store, live.name, request.chosen)
    published = workspace.was_pinned(live.name) or os.path.lexists(snippet)
    shared = None if published else _shared_key(workspace, request)
    if shared is not None:
        return shared
    if compromised or workspace.store.is_compromised(live.pin):
        _check_replaceable(workspace, live, published=published)
        return _new_key(workspace, live.kind, dry_run=request.dry_run)
    going_on = _going_on(workspace, live, snippet)
    if going_on is not None:
        return going_on
    if published:
        raise BadKey(
            f"{live.name} cannot be renewed: clients may hold pins for it, and no private key is here "
            "that they are known to accept.",
            f"Restore {live.key_path}, or {workspace.folders.keys}, from a backup.",
            run=f"certbot renew --cert-name {shlex.quote(live.name)}",
        )
    return _new_key(workspace, live.kind, dry_run=request.dry_run)


def _shared_key(workspace: Workspace, request: IssueRequest) -> SavedKey | None:
    """Return the key of the keyring that a lineage without pins is to join, if it is safe."""
    hosts, now, key_type = request.all_names, request.now, request.renewed.kind.key_type
    try:
        state = workspace.load_state(request.keyring, now)
        if state is None or key_type not in state.keyring.key_types():
            return None
        wanted = Certificate(hosts, None)
        key = rollover.decide(state.keyring, state.ledger, now, key_type, certificate=wanted).key
        if key is None or not rollover.safety(key, state.ledger, now, hosts).at(now):
            return None
        if not request.dry_run:
            found = earlier_headers.look_before(workspace, hosts, request.keyring, now)
            if found is not None and (found.sent or found.foreign or found.silent):
                return None  # clients may hold pins without it
        return workspace.load_key(key)
    except (DamagedState, BadKey) as error:
        logger.error("%s", error)
        return None


def _check_replaceable(workspace: Workspace, live: Live, *, published: bool) -> None:
    """See that a compromised key can be replaced by a new one."""
    told = (
        f"The key of {live.name} is compromised, so pinkeep does not hand it over again. Which other key "
        "clients accept is not known"
    )
    try:
        workspace.store.check_all()
    except DamagedState as error:
        # It may be the one of this lineage: clients may hold what it says.
        raise Compromised(f"{told}.", str(error)) from error
    if published:
        raise Compromised(
            f"{told}: its keyring file is lost.",
            "Adopt what is left of its pins. Then force the rollover, which says first which clients it "
            f"locks out.\nRun: certbot install --installer pinkeep --cert-name {shlex.quote(live.name)}",
            run=f"certbot-pinkeep rollover {live.name} --now --force",
        )


def _going_on(workspace: Workspace, live: Live, snippet: str) -> SavedKey | None:
    """Return the key that the lineage goes on with: the one in live/, unless the snippet says that
    clients refuse it; else the certificate's own; else another one of the snippet."""
    policy = None
    with suppress(PublishFailed):  # publishing tells
        policy = snippets.published(snippet)
    there = workspace.live_key(live)
    if there is not None and (there.pin == live.pin or policy is None or there.pin in policy.pins):
        return there
    wanted = [live.pin, *(policy.pins if policy else ())]
    usable = (pin for pin in wanted if not workspace.store.is_compromised(pin))
    return next((key for pin in usable if (key := workspace.folders.find_key(pin))), None)


def _new_key(workspace: Workspace, kind: KeyKind, *, dry_run: bool) -> SavedKey:
    pem = keys_and_csrs.make_key(kind)
    if not dry_run:
        return workspace.folders.save_key(pem)
    return SavedKey("", pem, pins.pin_of(load_private_key(pem).public_key()), kind)
