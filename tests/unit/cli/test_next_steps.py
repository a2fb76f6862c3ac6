"""The end of an error: the next step, in a shell."""

from __future__ import annotations

import re
import shlex
from typing import Any, List

import pytest

from localproviders import cli, errors
from localproviders._dialect.thinking import only_thinking_hint
from localproviders._http.stream import Summary
from localproviders._http_provider.model_checks import cut_off_warning
from localproviders.anthropic import provider
from localproviders.cli.next_steps import line_of, with_options
from localproviders.cli.usage import UsageError
from localproviders.errors import ProviderError
from localproviders.testing import FakeOllama
from localproviders.types.limits import Limits
from localproviders.types.requests import CompletionRequest


def _classes() -> List[Any]:
    found: List[Any] = [ProviderError]
    for cls in found:
        found += cls.__subclasses__()
    return sorted({cls for cls in found if cls.__module__ == errors.__name__}, key=str)


def _made(cls: Any, hint: str) -> Any:
    error = cls.__new__(cls)
    ProviderError.__init__(error, "it failed", hint=hint)
    error.limit = "total_s"
    return error


_OWN = (errors.DependencyError, errors.LockHeldError, errors.IntegrityError)


@pytest.mark.parametrize("cls", [cls for cls in _classes() if cls not in _OWN])
def test_each_error_ends_with_something_for_a_shell(cls: Any) -> None:
    line = line_of(_made(cls, "pass timeout=5, or Limits(idle_s=1)"), "localproviders chat", "a b")
    assert line.startswith(f"localproviders chat: {cls.__name__}: it failed (hint: ")
    assert "Limits" not in line and "timeout=" not in line
    assert re.search(r"localproviders \w+|--\w+|export [A-Z]", line.partition("hint")[2])
    assert "{" not in line
    assert "a b" not in line.replace("'a b'", "")  # a name is quoted for the shell


def test_a_hint_that_is_not_about_python_is_kept() -> None:
    line = line_of(
        errors.ModelNotFoundError("gone", hint="ollama pull x"), "localproviders show", "x"
    )
    assert line.endswith("(hint: ollama pull x; localproviders models; localproviders pull x)")


def test_an_error_of_the_command_keeps_its_hint_and_has_no_class() -> None:
    line = line_of(UsageError("no", hint="add --force"), "localproviders chat", None)
    assert line == "localproviders chat: no (hint: add --force)"


@pytest.mark.parametrize("limit", list(Limits().to_dict()) or ["total_s"])
def test_each_limit(limit: str) -> None:
    error = errors.LimitError("late", limit=limit, limit_s=1, elapsed_s=2)
    assert "hint: " in line_of(error, "localproviders chat", "m")


def _cut_off(**fields: Any) -> Any:
    summary = Summary(1)
    summary.finish_reason = "length"
    return cut_off_warning(CompletionRequest(prompt="Hi", **fields), summary)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (provider._NO_MAX_TOKENS, "4096 was sent: add --max-tokens"),
        (
            only_thinking_hint(CompletionRequest(prompt="Hi")),
            "add --thinking off, or raise --max-tokens, ",
        ),
        (_cut_off(), "raise --max-tokens, or load the model with a larger --context-length"),
        (_cut_off(max_tokens=1), "ended the answer before any text: raise --max-tokens"),
        ("another warning", "another warning"),
    ],
)
def test_a_warning_names_options(text: Any, expected: str) -> None:
    assert expected in with_options(text)


@pytest.mark.parametrize("place", ["private", "any"])
def test_a_locality_names_the_option(place: str) -> None:
    error = errors.LocalityError("no", hint=f'pass locality="{place}"')
    assert line_of(error, "localproviders chat", None).endswith(f"(hint: --locality {place})")


def test_no_model() -> None:
    error = errors.ConfigurationError("no model was named")
    assert "export LOCALPROVIDERS_MODEL=MODEL" in line_of(error, "localproviders chat", None)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("localproviders chat", "localproviders help chat"),
        ("localproviders engine install", "localproviders help engine install"),
        ("localproviders", "localproviders --help"),
    ],
)
def test_each_error_of_the_command_has_a_next_step(command: str, hint: str) -> None:
    assert line_of(UsageError("a.txt is empty"), command, None).endswith(f"(hint: {hint})")


def test_the_next_step_for_a_missing_key_works_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeOllama(api_key="KEY") as fake:
        monkeypatch.setenv("OLLAMA_HOST", fake.url)
        assert cli.main(["show", "ollama/llama3.2"]) == errors.AuthenticationError.exit_code
        step = re.findall(r"export ([^;)]+)", capsys.readouterr().err)[-1]
        for word in shlex.split(step):
            monkeypatch.setenv(*word.partition("=")[::2])
        assert cli.main(["show", "ollama/llama3.2"]) == 0


def test_the_key_of_a_configured_server() -> None:
    error = errors.AuthenticationError("no", provider="gpu-box", endpoint="http://127.0.0.1:1/v1")
    assert "(hint: export LOCALPROVIDERS_SERVERS_GPU_BOX_API_KEY=KEY)" in line_of(
        error, "localproviders chat", None
    )


@pytest.mark.parametrize("verb", ["pull", "models", "discover", "show"])
def test_a_step_is_not_the_command_that_failed(verb: str) -> None:
    for cls in (errors.ModelNotFoundError, errors.UnreachableError, errors.UnsupportedError):
        hint = line_of(cls("gone"), f"localproviders {verb}", "x").partition("hint: ")[2]
        steps = hint.rstrip(")").split("; ")
        assert steps and not [step for step in steps if step.startswith(f"localproviders {verb}")]


def test_a_step_names_no_model_that_is_not_known() -> None:
    line = line_of(errors.UnsupportedError("no"), "localproviders ps", None)
    assert line.endswith("(hint: localproviders help ps)")


def test_a_name_that_begins_with_a_dash_is_no_option() -> None:
    line = line_of(errors.ModelNotFoundError("gone"), "localproviders show", "-m:latest")
    assert line.endswith("localproviders pull -- -m:latest)")


def test_a_long_list_does_not_hide_the_next_step() -> None:
    addresses = ", ".join(f"http://127.0.0.1:{port}" for port in range(8000, 8040))
    error = errors.UnreachableError("no server", hint=f"no server listens at {addresses}")
    line = line_of(error, "localproviders models", None)
    assert len(line) < 400 and line.endswith("localproviders doctor; localproviders discover)")
