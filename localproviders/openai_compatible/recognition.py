"""Recognition of servers that speak OpenAI's dialect.

The list of models shows that a server speaks the dialect. Signs show which program the server is. A
sign is a detail of a response, such as a header. `wire/products.py` has the signs of each program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from localproviders._dialect.values import mapping, nonempty_text
from localproviders._lazy import LazyModule
from localproviders.errors import (
    AuthenticationError,
    ProtocolError,
    ProviderError,
    ServerBusyError,
)
from localproviders.kinds import Greeting, Look
from localproviders.openai_compatible.wire.errors import RULES
from localproviders.openai_compatible.wire.models import parse_models
from localproviders.openai_compatible.wire.products import LIST, PRODUCTS, Product, Sign, owners
from localproviders.types.models import ModelInfo

if TYPE_CHECKING:
    from localproviders.llamacpp.wire import models as llamacpp_models
else:
    llamacpp_models = LazyModule("localproviders.llamacpp.wire.models")

#: The paths where the API is searched for if the program is not known, the usual path first.
_ROOTS = ("/v1", "/engines/v1", "/api/v1", "/v3", "")
_MODELS = "/models"

#: The provider kind of llama.cpp servers. Its provider reads more facts from the list of models,
#: and may have an API key for the server.
_LLAMA_CPP = "llamacpp"

# Pairs of a path and a JSON key where the version of an unknown program is searched for. They are
# those of llama.cpp and of vLLM.
_VERSIONS = (("/props", "build_info"), ("/version", "version"))

_PATH_HINT = "if the paths of the server have a prefix, pass the address with this prefix"

# The statuses that mean that a server has no list of models at the requested path.
_ELSEWHERE = frozenset((400, 404, 405, 501))


class _Listing(NamedTuple):
    """A list of models, or the error of the request for it, in the form of a `Greeting`."""

    data: Any = None
    error: Optional[ProviderError] = None
    status: Optional[int] = None
    refusal: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}
    text: str = ""

    @property
    def json(self) -> Mapping[str, Any]:
        return mapping(self.data)


#: The empty response, which is used if a request to a path failed.
_SILENCE = _Listing()


class _Server:
    """The responses of one server. Each path is requested once."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._lists: Dict[str, _Listing] = {}

    def listing(self, path: str) -> _Listing:
        """Return the response to a request for a list of models, or the error of the request."""
        if path not in self._lists:
            self._lists[path] = self._request(path)
        return self._lists[path]

    def _request(self, path: str) -> _Listing:
        try:
            return _Listing(self.look.json(path), status=200)
        except ProviderError as error:
            refusal = self.look.refusal if error.status is not None else {}
            return _Listing(error=error, status=error.status, refusal=refusal)

    def ask(self, path: str) -> Greeting:
        """Return the response to a GET request for a path; an empty response if the request fails.

        The server is already recognised by its list of models. A failure at another path must not
        change this.
        """
        if path.endswith(_MODELS):
            return self.listing(path)
        try:
            return self.look.ask(path)
        except ProviderError:
            return _SILENCE

    def models(self, root: str) -> Optional[List[ModelInfo]]:
        """Return the models below the path of an API; None if there is no list of models."""
        listing = self.listing(root + _MODELS)
        if listing.error is not None or not is_model_list(listing.data):
            return None
        try:
            return parse_models(listing.data, "", RULES, self.look.check_limits)
        except ProviderError as error:
            self._lists[root + _MODELS] = _Listing(error=error, status=listing.status)
            return None

    def text_at(self, places: Tuple[Tuple[str, str], ...]) -> Optional[str]:
        """Return the first text at one of the places, pairs of a path and a JSON key."""
        texts = (nonempty_text(self.ask(path).json.get(key)) for path, key in places)
        return next(filter(None, texts), None)


def recognise(look: Look) -> Optional[object]:
    """Return a description of the server if it has a list of models in the form of OpenAI's API.

    A known program is described even if its list cannot be read.
    """
    server = _Server(look)
    # The list comes first. A server whose other paths do not answer is then still recognised.
    server.listing(LIST)
    product, evidence = identify(server)
    if product is None:
        return _describe_unknown(server)
    known: Dict[str, Any] = {"product": product.name, "evidence": evidence}
    return _describe(server, product, known)


def identify(server: Any) -> Tuple[Optional[Product], Tuple[str, ...]]:
    """Return the program of a server, and the evidence for it; None if the program is not known.

    Args:
        server: An object whose method `ask` returns the response to the request for a path.
    """
    for product in PRODUCTS:
        for way in product.ways:
            evidence = _evidence(server, way)
            if evidence:
                return product, evidence
    return None, ()


def _evidence(server: Any, way: Tuple[Sign, ...]) -> Tuple[str, ...]:
    """Return one line for each sign; no lines if the server lacks one of the signs."""
    found: List[str] = []
    for sign in way:
        response = server.ask(sign.path)
        words = sign.tells(response)
        if not words:
            return ()
        found.append(f"GET {sign.path}: status {response.status}, {words}")
    return tuple(found)


