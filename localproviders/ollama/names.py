"""Names of Ollama's models, read and compared as its server does (ollama-api §7). Pure.

For scripts that keep names themselves: `same_model` compares, `display_name` gives the form
in which the server lists, `valid_name` says whether it would take a name, and `parse_name`
and `split_source` take one apart.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Tuple

_HOST = "registry.ollama.ai"
_OWNER = "library"
_TAG = "latest"

# Two parts are owner and model: a host always needs an owner (§7.1).
_GRAMMAR = (
    r"(?:\w+://)?"
    r"(?:(?:[a-z0-9_][a-z0-9_.:-]{0,349}/)?[a-z0-9_][a-z0-9_-]{0,79}/)?"
    r"[a-z0-9_][a-z0-9_.-]{0,79}(?::[a-z0-9_][a-z0-9_.-]{0,79})?"
)


class ModelName(NamedTuple):
    """A name taken apart, with the defaults filled in and in lower case.

    Attributes:
        host: Registry.
        namespace: Owner.
        model: The model proper.
        tag: Variant.
        source: ``cloud``, ``local``, or empty where the name does not say.
    """

    host: str
    namespace: str
    model: str
    tag: str
    source: str = ""


def parse_name(name: str) -> ModelName:
    """Take a name apart: ``[scheme://][host/][namespace/]model[:tag]``.

    A malformed name comes out as some value or other: the server is to refuse it, in its
    own words.
    """
    return _parts(name.lower())


def _parts(name: str) -> ModelName:
    """Take a name apart in the letters that it is written in."""
    base, source = split_source(name.strip())
    base = base.partition("://")[2] or base
    head, _, last = base.rpartition("/")
    model, _, tag = last.partition(":")
    host, _, namespace = head.rpartition("/")
    return ModelName(host or _HOST, namespace or _OWNER, model, tag or _TAG, source)


def split_source(name: str) -> Tuple[str, str]:
    """Take ``:cloud``, ``-cloud`` or ``:local`` off a name; give base and source (§7.4)."""
    base, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, ""
    if tag.lower() in ("cloud", "local"):
        return base, tag.lower()
    if tag.lower().endswith("-cloud"):
        return name[: -len("-cloud")], "cloud"
    return name, ""


def same_model(one: str, other: str) -> bool:
    """Whether two names mean the same model: ``llama3`` and ``LLAMA3:latest`` do."""
    return one == other or parse_name(one) == parse_name(other)


def is_cloud(name: str) -> bool:
    """Whether a name says that the model runs elsewhere."""
    return split_source(name.strip())[1] == "cloud"


def listed_name(name: str) -> str:
    """Take ``:local`` off a name: no list has it. Other names are given back as they are."""
    base, source = split_source(name.strip())
    return base if source == "local" else name


def display_name(name: str) -> str:
    """Give the shortest form, always with a tag, as the server lists it (§7.3).

    ``llama3`` becomes ``llama3:latest``. A host other than Ollama's own registry makes the
    name a full one. Letters keep their case; ``:local`` is left out, because no list has it,
    and a cloud name comes in the spelling of its stub (§7.4).
    """
    host, owner, model, tag, source = _parts(name)
    if host.lower() != _HOST:
        model = f"{host}/{owner}/{model}"
    elif owner.lower() != _OWNER:
        model = f"{owner}/{model}"
    if source != "cloud":
        return f"{model}:{tag}"
    return f"{model}:cloud" if tag == _TAG else f"{model}:{tag}-cloud"


def valid_name(name: str) -> bool:
    """Whether the server would take this name: its grammar, and at most one source (§7)."""
    base, source = split_source(name.strip())
    twice = bool(source) and bool(split_source(base)[1])
    return not twice and re.fullmatch(_GRAMMAR, base, re.IGNORECASE | re.ASCII) is not None
