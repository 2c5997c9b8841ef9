"""Which key a certificate is issued for: the decision, with the files that it needs.

The rules:

* A handover needs a key and a CSR, nothing else: if anything else is in doubt, the renewal goes
  on with the current key (G3). Only a compromised key is never handed over.
* What was decided holds as long as nothing changes on record: it is looked at again before what the
  CA issued is stored.
* Before a renewal the CA is asked whether the certificate to be replaced is revoked; a revocation
  is recorded before anything follows from it.
* If the wanted key's file is lost, the live key goes on, as long as clients accept it; else the best backup
  that is available is taken.
* If the live certificate cannot be read, what is on record of it counts.
* After a renewal without pinkeep a certificate goes back to the primary, if that is safe at its names. Else
  it goes back to the key that it had, unless that is compromised: its clients are locked out already.
* No certificate with a key that clients do not accept is made for a pinned host (G2). So it is below a host
  that is pinned with includeSubDomains. That goes for the names that a renewal adds, too: at those of its own
  keyring other pins may bind than at its present ones.
* The admin may have put a CSR for exactly the names into ``csr/``, and its key into ``keys/``. The first
  certificate of a keyring is issued for that CSR. A key that a certificate of this machine has had waits for
  nothing. Which one of several is meant, the admin has to say.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable
from dataclasses import replace

from certbot_pinkeep.adapters import lineage as lineage_
from certbot_pinkeep.adapters import revocation
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core import explain, hostnames, rollover, text
from certbot_pinkeep.core.errors import (
    BadFolder,
    BadKey,
    Compromised,
    DamagedState,
    NotAccepted,
    NotSafe,
    TypeMissing,
)
from certbot_pinkeep.core.key_and_csr import KeyAndCsr, SavedCsr, SavedKey, csr_request
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.rollover import Certificate
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import keys_and_csrs
from certbot_pinkeep.workflow import move, unrecorded, zone
from certbot_pinkeep.workflow.accepted import as_live, is_accepted, recorded_pin
from certbot_pinkeep.workflow.issue_request import IssueRequest
from certbot_pinkeep.workflow.move import Claim
from certbot_pinkeep.workflow.workspace import Workspace

logger = logging.getLogger(__name__)


# Renewals


def handover(workspace: Workspace, request: IssueRequest) -> KeyAndCsr:
    """Choose the key and the CSR that a renewal is issued for.

    :raises NotSafe: if a rollover is asked for, and locks clients out; or when the key is
        compromised, and every other one locks clients out, also those of another keyring
    :raises BadKey: if there is no key that could be handed over
    :raises OtherKeyring: if it is to have a host more that another keyring pins
    :raises NotAccepted: if it is to have one more at which its key is refused
    """
    live, now = request.renewed, request.now
    answer = _ask_the_ca(request)
    state = _recorded(workspace, request)
    if request.added:
        own = state.keyring.name if state else request.keyring
        move.check_claim(workspace, Claim(own, live.name, request.names, live.pin), now)
    if state is None:
        key = unrecorded.key_for(workspace, request, compromised=answer.compromised)
        known = workspace.store.known(request.keyring)
    else:
        if answer.revoked:
            state = _with_revoked(workspace, request, state, compromised=answer.compromised)
        keyring = workspace.folders.with_faults(state.keyring)
        state = replace(state, keyring=_without_backups(keyring, request.csr_rejected))
        key = _chosen_key(workspace, request, state)
        known = [state]
    for one in known:
        _check_added(request, one, key.pin)
    key = move.accepted_everywhere(workspace, request, key, state, compromised=answer.compromised)
    return _with_csr(workspace, replace(request, must_staple=live.must_staple), key)


def is_still_chosen(workspace: Workspace, request: IssueRequest, pin: str) -> bool:
    """Return whether a certificate for the key of this pin may be stored, by what is on record now. If it
    may not, :func:`handover` tells what may be.

    :raises DamagedState: if the record cannot be trusted
    """
    live, now = request.live, request.now
    if live is not None and pin == live.pin:
        return not workspace.store.is_compromised(pin)
    name = workspace.store.keyring_of(live.name, request.keyring) if live else None
    state = workspace.load_state(name or request.keyring, now)
    if state is None:
        return True
    own, key = state.keyring, state.keyring.key(pin)
    joined = live is not None and own.member(live.name) is not None
    if key is None:
        return live is not None and not joined
    present = recorded_pin(own, live) if live is not None and joined else None
    certificate = Certificate(request.all_names, present)
    chosen = _decision(request, state, key.kind.key_type, certificate).key
    return chosen is not None and chosen.pin == pin


def on_record(workspace: Workspace, name: str, keyring: str, *, must_staple: bool) -> Live | None:
    """Return a lineage whose live certificate cannot be read, as it was when its keyring was saved;
    ``None``: no keyring has it.

    :param keyring: the likely one
    """
    state = workspace.state_of(name, keyring)
    member = state.keyring.member(name) if state else None
    key = state.keyring.key(member.pin) if state and member else None
    if member is None or key is None:
        return None
    return Live(
        name=name,
        cert_path=workspace.live_file(name),
        key_path=workspace.live_file(name, "privkey"),
        names=member.hosts,
        requested=member.hosts,
        pin=key.pin,
        kind=key.kind,
        fingerprint="",
        since=key.created,
        must_staple=must_staple,
    )


def _recorded(workspace: Workspace, request: IssueRequest) -> State | None:
    """Return the state of the lineage's keyring; ``None`` if it has none that can be trusted."""
    name = request.renewed.name
    # If the option names another one, the keyring that has the lineage counts (G3).
    keyring = workspace.store.keyring_of(name, request.keyring)
    keyring = keyring or _with_neighbour(workspace, name, request.keyring)
    try:
        state = workspace.store.load(keyring)
    except DamagedState as error:
        if request.asked:
            raise
        logger.error("%s", error)
        return None
    if state is not None and state.keyring.member(name) is not None:
        return workspace.with_incoming(state)
    if request.asked:
        raise BadKey(
            f"{name} is not pinned yet, so it has no backup key to roll over to.",
            run=f"certbot-pinkeep pin {shlex.quote(name)}",
        )
    return None


