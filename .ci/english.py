"""Find sentences that break the rules of plain English (CONTRIBUTING.md, "English").

Usage: python .ci/english.py [FILE...]      without files: the whole project

It reads docstrings, comments, the texts in the package's code, names, and Markdown pages.
Code, and whatever stands between backticks or quotation marks, is not prose.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from pathlib import Path
from typing import Iterator, List, NamedTuple, Pattern, Set, Tuple

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("localproviders", "tests", "benchmarks", "examples", "docs", ".ci")
SKIPPED = ("tests/data",)


class Rule(NamedTuple):
    """A pattern that prose must not match."""

    name: str
    pattern: Pattern[str]
    advice: str


class Finding(NamedTuple):
    """One sentence that breaks a rule."""

    path: str
    line: int
    rule: str
    text: str
    advice: str


class Prose(NamedTuple):
    """A piece of prose, and the line where it begins."""

    line: int
    text: str


#: Rules for every sentence of prose. A sentence with a question mark at its end is a question.
SENTENCE_RULES = (
    Rule(
        "clause",
        re.compile(r"^(What|Who|Whoever|Whatever|Whichever|Whom|Which)\b(?! (if|follows)\b)"),
        "begin the sentence with a noun, not with a relative clause",
    ),
    Rule(
        "person",
        re.compile(r"\b(nobody|whoever|somebody|anybody|everybody|nobody's|somebody's)\b", re.I),
        "name the caller, the server, the user, the program",
    ),
    Rule(
        "picture",
        re.compile(r"\b(rooms?|roads?|doors?|floors?|house|housed|tenants?)\b", re.I),
        "say module, path, lazy import, layer, package layout",
    ),
    Rule(
        "again",
        re.compile(
            r"\b(anew|with no [a-z ]+ of (its|their|our) own|be it|who asks|asked for it)\b"
        ),
        "say again, without, the caller",
    ),
    Rule(
        "citation",
        re.compile(r"\b[a-z]+-api §|(?<!RFC \d{4} )§ ?\d"),
        'cite a page and its heading: (docs/reference/ollama.md, "Chat")',
    ),
)

#: Rules for the first sentence of a docstring.
DOCSTRING_RULES = (
    Rule("give", re.compile(r"^(Give|Gives|Giving|Hand|Hands)\b"), "begin with Return, Read, Make"),
    Rule(
        "pointer",
        re.compile(r"^(See|As for|As in|As with|Like|The same as|As the|Same as)\b"),
        "repeat the promise: a docstring is read alone",
    ),
)

#: A public docstring that names a private class is read by people who cannot find that class.
HIDDEN = Rule("hidden", re.compile(r"`{1,2}_[A-Z]\w*"), "name a public class, or describe it")

#: Names in the package: the old picture of the package.
NAMES = Rule(
    "name",
    re.compile(r"(^|_)(room|road|door|floor|house|nobody|whoever|somebody)s?(_|$)", re.I),
    "use a noun or a verb of the field",
)

_QUOTED = re.compile(r"``.*?``|`[^`]*`|\"[^\"\n]*\"|“[^”]*”|\(https?://[^)]*\)|https?://\S+", re.S)
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z`\"*(\[])")
_MARK = re.compile(r"^(\s*([-*>|#]+|\d+\.|[A-Za-z_*]+( \([^)]*\))?:(?=\s))\s*)+")


def check(paths: List[Path]) -> Iterator[Finding]:
    """Yield what breaks a rule in these files, in their order."""
    for path in paths:
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT).as_posix() if ROOT in path.parents else path.name
        found = _of_markdown(text) if path.suffix == ".md" else of_python(text, name)
        for line, rule, sentence in found:
            yield Finding(name, line, rule.name, " ".join(sentence.split())[:110], rule.advice)


def _of_markdown(text: str) -> Iterator[Tuple[int, Rule, str]]:
    # Blocks of code stay as empty lines, so that line numbers are right.
    text = re.sub(r"^```.*?^```", lambda m: "\n" * m.group().count("\n"), text, flags=re.M | re.S)
    for piece in _paragraphs(Prose(1, text)):
        yield from _of_prose(piece)


def of_python(text: str, name: str) -> Iterator[Tuple[int, Rule, str]]:
    """Yield line, rule and text of each breach in a module of this name."""
    tree = ast.parse(text)
    docstrings: Set[int] = set()
    for node, public in _documented(tree, True):
        docstring = ast.get_docstring(node, clean=True)
        if docstring is None:
            continue
        docstrings.add(id(node.body[0].value))  # type: ignore[attr-defined]  # it has a body
        line = node.body[0].lineno  # type: ignore[attr-defined]  # it has a body
        yield from _of_docstring(Prose(line, docstring), public)
    for comment in _comments(text):
        yield from _of_prose(comment)
    if name.startswith("localproviders/"):
        yield from _of_code(tree, docstrings)


def _documented(node: ast.AST, public: bool) -> Iterator[Tuple[ast.AST, bool]]:
    """Yield modules, classes and functions, and whether a user can reach them."""
    yield node, public
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            is_inner = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            hidden = child.name.startswith("_") and not child.name.endswith("__")
            yield from _documented(child, public and not is_inner and not hidden)
        elif isinstance(child, (ast.If, ast.Try, ast.With)):
            yield from ((n, p) for n, p in _documented(child, public) if n is not child)


def _of_docstring(docstring: Prose, public: bool) -> Iterator[Tuple[int, Rule, str]]:
    for rule in DOCSTRING_RULES:
        if rule.pattern.search(docstring.text):
            yield docstring.line, rule, docstring.text
    if public and HIDDEN.pattern.search(docstring.text):
        yield docstring.line, HIDDEN, HIDDEN.pattern.search(docstring.text).group()  # type: ignore[union-attr]  # it was found
    for piece in _paragraphs(docstring):
        yield from _of_prose(piece)


def _of_code(tree: ast.AST, docstrings: Set[int]) -> Iterator[Tuple[int, Rule, str]]:
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in docstrings and " " in text:
            yield from _of_prose(Prose(getattr(node, "lineno", 1), text))
        name = getattr(node, "name", None) or getattr(node, "arg", None)
        name = name or (node.id if isinstance(node, ast.Name) else None)
        if isinstance(name, str) and NAMES.pattern.search(name):
            yield getattr(node, "lineno", 1), NAMES, name


def _comments(text: str) -> Iterator[Prose]:
    """Yield comments; neighbouring lines of comments are one text."""
    block: List[str] = []
    start = last = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        row = token.start[0]
        alone = token.line.lstrip().startswith("#")
        if block and not (alone and row == last + 1):
            yield Prose(start, " ".join(block))
            block = []
        if not block:
            start = row
        block.append(token.string.lstrip("#: "))
        last = row if alone else -1
    if block:
        yield Prose(start, " ".join(block))


def _paragraphs(prose: Prose) -> Iterator[Prose]:
    """Yield paragraphs, items of lists, rows and cells of tables, each with its line."""
    line, block, start = prose.line, [], prose.line
    for text in prose.text.split("\n"):
        begins = not text.strip() or re.match(r"\s*([-*|#>]|\d+\. |[\w*]+( \([^)]*\))?: )", text)
        if begins and block:
            yield Prose(start, "\n".join(block))
            block = []
        if text.lstrip().startswith("|"):
            for cell in re.split(r"(?<!\\)\|", text):
                yield Prose(line, cell)
        elif text.strip():
            start = start if block else line
            block.append(text)
        line += 1
    if block:
        yield Prose(start, "\n".join(block))


def _of_prose(prose: Prose) -> Iterator[Tuple[int, Rule, str]]:
    text = _QUOTED.sub(lambda match: "`" + "\n" * match.group().count("\n") + "`", prose.text)
    line = prose.line
    for sentence in _SENTENCE_END.split(text):
        stripped = _MARK.sub("", sentence).strip()
        for rule in SENTENCE_RULES:
            if rule.pattern.search(stripped) and not (
                rule.name == "clause" and stripped.endswith("?")
            ):
                yield line, rule, stripped
        line += sentence.count("\n")


def files() -> List[Path]:
    """Return the project's files of prose and code."""
    found = list(ROOT.glob("*.md"))
    for folder in FOLDERS:
        found += [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.md")]
    names = ((path, path.relative_to(ROOT).as_posix()) for path in sorted(found))
    return [path for path, name in names if not name.startswith(SKIPPED)]


def main(arguments: List[str]) -> int:
    """Print findings; return 1 if there are any."""
    paths = [Path(text).resolve() for text in arguments] or files()
    findings = list(check(paths))
    for finding in findings:
        print(f"{finding.path}:{finding.line}: [{finding.rule}] {finding.text} -> {finding.advice}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
