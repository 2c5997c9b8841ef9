"""The language of the package and its pages: six rules, as far as a program can tell.

Docstrings of functions begin with a verb. A sentence has at most 20 words, begins with no "Who", and says
"where" of places only. Each thing has one word.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import certbot_pinkeep

PACKAGE = Path(certbot_pinkeep.__file__).parent
ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.rst"), *ROOT.glob("docs/**/*.rst")])
LONGEST = 20
#: No docstring of a function begins so: what follows is what it returns, not what it does.
NO_VERB = re.compile(
    "(A|All|An|And|Any|Are|As|At|Both|But|By|Each|Every|For|From|Has|How|If|In|Is|It|Its|None|Not|Nothing|Of|On|"
    "One|Only|Same|Several|Some|That|The|Their|There|These|They|This|Those|To|Until|What|When|Where|Whether|"
    "Which|While|Who|Whom|Whose|Why|With|Without)[.,:;]?"
)
#: Words that were replaced, and the word for the thing now.
GONE = {
    r"(wish|wishes)": "request",
    r"witness\w*": "shadow",
    r"(in|into) step": "up to date",
    r"in_step": "up to date",
    r"(take|takes|taking|taken) in(?! this run| either)": "enrol",
    r"_?take_in": "enrol",
    r"survey": "local files, observations",
    r"keeper": "workspace",
    r"hand_?off\w*": "certbot_client, KeyAndCsr",
    r"not_taken": "csr_rejected",
    r"left_out": "report_rejected_backup",
    r"(blinded|doubted)": "uncertain",
    r"set_right": "accept_clock",
    r"with_left": "mark_for_retirement",
    r"(latest|later) moments?": "latest known time",
    r"pinned_before": "Workspace.was_pinned",
}
#: What stands beside a sentence, and counts as no word of it: references and marks of lists.
BESIDE = re.compile(r"\((?:G\d|RFC|§)[^)]*\)|^[*\d.-]+ ")
#: What begins an item of a list, and what comes before literal text.
ITEM = re.compile(r"\s*([*-]|\d+\.|:\w[^:]*:) ")
LITERAL = re.compile(r"::$|^\s*\.\. (code-block|toctree|image|include|automodule)::")
#: "Where" that means "if", and "Who" that means "if somebody".
CONDITION = re.compile(
    r"^Who(ever)? (?!should|needs)|\b(also|even|not|only|once) where\b|"
    r"^Where (it|no|none|nobody|that|there)\b.*,"
)
#: Sentences of messages that are longer, by their beginning, and why.
LONGER = {
    "header, json, nginx, ios": "a list, in the help of an option",
    "connect to this for every host": "the help of an option",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield each module of the package, by its path."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text("utf-8"))


def functions(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef, str]]:
    """Yield functions with their docstrings. A property stands for a value, so it is named as one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (described := ast.get_docstring(node)):
            marks = {ast.unparse(one) for one in node.decorator_list}
            if not marks & {"property", "cached_property"}:
                yield node, described


def without_verb(tree: ast.AST) -> list[str]:
    """List the functions whose docstring does not begin with a verb."""
    found = ((node.name, described.split()[0]) for node, described in functions(tree))
    return [name for name, first in found if NO_VERB.fullmatch(first)]


def messages(tree: ast.AST) -> Iterator[str]:
    """Yield the texts that people read, as far as they are literal; no docstrings."""
    passed_over = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            passed_over |= {id(part) for part in ast.walk(node) if part is not node}
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in passed_over:
            text = literal(node)
            if re.search(r"[a-z] [a-z]+ [a-z]", text):
                yield text


def literal(node: ast.AST) -> str:
    """Return a text with a sign in place of each value."""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) or "\N{BULLET}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def sentences(text: str) -> list[str]:
    """Split a message. What comes before a colon is a sentence; a command is none."""
    told = re.sub(r"(^|\n)Run: [^\n]*", "", text)
    return [one for one in re.split(r"(?<=[.!?:])\s+|\n", told) if one.strip()]


def too_long(tree: ast.AST) -> list[str]:
    """List the sentences of messages that have too many words."""
    found = (one for text in messages(tree) for one in sentences(text))
    return [one for one in found if len(one.split()) > LONGEST]


def prose(text: str) -> Iterator[str]:
    """Yield the sentences of a docstring, a comment or a page; no tables, and nothing that is literal."""
    blocks, literal, table, before = [""], -1, False, ""
    for line in text.splitlines():
        indent, bare = len(line) - len(line.lstrip()), line.strip()
        begins = not bare or (
            indent > len(before) - len(before.lstrip()) and not ITEM.match(before)
        )
        if begins or ITEM.match(line):
            blocks.append("")
        edge = re.fullmatch(r"[=~-]+( +=+)*", bare)
        table = (table or bool(edge and edge[1])) and not (not bare and "= =" in before)
        if literal < 0 or (bare and indent <= literal):
            literal = indent if LITERAL.search(line) else -1
            if not (table or edge or bare.startswith("..") or " | " in bare):
                blocks[-1] += f"{bare} "
        before = line
    for block in blocks:
        words = BESIDE.sub("", re.sub(r"``[^`]*``|:\w+:`[^`]*`", "code", block))
        yield from re.split(r"(?<=[.!?:;])\s+", words.strip())


