"""A fake of llama.cpp's own server, with one model or as a router with several."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type
from urllib.parse import parse_qs

from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.secret import Sealed
from localproviders.testing.answers import Answer, as_event, dumps
from localproviders.testing.fake import FakeOptions, FakeServer, Models, count_tokens
from localproviders.testing.openai_answers import TextAnswer
from localproviders.testing.openai_compatible import FakeOpenAICompatible
from localproviders.testing.openai_decisions import not_supported
from localproviders.testing.openai_requests import (
    check_fields,
    prompt_of,
    refused,
)
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel

_NO_INFILL = (
    "Infill is not supported by this model: prefix token is missing. suffix token is missing. "
    "middle token is missing. "
)
_SUCCESS = {"success": True}
_TEMPLATE = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
_EVENTS = "/models/sse"


class _Reading(TextAnswer):
    """An answer whose stream begins with reports of the progress of reading the prompt.

    A request asks for these reports with ``return_progress``.
    """

    def records(self) -> List[Dict[str, Any]]:
        """Return the records of the stream."""
        return [*self._reports(), *super().records()]

    @property
    def begun(self) -> int:
        """The number of records up to and including the first one that has text."""
        return super().begun + len(self._reports())

    def _reports(self) -> List[Dict[str, Any]]:
        if not (self.chat and self.body.get("return_progress")):
            return []
        total = self.prompt_tokens
        counts = sorted({0, total // 2, total})
        empty = {"role": "assistant", "content": None}
        return [
            {
                **self.delta(empty),
                "prompt_progress": {"total": total, "cache": 0, "processed": done, "time_ms": done},
            }
            for done in counts
        ]


class FakeLlamaCpp(FakeOpenAICompatible):
    """A fake llama.cpp server for tests, to be used in a ``with`` block.

    With one model, the server uses this model for every request, even if the request names another
    one. The model is in memory from the start. With several models, the server is a router: it
    loads a model at the first request for the model, or by a request to ``/models/load``, and it
    refuses names of models that it does not have.

    Args:
        models: Names, or `FakeModel` values.
        router: Whether the server is a router. None means a router unless there is exactly one
            model.
        slots: Number of slots that the server reports for each model.
        **options: Options of `FakeServer`.

    Attributes:
        downloads: The progress of downloads, by the name of the model: pairs of the bytes that have
            arrived and the total. Each request for the list of models shows the next pair; after
            the last pair, the model is in the list. A model that has no pairs here cannot be
            downloaded: it never appears in the list.
        sleeping: Whether ``/props`` reports that the server sleeps. The only model of a sleeping
            server is not in memory. The next request that needs the model loads it again, and sets
            this to False.
    """

    @exact_keywords
    @show_keywords(FakeOptions, FakeServer)
    def __init__(
        self,
        models: Models = None,
        *,
        router: Optional[bool] = None,
        slots: int = 1,
        **options: Unpack[FakeOptions],
    ) -> None:
        given, options = Sealed(options), FakeOptions()
        super().__init__(models, **given.cell_contents)
        self.is_router: bool = len(self.models) != 1 if router is None else router
        self._slot_count = slots
        self.downloads: Dict[str, List[Tuple[int, int]]] = {}
        self.sleeping: bool = False
        self._failed: Dict[str, int] = {}
        if not self.is_router:
            self.loaded = {model.name: model.context_length for model in self.models}

    def answer(self, exchange: Exchange) -> Answer:
        """Return the correct response to a request, with llama.cpp's header ``Server``."""
        answer = super().answer(exchange)
        answer.headers += (("Server", "llama.cpp"),)
        return answer

    def routes(self) -> Dict[Tuple[str, str], Callable[[Exchange], Answer]]:
        """Return the handlers of requests, by method and path."""
        routes = {
            **super().routes(),
            ("GET", "/models"): self._models,
            ("GET", "/props"): self._props,
            ("GET", "/slots"): self._slots,
            ("POST", "/infill"): self._infill,
            ("POST", "/v1/chat/completions/input_tokens"): self._count,
        }
        if self.is_router:
            routes["POST", "/models"] = self._download
            routes["DELETE", "/models"] = self._delete
            routes["POST", "/models/load"] = self._load_route
            routes["POST", "/models/unload"] = self._unload_route
            routes["GET", _EVENTS] = self._events
        return routes

    def choose(self, name: Optional[str], ability: str) -> FakeModel:
        """Return the model that answers a request for a model name.

        Raises:
            RefusedError: A router does not have the model, or no model has the ability.
        """
        if self.is_router and ability != "rerank":
            if not name:
                raise refused("model name is missing from the request")
            self._known(name)
        return super().choose(name, ability)

    def load(self, model: FakeModel, exchange: Exchange, window: Optional[int] = None) -> float:
        """Load a model into memory, also if the server sleeps. Return the seconds of the load."""
        with self._loading:
            if self.sleeping:
                self.sleeping = False
                self.loaded.pop(model.name, None)
        return super().load(model, exchange, window)

    def answer_class(self, exchange: Exchange) -> Type[TextAnswer]:
        """Return the class of the answers to a request."""
        return _Reading

    # --- lists and properties -----------------------------------------------------------------

    def _models(self, _: Exchange) -> Answer:
        listed = super()._models(_)
        if not self.is_router:
            return listed
        rows = [self._row(model) for model in self.models]
        rows += [self._download_row(name) for name in list(self.downloads)]
        return self.json({"data": rows, "object": "list"}, kind="list")

    def _row(self, model: FakeModel) -> Dict[str, Any]:
        is_loaded = model.name in self.loaded
        failed = {"failed": True, "exit_code": self._failed.get(model.name)}
        meta = {"n_ctx_train": model.max_context_length, "n_ctx": self.loaded.get(model.name)}
        return {
            "id": model.name,
            "aliases": [],
            "object": "model",
            "owned_by": "llamacpp",
            "status": {
                "value": "loaded" if is_loaded else "unloaded",
                "args": [],
                **(failed if model.name in self._failed else {}),
            },
            "source": "cache",
            "can_remove": True,
            **({"meta": meta} if is_loaded else {}),
        }

    def _download_row(self, name: str) -> Dict[str, Any]:
        """Return the entry of a download, with its next pair of byte counts.

        The last pair completes the download.
        """
        done, total = self.downloads[name].pop(0)
        if not self.downloads[name]:
            del self.downloads[name]
            self.models.append(self.make_model(name))
        progress = {f"https://example.invalid/{name}": {"done": done, "total": total}}
        return {"id": name, "status": {"value": "downloading", "progress": progress}}

    def _props(self, exchange: Exchange) -> Answer:
        name = _asked(exchange, "model")
        if self.is_router and name is None:
            own = {"role": "router", "max_instances": 4, "models_autoload": True}
            return self.json({**own, **_settings(0), "build_info": "b11549-fake"})
        model = self._running(exchange) if self.is_router else self.models[0]
        seen = {name: model.can(name) for name in ("vision", "audio")}
        return self.json(
            {
                **_settings(self.loaded.get(model.name, model.context_length)),
                "total_slots": self._slot_count,
                "model_alias": model.name,
                "model_ftype": "Q4_K - Medium",
                "modalities": {**seen, "video": False},
                "chat_template": _TEMPLATE if model.can("chat") else "",
                "chat_template_caps": {
                    "supports_tools": model.can("tools"),
                    "supports_preserve_reasoning": model.can("thinking"),
                },
                "build_info": "b11549-fake",
                "is_sleeping": self.sleeping,
            }
        )

    def _slots(self, exchange: Exchange) -> Answer:
        model = self._running(exchange) if self.is_router else self.models[0]
        window = self.loaded.get(model.name, model.context_length)
        slots = [
            {"id": number, "n_ctx": window, "is_processing": False}
            for number in range(self._slot_count)
        ]
        return self.json(slots)

    def _known(self, name: Optional[str]) -> FakeModel:
        found = next((model for model in self.models if model.name == name), None)
        if found is None:
            raise refused(f"model '{name}' not found")
        return found

    def _running(self, exchange: Exchange) -> FakeModel:
        """Return the model that the query string of a request names. It must be in memory.

        Raises:
            RefusedError: The query names no model, or a model that is unknown or not in memory.
        """
        name = _asked(exchange, "model")
        if name is None:
            raise refused("model name is missing from the request")
        model = self._known(name)
        if model.name not in self.loaded:
            raise refused("model is not loaded")
        return model

    # --- prompts ------------------------------------------------------------------------------

    def _count(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        self.check_chat(body)
        model = self.choose(body.get("model"), "chat")
        is_missing = self.is_router and model.name not in self.loaded
        if is_missing and _asked(exchange, "autoload") == "false":
            raise refused("model is not loaded")
        self.load(model, exchange)
        self.check_media(body, model)
        tokens = count_tokens(prompt_of(body))
        return self.json({"input_tokens": tokens, "object": "response.input_tokens"})

    def _infill(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        check_fields(body)
        model = self.choose(body.get("model"), "chat")
        if not model.can("insert"):
            raise not_supported(_NO_INFILL)
        prompt = f"{body.get('input_prefix', '')} {body.get('input_suffix', '')}"
        made = self._text_answers(exchange, model, body, [prompt], chat=False)
        if isinstance(made, Answer):
            return made
        whole = made[0].own_form()
        if not body.get("stream"):
            return self.json(whole)
        pieces = [{"content": piece, "tokens": [0], "stop": False} for piece in made[0].pieces]
        return _stream([*pieces, {**whole, "content": ""}], made[0].reply.pause_s)

    # --- the router ---------------------------------------------------------------------------

    def _load_route(self, exchange: Exchange) -> Answer:
        name = self._body(exchange).get("model")
        model = next((model for model in self.models if model.name == name), None)
        if model is None:
            return self.unknown(exchange)  # as in llama.cpp, the response to an unknown path
        if model.name in self.loaded:
            raise refused("model is already running")
        if model.load_error is not None:
            self._failed[model.name] = 1
        else:
            self.loaded[model.name] = model.context_length
        return self.json(_SUCCESS)

    def _unload_route(self, exchange: Exchange) -> Answer:
        name = self._body(exchange).get("model")
        if not any(model.name == name for model in self.models):
            raise refused("model is not found")
        if self.loaded.pop(str(name), None) is None:
            raise refused("model is not running")
        return self.json(_SUCCESS)

    def _download(self, exchange: Exchange) -> Answer:
        name = self._body(exchange).get("model")
        if not isinstance(name, str) or not name:
            raise refused("model must be a non-empty string")
        if any(model.name == name for model in self.models):
            raise refused(f"model '{name}' already exists")
        return self.json(_SUCCESS)

    def _delete(self, exchange: Exchange) -> Answer:
        name = _asked(exchange, "model")
        found = next((model for model in self.models if model.name == name), None)
        if found is None:
            raise refused(f"model name={name} is not found", 500)
        self.models.remove(found)
        self.loaded.pop(found.name, None)
        return self.json(_SUCCESS)

    def _events(self, exchange: Exchange) -> Answer:
        """Return the events of loading each model. Unlike this stream, the real one never ends."""
        return _stream([event for model in self.models for event in _events_of(model)])


def _events_of(model: FakeModel) -> List[Dict[str, Any]]:
    stages = {"stages": ["text_model"], "current": "text_model"}
    states: List[Dict[str, Any]] = [{"status": "loading"}]
    states += [
        {"status": "loading", "progress": {**stages, "value": value}} for value in (0.0, 1.0)
    ]
    ended = {"status": "unloaded", "exit_code": 1} if model.load_error else {"status": "loaded"}
    return [
        {"model": model.name, "event": "model_status", "data": state} for state in [*states, ended]
    ]


def _stream(records: Sequence[Mapping[str, Any]], pause_s: float = 0.0) -> Answer:
    return Answer(
        [dumps(record) for record in records],
        kind="events",
        frame=as_event,
        content_type="text/event-stream",
        pause_s=pause_s,
    )


def _asked(exchange: Exchange, name: str) -> Optional[str]:
    """Return the value of a name in a request's query string; None if the name is missing."""
    return next(iter(parse_qs(exchange.path.partition("?")[2]).get(name, [])), None)


def _settings(window: int) -> Dict[str, Any]:
    return {"default_generation_settings": {"params": {}, "n_ctx": window}}
