"""Adds the next step to an error of the command: a shell command or an option to try.

The hint of an error of this package is written for Python code. So this module has a hint for the
shell for each class of error. Errors that the command itself raises have such a hint already.
"""

from __future__ import annotations

import re
import shlex
from typing import Mapping, Optional

from localproviders import errors
from localproviders._redact import shortened
from localproviders.cli.usage import UsageError
from localproviders.errors import ProviderError

#: The next step after an error of a class, or of its nearest listed base class.
_STEPS: Mapping[type, str] = {
    errors.ConfigurationError: "localproviders config check; localproviders help {verb}",
    errors.UnsupportedError: "localproviders show {model}; localproviders help {verb}",
    errors.AuthenticationError: "export {variables}",
    errors.TransportError: "localproviders doctor",
    errors.UnreachableError: "localproviders doctor; localproviders discover",
    errors.CertificateError: "localproviders doctor",
    errors.ServerError: "localproviders doctor",
    errors.ServerBusyError: "localproviders ps; try again later",
    errors.RequestRejectedError: "localproviders show {model}",
    errors.AnswerTooLargeError: "a smaller --max-tokens",
    errors.SchemaError: "a larger --max-tokens or --max-attempts, or a simpler schema",
    errors.EmbeddingError: "localproviders show {model}",
    errors.ModelError: "localproviders show {model}",
    errors.ModelNotFoundError: "localproviders models; localproviders pull {model}",
    errors.ModelLoadError: "localproviders ps; localproviders doctor",
    errors.ContextOverflowError: "localproviders show {model}; a shorter input",
    errors.WrongModelError: "localproviders models",
    errors.AnswerError: "another --seed, or a larger --max-tokens",
    errors.CancelledError: "run localproviders {verb} again",
    errors.AllFailedError: "localproviders doctor",
    ProviderError: "localproviders doctor",
}

#: The next step after a limit has expired, by the name of the limit.
_LIMITS: Mapping[str, str] = {
    "total_s": "a longer --timeout, such as --timeout 30m",
    "connect_s": "localproviders doctor",
    "load_s": "localproviders load {model}",
    "first_token_s": "localproviders load {model}; a shorter input",
    "idle_s": "localproviders ps; localproviders doctor",
}

#: Classes whose own hint is a shell command already.
_OWN_HINTS = (errors.DependencyError, errors.LockHeldError, errors.IntegrityError)


#: Pieces of hints and warnings that name an argument of Python, and the same advice with an option.
#: A piece that contains another one comes first.
_OPTIONS: Mapping[str, str] = {
    "pass max_tokens to the call or to the constructor": "add --max-tokens",
    "raise max_tokens or context_length": "raise --max-tokens, or load the model with a larger "
    "--context-length",
    "raise max_tokens": "raise --max-tokens",
    "pass thinking=False": "add --thinking off",
    'pass method="logprobs"': "add --method logprobs",
    "pass a smaller min_mass": "a smaller --min-mass",
    "pass force=True": "add --force",
    "with id_field": "with --id-field",
    "let the server cut it with truncate=True": "add --truncate",
}

# Maximum length of one piece of a hint. It may be a list of all addresses that were tried.
_LONGEST_PART = 200

# A hint that names a function or an argument of Python.
_PYTHON = re.compile(r"\w\(|\w=|\bpass\b|[A-Z][a-z]+[A-Z]")


def line_of(error: ProviderError, command: str, model: Optional[str]) -> str:
    """Return the line for standard error about a failed run, with the next step.

    Args:
        error: The error. Its hint is replaced.
        command: The command with its verb, such as ``localproviders chat``.
        model: The value of ``--model``; None if the option was not given.
    """
    verb = command.partition(" ")[2]
    if isinstance(error, UsageError):
        error.hint = error.hint or (
            f"localproviders help {verb}" if verb else "localproviders --help"
        )
    elif not isinstance(error, _OWN_HINTS):
        steps = [part for part in _step(error).split("; ") if _helps(part, verb, error, model)]
        name = _as_argument(_name_of(error.model, model))
        step = "; ".join(steps).format(verb=verb, model=name, variables=_variables(error))
        hint = _for_a_shell(error.hint or "")
        error.hint = "; ".join(filter(None, (hint, step or "localproviders doctor")))
    # The name of the class `UsageError` does not help: only the command raises this class.
    kind = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
    return f"{command}: {kind}{error}"


def with_options(text: str) -> str:
    """Return a hint or a warning that names options of the command instead of arguments."""
    for code, option in _OPTIONS.items():
        text = text.replace(code, option)
    return text


def _helps(step: str, verb: str, error: ProviderError, model: Optional[str]) -> bool:
    """Return False if a step repeats the failed command, or needs a model that is not known."""
    is_same = step.split(" {")[0] == f"localproviders {verb}"
    return not is_same and ("{model}" not in step or bool(error.model or model))


def _as_argument(name: str) -> str:
    """Return a model's name quoted for a shell, after ``--`` if it looks like an option."""
    return ("-- " if name.startswith("-") else "") + shlex.quote(name)


def _name_of(known: Optional[str], given: Optional[str]) -> str:
    """Return the name of a model as the user wrote it, if it is the model of the error."""
    if known and given and given.endswith(f"/{known}"):
        return given
    return known or given or "MODEL"


def _for_a_shell(hint: str) -> str:
    """Return a hint without the pieces that only help in Python; some code becomes an option."""
    parts = with_options(hint).split("; ")
    parts = [part for part in parts if part and not _PYTHON.search(part)]
    return "; ".join(shortened(part, _LONGEST_PART) for part in parts)


def _step(error: ProviderError) -> str:
    if isinstance(error, errors.LocalityError):
        found = re.search(r"locality=['\"](private|any)", error.hint or "")
        return f"--locality {found.group(1)}" if found else "localproviders config show"
    if isinstance(error, errors.LimitError):
        return _LIMITS.get(error.limit, "localproviders doctor")
    if isinstance(error, errors.ConfigurationError) and error.message.startswith("no model"):
        return "localproviders models; then -m MODEL, or export LOCALPROVIDERS_MODEL=MODEL"
    return next(_STEPS[cls] for cls in type(error).__mro__ if cls in _STEPS)


def _variables(error: ProviderError) -> str:
    if not isinstance(error, errors.AuthenticationError):
        return ""
    from localproviders import kinds  # only an error about a key needs the kinds
    from localproviders.config.keys import variable  # only an error about a key needs it

    name = error.provider or "NAME"
    service = kinds.find_service(name)
    if service is not None and service[1].key_variables:
        return f"{service[1].key_variables[0]}=KEY"
    key = f"{variable(('servers', name, 'api_key'))}=KEY"
    if kinds.find(name) is None or error.endpoint is None:  # the server is a configured one
        return key
    # If a server is not configured, the variable for its key is known only if the variable for its
    # address is set, too.
    return f"{variable(('servers', name, 'endpoint'))}={shlex.quote(error.endpoint)} {key}"
