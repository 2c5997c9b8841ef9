"""Find a keyring's server and snippet, and check the options for them on this machine.

The rules:

* pinkeep publishes nothing in a place where another user can write what the server loads.
* The admin's folder for snippets is no folder in which certbot or pinkeep keeps other files.
"""

from __future__ import annotations

import os
from contextlib import suppress

from certbot_pinkeep.carriers import apache, servers
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.carriers.servers import Kind
from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import BadFolder, BadOption, PinkeepError
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import trust
from certbot_pinkeep.storage.store import Store


def folder_of(store: Store, kind: Kind) -> str:
    """Return the folder of a server's snippets, if the admin chose no other folder."""
    return os.path.join(store.folder, kind.name)


def path_of(store: Store, keyring: str, chosen: Options | None) -> str:
    """Return the snippet of a keyring; empty: no server sends its header."""
    kind = kind_of(store, keyring, chosen.header if chosen else None)
    return _path_of(store, keyring, kind, chosen.snippet_dir if chosen else None)


def _path_of(store: Store, keyring: str, kind: Kind | None, folder: str | None) -> str:
    if kind is None:
        return ""
    return os.path.join(folder or folder_of(store, kind), f"{keyring}.conf")


def kind_of(store: Store, keyring: str, header: str | None) -> Kind | None:
    """Return the server of a keyring; ``None``: none.

    :param header: what the admin chose; ``None``: nothing
    """
    snippet = ""
    with suppress(PinkeepError, OSError):
        state = store.load(keyring)
        snippet = state.snippet if state is not None else ""
    for kind in () if snippet else servers.KINDS.values():
        path = os.path.join(folder_of(store, kind), f"{keyring}.conf")
        snippet = path if os.path.isfile(path) else snippet  # the keyring file is lost
    text = None
    with suppress(PinkeepError):
        text = apache.read_snippet(snippet) if snippet else None
    return servers.chosen_kind(header, snippet, text)


def published(snippet: str) -> Policy | None:
    """Return the policy of a snippet; ``None``: there is none.

    :raises PublishFailed: if the snippet cannot be read
    """
    text = apache.read_snippet(snippet) if snippet else None
    return servers.kind_of(snippet, text).read_policy(text) if text is not None else None


def server_of(store: Store, chosen: Options, hosts: tuple[str, ...] = ()) -> Server:
    """Return how the snippet of a keyring reaches its server. Write nothing.

    :param hosts: the hosts of the lineage of these options
    :raises BadOption: if an option cannot be used on this machine
    :raises PinkeepError: if the snippet cannot be written or read
    """
    options.check_report_host(chosen.report_uri, hosts, subdomains=chosen.include_subdomains)
    if chosen.snippet_dir is not None:
        apache.check_snippet_dir(chosen.snippet_dir)
        _check_foreign(store, chosen.snippet_dir)
    kind = kind_of(store, chosen.keyring, chosen.header)
    snippet = _path_of(store, chosen.keyring, kind, chosen.snippet_dir)
    folder = os.path.dirname(snippet)
    if chosen.snippet_dir is None and os.path.exists(folder) and not os.path.isdir(folder):
        raise BadFolder(
            f"{folder} is not a folder.", "Move that file away. pinkeep makes the folder if needed."
        )
    if snippet and not is_ours(snippet, chosen.keyring):
        raise BadOption(
            "--pinkeep-snippet-dir",
            folder,
            f"the file {snippet} is there, and pinkeep did not write it. Name another folder for the "
            "snippets, or move that file away.",
        )
    return servers.server(kind, snippet, chosen.configtest, chosen.reload)


def check_exposed(store: Store, keyring: str, server: Server) -> None:
    """Check that no other user can write the keyring file, or what the server loads.

    :raises DamagedState: if another user can write the keyring file
    :raises BadFolder: if another user can write what the server loads
    """
    store.load(keyring)
    owner = os.stat(_config_dir(store)).st_uid
    found = trust.all_exposed([server.snippet] if server.snippet else [], [owner])
    if found:
        what = str(found[0])
        raise BadFolder(
            f"{what[0].upper()}{what[1:]}.",
            f"{server.title} loads the snippet {server.snippet} from there, so pinkeep did not publish pins "
            "there. Check that nobody changed what is there.",
            run=trust.mend_all(found),
        )


def hindrance(store: Store, state: State) -> str:
    """Tell why ``certbot renew`` does not have the server send what is pending; empty: unknown."""
    with suppress(PinkeepError):
        server = server_of(store, state.chosen())
        if apache.is_stopped(server):
            return f"{server.title} does not run. Start {server.title}: it loads the pins when it starts."
        if server.snippet and apache.lacks_headers(server):
            return apache.without_headers(server.snippet)
    return ""


def is_ours(snippet: str, keyring: str) -> bool:
    """Say whether a file is a snippet of this keyring, or does not exist."""
    text = apache.read_snippet(snippet)
    return text is None or text.startswith(apache.first_line(keyring))


def _config_dir(store: Store) -> str:
    return os.path.dirname(store.folder)


def _check_foreign(store: Store, folder: str) -> None:
    real = os.path.realpath(folder)
    config_dir = os.path.realpath(_config_dir(store))
    ours = [os.path.join(config_dir, "pinkeep", name) for name in servers.KINDS]
    if os.path.commonpath([real, config_dir]) == config_dir and real not in ours:
        raise BadOption(
            "--pinkeep-snippet-dir",
            folder,
            f"this folder is below certbot's folder {_config_dir(store)}, whose files have other purposes. "
            "Name a folder outside of that one.",
        )