def _describe(server: _Server, product: Product, known: Mapping[str, Any]) -> object:
    """Describe a server whose program is known."""
    found = server.look.found
    facts: Dict[str, Any] = {
        **known,
        "kind": product.kind,
        "version": server.text_at(product.version),
        "forwards_prompts": product.forwards_prompts,
    }
    for root in product.roots:
        models = server.models(root)
        if models is not None:
            facts["models"] = models
            if product.kind == _LLAMA_CPP:
                facts.update(_in_memory(server, root + _MODELS))
            return found("available", api_path=_path(product, root), **facts)
    if product.kind == _LLAMA_CPP and _lacks_known_key(server, product):
        listed = server.look.listed(_ask_version, **facts)
        if listed is not None:
            return listed
    facts["api_path"] = _path(product, product.roots[0])
    name = server.text_at((product.model,)) if product.model else None
    if name is not None:
        return found("available", models=[ModelInfo(name=name, provider="")], **facts)
    return found(*_state(server, product.roots[0] + _MODELS), **facts)


def _in_memory(server: _Server, path: str) -> Mapping[str, Any]:
    """Return the models of a llama.cpp server, and those in its memory."""
    models, loaded = llamacpp_models.parse_lists(
        server.listing(path).data, server.ask("/props").json, server.look.check_limits
    )
    return {"models": models, "loaded": loaded}


def _lacks_known_key(server: _Server, product: Product) -> bool:
    """Return whether the server refused the list of models, and an unsent API key might help."""
    error = server.listing(product.roots[0] + _MODELS).error
    return isinstance(error, AuthenticationError) and server.look.has_unsent_key(_LLAMA_CPP)


def _ask_version(provider: Any, **limits: Any) -> Mapping[str, Any]:
    return {"version": provider.version(**limits)}


def _path(product: Product, root: str) -> Optional[str]:
    """Return the path of the API; None for a program whose own provider class knows the path."""
    return root if product.kind is None else None


def _state(server: _Server, path: str) -> Tuple[str, str]:
    """Return the state of a server, and the reason, if its list of models could not be read.

    The program of the server is known. The path is that of the list.
    """
    listing = server.listing(path)
    error = listing.error
    if error is None or _may_be_elsewhere(listing):
        return "unavailable", f"it has no list of models at {path}; {_PATH_HINT}"
    if isinstance(error, ServerBusyError) and error.loading:  # reported by llama.cpp
        return "degraded", "it is loading its model"
    if isinstance(error, AuthenticationError):
        return "needs a key", server.look.words(error)
    return "degraded", f"the models could not be listed: {server.look.words(error)}"


def _describe_unknown(server: _Server) -> Optional[object]:
    """Describe a server whose program is not known; return None if it speaks no OpenAI dialect."""
    for root in _ROOTS:
        models = server.models(root)
        if models is not None:
            path = root + _MODELS
            words = owners(server.listing(path)) or "a list of models"
            evidence = (f"GET {path}: status 200, {words}",)
            version = server.text_at(_VERSIONS)
            return server.look.found(
                "available", api_path=root, models=models, version=version, evidence=evidence
            )
        if not _may_be_elsewhere(server.listing(root + _MODELS)):
            break
    error = server.listing(LIST).error
    return None if error is None else _describe_refusal(server, error)


def _may_be_elsewhere(listing: _Listing) -> bool:
    """Return whether the list of models may be at another path, because this path has none."""
    error = listing.error
    return error is None or isinstance(error, ProtocolError) or error.status in _ELSEWHERE


def is_model_list(data: Any) -> bool:
    """Return whether the JSON is a model list of this dialect, not another object with `data`."""
    listed = mapping(data)
    items = listed.get("data")
    if listed.get("object") == "list" and items is None:
        # Ollama, for example, sends this if it has no model
        # (docs/reference/ollama.md, "The OpenAI dialect").
        return True
    if not isinstance(items, list) or not all(
        nonempty_text(mapping(item).get("id")) for item in items
    ):
        return False
    typed = bool(items) and all(mapping(item).get("object") == "model" for item in items)
    return listed.get("object") == "list" or typed


def _describe_refusal(server: _Server, error: ProviderError) -> object:
    """Describe a server of an unknown program that refuses the request for its models."""
    look = server.look
    if isinstance(error, ServerBusyError) and error.loading:
        return look.found("degraded", "it is loading its model")
    if error.status == 401:
        if not _refuses_as_dialect(server):
            return look.unknown("needs a key", look.words(error))
        evidence = (f"GET {LIST}: status 401, error in the form of this dialect",)
        return look.found("needs a key", look.words(error), evidence=evidence)
    return look.unknown("unavailable", look.words(error))


def _refuses_as_dialect(server: _Server) -> bool:
    """Return whether the refusal of a missing key has the form of this dialect.

    The status alone shows nothing, because any server may send 401.
    """
    error = server.listing(LIST).refusal.get("error")
    if isinstance(error, dict):
        return nonempty_text(error.get("message")) is not None
    # vLLM sends a string instead of an object. Any server may do this, so the server must also
    # report its version on one of the known routes.
    return nonempty_text(error) is not None and server.text_at(_VERSIONS) is not None
