"""The house: imports go down and never in circles, the core is pure, and nothing grows too large."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import certbot_pinkeep

PACKAGE = "certbot_pinkeep"
#: The floors, from the top down: a folder imports from lower floors and from itself, nothing else.
FLOORS = (
    ("installer", "cli"),
    ("workflow", "check"),
    ("carriers", "adapters"),
    ("storage",),
    ("reports", "exports"),
    ("core",),
)
FLOOR = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}
#: What the core may import beside itself: values in, values out.
PURE = {
    "__future__",
    "base64",
    "binascii",
    "collections",
    "contextlib",
    "cryptography",
    "dataclasses",
    "datetime",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "ipaddress",
    "itertools",
    "json",
    "posixpath",
    "re",
    "shlex",
    "typing",
    "unicodedata",
    "urllib.parse",
}
#: What would bring a clock, a file or the terminal in, whatever is imported.
IMPURE_CALLS = {"open", "input", "print", "now", "today", "utcnow"}

Sources = Mapping[str, str]


@cache
def sources() -> dict[str, str]:
    """Every module of the package by its dotted name."""
    root = Path(certbot_pinkeep.__file__).parent
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = (PACKAGE, *path.relative_to(root).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path.read_text("utf-8")
    return found


@cache
def nodes(text: str) -> tuple[ast.Import | ast.ImportFrom | ast.Call, ...]:
    """The imports and the calls of a module."""
    kinds = (ast.Import, ast.ImportFrom, ast.Call)
    return tuple(node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds))


def imported(text: str, names: Sources) -> Iterator[str]:
    """The modules that a module imports, at its top or in a function, for its types as well."""
    for node in nodes(text):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in names else node.module


def folder_of(module: str) -> str:
    """The folder of a module, or the name of one at the top."""
    return module.split(".")[1] if "." in module else ""


def wrong_arrows(names: Sources) -> list[str]:
    """The imports that go up or sideways, and the modules that are on no floor."""
    wrong = []
    for module, text in names.items():
        folder = folder_of(module)
        if folder and folder not in FLOOR:
            wrong.append(f"{module} is on no floor")
            continue
        for target in imported(text, names):
            below = folder_of(target)
            if not target.startswith(f"{PACKAGE}.") or below == folder:
                continue
            if not folder or below not in FLOOR or FLOOR[below] <= FLOOR[folder]:
                wrong.append(f"{module} -> {target}")
    return wrong


def circles(names: Sources) -> list[str]:
    """The modules that import themselves in the end; what is for types alone, or within a function,
    counts as well."""
    arrows = {module: set(imported(text, names)) & set(names) for module, text in names.items()}
    found = []
    for module in arrows:
        reached: set[str] = set()
        waiting = set(arrows[module])
        while waiting:
            one = waiting.pop()
            if one not in reached:
                reached.add(one)
                waiting |= arrows[one]
        if module in reached:
            found.append(module)
    return found


def impure(names: Sources) -> list[str]:
    """What the modules of the core import or call that is not pure."""
    found = []
    for module, text in names.items():
        if folder_of(module) != "core":
            continue
        for target in imported(text, names):
            inside = target.startswith(f"{PACKAGE}.core.") or target == f"{PACKAGE}.core"
            pure = any(target == one or target.startswith(f"{one}.") for one in PURE)
            if not inside and not pure:
                found.append(f"{module} imports {target}")
        for node in nodes(text):
            if isinstance(node, ast.Call):
                function = node.func
                name = getattr(function, "attr", getattr(function, "id", ""))
                if name in IMPURE_CALLS:
                    found.append(f"{module} calls {name}")
    return found


def test_arrows_go_down_only() -> None:
    """No module is left out."""
    assert wrong_arrows(sources()) == []


def test_nothing_goes_in_circles() -> None:
    """Neither among folders nor within one."""
    assert circles(sources()) == []


def test_core_is_pure() -> None:
    """No files, no clock, no certbot, no logging."""
    assert impure(sources()) == []


@pytest.mark.parametrize(
    ("module", "text", "why"),
    [
        ("core.planted", "from certbot_pinkeep.storage import store", "up from the core"),
        ("workflow.planted", "from certbot_pinkeep.cli import main", "up to the command"),
        ("storage.planted", "from certbot_pinkeep.carriers import apache", "up by one floor"),
        ("check.planted", "from certbot_pinkeep.workflow import run", "sideways"),
        ("cli.planted", "def f():\n    from certbot_pinkeep import installer", "in a function"),
        ("new.planted", "x = 1", "a folder on no floor"),
        ("planted", "x = 1", "a module beside the folders"),
    ],
)
def test_planted_arrow_is_found(module: str, text: str, why: str) -> None:
    """The test above would fail."""
    planted = {**sources(), f"{PACKAGE}.{module}": text}
    assert len(wrong_arrows(planted)) == len(wrong_arrows(sources())) + 1, why


def test_planted_circle_is_found() -> None:
    """The test above would fail."""
    one, other = f"{PACKAGE}.core.one", f"{PACKAGE}.core.other"
    planted = {
        one: "from certbot_pinkeep.core import other",
        other: "if TYPE_CHECKING:\n    from certbot_pinkeep.core.one import X",
    }
    assert circles({**sources(), **planted}) == [*circles(sources()), one, other]


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "import logging",
        "import certbot",
        "from time import monotonic",
        "from datetime import datetime\nx = datetime.now()",
        "x = open('x')",
    ],
)
def test_planted_impurity_is_found(text: str) -> None:
    """The test above would fail."""
    planted = {**sources(), f"{PACKAGE}.core.planted": text}
    assert len(impure(planted)) == len(impure(sources())) + 1


def test_decisions_are_where_the_page_says() -> None:
    """The table of CONTRIBUTING names a module and its functions for each question."""
    page = (Path(__file__).parents[2] / "CONTRIBUTING.rst").read_text("utf-8")
    table = page.partition("Where is it decided")[2].partition("What we ask")[0]
    rows = re.findall(r"``(\w+/\w+)``,((?: (?:and )?``\w+``)+)", table)
    missing = [
        (module, name)
        for module, names in rows
        for name in re.findall(r"``(\w+)``", names)
        if f"def {name}(" not in sources()[f"{PACKAGE}.{module.replace('/', '.')}"]
    ]
    assert len(rows) == 10 and missing == []


# Sizes: measures of calm. What belongs together stays together, and is listed here with its reason.

MOST = {"module": 500, "class": 300, "function": 40, "positional parameters": 5}
#: What is larger, as ``kind module name``, and why.
LARGER = {
    "class core.ledger Ledger": "one value; each method is something that happens to it",
    "positional parameters adapters.certbot_guard _renew": "certbot's own function has four of them",
    "boolean installer save": "certbot's interface has it so",
    "boolean installer _notice_revocation": "a callable, whose parameters have no names",
}


def too_large(names: Sources) -> set[str]:
    """Find what is larger than that; docstrings do not count as lines of a function."""
    found = set()
    for module, text in names.items():
        place = module.removeprefix(f"{PACKAGE}.")
        if len(text.splitlines()) > MOST["module"]:
            found.add(f"module {place}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and _lines(node) > MOST["class"]:
                found.add(f"class {place} {node.name}")
            if isinstance(node, ast.FunctionDef):
                found.update(f"{kind} {place} {node.name}" for kind in _too_much(node))
    return found


def _too_much(node: ast.FunctionDef) -> Iterator[str]:
    described = _lines(node.body[0]) if ast.get_docstring(node) else 0
    if _lines(node) - described > MOST["function"]:
        yield "function"
    words = [
        one for one in (*node.args.posonlyargs, *node.args.args) if one.arg not in ("self", "cls")
    ]
    if len(words) > MOST["positional parameters"]:
        yield "positional parameters"
    if any(one.annotation and ast.unparse(one.annotation) == "bool" for one in words):
        yield "boolean"


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_nothing_is_too_large() -> None:
    """Booleans are given by keyword. An exception has its reason, and goes when it is none any more."""
    assert too_large(sources()) == set(LARGER)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x = 1\n" * 501, "module core.planted"),
        ("class C:\n" + "    x = 1\n" * 300, "class core.planted C"),
        ("def f():\n" + "    x = 1\n" * 40, "function core.planted f"),
        ("def f(a, b, c, d, e, g):\n    pass", "positional parameters core.planted f"),
        ("def f(a: bool):\n    pass", "boolean core.planted f"),
    ],
)
def test_planted_size_is_found(text: str, kind: str) -> None:
    """The test above would fail."""
    assert too_large({f"{PACKAGE}.core.planted": text}) == {kind}


# The tests: the house in small.

TESTS = Path(__file__).parents[1]


def test_folders_of_tests_mirror_the_package() -> None:
    """A module's tests are in the folder of its name; what spans all is at the top."""
    folders = {path.parent.name for path in Path(__file__).parent.glob("*/test_*.py")}
    assert folders == {folder for folder in FLOOR if folder != "installer"}


def test_no_test_imports_from_another() -> None:
    """And one machine, one site and one world are simulated, for all."""
    texts = {path.stem: path.read_text("utf-8") for path in TESTS.rglob("*.py")}
    found = {
        (stem, name)
        for stem, text in texts.items()
        for line in re.findall(r"(?m)^ *(?:from|import) .*", text)
        for name in re.findall(r"\btest_\w+", line)
    }
    assert {(stem, name) for stem, name in found if stem != name} == set()
    all_ = "\n".join(texts.values())
    assert sorted(re.findall(r"(?m)^class (Machine|Site|World)\b", all_)) == [
        "Machine",
        "Site",
        "World",
    ]
