"""Translation of this package's requests to Ollama's JSON.

This includes the requests that change the server's models
(docs/reference/ollama.md, "Pull, push and create" and "Copy and delete").
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Hashable,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from localproviders._address import allowing_hint, path_part
from localproviders._dialect.common import check_extra_body, tool_payloads
from localproviders._http.framing import Look, no_look, parse_json
from localproviders._lazy import LazyModule
from localproviders.errors import ConfigurationError, LocalityError, UnsupportedError
from localproviders.ollama.names import Files
from localproviders.ollama.wire.responses import checked
from localproviders.secret import errors_without_frames
from localproviders.types.inputs import model_name
from localproviders.types.messages import Message, Messages, as_messages
from localproviders.types.requests import CompletionRequest, EmbeddingRequest, ModelLike

if TYPE_CHECKING:
    from localproviders._dialect import refused_schemas
else:
    refused_schemas = LazyModule("localproviders._dialect.refused_schemas")

# The options with which a model is loaded (docs/reference/ollama.md, "Options").
_LOAD_OPTIONS = (
    *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap"),
    "draft_num_predict",
)

# Fields of this package and their names in `options` (docs/reference/ollama.md, "Options").
_OPTION_NAMES = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "context_length": "num_ctx",
}

# Fields of this package and their top-level names (docs/reference/ollama.md, "Chat").
_TOP_LEVEL_FIELDS = {
    "thinking": "think",
    "response_schema": "format",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
}


def completion_payload(request: CompletionRequest, model: str) -> Tuple[str, Dict[str, Any]]:
    """Return the path and the JSON of a chat, or of a plain text that the model continues."""
    payload: Dict[str, Any] = {"model": model, "stream": True}
    if request.prompt is None:
        path = "/api/chat"
        payload["messages"] = [message_payload(message) for message in request.messages]
    else:
        path = "/api/generate"
        payload["prompt"] = request.prompt
        # A prompt with a suffix needs the model's template, which marks the gap to fill. A prompt
        # without a suffix is sent without the template (`raw`).
        payload.update({"raw": True} if request.suffix is None else {"suffix": request.suffix})
    payload.update(_settings_payload(request))
    check_extra_body(request.extra_body)
    return path, merge_extra_body(payload, request.extra_body)


def render_payload(request: CompletionRequest, model: str) -> Tuple[str, Dict[str, Any]]:
    """Return the path and the JSON of a chat for which the server returns the rendered prompt.

    A server that does not know the field ``_debug_render_only`` generates an answer. So the answer
    is limited to one token.
    """
    # Described in docs/reference/ollama.md, "Rendered prompts".
    path, payload = completion_payload(request, model)
    payload.update({"stream": False, "_debug_render_only": True})
    payload["options"] = {**payload.get("options", {}), "num_predict": 1}
    return path, payload


def _settings_payload(request: CompletionRequest) -> Dict[str, Any]:
    top = {wire: getattr(request, ours) for ours, wire in _TOP_LEVEL_FIELDS.items()}
    options = {wire: getattr(request, ours) for ours, wire in _OPTION_NAMES.items()}
    if request.top_logprobs and request.logprobs is None:
        # Without `logprobs`, the server returns no alternatives
        # (docs/reference/ollama.md, "Log probabilities").
        top["logprobs"] = True
    top["options"] = {name: value for name, value in options.items() if value is not None}
    if request.stop:
        top["options"]["stop"] = list(request.stop)
    if request.tools:
        top["tools"] = tool_payloads(request.tools)
    if request.keep_alive is not None:
        top["keep_alive"] = keep_alive(request.keep_alive)
    # By default the server drops the oldest messages without notice
    # (docs/reference/ollama.md, "Context window").
    top["truncate"] = {"error": False, "truncate": True, "allow": None}[request.overflow]
    # A full window slides by default, and the beginning of the text is lost. `shift` is a property
    # of the loaded model: another value reloads the model. So `shift` is sent only with a window,
    # because another window reloads the model anyway. Otherwise two programs that use the same
    # model would reload it in turns.
    if request.context_length is not None and request.overflow == "error":
        top["shift"] = False
    if not top["options"]:
        del top["options"]
    return {name: value for name, value in top.items() if value is not None}


def load_options(payload: Mapping[str, Any]) -> Hashable:
    """Return those fields of a request whose change makes the server load the model again."""
    # Described in docs/reference/ollama.md, "Options".
    options = payload.get("options")
    fields = options if isinstance(options, dict) else {}
    return repr([payload.get("shift"), *map(fields.get, _LOAD_OPTIONS)])


def schema_in_words(payload: Dict[str, Any]) -> bool:
    """Move the schema of a chat into a message; return whether the request had one."""
    schema = payload.pop("format", None)
    if schema is not None and "messages" in payload:
        payload["messages"] = refused_schemas.with_words(payload["messages"], schema)
    return schema is not None


def keep_alive(seconds: float) -> float:
    """Return the seconds in the form of the server, where a negative number means for ever."""
    # Described in docs/reference/ollama.md, "Keep-alive".
    return -1 if seconds == float("inf") else seconds


def message_payload(message: Message) -> Dict[str, Any]:
    """Return the JSON of one message."""
    # Described in docs/reference/ollama.md, "Chat".
    payload: Dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        payload["thinking"] = message.thinking
    if message.images or message.audio:  # the server has one list for both
        payload["images"] = [media.base64 for media in (*message.images, *message.audio)]
    if message.tool_calls:
        payload["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_name is not None:
        payload["tool_name"] = message.tool_name
    if message.tool_call_id is not None:
        payload["tool_call_id"] = message.tool_call_id
    return payload


def merge_extra_body(payload: Dict[str, Any], extra: Mapping[str, Any]) -> Dict[str, Any]:
    """Add the caller's `extra_body`; objects such as `options` are merged one level deep."""
    for name, value in extra.items():
        ours = payload.get(name)
        are_objects = isinstance(ours, dict) and isinstance(value, Mapping)
        payload[name] = {**ours, **value} if are_objects and ours is not None else value
    return payload