def described(text: str) -> Iterator[str]:
    """Yield the docstrings of a module, and its comments, those that follow each other as one."""
    kinds = ast.FunctionDef | ast.ClassDef | ast.Module
    found = (node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds))
    yield from filter(None, map(ast.get_docstring, found))
    for comment in re.finditer(r"(?m)^ *#.*(?:\n *#.*)*", text):
        yield re.sub(r"(?m)^ *#:? ?", "", comment[0])


def gone_words(text: str) -> list[str]:
    """List the words of a text that were replaced, with what is said now."""
    return [
        f"{found[0]!r}: say {now!r}"
        for was, now in GONE.items()
        for found in re.finditer(rf"(?<![\w-]){was}(?![\w-])", text, re.I)
    ]


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    """A class or a property is named as a thing."""
    assert [(path, name) for path, tree in sources() for name in without_verb(tree)] == []


def test_sentences_of_messages_are_short() -> None:
    """They are read at night, by people who did not write them."""
    found = [(path, one) for path, tree in sources() for one in too_long(tree)]
    assert [one for one in found if not one[1].startswith(tuple(LONGER))] == []


def test_sentences_of_docstrings_comments_and_pages_are_short() -> None:
    """In the tests as well. None begins with "Who", and "where" is for places."""
    found = []
    for path in (*PACKAGE.rglob("*.py"), *ROOT.glob("tests/**/*.py"), *PAGES):
        text = path.read_text("utf-8")
        parts = described(text) if path.suffix == ".py" else [text]
        found += [(path.name, one) for part in parts for one in prose(part)]
    assert [one for one in found if len(one[1].split()) > LONGEST or CONDITION.search(one[1])] == []


def test_each_thing_has_one_word() -> None:
    """No word that was replaced comes back."""
    texts = [(path, path.read_text("utf-8")) for path in [*PACKAGE.rglob("*.py"), *PAGES]]
    assert [(path.name, one) for path, text in texts for one in gone_words(text)] == []


def test_exceptions_are_needed() -> None:
    """Each of them is about a sentence that is there."""
    found = [one for _, tree in sources() for one in too_long(tree)]
    assert [one for one in LONGER if not any(text.startswith(one) for text in found)] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('def f():\n    """The value."""', ["f"]),
        ('def f():\n    """Return the value."""', []),
        (
            'class C:\n    """The value."""\n    @property\n    def f(self):\n        """Its part."""',
            [],
        ),
    ],
)
def test_planted_docstring_is_found(code: str, found: list[str]) -> None:
    """The test above would fail."""
    assert without_verb(ast.parse(code)) == found


@pytest.mark.parametrize(
    ("words", "long"),
    [("word " * 20 + "end.", True), ("word " * 19 + "end. " + "word " * 19, False)],
)
def test_planted_sentence_is_found(words: str, long: bool) -> None:
    """The test above would fail; also if the sentence is put together with a value."""
    for code in (f"x = {words!r}", f"x = f'{words}{{y}}'"):
        assert bool(too_long(ast.parse(code))) is long


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two: three (G1).", ["One.", "Two:", "three ."]),
        ("* One\n  more.\n* Two.", ["One more.", "Two."]),
        ("Term\n    Its meaning.\n\nAs so::\n\n    code that runs\n\nNext.", None),
        ("Before.\n\n=== ===\na   b\n=== ===\n\nAfter ``x y`` it.", ["Before.", "After code it."]),
    ],
)
def test_sentences_are_found(text: str, found: list[str] | None) -> None:
    """Whatever list, table or literal block stands beside them."""
    wanted = found or ["Term", "Its meaning.", "As so::", "Next."]
    assert [one for one in prose(text) if one] == wanted


def test_planted_long_comment_is_found() -> None:
    """The test above would fail: its two lines are one sentence."""
    code = f"#: {'word ' * 15}\n#: {'word ' * 15}\nx = 1  # {'word ' * 30}"
    assert [len(one.split()) for part in described(code) for one in prose(part) if one] == [30]
    assert CONDITION.search("It stays, also where none is.") and CONDITION.search("Whoever asks.")


def test_planted_word_is_found() -> None:
    """The test above would fail."""
    assert gone_words("Bring it into step, and take in the lineage.") == [
        "'into step': say 'up to date'",
        "'take in': say 'enrol'",
    ]
    assert gone_words("a witness") == ["'witness': say 'shadow'"]


def test_names_of_certificates_are_quoted_in_commands() -> None:
    """A certificate may be called "my site", and a shell reads what a message names."""
    bare = re.compile(
        r"(?:--cert-name|certbot-pinkeep pin) \{(?!shlex\.quote|quote|names\}|posix|' '\.join\(map)"
        r"|' -d '\.join"
    )
    assert [path for path in PACKAGE.rglob("*.py") if bare.search(path.read_text("utf-8"))] == []
