"""The table of keys: what can be configured, and by whom. docs/configuration.md follows it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from localproviders.config import kinds
from localproviders.config.server import KINDS
from localproviders.types.limits import Limits
from localproviders.types.request import LOCALITIES
from localproviders.types.retry import RetryPolicy

STRATEGIES = ("first", "loaded", "largest", "smallest")
#: The part of a path that stands for a name which the user chooses.
ANY = "NAME"
PREFIX = "LOCALPROVIDERS_"
#: Variables with our prefix that are no keys: the profile, and those of this project's tests.
OTHERS = frozenset(PREFIX + name for name in ("PROFILE", "FUZZ", "JSON_SCHEMA_SUITE"))


class Key(NamedTuple):
    """A key that holds a value.

    Attributes:
        path: The names that lead to it; `ANY` for a name that the user chooses.
        check: Takes the value or says what is wrong.
        default: What counts where nobody says anything, as text for the documentation.
        meaning: One sentence for the documentation.
        example: A line of TOML that a user can copy.
        in_project: Whether a project file may have it at all.
        parse: Reads the value of a variable; None where no variable sets it.
    """

    path: Tuple[str, ...]
    check: kinds.Check
    default: str
    meaning: str
    example: str
    in_project: bool = True
    parse: Optional[Callable[[str], Any]] = kinds.as_text

    @property
    def dotted(self) -> str:
        """The path as it is written."""
        return ".".join(self.path)

    @property
    def variable(self) -> Optional[str]:
        """The variable that sets it, with `ANY` in it where the key has that; or None."""
        return None if self.parse is None else variable(self.path)


def variable(path: Tuple[str, ...]) -> str:
    """Give the name of the variable for a path: each letter that no name can have is ``_``."""
    letters = "_".join(path).upper()
    return PREFIX + "".join(c if c.isascii() and c.isalnum() else "_" for c in letters)


def _numbers(
    above: Tuple[str, ...], record: Any, check: Callable[[str], kinds.Check], inherits: bool
) -> List[Key]:
    """Give the keys of `Limits` or `RetryPolicy`, whose fields they are."""
    table = above[-1]
    return [
        Key(
            (*above, each.name),
            check(each.name),
            f"that of `{table}`" if inherits else f"{each.default:g}",
            f"`{record.__name__}.{each.name}`",
            f"{each.name} = {each.default:g}",
            parse=kinds.as_number,
        )
        for each in fields(record)
    ]


_SERVER = ("servers", ANY)
KEYS: Tuple[Key, ...] = (
    Key(("default_model",), kinds.text, "none",
        "Model, alias or `server/model` for requests that name none", 'default_model = "fast"'),
    Key(("strategy",), kinds.one_of(*STRATEGIES), "`first`",
        f"Which server is taken where several have the model: {', '.join(STRATEGIES)}",
        'strategy = "loaded"'),
    Key(("locality",), kinds.one_of(*LOCALITIES), "`loopback`",
        f"Where prompts may go: {', '.join(LOCALITIES)}. Where it is written, no server goes"
        " beyond it", 'locality = "private"'),
    Key(("fallback",), kinds.texts, "all servers, as they are written",
        "Names of servers in the order in which they are tried",
        'fallback = ["ollama", "gpu-box"]', parse=kinds.as_list),
    Key(("aliases", ANY), kinds.some_texts, "none",
        "What a name stands for, best first", 'fast = ["ollama/llama3.2:3b"]', parse=None),
    *_numbers(("limits",), Limits, kinds.limit, inherits=False),
    *_numbers(("retry",), RetryPolicy, kinds.retry, inherits=False),
    Key((*_SERVER, "kind"), kinds.one_of(*KINDS), "the name, if it is a kind; `gguf` with a file",
        f"What it is: {', '.join(KINDS)}", 'kind = "ollama"'),
    Key((*_SERVER, "endpoint"), kinds.endpoint, "the usual place of its kind",
        "Its address. Ollama's usual place is `OLLAMA_HOST`, if set; `openai-compatible` has none",
        'endpoint = "http://127.0.0.1:11434"'),
    Key((*_SERVER, "gguf"), kinds.file, "none",
        "A model file, which the embedded engine serves", 'gguf = "model.gguf"'),
    Key((*_SERVER, "model"), kinds.text, "none",
        "The model for requests that name none", 'model = "llama3.2"'),
    Key((*_SERVER, "locality"), kinds.one_of(*LOCALITIES), "that of the whole",
        "Where its prompts may go", 'locality = "any"'),
    Key((*_SERVER, "api_key"), kinds.key, "none",
        "Its key, or where that is: a variable, a file, a command",
        'api_key = {env = "EXAMPLE_API_KEY"}', in_project=False),
    Key((*_SERVER, "allow_plaintext_key"), kinds.boolean, "`false`",
        "Send the key over plain HTTP beyond loopback", "allow_plaintext_key = true",
        in_project=False, parse=kinds.as_boolean),
    Key((*_SERVER, "ca_bundle"), kinds.bundle, "the certificates of `requests`",
        "Certificates to trust instead, or `environment`", 'ca_bundle = "ca.pem"',
        in_project=False),
    Key((*_SERVER, "client_cert"), kinds.certificate, "none",
        "A client certificate with its key, or both paths",
        'client_cert = ["client.pem", "client.key"]', in_project=False),
    Key((*_SERVER, "proxies"), kinds.proxies, "none",
        'URL by scheme, or `environment`; needs `locality = "any"`',
        'proxies = {https = "http://proxy:3128"}', in_project=False),
    *_numbers((*_SERVER, "limits"), Limits, kinds.limit, inherits=True),
    *_numbers((*_SERVER, "retry"), RetryPolicy, kinds.retry, inherits=True),
)  # fmt: skip

Schema = Mapping[str, Union[Key, "Schema"]]


def _schema() -> Schema:
    root: Dict[str, Any] = {}
    for key in KEYS:
        node = root
        for name in key.path[:-1]:
            node = node.setdefault(name, {})
        node[key.path[-1]] = key
    return root


#: The keys as nested tables.
SCHEMA: Schema = _schema()
