"""Write the header snippet for nginx; ``core.nginx_map`` has the lines that nginx reads.

The rule: a snippet always has the variables for pins and for report-only pins. If a site uses a variable
that is gone, nginx refuses to start.
"""

from __future__ import annotations

import re

from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core.errors import BadHeader, BadPolicy
from certbot_pinkeep.core.header import read_header
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.nginx_map import PREFIXES, mapped, mapping, told, variable
from certbot_pinkeep.core.policy import REPORT_ONLY, Policy

#: The beginning of the second line of a snippet for nginx, and for no other server.
MARK = "# For nginx. "
_MAP = re.compile(
    r"^\s*map\s+\$https\s+\$(?P<prefix>pinkeep_(?:pins|report_only)_)\w+\s*\{\s*"
    r"default\s+[\"']{2}\s*;\s*on\s+'(?P<value>(?:[^'\\]|\\.)*)'\s*;",
    re.M,
)


def render(keyring: Keyring, policy: Policy | None) -> str:
    """Write the snippet's text.

    :param policy: what the snippet publishes; ``None``: nothing any more
    :raises BadPolicy: if nginx would refuse the text, or misread it
    """
    name = keyring.name
    lines = f"{apache.first_line(name)}\n{MARK}It is generated: edits are lost.\n#\n"
    maps = {header: mapping(variable(name, header), "") for header in PREFIXES}
    if policy is None:
        lines += "# No header is sent. The sites may keep the lines that use these variables.\n"
    else:
        lines += told(name, policy) + apache.pin_lines(keyring, policy)
        maps[policy.header_name] = mapped(name, policy)
    return lines + "".join(maps.values())


def directives(snippet: str | None) -> list[str]:
    """Return what a snippet has nginx send."""
    lines = (line.strip() for line in (snippet or "").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def condition(snippet: str | None) -> str:
    """Return nothing: the line of a server block decides at which hosts nginx sends the header."""
    return ""


def read_policy(snippet: str) -> Policy | None:
    """Return the policy that a snippet's text publishes; ``None``: none that pinkeep can read."""
    found = _MAP.search(snippet)
    if not found:
        return None
    try:
        header = read_header(re.sub(r"\\(.)", r"\1", found["value"]))
        return Policy(
            header.pins,
            header.max_age,
            header.include_subdomains,
            header.report_uri,
            found["prefix"] == PREFIXES[REPORT_ONLY],
        )
    except (BadHeader, BadPolicy):
        return None
