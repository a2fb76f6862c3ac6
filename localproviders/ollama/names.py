"""Names of Ollama's models, compared as its server compares them (ollama-api §7). Pure."""

from __future__ import annotations

from typing import NamedTuple, Tuple

_HOST = "registry.ollama.ai"


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
    base, source = split_source(name.strip().lower())
    base = base.partition("://")[2] or base
    head, _, last = base.rpartition("/")
    model, _, tag = last.partition(":")
    host, _, namespace = head.rpartition("/")
    return ModelName(host or _HOST, namespace or "library", model, tag or "latest", source)


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
    return parse_name(one) == parse_name(other)


def is_cloud(name: str) -> bool:
    """Whether a name says that the model runs elsewhere."""
    return split_source(name.strip())[1] == "cloud"
