"""Find why a server does not send the pins of a keyring, by the server's own configuration. Pure.

The rules:

* A snippet that no server includes publishes nothing. ``certbot-pinkeep setup`` makes the servers include
  all snippets of pinkeep's own folder.
* Apache sends no header without mod_headers. nginx sends the header in those blocks that have the line
  for it; a block with ``add_header`` lines of its own needs the line as well.
* Whatever the configuration says, a host that sends the header has nothing to mend: another server may
  answer there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from shlex import quote

from certbot_pinkeep.carriers.servers import Kind, kind_of
from certbot_pinkeep.check.findings import Finding, critical
from certbot_pinkeep.core import nginx_map
from certbot_pinkeep.core.observations import Seen
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.server_config import Block, Place, ServerConfig

_PLAIN_HTTP = "80"


@dataclass(frozen=True)
class Cause:
    """Hold why hosts do not send the header.

    :ivar what: as sentences
    :ivar todo: what to do, as sentences
    """

    hosts: tuple[str, ...]
    what: str
    todo: str


def check(seen: Seen, now: datetime) -> Iterator[Finding]:
    """Tell why the header is not sent, unless that is told of the hosts themselves."""
    if seen.state.unpinned(now):
        return
    ledger = seen.state.ledger
    never = ledger.pending and ledger.confirmed_policy() is None
    looked = {shown.host for shown in seen.shown if not shown.stopped and not never}
    for cause in causes(seen):
        if not looked.intersection(cause.hosts):
            yield critical(seen.state.snippet, cause.what, cause.todo)


def cause_of(seen: Seen, host: str) -> Cause | None:
    """Find why a host does not send the header; ``None``: unknown."""
    return next((one for one in causes(seen) if host in one.hosts), None)


def causes(seen: Seen) -> list[Cause]:
    """Find why hosts of a keyring do not send the header, as far as the server's configuration tells."""
    config, current = seen.server_config, seen.state.ledger.current
    lacking = seen.without_header
    if config is None or current is None or seen.snippet is None or not lacking:
        return []
    kind = kind_of(seen.state.snippet, seen.snippet)
    sites = [
        site
        for site in config.sites
        if site.port != _PLAIN_HTTP and any(site.is_for(host) for host in lacking)
    ]
    if seen.snippet_path not in config.files:
        return [_not_included(seen, kind, config, sites)]
    if config.lacks_headers:
        what = "Apache has not loaded mod_headers, so it sends no pins."
        return [Cause(lacking, what, "Run: certbot-pinkeep setup")]
    if kind.name != "nginx":
        return []
    return _without_line(seen, current.policy, config, sites)


def _not_included(seen: Seen, kind: Kind, config: ServerConfig, sites: Iterable[Block]) -> Cause:
    where = ", ".join(f"{_name(seen, site)} in {site.place}" for site in sites)
    belongs = f" It belongs to: {where}." if where else ""
    what = f"{kind.title} does not include {seen.state.snippet}, so it sends no pins.{belongs}"
    if seen.chosen.snippet_dir is None:
        return Cause(seen.without_header, what, "Run: certbot-pinkeep setup")
    if kind.name == "nginx":
        line = f'include "{seen.state.snippet}";'
        return Cause(
            seen.without_header, what, f"Add {line} to nginx's http block, and reload nginx."
        )
    line = f'IncludeOptional "{seen.state.snippet}"'
    return Cause(seen.without_header, what, _add(line, [site.place for site in sites], config))


def _without_line(
    seen: Seen, policy: Policy, config: ServerConfig, sites: Iterable[Block]
) -> list[Cause]:
    """Find the server blocks of nginx that lack the line."""
    variable = nginx_map.variable(seen.name, policy.header_name)
    line = f"add_header {policy.header_name} {variable} always;"
    found = []
    for site in sites:
        places = site.lacking(variable)
        if places:
            hosts = tuple(host for host in seen.without_header if site.is_for(host))
            where = ", ".join(map(str, places))
            what = f"nginx sends no pins here, because the line for it is missing in: {where}."
            found.append(Cause(hosts, what, _add(line, places, config)))
    return found


def _name(seen: Seen, site: Block) -> str:
    return next(host for host in seen.without_header if site.is_for(host))


def _add(line: str, places: list[Place], config: ServerConfig) -> str:
    """Tell what adds a line to blocks."""
    if not places or not all(place.opens for place in places):
        return f"Add this line there, and reload the server: {line}"
    files = dict.fromkeys(place.file for place in places)
    edits = [
        " ".join(
            ["sed -i"]
            + [f"-e {quote(f'{one.line}a {line}')}" for one in places if one.file == file]
            + [quote(file)]
        )
        for file in files
    ]
    return f"Run: {' && '.join([*edits, *filter(None, [config.loading])])}"