def check_old_embed(request: EmbeddingRequest) -> None:
    """Check that the older route, ``/api/embeddings``, supports all fields of a request.

    Raises:
        UnsupportedError: The route does not support a field that is set.
    """
    for name in ("dimensions", "truncate"):
        if getattr(request, name):
            raise UnsupportedError(
                f"this Ollama server does not support {name}: it has no /api/embed",
                hint="update the server",
            )


def old_embed_payload(
    request: EmbeddingRequest, index: int, model: str, window: Optional[int]
) -> Dict[str, Any]:
    """Return the JSON that embeds one of the texts with the older route."""
    payload: Dict[str, Any] = {"model": model, "prompt": request.texts[index]}
    return {**payload, **memory_fields(window, request.keep_alive)}


def embed_payload(
    request: EmbeddingRequest, model: str, window: Optional[int] = None
) -> Dict[str, Any]:
    """Return the JSON of an embedding request; `window` is the model's context window."""
    payload: Dict[str, Any] = {
        "model": model,
        "input": list(request.texts),
        "truncate": request.truncate,
    }
    if request.dimensions is not None:
        payload["dimensions"] = request.dimensions
    return {**payload, **memory_fields(window, request.keep_alive)}


def memory_fields(context_length: Optional[int], keep_alive_s: Optional[float]) -> Dict[str, Any]:
    """Return the fields for the context window and the keep-alive of a loaded model."""
    fields: Dict[str, Any] = {}
    if context_length is not None:
        fields["options"] = {"num_ctx": context_length}
    if keep_alive_s is not None:
        fields["keep_alive"] = keep_alive(keep_alive_s)
    return fields


def transfer_payload(model: str, insecure: bool) -> Dict[str, Any]:
    """Return the JSON of a pull or a push."""
    return {"model": model, "stream": True, **({"insecure": True} if insecure else {})}


def copy_payload(source: str, destination: str) -> Dict[str, Any]:
    """Return the JSON of a copy."""
    return {"source": source, "destination": destination}


def delete_payload(model: str) -> Dict[str, Any]:
    """Return the JSON body of a DELETE request that deletes a model."""
    return {"model": model}


class Recipe(NamedTuple):
    """The contents of a new model: the arguments of `OllamaProvider.create`."""

    from_model: Optional[str]
    template: Optional[str]
    system: Optional[str]
    parameters: Optional[Mapping[str, Any]]
    license: Optional[Sequence[str]]
    messages: Tuple[Message, ...]
    quantize: Optional[str]
    extra_body: Mapping[str, Any]
    renderer: Optional[str] = None
    parser: Optional[str] = None
    requires: Optional[str] = None
    draft_quantize: Optional[str] = None

    def __repr__(self) -> str:
        # Some tools print tracebacks with local variables, and these must not show a system text.
        return "<recipe of a model>"

    @property
    def texts(self) -> Sequence[str]:
        """The texts that no error may quote."""
        texts = [self.template, self.system, *(message.content for message in self.messages)]
        return [text for text in texts if text]


# Fields of a `Recipe` that the server knows under the same name.
_SAME_NAMES = ("renderer", "parser", "requires", "draft_quantize")

#: The files for `OllamaProvider.create`, by its arguments `files`, `adapters` and `draft_files`.
#: Each value is a mapping from the names of the files on the server to their paths.
Sources = Mapping[str, Mapping[str, str]]


