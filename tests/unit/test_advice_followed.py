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
import advised_zones
import pytest
from followed import Row

import certbot_pinkeep
from simulated.server import COMMAND, Server

ROWS = [*advised_renewals.ROWS, *advised_checks.ROWS, *advised_commands.ROWS, *advised_zones.ROWS]
PACKAGE = Path(certbot_pinkeep.__file__).parent
#: Texts that name a command and have no row, by a part of them, and why.
NOT_RUN = {
    "the certbot installer 'pinkeep'": "no command",
    "certbot revoke and delete are not noticed": "no command",
    "publishes a pin whose key it does not have": "a record that contradicts itself, which is damaged",
    "but that could not be noted for the pinned keys": "what follows a fault of the plugin itself",
    "may be renewing a certificate right now": "no command",
    "Change the keyring's options instead": "a comment that names the help",
    "as 'certbot certificates' names it": "no command, the help of an argument",
    "A hook of certbot runs before that": "no command",
    "renews \N{BULLET} with pinned keys": "nothing is wrong: what the timer runs",
    "changed each time that the CA issued a certificate": "needs several runs at once",
    "and no private key is here that they are known to accept": "names files to restore, not a command",
    "Restore what is lost from a backup of": "the same; its command is that of a row of keeper",
    "certbot issues no certificate for this key": "its command needs the key's own certificate",
    "Get a certificate of that type first": "its command makes a certificate that is not pinned",
    "--new-key --key-type ecdsa --elliptic-curve secp256r1": "a kind of key that this CA does not issue",
    "until it is reloaded, and there is no command for that": "needs two servers; tests/e2e has them",
    "pinkeep has to publish for it, and to reload it": "needs two servers, of which one runs",
    "pinkeep restored the keyring %s from its copy, without": "its value is a command of the admin's",
    "Take the line that sends it out of the web server's configuration": "needs a site with two headers",
    "after no client holds pins of": "what is said there has its rows",
    "Version 0.1 of pinkeep wrote that snippet": "needs a web server; the tests of setup have one",
    "after one keyring pins": "the tests of hosts run it",
    "no key is pinned by both": "the tests of hosts run it",
    "It does not set up HTTPS": "needs certbot's Apache plugin",
    "If clients hold earlier pins, record them": "needs a site that cannot be looked at",
    "so pinkeep keeps the pin as an offline backup": "its commands are those of rows of advice",
    "--force-renewal --installer pinkeep -- with the authenticator": "the tests of trees run it",
    "Run: openssl x509 -in": "the tests of trees run it",
    "Run: certbot renew --cert-name \N{BULLET} --force-renewal": "the tests of trees run it",
    "for part in \N{BULLET}; do mv": "the tests of trees run it",
    "setup has not prepared": "needs a machine of its own; tests/package has them",
    "mod_headers ('certbot-pinkeep setup' enables it)": "needs Debian's Apache; tests/package has it",
    "# Written by certbot-pinkeep setup": "a comment that names the command",
    "runs on this machine, too": "needs two servers, of which one runs",
    "Know next": "nothing is wrong: what an admin does next",
    "That certbot renews": "no command",
    "See that \N{BULLET} includes": "the row of local_rules runs it",
    "has no header to export": "the tests of keyrings without a header run it",
    "certbot-pinkeep status NAME": "the line below a table, which says what a name stands for",
}
#: What is put into other texts, which have their rows.
PARTS = (
    "certbot renew",
    "certbot renew --cert-name \N{BULLET} --installer pinkeep",
    "certbot-pinkeep unpin \N{BULLET}",
    "certbot renew --cert-name \N{BULLET} --force-renewal --installer pinkeep",
    "certbot renew --cert-name \N{BULLET} --force-renewal",
    "certbot certonly --installer pinkeep --pinkeep-keyring \N{BULLET} --cert-name \N{BULLET}\N{BULLET}",
    "certbot-pinkeep release \N{BULLET} end --channel \N{BULLET} --label \N{BULLET}",
    "Run: certbot renew",
    "Run: certbot-pinkeep setup",
    "\nRun: certbot-pinkeep setup",
    "\nRun: certbot-pinkeep check",
    "certbot-pinkeep check \N{BULLET}",
    "certbot-pinkeep confirm \N{BULLET}",
    "certbot-pinkeep setup",
)


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


def lacking() -> Iterator[str]:
    """The texts that name a command and have neither a row nor a reason."""
    for module in sorted(PACKAGE.rglob("*.py")):
        where = str(module.relative_to(PACKAGE).with_suffix(""))
        said = [row.says for row in ROWS if row.where == where]
        for text in texts(module):
            known = any(one in text for one in said) or any(part in text for part in NOT_RUN)
            example = text.startswith("  ")  # of a help
            if not known and not example and text not in PARTS:
                yield f"{where}: {text}"


def test_every_message_that_names_a_command_has_its_row() -> None:
    """Or it is listed why not: nobody adds advice without following it."""
    assert not list(lacking())
