"""The responses by which programs that speak OpenAI's dialect are recognised.

docs/reference/discovery.md describes these responses, which are called greetings. `PRODUCTS` is the
table of the programs and their signs. A sign is a detail of a greeting, such as a header, the
complete text of its body, or a key of its JSON with the type of the value. A port or a status alone
never identifies a program.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders._dialect.values import mapping, nonempty_text
from localproviders.kinds import Greeting

#: The usual path of the list of models. Its response is always read, so a sign in this response
#: needs no further request.
LIST = "/v1/models"

_NOTHING = type(None)


class Sign(NamedTuple):
    """One sign of a program, in the response to one path.

    Attributes:
        path: The path of the GET request. The request changes nothing on any server.
        tells: Function that returns a description of the sign in the response, such as
            ``owned_by 'vllm'``; an empty text if the response does not have the sign.
    """

    path: str
    tells: Callable[[Greeting], str]


class Product(NamedTuple):
    """A program that serves models, and the signs by which it is recognised.

    Attributes:
        name: The name of the program.
        ways: Groups of signs. The program is recognised if it has all signs of one group. The signs
            are checked in order, so that a path is requested only if the server has the earlier
            signs.
        roots: The paths of its API, the preferred one first.
        version: The places of its version: pairs of a path and a JSON key.
        model: A path and a JSON key with the name of its only model, for programs without a list
            of models.
        forwards_prompts: Whether it usually sends prompts to other hosts.
        kind: The provider kind for the program; None means ``openai-compatible``.
    """

    name: str
    ways: Tuple[Tuple[Sign, ...], ...]
    roots: Tuple[str, ...] = ("/v1",)
    version: Tuple[Tuple[str, str], ...] = ()
    model: Optional[Tuple[str, str]] = None
    forwards_prompts: bool = False
    kind: Optional[str] = None


# --- signs -----------------------------------------------------------------------------------


def _in_words(found: Mapping[str, Any]) -> str:
    """Return keys with their values as text; if the value is a list or an object, only the key."""
    return ", ".join(
        key if isinstance(value, (list, dict)) else f"{key} {value!r}"
        for key, value in found.items()
    )


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, (type, tuple)):
        # bool is a subclass of int, but true is no number.
        return isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))
    return type(value) is type(wanted) and bool(value == wanted)


def _chosen(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return the wanted keys and their values as text.

    The text is empty if a key is missing, or if a value has not the wanted type or value.
    """
    fits = all(key in found and _fits(found[key], value) for key, value in wanted.items())
    return _in_words({key: found[key] for key in wanted}) if fits else ""


def _has(path: str, **wanted: Any) -> Sign:
    """Return the sign of a JSON object with these keys, each with its type or its value."""
    return Sign(path, lambda greeting: _chosen(greeting.json, wanted))


def _has_one_of(path: str, key: str, *names: str, **wanted: Any) -> Sign:
    """Return a sign like `_has` that also requires an object under `key`.

    This object must have at least one of the `names` as a key.
    """

    def tells(greeting: Greeting) -> str:
        inner = mapping(greeting.json.get(key))
        return _chosen(greeting.json, wanted) if any(name in inner for name in names) else ""

    return Sign(path, tells)


def _each_has(path: str, **wanted: Any) -> Sign:
    """Return the sign of a JSON object whose values are all objects with these keys."""

    def tells(greeting: Greeting) -> str:
        values = [_chosen(mapping(value), wanted) for value in greeting.json.values()]
        return _if_all(values)

    return Sign(path, tells)


def _if_all(words: Sequence[str]) -> str:
    """Return the first text; an empty text if one of the texts is empty, or if there are none."""
    return words[0] if words and all(words) else ""


def _lists(path: str, **wanted: Any) -> Sign:
    """Return the sign of a JSON list of objects with these keys."""

    def tells(greeting: Greeting) -> str:
        items = greeting.data if isinstance(greeting.data, list) else []
        chosen = [_chosen(mapping(item), wanted) for item in items]
        return _if_all(chosen)

    return Sign(path, tells)


def entries_of(greeting: Greeting) -> Sequence[Mapping[str, Any]]:
    """Return the records of a list of models; none if the response is not such a list."""
    items = greeting.json.get("data")
    return [mapping(item) for item in items] if isinstance(items, list) else []