def named_sources(**arguments: Optional[Files]) -> Sources:
    """Return the paths of the files in each argument, by the names of the files.

    A single path gets the name of its file.

    Raises:
        ConfigurationError: A name is not a relative path with forward slashes. The server
            accepts no other names (docs/reference/ollama.md, "Pull, push and create").
        TypeError: An argument is neither a path nor a mapping, for example a list of paths.
    """
    return {what: _named_files(files, what) for what, files in arguments.items()}


def _named_files(files: Optional[Files], what: str) -> Dict[str, str]:
    if files is None:
        return {}
    if isinstance(files, (str, os.PathLike)):
        path = os.fspath(files)
        return {os.path.basename(path): path}
    if not isinstance(files, Mapping):
        raise TypeError(
            f"{what} must be a path, or a mapping from the names of the files to their paths, "
            f"not a {type(files).__name__}"
        )
    found = {name: os.fspath(path) for name, path in files.items()}
    for name in found:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or "\\" in name or ".." in parts or ":" in parts[0]:
            raise ConfigurationError(
                f"the name {name!r} in {what} is not a relative path with forward slashes",
                hint=f'write {what}={{"model.gguf": "/path/to/model.gguf"}}',
            )
    return found


def check_sources(recipe: Recipe, sources: Sources) -> None:
    """Check that the server would use every file, before a large file is read and uploaded.

    Raises:
        ConfigurationError: The server would ignore or refuse a file.
    """
    # Described in docs/reference/ollama.md, "Pull, push and create".
    given = {**recipe.extra_body, **{what: files for what, files in sources.items() if files}}
    source = recipe.from_model or given.get("from")
    if source and sources["files"]:
        raise ConfigurationError(
            "from_model and files are both given, and the server would ignore the files",
            hint="pass from_model for a model of the server, or files for files of this machine;"
            " adapters can be added to both",
        )
    for what in ("adapters", "draft_files"):
        if sources[what] and not (source or given.get("files")):
            raise ConfigurationError(
                f"{what} without from_model or files: there is no model to which they belong",
                hint="pass from_model or files as well",
            )
    if recipe.draft_quantize and not given.get("draft_files"):
        raise ConfigurationError(
            "draft_quantize without draft_files: there is no draft model to quantize",
            hint="pass draft_files as well, or leave out draft_quantize",
        )


def create_payload(model: str, recipe: Recipe, digests: Sources) -> Dict[str, Any]:
    """Return the JSON that creates a model.

    Args:
        model: Name of the new model.
        recipe: Its contents.
        digests: The digests of its files, in the form of `Sources`.
    """
    license_ = recipe.license
    fields: Dict[str, Any] = {
        "from": recipe.from_model,
        **digests,
        "template": recipe.template,
        "system": recipe.system,
        "parameters": dict(recipe.parameters or {}),
        "license": license_ if license_ is None or isinstance(license_, str) else list(license_),
        "messages": [message_payload(message) for message in recipe.messages],
        "quantize": recipe.quantize,
        **{name: getattr(recipe, name) for name in _SAME_NAMES},
    }
    kept = {name: value for name, value in fields.items() if value not in (None, {}, [])}
    return merge_extra_body({"model": model, "stream": True, **kept}, recipe.extra_body)


def blob_path(digest: str) -> str:
    """Return the path of a blob; the digest must have lower-case letters and a colon."""
    # Described in docs/reference/ollama.md, "Blobs".
    return f"/api/blobs/{path_part(digest, 'the digest')}"


def check_done(text: str, max_json_depth: int, look: Look = no_look) -> None:
    """Check the body of a successful copy or deletion, which is usually empty.

    Raises:
        ProviderError: The body is an error, or is not JSON.
    """
    if text.strip():
        checked(parse_json(text, max_json_depth, look=look))


def refuse_push(model: str, locality: str) -> LocalityError:
    """Return the error for a push that would send a model to a registry."""
    return LocalityError(
        f'pushing {model!r} sends it to a registry, and locality is "{locality}"',
        hint=allowing_hint("any"),
        model=model,
    )


@errors_without_frames
def make_recipe(
    messages: Optional[Messages],
    template: Optional[str],
    system: Optional[str],
    parameters: Optional[Mapping[str, Any]],
    extra_body: Optional[Mapping[str, Any]],
    *,
    from_model: Optional[ModelLike],
    license: Union[str, Sequence[str], None],
    quantize: Optional[str],
) -> Recipe:
    """Return the recipe for the arguments of `create`."""
    opening = () if messages is None else as_messages(messages)
    return Recipe(
        model_name(from_model),
        template,
        system,
        parameters,
        license,
        opening,
        quantize,
        extra_body or {},
    )