def _with_neighbour(workspace: Workspace, lineage: str, likely: str) -> str:
    """Return the keyring that pins the key of a lineage that is not enrolled; the likely one first."""
    for state in workspace.trusted((likely, *workspace.store.of_lineage(lineage))):
        if any(member.lineage == lineage for member in state.keyring.neighbours):
            return state.keyring.name
    return likely


def _ask_the_ca(request: IssueRequest) -> revocation.Answer:
    live = request.renewed
    answer = revocation.look(*live.certificates(), request.now)
    if answer.why:
        logger.warning(
            "Whether the present certificate of %s is revoked is unknown: %s. The renewal goes "
            "on as if it was not.",
            live.name,
            answer.why,
        )
    return revocation.Answer(True, "keyCompromise") if live.pin in request.refused else answer


def _with_revoked(
    workspace: Workspace, request: IssueRequest, state: State, *, compromised: bool
) -> State:
    """Return the state with a revocation on record."""
    pin = request.renewed.pin
    if not request.dry_run:
        try:
            with workspace.store.locked():
                fresh = workspace.store.load(state.keyring.name) or state
                noted = workspace.store.save(fresh.with_revoked(pin, compromised=compromised))
                workspace.store.spread(noted.keyring)
                return workspace.with_incoming(noted)
        except OSError as error:
            logger.error("pinkeep heeds the revocation, but could not record it: %s", error)
    return state.with_revoked(pin, compromised=compromised)


def _without_backups(keyring: Keyring, pins: Iterable[str]) -> Keyring:
    keys = (keyring.key(pin) for pin in pins)
    return keyring.without(key.pin for key in keys if key is not None and key.role == "backup")


def _check_added(request: IssueRequest, state: State, pin: str) -> None:
    """See that nobody holds pins without the key at the names that a certificate is to have more."""
    added, ledger, now = request.added, state.ledger, request.now
    if added and rollover.locked_out(pin, ledger, now, added):
        lineage = request.renewed.name
        raise NotAccepted(
            explain.not_added(state.keyring, ledger, lineage, added=added, pin=pin, now=now)
        )


