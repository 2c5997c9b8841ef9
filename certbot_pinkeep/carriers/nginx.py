"""Write the header snippet for nginx; ``core.nginx_map`` has the lines that nginx reads.

The rule: a snippet always has the variables for pins and for report-only pins. If a site uses a variable
that is gone, nginx refuses to start.
"""

from __future__ import annotations

import re

from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core import policy as policies
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.nginx_map import PREFIXES, empty, mapped, told
from certbot_pinkeep.core.policy import REPORT_ONLY, Policy

#: The beginning of the second line of a snippet for nginx, and for no other server.
MARK = "# For nginx. "
_MAP = re.compile(
    r"^\s*map\s+(?:\$https|\"\$https\$pinkeep_hosts_\w+\")\s+"
    r"\$(?P<prefix>pinkeep_(?:pins|report_only)_)\w+\s*\{\s*"
    r"default\s+[\"']{2}\s*;\s*on1?\s+'(?P<value>(?:[^'\\]|\\.)*)'\s*;",
    re.M,
)
_HOSTS = re.compile(
    r"^\s*map\s+\$host\s+\$pinkeep_hosts_\w+\s*\{(?P<hosts>(?:\"[^\"]*\"|[^\"}])*)\}", re.M
)
# A snippet without hosts has the same lines but for these.
_KEYED = re.compile(r"^(?:map \"\$https\$pinkeep_hosts_\w+\"|on1)(?= )")


def render(keyring: Keyring, policy: Policy | None) -> str:
    """Write the snippet's text.

    :param policy: what the snippet publishes; ``None``: nothing any more
    :raises BadPolicy: if nginx would refuse the text, or misread it
    """
    name = keyring.name
    lines = f"{apache.first_line(name)}\n{MARK}It is generated: edits are lost.\n#\n"
    maps = {header: empty(name, header) for header in PREFIXES}
    if policy is None:
        lines += "# No header is sent. The sites may keep the lines that use these variables.\n"
    else:
        lines += told(name, policy) + apache.pin_lines(keyring, policy)
        maps[policy.header_name] = mapped(name, policy, keyring.served_at)
    return lines + "".join(maps.values())


def directives(snippet: str | None) -> list[str]:
    """Return what a snippet has nginx send, at whichever hosts."""
    lines = (line.strip() for line in _HOSTS.sub("", snippet or "").splitlines())
    found = [line for line in lines if line and not line.startswith("#")]
    return [_KEYED.sub(lambda m: "on" if m[0] == "on1" else "map $https", line) for line in found]


def condition(snippet: str | None) -> str:
    """Return the patterns of the hosts of a snippet; empty: it sends its header at every host."""
    found = _HOSTS.search(snippet or "")
    return " ".join(found["hosts"].split()) if found else ""


def read_policy(snippet: str) -> Policy | None:
    """Return the policy that a snippet's text publishes; ``None``: none that pinkeep can read."""
    found = _MAP.search(snippet)
    if not found:
        return None
    value = re.sub(r"\\(.)", r"\1", found["value"])
    return policies.read_policy(value, report_only=found["prefix"] == PREFIXES[REPORT_ONLY])