def _models(path: str, **wanted: Any) -> Sign:
    """Return the sign of a list of models whose records all have these keys."""

    def tells(greeting: Greeting) -> str:
        chosen = [_chosen(entry, wanted) for entry in entries_of(greeting)]
        return _if_all(chosen)

    return Sign(path, tells)


def _models_with_only(path: str, *keys: str) -> Sign:
    """Return the sign of a list of models whose records have exactly these keys."""

    def tells(greeting: Greeting) -> str:
        entries = entries_of(greeting)
        fits = bool(entries) and all(set(entry) == set(keys) for entry in entries)
        return f"models with {', '.join(keys)} and nothing else" if fits else ""

    return Sign(path, tells)


def _says(path: str, text: str) -> Sign:
    """Return the sign of a body that is exactly this text."""
    return Sign(path, lambda greeting: repr(text) if greeting.text.strip() == text else "")


def _contains(path: str, text: str) -> Sign:
    """Return the sign of a body that contains this text."""
    return Sign(path, lambda greeting: repr(text) if text in greeting.text else "")


def _sends(path: str, header: str, start: str = "") -> Sign:
    """Return the sign of a header whose value begins with a text, whatever the status is."""

    def tells(greeting: Greeting) -> str:
        value = greeting.headers.get(header)
        return f"{header}: {value}" if value is not None and value.startswith(start) else ""

    return Sign(path, tells)


def _redirects(path: str, end: str) -> Sign:
    """Return the sign of a redirect to a path that ends with a text."""

    def tells(greeting: Greeting) -> str:
        place = greeting.headers.get("Location", "")
        is_redirect = greeting.status is not None and 300 <= greeting.status < 400
        return f"Location: {place}" if is_redirect and place.rstrip("/").endswith(end) else ""

    return Sign(path, tells)


def _refuses(path: str, *statuses: int, key: str = "") -> Sign:
    """Return the sign of a refusal with one of the statuses, and with a key in its JSON."""

    def tells(greeting: Greeting) -> str:
        fits = greeting.status in statuses and (not key or key in greeting.refusal)
        return f"refused{f' with {key}' if key else ''}" if fits else ""

    return Sign(path, tells)


# --- the table -------------------------------------------------------------------------------

#: The root path. Even a response that refuses this request may have signs, such as a header.
_ANY = "/"

_LLAMA_CPP = Product(
    "llama.cpp",
    ways=(
        # Every response has the header, even a response with status 401, 404, 415 or 503.
        (_sends(_ANY, "Server", "llama.cpp"), _has("/props", role="router")),
        (_sends(_ANY, "Server", "llama.cpp"),),
    ),
    version=(("/props", "build_info"),),
    kind="llamacpp",
)