def _chosen_key(workspace: Workspace, request: IssueRequest, state: State) -> SavedKey:
    """Return the key that the keyring names for a renewal."""
    live, chosen = request.renewed, request.chosen
    keyring = as_live(state, live)
    if chosen is not None and chosen.keyring == keyring.name:
        keyring = replace(keyring, rollover_days=chosen.rollover_days)
    ledger = state.ledger.with_latest_known(workspace.store.latest_known(request.now))
    state = replace(state, keyring=keyring, ledger=ledger)
    certificate = Certificate(request.all_names, recorded_pin(keyring, live))
    return _picked(workspace, request, state, certificate)


# New certificates


def handover_new(workspace: Workspace, request: IssueRequest) -> KeyAndCsr | None:
    """Choose the key and the CSR that a new certificate is issued for; ``None``: the keyring has no
    such key, and certbot makes one as ever.

    :raises DamagedState: if its file cannot be trusted
    :raises OtherKeyring: if it is for a host that another keyring pins
    :raises TypeMissing: if it has no key of the wanted type, and its pins bind at the names
    :raises NotSafe: if no key may be handed over
    :raises BadKey: if its key's file is gone
    """
    keyring, kind = request.keyring, request.kind
    if not request.dry_run:
        move.forget_deleted(workspace, request.lineage, keyring)
    state = workspace.load_state(keyring, request.now)
    move.check_claim(workspace, Claim(keyring, request.lineage, request.names), request.now)
    types = state.keyring.key_types() if state else ()
    if state is None or not types:
        return _waiting(workspace, request)
    if kind is not None and kind.key_type not in types:
        if _binds(request, state):
            raise TypeMissing(keyring, kind)
        return None
    key = _picked(workspace, request, state, Certificate(request.names, None))
    return _with_csr(workspace, request, key)


def _waiting(workspace: Workspace, request: IssueRequest) -> KeyAndCsr | None:
    """Return the saved CSR for exactly these names whose key is in ``keys/`` and in use nowhere."""
    folders, kind = workspace.folders, request.kind
    wanted = csr_request("", request.names, must_staple=request.must_staple)
    found = []
    for saved, csr in folders.saved_csrs().items():
        if replace(saved, pin="") != wanted or _is_in_use(workspace, saved.pin):
            continue
        key = folders.find_key(saved.pin)
        if key is not None and (kind is None or kind.key_type == key.kind.key_type):
            found.append(KeyAndCsr(folders.absolute(key.path), key.pem, csr, key.pin, True))
    if len(found) > 1:
        raise BadKey(
            f"Several CSRs for exactly {', '.join(request.names)} wait with their keys, and which key "
            "clients pin is not known. No certificate was issued.",
            text.joined(
                text.listed(f"{one.csr.path} (pin {one.pin})" for one in found),
                f"Move those that you do not mean out of {folders.csrs}. Then ask for the certificate again.",
            ),
        )
    return found[0] if found else None


def _is_in_use(workspace: Workspace, pin: str) -> bool:
    """Return whether a keyring has the key, or a certificate of this machine had it."""
    known = any(state.keyring.key(pin) for state in workspace.all_known())
    return known or pin in lineage_.all_pins(workspace.config_dir)


def _binds(request: IssueRequest, state: State) -> bool:
    """Return whether clients may hold pins of the keyring at one of the names."""
    hosts, ledger, now = request.names, state.ledger, request.now
    if ledger.uncertainty(now) and hostnames.covered(state.keyring.hosts, hosts, subdomains=True):
        return True
    return any(one.may_bind(now) and one.binds_at(hosts) for one in ledger.holdings)


# Both


