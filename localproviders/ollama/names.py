"""Names and details of Ollama's models. The functions are pure and send no request.

They read and compare names as the server does
(docs/reference/ollama.md, "Model names"). Scripts that store names can use them: `same_model`
compares two names, `display_name` returns the form that the server lists, `valid_name` checks
a name, `parse_name` and `split_source` split a name, and `similar_name` finds a misspelt one.
`check_served` raises an error if another model has answered. `ModelDetails` is the result of
`OllamaProvider.show`.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Iterable, Mapping, NamedTuple, Optional, Tuple, Union

from localproviders._did_you_mean import most_similar
from localproviders._record import (
    CONTENT,
    RAW,
    FrozenDict,
    Record,
    field,
    loads,
    loads_each,
    record,
)
from localproviders.errors import WrongModelError
from localproviders.types.messages import Message
from localproviders.types.models import ModelInfo

_HOST = "registry.ollama.ai"
_OWNER = "library"
_TAG = "latest"

# A name with one slash consists of namespace and model: after a host there is always a namespace.
# Described in docs/reference/ollama.md, "Model names".
_GRAMMAR = (
    r"(?:\w+://)?"
    r"(?:(?:[a-z0-9_][a-z0-9_.:-]{0,349}/)?[a-z0-9_][a-z0-9_-]{0,79}/)?"
    r"[a-z0-9_][a-z0-9_.-]{0,79}(?::[a-z0-9_][a-z0-9_.-]{0,79})?"
)


class ModelName(NamedTuple):
    """The parts of a model name in lower case, with the defaults filled in.

    Attributes:
        host: Host of the registry.
        namespace: Owner of the model.
        model: Name of the model itself.
        tag: Variant of the model.
        source: ``cloud``, ``local``, or empty if the name has neither suffix.
    """

    host: str
    namespace: str
    model: str
    tag: str
    source: str = ""


def parse_name(name: str) -> ModelName:
    """Split a name of the form ``[scheme://][host/][namespace/]model[:tag]`` into its parts.

    A malformed name raises no error. Its parts are arbitrary, and the server refuses such a
    name.
    """
    return _split_name(name.lower())


def _split_name(name: str) -> ModelName:
    """Split a name into its parts, without changing upper and lower case."""
    base, source = split_source(name.strip())
    base = base.partition("://")[2] or base
    head, _, last = base.rpartition("/")
    model, _, tag = last.partition(":")
    host, _, namespace = head.rpartition("/")
    return ModelName(host or _HOST, namespace or _OWNER, model, tag or _TAG, source)


def split_source(name: str) -> Tuple[str, str]:
    """Split ``:cloud``, ``-cloud`` or ``:local`` off a name; return the rest and the source.

    The source is ``cloud``, ``local``, or empty if the name has no such suffix.
    """
    # Described in docs/reference/ollama.md, "Model names".
    base, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, ""
    if tag.lower() in ("cloud", "local"):
        return base, tag.lower()
    if tag.lower().endswith("-cloud"):
        return name[: -len("-cloud")], "cloud"
    return name, ""


def same_model(one: str, other: str) -> bool:
    """Return whether two names mean the same model, as ``llama3`` and ``LLAMA3:latest`` do."""
    return one == other or parse_name(one) == parse_name(other)


def is_cloud(name: str) -> bool:
    """Return whether a name shows that the model runs in the cloud."""
    return split_source(name.strip())[1] == "cloud"


def listed_name(name: str) -> str:
    """Return a name without ``:local``, which the server's lists omit."""
    base, source = split_source(name.strip())
    return base if source == "local" else name


def display_name(name: str) -> str:
    """Return a name as the server lists it: the shortest form that has a tag.

    ``llama3`` becomes ``llama3:latest``. If the host is not Ollama's own registry, the
    result is the full name. Letters keep their case. ``:local`` is removed, because the
    server's lists omit it. The name of a cloud model becomes the name of its stub, such as
    ``m:20b-cloud``.
    """
    # Described in docs/reference/ollama.md, "Model names".
    host, owner, model, tag, source = _split_name(name)
    if host.lower() != _HOST:
        model = f"{host}/{owner}/{model}"
    elif owner.lower() != _OWNER:
        model = f"{owner}/{model}"
    if source != "cloud":
        return f"{model}:{tag}"
    return f"{model}:cloud" if tag == _TAG else f"{model}:{tag}-cloud"


def valid_name(name: str) -> bool:
    """Return whether the server accepts this name.

    The name must follow the server's grammar. It may have one of the suffixes that
    `split_source` splits off, but not two.
    """
    base, source = split_source(name.strip())
    has_two_suffixes = bool(source) and bool(split_source(base)[1])
    return (
        not has_two_suffixes and re.fullmatch(_GRAMMAR, base, re.IGNORECASE | re.ASCII) is not None
    )


def similar_name(name: str, listed: Iterable[str]) -> Optional[str]:
    """Return the listed model whose name is most similar; None if no name is similar.

    The result has no ``:latest``. A name without a tag is also similar to the same name with any
    tag, for example ``llama3`` to ``llama3:8b``.
    """
    forms: Dict[str, str] = {}
    for full in listed:
        base, _, tag = full.rpartition(":")
        short = base if tag == _TAG else full
        for form in (full, short, base if "/" not in tag else full):
            forms.setdefault(form.lower(), short)
    near = most_similar(name.strip().lower(), forms)
    return None if near is None else forms[near]


Path = Union[str, "os.PathLike[str]"]

#: Files for `create`: one path, or a mapping from the file names on the server to paths.
Files = Union[Path, Mapping[str, Path]]


@record
class ModelDetails(Record):
    """All details of one model, as ``/api/show`` reports them.

    A value of None means that the model has no such detail.

    Attributes:
        info: The facts that every provider reports about a model.
        license: Texts of its licences, joined by newlines.
        template: Template of its prompts, in Go's template language or in Jinja.
        system: System text that is part of the model.
        renderer: Name of the server's own code that writes its prompts instead of the template.
        parser: Name of the server's own code that reads tool calls and thinking in its output.
        parameters: Settings that are part of the model, by name, such as ``num_ctx``. The value
            of ``stop``, and of every setting that occurs more than once, is a list.
        messages: Messages with which each of its conversations begins.
        modelfile: Modelfile from which the model could be created again. It contains paths of
            files on the server's machine.
        metadata: Metadata of the model's file, such as ``general.architecture``. Long lists, such
            as the tokens, are None unless `show` was called with ``verbose=True``.
        projector: Metadata of its vision projector.
        families: Model families of its files.
        parent_model: Name of the model from which this model was created.
        requires: Oldest Ollama version that can run the model, if the model declares one. The
            server does not enforce it.
        raw: The server's JSON record, including the tensors.
    """

    info: ModelInfo = field(metadata=loads(ModelInfo.from_dict))
    license: Optional[str] = None
    template: Optional[str] = field(default=None, metadata=CONTENT)
    system: Optional[str] = field(default=None, metadata=CONTENT)
    renderer: Optional[str] = None
    parser: Optional[str] = None
    parameters: Mapping[str, Any] = field(default_factory=FrozenDict)
    messages: Tuple[Message, ...] = field(
        default=(), metadata=loads_each(Message.from_dict, **CONTENT)
    )
    modelfile: Optional[str] = field(default=None, metadata=CONTENT)
    metadata: Mapping[str, Any] = field(default_factory=FrozenDict, metadata=CONTENT)
    projector: Mapping[str, Any] = field(default_factory=FrozenDict, metadata=CONTENT)
    families: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    parent_model: Optional[str] = None
    requires: Optional[str] = None
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    def __post_init__(self) -> None:
        self._keep_as_tuples("messages", "families")
        self._freeze("parameters", "metadata", "projector")


def check_served(model: str, served: str) -> None:
    """Check that the requested model has answered.

    Args:
        model: Name of the requested model.
        served: Name of the model in the response.

    Raises:
        WrongModelError: Another model has answered.
    """
    if not _is_same_model(model, served):
        raise WrongModelError(
            f"requested model {model!r}, but the server answered with {served!r}",
            hint="check the name of the model",
            requested=model,
            served=served,
        )


def _is_same_model(requested: str, served: str) -> bool:
    """Return whether the response comes from the requested model.

    A response from the cloud names the model without the suffix ``:cloud`` or ``-cloud``.
    """
    # Described in docs/reference/ollama.md, "Cloud models".
    return same_model(requested, served) or same_model(split_source(requested)[0], served)
