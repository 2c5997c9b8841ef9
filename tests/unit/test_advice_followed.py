"""Advice that fails when it is followed is worse than none: every command that a message names is run.

The tables are in ``advised_*.py``: a state, what is asked, what is said, the command that the message
names, and the state after it. The command is read in the message itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import advised_checks
import advised_commands
import advised_renewals
import advised_servers
import advised_zones
import pytest
from followed import Row

import certbot_pinkeep
from simulated.server import COMMAND, Server

TABLES = (advised_renewals, advised_checks, advised_commands, advised_servers, advised_zones)
ROWS = [row for table in TABLES for row in table.ROWS]
PACKAGE = Path(certbot_pinkeep.__file__).parent
TREES, NONE = "the tests of trees run it", "no command"
#: Texts that name a command and have no row, by their module and a part of them; and why.
NOT_RUN = {
    (
        "adapters/certbot_client",
        "changed each time that the CA issued",
    ): "needs several runs at once",
    (
        "workflow/load",
        "ends if it loads both",
    ): "needs a server that ends; the tests of G12 have it",
    ("adapters/certbot_watch", "but that could not be noted"): "what follows a fault of the plugin",
    ("carriers/apache", "Change the keyring's options instead"): "a comment that names the help",
    ("carriers/layout", "# Written by certbot-pinkeep setup"): "a comment that names the command",
    ("check/certbot_rules", "That certbot renews"): NONE,
    ("check/local_rules", "it has a host of the keyring"): "the habits of G11 run it",
    ("check/trees", "for part in \N{BULLET}; do mv"): TREES,
    ("check/trees", "Run: certbot renew --cert-name \N{BULLET} --force-renewal"): TREES,
    ("check/trees", "Run: openssl x509 -in"): TREES,
    ("check/trees", "--force-renewal --installer pinkeep -- with the authenticator"): TREES,
    ("cli/context", "A hook of certbot runs before that"): NONE,
    (
        "cli/export",
        "publishes a pin whose key it does not have",
    ): "a record that contradicts itself",
    ("cli/main", "the certbot installer 'pinkeep'"): NONE,
    ("cli/pin", "as 'certbot certificates' names it"): NONE,
    ("cli/pin", "Next steps"): "nothing is wrong: what an admin does next",
    ("cli/served", "--header none"): "needs a machine without a web server",
    ("installer", "certbot revoke and delete are not watched"): NONE,
    ("installer", "pinkeep does not set up HTTPS"): "needs certbot's Apache plugin",
    ("workflow/looks", "the zones of other keyrings took longer"): "needs zones that take long",
    ("reports/status", "certbot-pinkeep status NAME"): "the line below a table",
}
#: Commands that are put into other texts, which have their rows.
PARTS = {
    ("cli/pin", "certbot renew --cert-name \N{BULLET} --force-renewal"),
    ("cli/setup", "certbot-pinkeep setup"),
    ("core/errors", "certbot-pinkeep pin .conf"),
    ("core/explain", "certbot renew"),
    ("core/explain", "certbot-pinkeep backup \N{BULLET} drop \N{BULLET}"),
    (
        "core/explain_hosts",
        "certbot renew --cert-name \N{BULLET} --force-renewal --installer pinkeep",
    ),
    (
        "core/explain_hosts",
        "certbot certonly --installer pinkeep --pinkeep-keyring \N{BULLET} --cert-name \N{BULLET}\N{BULLET}",
    ),
    (
        "core/explain_hosts",
        "certbot renew --cert-name \N{BULLET} --installer pinkeep --pinkeep-keyring \N{BULLET}",
    ),
    (
        "core/explain_hosts",
        "certbot-pinkeep release \N{BULLET} end --channel \N{BULLET} --label \N{BULLET}",
    ),
    ("core/observations", "certbot renew"),
    ("reports/status", "certbot renew"),
    ("storage/trust", "chmod go-w"),
    ("workflow/workspace", "certbot renew"),
    ("workflow/workspace", "certbot-pinkeep unpin \N{BULLET}"),
}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server on which nothing is pinned yet."""
    return Server(tmp_path)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_command_that_a_message_names_helps(server: Server, row: Row) -> None:
    """It is taken, and what the message is about is over, or goes on as the row says."""
    row.follow(server)


def literal(node: ast.AST) -> str:
    """Return a text as far as it is literal; the parts of a call are joined, a command has its line."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) or "\N{BULLET}" for part in node.values)
    text = " ".join(filter(None, map(literal, ast.iter_child_nodes(node))))
    is_command = called(node) == "command" or (isinstance(node, ast.keyword) and node.arg == "run")
    return f"\nRun: {text}" if is_command else text.replace(" \n", "\n")


def called(node: ast.AST) -> str:
    """Return the name of the function that is called; empty: this is no call."""
    if not isinstance(node, ast.Call):
        return ""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def is_message(node: ast.AST) -> bool:
    """Say whether a call puts a message together: an error with its command, or ``text.joined``."""
    return called(node) == "joined" or (
        isinstance(node, ast.Call) and any(keyword.arg == "run" for keyword in node.keywords)
    )


def texts(module: Path) -> Iterator[str]:
    """Yield the messages of a module that name a command, as far as they are literal; no docstrings."""
    left: list[ast.AST] = [ast.parse(module.read_text())]
    while left:
        node = left.pop()
        if isinstance(node, ast.JoinedStr | ast.Constant) or is_message(node):
            if COMMAND.search(text := literal(node)):
                yield text
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            left += ast.iter_child_nodes(node)


def named() -> Iterator[tuple[str, str]]:
    """Every text that names a command, and its module; no examples, which helps have."""
    for module in sorted(PACKAGE.rglob("*.py")):
        for text in texts(module):
            if not text.startswith("  "):
                yield str(module.relative_to(PACKAGE).with_suffix("")), text


def test_every_message_that_names_a_command_has_its_row() -> None:
    """Or it is listed why not: nobody adds advice without following it, and no reason is left behind."""
    found = set(named())
    known = {(row.where, row.says) for row in ROWS} | set(NOT_RUN)
    by = {
        (where, text): {(one, part) for one, part in known if one == where and part in text}
        for where, text in found - PARTS
    }
    assert not [text for text, reasons in by.items() if not reasons], "neither row nor reason"
    unused = (set(NOT_RUN) - set().union(*by.values())) | (PARTS - found)
    assert not unused, "a reason without its text"
