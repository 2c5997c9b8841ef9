"""Which lineages are enrolled: found once a run, and keyring files that have not changed are not read.

The rules:

* A lineage is enrolled if it draws on a keyring that has not left pinning. A keyring leaves when nothing
  binds any more and its header is gone.
* If a keyring file is damaged, the lineages count that can be read of it.
* What a keyring file says is noted in the cache, with the state of that file and its copy. Nothing is noted
  of a keyring that is damaged or leaves pinning: this may change though the files do not.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.carriers import apache, servers
from certbot_pinkeep.core.errors import DamagedState, PublishFailed
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import uptodate
from certbot_pinkeep.storage.uptodate import KEYRINGS, Noted, UpToDate
from certbot_pinkeep.workflow.workspace import Workspace


def lineages(workspace: Workspace, cache: UpToDate) -> frozenset[str]:
    """Find all lineages that are enrolled, and note for the next run what is certain."""
    now, store = clock.now(), workspace.store
    before: dict[str, Noted] = cache.noted(KEYRINGS)
    found, certain = set[str](), dict[str, Noted]()
    for keyring in store.names():
        files = uptodate.seen(store.paths(keyring))
        noted = before.get(keyring)
        if noted is None or noted.get("files") != files:
            states, is_certain = _states(workspace, keyring, now)
            drawing = (member for state in states for member in state.keyring.drawing)
            noted = {"files": files, "lineages": sorted({one.lineage for one in drawing})}
        else:
            is_certain = True
        found.update(noted["lineages"])
        if is_certain:
            certain[keyring] = noted
    cache.note(KEYRINGS, certain)
    return frozenset(found)


def _states(workspace: Workspace, keyring: str, now: datetime) -> tuple[list[State], bool]:
    """Read a keyring that has not left; return whether its files alone say that."""
    try:
        state = workspace.store.load(keyring)
        if state is not None and state.unpin:
            state = workspace.recall(keyring, now)
    except DamagedState:
        return [one for one in workspace.store.known(keyring) if not _has_left(one, now)], False
    if state is None:
        return [], False
    return [] if _has_left(state, now) else [state], not state.unpin


def _has_left(state: State, now: datetime) -> bool:
    """Return whether nothing binds any more, and the snippet has the server send no header."""
    return state.unpinned(now) and not _has_header(state)


def _has_header(state: State) -> bool:
    with suppress(PublishFailed):
        text = apache.read_snippet(state.snippet) if state.snippet else None
        kind = servers.kind_of(state.snippet, text)
        return text is not None and kind.read_policy(text) is not None
    return True
