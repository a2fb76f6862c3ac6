"""Ollama's JSON for requests that change the server's models.

The requests are described in docs/reference/ollama.md, "Pull, push and create" and
"Copy and delete".
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from localproviders._address import allowing_hint, path_part
from localproviders._http.framing import Look, no_look, parse_json
from localproviders.errors import ConfigurationError, LocalityError
from localproviders.ollama.names import Files
from localproviders.ollama.wire.requests import merge_extra_body, message_payload
from localproviders.ollama.wire.responses import checked
from localproviders.secret import errors_without_frames
from localproviders.types.inputs import model_name
from localproviders.types.messages import Message, Messages, as_messages
from localproviders.types.requests import ModelLike


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

#: The files for `OllamaProvider.create`. For each of its arguments `files`, `adapters` and
#: `draft_files`, this has a mapping from the file names on the server to the paths on this machine.
Sources = Mapping[str, Mapping[str, str]]


def named_sources(**arguments: Optional[Files]) -> Sources:
    """Return for each argument a mapping from file names on the server to local paths.

    If an argument is a single path, the last part of the path is the name on the server.

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
            " adapters can be added in both cases",
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
        digests: The digests of its files. This has the form of `Sources`, with a digest in place
            of each path.
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