#: The programs, in the order in which their signs are checked. A program that copies the greeting
#: of another program comes before that program. A proxy comes before the programs whose greetings
#: it passes on.
PRODUCTS: Tuple[Product, ...] = (
    Product(
        "Docker Model Runner",
        ways=(
            (_says(_ANY, "Docker Model Runner is running"),),
            (_models("/engines/v1/models", dmr=dict),),
        ),
        roots=("/engines/v1",),
        version=(("/version", "version"),),
    ),
    Product(
        "llamafile",
        ways=((_sends(_ANY, "Server", "llamafile"),),),
        version=(("/props", "build_info"),),
    ),
    _LLAMA_CPP,
    Product(
        "LiteLLM",
        # Never ask for its /health: this calls every configured model.
        ways=(
            (_says("/health/liveliness", '"I\'m alive!"'),),
            (_sends(_ANY, "x-litellm-version"),),
        ),
        forwards_prompts=True,
    ),
    Product(
        "Open WebUI",
        # An administrator may change the displayed name. The program then appends "Open WebUI" to
        # the new name.
        ways=(
            (
                _has("/api/config", status=True, name=str, features=dict),
                _contains("/api/config", "Open WebUI"),
            ),
        ),
        roots=("/api",),
        version=(("/api/config", "version"),),
        forwards_prompts=True,
    ),
    Product(
        "KoboldCpp",
        ways=((_has("/api/extra/version", result="KoboldCpp", llm=bool, protected=bool),),),
        version=(("/api/extra/version", "version"),),
    ),
    Product(
        "Lemonade",
        ways=(
            (_has("/api/v1/health", all_models_loaded=list),),
            (_has("/api/v1/health", model_loaded=(str, _NOTHING), status=str),),
        ),
        roots=("/api/v1", "/v1"),
        version=(("/api/v1/health", "version"),),
    ),
    Product(
        "LocalAI",
        ways=((_has("/.well-known/localai.json", version=str, endpoints=dict),),),
        version=(("/.well-known/localai.json", "version"),),
    ),
    Product(
        "TabbyAPI",
        ways=(
            (_has("/v1/model", owned_by="tabbyAPI"),),
            (_models(LIST, owned_by="tabbyAPI"),),
            (
                _refuses("/v1/model", 400, 401, 403, 503, key="detail"),
                _has("/health", status=str, issues=list),
            ),
        ),
    ),
    Product(
        "text-generation-webui",
        ways=(
            (
                _has("/v1/internal/model/info", model_name=str, lora_names=list),
                _refuses("/v1/model", 404),  # TabbyAPI has both routes
            ),
        ),
    ),
    Product(
        "llama-swap",
        ways=(
            (_models(LIST, owned_by="llama-swap"),),
            (_redirects(_ANY, "/ui"), _says("/health", "OK")),
        ),
    ),
    Product(
        "vLLM",
        ways=(
            (_models(LIST, owned_by="vllm"),),
            # An API key of vLLM protects only the paths below /v1.
            (_refuses(LIST, 401), _has("/version", version=str), _contains("/metrics", "vllm:")),
        ),
        version=(("/version", "version"),),
    ),
    Product(
        "SGLang",
        ways=(
            (_models(LIST, owned_by="sglang"),),
            (_has("/get_model_info", model_path=str, tokenizer_path=str, is_generation=bool),),
            (_has("/model_info", model_path=str, tokenizer_path=str, is_generation=bool),),
        ),
        version=(("/server_info", "version"), ("/get_server_info", "version")),
    ),
    Product(
        "Text Embeddings Inference",
        ways=(
            (
                _has_one_of(
                    "/info", "model_type", "embedding", "reranker", "classifier", model_id=str
                ),
            ),
        ),
        version=(("/info", "version"),),
        model=("/info", "model_id"),
    ),
    Product(
        "OpenVINO Model Server",
        ways=((_each_has("/v1/config", model_version_status=list), _models("/v3/models", id=str)),),
        roots=("/v3",),
        version=(("/v2", "version"),),
    ),
    Product(
        "Foundry Local",
        ways=((_has("/openai/status", endpoints=list, modelDirPath=str),),),
    ),
    Product(
        "Infinity",
        ways=(
            (_models("/models", owned_by="infinity"),),
            (_models(LIST, owned_by="infinity"),),
        ),
        roots=("", "/v1"),
    ),
    Product("Xinference", ways=((_lists("/v1/cluster/info", node_type=str, ip_address=str),),)),
    Product("GPT4All", ways=((_models(LIST, owned_by="humanity", permission=list),),)),
    _LLAMA_CPP._replace(
        # A proxy may have replaced the header. KoboldCpp also has this route, so KoboldCpp is
        # checked first.
        ways=(
            (_has("/props", role="router", model_path=str),),
            (
                _has("/props", build_info=str, default_generation_settings=dict),
                _models(LIST, owned_by="llamacpp"),
            ),
        ),
    ),
    # A proxy may serve only the routes of OpenAI's dialect.
    _LLAMA_CPP._replace(ways=((_models(LIST, owned_by="llamacpp"),),), kind=None),
    Product(
        "MLX-LM",
        ways=(
            (
                _models_with_only(LIST, "id", "object", "created"),
                _sends(_ANY, "Server", "BaseHTTP/"),
                _has("/health", status="ok"),
            ),
        ),
    ),
)


def owners(greeting: Greeting) -> str:
    """Return a text with the owners in a list of models. An owner may be the name of a program."""
    found = dict.fromkeys(nonempty_text(entry.get("owned_by")) for entry in entries_of(greeting))
    named = [repr(owner) for owner in found if owner]
    return f"owned_by {', '.join(named)}" if named else ""
