"""The lint for plain English: each of its rules finds something, and nothing is left to find."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Dict, List, Set

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lint() -> ModuleType:
    spec = importlib.util.spec_from_file_location("english", str(_ROOT / ".ci" / "english.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


#: Texts that break a rule, as a Python module or as a page.
WRONG = [
    ("give", '"""Give the answer."""'),
    ("pointer", 'def chat():\n    """As for `stream`."""'),
    ("pointer", 'def chat():\n    """See the class."""'),
    ("hidden", 'class A:\n    """An answer, made by `_Maker`."""'),
    ("clause", '"""What came from the server."""'),
    ("clause", "x = 1  # Which server this is."),
    ("clause", '"""Return a value.\n\nArgs:\n    cancel: Whatever ends the call.\n"""'),
    ("clause", "# A page\n\nWho asks gets an answer.\n"),
    ("clause", "# A page\n\n| name | What is in it |\n"),
    ("person", '"""Return None where nobody listens."""'),
    ("person", "# A page\n\nSomebody listens at the port.\n"),
    ("picture", "x = 1  # the road of a request"),
    ("picture", "# A page\n\nThe house has seven floors.\n"),
    ("again", '"""Load the model anew."""'),
    ("again", '"""Return a value with no file of its own."""'),
    ("citation", '"""Return the state (ollama-api §3.8)."""'),
    ("citation", "x = 1  # its default window (§8)"),
]

#: Sentences that no rule may find.
RIGHT = [
    '"""Return the answer."""',
    '"""What does the server say?"""',
    '"""Return `what_nobody_reads`, or \\"nobody\\" for a missing name."""',
    "x = 'nobody'",
    "# A page\n\nThe server answers.\n\n```python\n# What nobody reads\n```\n",
    'class A:\n    def _f(self):\n        """Return what `_Maker` made."""',
    "x = 1  # where the body ends (RFC 9112 §6.3)",
]


def _found(lint: ModuleType, text: str, folder: Path) -> List[str]:
    page = folder / ("page.md" if text.startswith("# A page") else "module.py")
    page.write_text(text, encoding="utf-8")
    return [finding.rule for finding in lint.check([page])]


@pytest.mark.parametrize(("rule", "text"), WRONG)
def test_a_rule_finds(lint: ModuleType, rule: str, text: str, tmp_path: Path) -> None:
    assert _found(lint, text, tmp_path) == [rule]


@pytest.mark.parametrize("text", RIGHT)
def test_no_rule_finds(lint: ModuleType, text: str, tmp_path: Path) -> None:
    assert _found(lint, text, tmp_path) == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("clause", "raise ValueError('Whatever the server sends is refused')"),
        ("person", "raise ValueError('nobody listens here')"),
        ("name", "def _open_door(): ..."),
        ("name", "class Room: ..."),
    ],
)
def test_texts_and_names_of_the_package_are_read(lint: ModuleType, rule: str, text: str) -> None:
    found = list(lint.of_python(text, "localproviders/module.py"))
    assert [each.name for _, each, _ in found] == [rule]


def test_each_rule_has_been_seen_red(lint: ModuleType) -> None:
    rules = {rule.name for rule in (*lint.SENTENCE_RULES, *lint.DOCSTRING_RULES)}
    assert rules | {lint.HIDDEN.name} == {rule for rule, _ in WRONG}


def test_the_line_is_right(lint: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n```sh\nx\n```\n\n- One.\n- Two, and\n  nobody.\n", encoding="utf-8"
    )
    assert [finding.line for finding in lint.check([page])] == [8]


@pytest.mark.sample(0)
def test_the_project_is_in_plain_english(lint: ModuleType) -> None:
    found = [
        f"{each.path}:{each.line} [{each.rule}] {each.text}" for each in lint.check(lint.files())
    ]
    assert found == []


def test_each_cited_heading_exists() -> None:
    """A citation is a page of docs/reference and, in quotation marks, one of its headings."""
    headings: Dict[str, Set[str]] = {}
    for page in (_ROOT / "docs" / "reference").glob("*.md"):
        titles = re.findall(r"(?m)^#{2,4} (.+)$", page.read_text(encoding="utf-8"))
        headings[page.name] = {title.replace("`", "") for title in titles}
    cited, missing = 0, []
    for folder in ("localproviders", "tests", "benchmarks", "examples"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            # A citation may go on in the next line of a comment or a docstring.
            text = re.sub(r"\s*\n\s*(#:? )?", " ", path.read_text(encoding="utf-8"))
            for page_name, heading in re.findall(r'docs/reference/(\w+\.md),? "([^"]+)"', text):
                cited += 1
                if heading not in headings.get(page_name, set()):
                    missing.append(f"{path.name}: {page_name}, {heading}")
    assert missing == []
    assert cited > 50


#: Texts of the transport that are about the words of the model, and not about its HTTP response.
_OF_THE_MODEL = ("the model's thinking was streamed", "the model repeated the same piece of text")


def _texts_of(module: Path) -> List[str]:
    """Return the texts in a module, without its docstrings."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    docs = {each.value for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    constants = [each for each in ast.walk(tree) if isinstance(each, ast.Constant)]
    return [each.value for each in constants if each not in docs and isinstance(each.value, str)]


def test_the_transport_speaks_of_responses_and_not_of_answers() -> None:
    modules = [*(_ROOT / "localproviders" / "_http").glob("*.py")]
    modules.append(_ROOT / "localproviders" / "_redact.py")
    texts = [text for module in modules for text in _texts_of(module)]
    assert [text for text in texts if "the response" in text]
    wrong = [text for text in texts if " " in text and re.search(r"\banswers?\b", text)]
    assert [text for text in wrong if not text.startswith(_OF_THE_MODEL)] == []
