"""The verbs ``models``, ``show`` and ``ps``, which list models and their facts."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from datetime import datetime
from typing import Any, Iterator, List, Optional, Tuple

from localproviders.cli import options
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.table import Column, gigabytes, write_table
from localproviders.cli.targets import ask_each, target_of, warn_of
from localproviders.cli.usage import SUCCESS
from localproviders.cli.verbs import Verb
from localproviders.errors import ProviderError
from localproviders.local.provider import LocalProvider
from localproviders.provider import ModelProvider
from localproviders.types.models import LoadedModel, ModelCapabilities, ModelInfo

# The abilities that the list of models shows, in this order.
_ABILITIES = (
    "chat",
    "completion",
    "embeddings",
    "decision",
    "rerank",
    "image_generation",
    "vision",
    "audio",
    "tools",
    "thinking",
    "insert",
)

# --- models --------------------------------------------------------------------------------

_MODELS = (
    Column("MODEL", may_shrink=True, is_name=True),
    Column("GB", is_number=True),
    Column("PARAMETERS", is_number=True),
    Column("QUANTIZATION"),
    Column("CONTEXT", is_number=True),
    Column("LOADED"),
    Column("ABILITIES", may_shrink=True),
)


def _add_place(parser: Parser) -> None:
    options.add_model(parser)


def _run_models(arguments: Namespace, run: Run) -> int:
    models, failures = ask_each(run.all_servers(), _models_of)
    if arguments.json:
        run.output.write_json(_as_json(models, failures))
    elif models:
        write_table(run, _MODELS, [_model_row(info) for info in models])
    else:
        run.warn("there are no models; to download one, run: localproviders pull MODEL")
    warn_of(run, failures)
    return SUCCESS


def _models_of(server: ModelProvider) -> List[ModelInfo]:
    """Return the models of a server. If its list does not say which are in memory, find out."""
    models = server.list_models()
    if all(info.loaded is not None for info in models):
        return models
    try:
        loaded = {each.name for each in server.loaded_models()}
    except ProviderError:  # the server does not say which models are in memory
        return models
    return [
        info if info.loaded is not None else info.replace(loaded=info.name in loaded)
        for info in models
    ]


def _as_json(models: List[Any], failures: List[ProviderError]) -> Any:
    return {
        "models": [each.to_dict() for each in models],
        "errors": [each.to_dict() for each in failures],
    }


def _model_row(info: ModelInfo) -> Tuple[str, ...]:
    facts = info.capabilities
    host = f"on {facts.remote_host or 'another host'}".replace(" ", "-") if facts.remote else ""
    return (
        f"{info.provider}/{info.name}",
        host or gigabytes(facts.size_bytes),
        facts.parameter_size or "",
        facts.quantization or "",
        _text(facts.max_context_length),
        _text(info.loaded),
        ",".join(name for name in _ABILITIES if getattr(facts, name)),
    )


# --- ps ------------------------------------------------------------------------------------

_LOADED = (
    Column("MODEL", may_shrink=True, is_name=True),
    Column("GB", is_number=True),
    Column("CARD-GB", is_number=True),
    Column("CONTEXT", is_number=True),
    Column("UNTIL"),
)


def _run_ps(arguments: Namespace, run: Run) -> int:
    loaded, failures = ask_each(run.all_servers(), lambda server: server.loaded_models())
    if arguments.json:
        run.output.write_json(_as_json(loaded, failures))
    elif loaded:
        write_table(run, _LOADED, [_loaded_row(each) for each in loaded])
    else:
        run.warn("no model is in memory")
    warn_of(run, failures)
    return SUCCESS


def _loaded_row(loaded: LoadedModel) -> Tuple[str, ...]:
    # If several copies of a model are in memory, the name of a copy can replace the model's name.
    return (
        f"{loaded.provider}/{loaded.instance or loaded.name}",
        gigabytes(loaded.size_bytes),
        gigabytes(loaded.vram_bytes),
        _text(loaded.context_length),
        _local_time(loaded.expires_at),
    )


# --- show ----------------------------------------------------------------------------------

_FACTS = (
    Column("FACT"),
    Column("VALUE", may_shrink=True),
    Column("SOURCE"),
    Column("EVIDENCE", may_shrink=True),
)
#: Fields of `ModelCapabilities` that have no row of their own in the table of ``show``.
_NO_ROWS = ("evidence", "loaded_context_length")
_TITLES = {"max_context_length": "longest context", "size_bytes": "size"}


def _add_show(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model, or SERVER/MODEL")
    options.add_server(parser)


def _run_show(arguments: Namespace, run: Run) -> int:
    target = target_of(run, arguments.model)
    info = target.provider.model_info(target.model)
    server = _server_of(target.provider, info)
    info, template = _with_memory(server, info), _template(server, info)
    if arguments.json:
        run.output.write_json({**info.to_dict(), "template": template})
    else:
        write_table(run, _FACTS, list(_fact_rows(info, template)))
    return SUCCESS


def _server_of(provider: ModelProvider, info: ModelInfo) -> ModelProvider:
    servers = provider.providers() if isinstance(provider, LocalProvider) else [provider]
    return next((each for each in servers if each.name == info.provider), provider)


def _template(server: ModelProvider, info: ModelInfo) -> Optional[str]:
    """Return whether a model has a chat template: ``yes``, ``no`` or a note; None if unknown."""
    show, properties = getattr(server, "show", None), getattr(server, "properties", None)
    with contextlib.suppress(ProviderError):
        if show is not None:
            details = show(info.name)
            if details.renderer:
                return f"the server's own code ({details.renderer})"
            return _is_template(details.template)
        if properties is not None:
            return _is_template(properties(info.name).get("chat_template"))
    return None


def _is_template(text: Optional[str]) -> Optional[str]:
    from localproviders.doctor.products import PLAIN_TEMPLATES  # the other lists need no doctor

    return None if text is None else "no" if text in PLAIN_TEMPLATES else "yes"


def _with_memory(server: ModelProvider, info: ModelInfo) -> ModelInfo:
    """Return a model with the facts about its copy in memory, if the server reports them."""
    facts = info.capabilities
    if info.loaded is False or (info.loaded and facts.loaded_context_length is not None):
        return info
    try:
        copies = [each for each in server.loaded_models() if each.name == info.name]
    except ProviderError:  # the server does not say which models are in memory
        return info
    window = next((each.context_length for each in copies if each.context_length), None)
    if facts.loaded_context_length is None and window is not None:
        facts = facts.replace(loaded_context_length=window)
    return info.replace(loaded=bool(copies), capabilities=facts)


def _fact_rows(info: ModelInfo, template: Optional[str]) -> Iterator[Tuple[str, ...]]:
    plain = (
        ("model", f"{info.provider}/{info.name}"),
        ("digest", info.digest),
        ("runner", info.runner),
        ("modified", _local_time(info.modified_at)),
        ("loaded", _text(info.loaded)),
        ("loaded context", _text(info.capabilities.loaded_context_length)),
        ("template", template),
    )
    for name, value in plain:
        yield name, value or "unknown", "reported" if value else "", ""
    for name in ModelCapabilities.__annotations__:
        fact = getattr(info.capabilities, name)
        if name not in _NO_ROWS and fact is not None and fact != ():
            found = info.capabilities.evidence.get(name)
            source, detail = (found.source, found.detail) if found else ("", "")
            yield _TITLES.get(name, name.replace("_", " ")), _value(name, fact), source, detail


def _value(name: str, value: Any) -> str:
    return f"{gigabytes(value)} GB" if name == "size_bytes" else _text(value)


def _text(value: Any) -> str:
    """Return a fact as text: yes or no, a number, words; empty if it is not known."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _local_time(moment: Optional[datetime]) -> str:
    try:
        return f"{moment.astimezone():%Y-%m-%dT%H:%M}" if moment else ""
    except (OverflowError, ValueError, OSError):  # a server may send any year
        return str(moment)


VERBS = {
    "models": Verb(
        "List the models of all servers on this machine and of all configured servers, or of the "
        "server that -m SERVER/MODEL or --host names.",
        "localproviders models\nlocalproviders models --json",
        _add_place,
        _run_models,
    ),
    "show": Verb(
        "Show what is known about a model: its size, digest, context windows and abilities, each "
        "with its source (reported, inferred or assumed).",
        "localproviders show ollama/llama3.2",
        _add_show,
        _run_show,
    ),
    "ps": Verb(
        "List the models that are in memory, with the memory that they occupy and the time when "
        "the server removes them.",
        "localproviders ps",
        _add_place,
        _run_ps,
    ),
}
