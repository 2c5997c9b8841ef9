"""Which server loads what a keyring publishes, where its snippet is, and whether the options for that
can be used on this machine.

The rules:

* Nothing is published where another user could write what the server loads.
* The admin's folder for snippets is not one that certbot or pinkeep keeps other files in.
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
    """The folder of the snippets for a server, unless the admin chose another one."""
    return os.path.join(store.folder, kind.name)


def path_of(store: Store, keyring: str, chosen: Options | None) -> str:
    """The file that a keyring's header is published in; empty: no server sends one."""
    kind = kind_of(store, keyring, chosen.header if chosen else None)
    if kind is None:
        return ""
    folder = chosen.snippet_dir if chosen else None
    return os.path.join(folder or folder_of(store, kind), f"{keyring}.conf")


def kind_of(store: Store, keyring: str, header: str | None) -> Kind | None:
    """The server of a keyring; ``None``: none.

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
    """The policy that a snippet has.

    :raises PublishFailed: when it cannot be read
    """
    text = apache.read_snippet(snippet) if snippet else None
    return servers.kind_of(snippet, text).read_policy(text) if text is not None else None


def server_of(store: Store, chosen: Options, hosts: tuple[str, ...] = ()) -> Server:
    """How the snippet of a keyring reaches its server. Writes nothing.

    :param hosts: those of the lineage that the options are for
    :raises BadOption: when an option cannot be used on this machine
    :raises PinkeepError: when the snippet cannot be written, or not be read
    """
    options.check_report_host(chosen.report_uri, hosts, subdomains=chosen.include_subdomains)
    if chosen.snippet_dir is not None:
        apache.check_snippet_dir(chosen.snippet_dir)
        _check_foreign(store, chosen.snippet_dir)
    kind = kind_of(store, chosen.keyring, chosen.header)
    snippet = path_of(store, chosen.keyring, chosen)
    folder = os.path.dirname(snippet)
    if chosen.snippet_dir is None and os.path.exists(folder) and not os.path.isdir(folder):
        raise BadFolder(f"{folder} is not a folder. Move it away; it is made when needed.")
    if snippet and not is_ours(snippet, chosen.keyring):
        raise BadOption(
            "--pinkeep-snippet-dir",
            folder,
            f"the file {snippet} is there, and pinkeep did not write it. Name a folder of its "
            "own for the snippets, or move that file away.",
        )
    return servers.server(kind, snippet, chosen.configtest, chosen.reload)


def check_exposed(store: Store, keyring: str, server: Server) -> None:
    """See that nobody else can write what the server loads, or what says which keys are pinned.

    :raises DamagedState: when somebody can, and the keyring file is there
    :raises BadFolder: when somebody can
    """
    store.load(keyring)
    owner = os.stat(_config_dir(store)).st_uid
    found = trust.all_exposed([server.snippet] if server.snippet else [], [owner])
    if found:
        what = str(found[0])
        raise BadFolder(
            f"{what[0].upper()}{what[1:]}. {server.title} loads the snippet {server.snippet} from "
            "there, so pinkeep did not publish pins in it. See that nobody changed what is there. Run: "
            f"{trust.mend_all(found)}"
        )


def hindrance(store: Store, state: State) -> str:
    """Why ``certbot renew`` does not have the server send what is pending, as a sentence with what
    to do; empty: nothing is known."""
    with suppress(PinkeepError):
        server = server_of(store, state.chosen())
        if apache.is_stopped(server):
            return f"{server.title} does not run. Start it: it loads the pins then."
        if server.snippet and apache.lacks_headers(server):
            return apache.without_headers(server.snippet)
    return ""


def is_ours(snippet: str, keyring: str) -> bool:
    """Whether the file is a snippet of this keyring, or not there at all."""
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
            f"it is below certbot's folder {_config_dir(store)}, whose files have other purposes. "
            "Name a folder outside of it.",
        )