def _picked(
    workspace: Workspace, request: IssueRequest, state: State, certificate: Certificate
) -> SavedKey:
    """Return the key of the keyring that a certificate is issued for."""
    types = state.keyring.key_types()
    wanted = request.live.kind.key_type if request.live else request.key_type
    key_type = wanted if wanted in types else types[0]
    key = _decision(request, state, key_type, certificate).key
    if key is not None and key.pin != certificate.pin:
        # The decision is taken on what name servers show now, not on what they showed.
        state = zone.before_rollover(
            *(workspace, state, request.chosen, request.now), dry_run=request.dry_run
        )
    decision = _decide(request, state, key_type, certificate)
    assert decision.key is not None
    try:
        return workspace.load_key(decision.key)
    except BadKey as error:
        if request.asked:
            raise
        logger.error("%s", error)
    return _next_best(workspace, request, state, key_type)


def _decision(
    request: IssueRequest, state: State, key_type: KeyType, certificate: Certificate
) -> rollover.Decision:
    keyring, ledger, asked = state.keyring, state.ledger, request.asked
    return rollover.decide(
        keyring, ledger, request.now, key_type, asked=asked, certificate=certificate
    )


def _decide(
    request: IssueRequest, state: State, key_type: KeyType, certificate: Certificate
) -> rollover.Decision:
    """Decide what the certificate is issued for; tell the admin if a rollover is due.

    :raises NotSafe: if no key may be handed over, or none that was asked for
    """
    keyring, ledger, now = state.keyring, state.ledger, request.now
    for lost in keyring.lost():
        if lost.kind.key_type == key_type:
            logger.error("%s", explain.lost(lost))
    decision = _decision(request, state, key_type, certificate)
    name, new = keyring.name, certificate.pin is None
    if decision.key is None and decision.due == "shared":
        raise NotSafe(explain.not_yet_issued(name, decision))
    if decision.key is None:
        raise Compromised(explain.locked_in(keyring, decision, ledger, now=now, new=new))
    if decision.held and request.asked:
        raise NotSafe(explain.refusal(name, decision))
    if decision.held:
        logger.warning("%s", explain.held(name, decision))
    elif decision.rolls_over:
        logger.info("%s", explain.rolling(name, decision))
        if decision.key.forced:
            told = explain.announcement(decision.key, ledger, now, certificate.hosts)
            logger.warning("The rollover of the keyring %s is forced. %s", name, told)
    return decision


def _next_best(
    workspace: Workspace, request: IssueRequest, state: State, key_type: KeyType
) -> SavedKey:
    """Return what is handed over if the primary's file is lost: the live key if clients accept it, else
    the backup that is safe first, else the live key."""
    live, ledger, now = request.live, state.ledger, request.now
    keyring = state.keyring.without_offline()
    hosts = live.names if live else None
    best, verdict = rollover.best_backup(keyring, ledger, now, key_type, hosts)
    goes_on = live is not None and not workspace.store.is_compromised(live.pin)
    there = workspace.live_key(live) if live is not None and goes_on else None
    own = live is not None and there is not None and there.pin == live.pin
    if live is None or there is None:
        accepted = False
    elif own:
        accepted = is_accepted(state, live, now)
    else:
        accepted = not rollover.locked_out(there.pin, ledger, now, live.names)
    # A pinned backup is better than a live key that is not pinned.
    if best is not None and not accepted and (goes_on or verdict.at(now)):
        return workspace.load_key(best)
    if there is None or not (own or accepted):
        raise BadKey(
            f"No key of the keyring {keyring.name} that clients accept is on this machine.",
            workspace.give_up(keyring.name),
        )
    return there


def _with_csr(workspace: Workspace, request: IssueRequest, key: SavedKey) -> KeyAndCsr:
    folders, names, must_staple = workspace.folders, request.names, request.must_staple
    csr = folders.saved_csrs().get(csr_request(key.pin, names, must_staple=must_staple))
    if csr is None:
        pem = keys_and_csrs.make_csr(key.pem, names, must_staple=must_staple)
        csr = SavedCsr(None, pem) if request.dry_run else _save_csr(workspace, pem)
    return KeyAndCsr(folders.absolute(key.path), key.pem, csr, key.pin)


def _save_csr(workspace: Workspace, pem: bytes) -> SavedCsr:
    try:
        workspace.folders.check()
        return workspace.folders.save_csr(pem)
    except (OSError, BadFolder) as error:
        logger.error("The CSR could not be saved; the renewal goes on. %s", error)
        return SavedCsr(None, pem)
