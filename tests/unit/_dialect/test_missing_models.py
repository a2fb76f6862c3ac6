"""An error about a missing model says which model is meant, and which models there are."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from localproviders import (
    AllFailedError,
    ConfigurationError,
    EmbeddingRequest,
    LMStudioProvider,
    LocalProvider,
    ModelNotFoundError,
    OllamaProvider,
    OpenAICompatibleProvider,
    RetryPolicy,
)
from localproviders.testing import FakeLMStudio, FakeOllama, ScriptedServer, http_answer
from localproviders.types import CompletionRequest

ONCE = RetryPolicy(attempts=1)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def _keep_loaded(provider: Any, model: Any) -> None:
    with provider.keep_loaded(model):
        raise AssertionError("the model was loaded")


#: The verbs of all providers, each with a model.
VERBS: Dict[str, Callable[[Any, Any], Any]] = {
    "chat": lambda p, m: p.chat("Hi", model=m),
    "stream": lambda p, m: p.stream("Hi", model=m),
    "complete": lambda p, m: p.complete(CompletionRequest(prompt="Hi", model=m)),
    "embed": lambda p, m: p.embed("Hi", model=m),
    "parse": lambda p, m: p.parse("Hi", int, model=m),
    "run_tools": lambda p, m: p.run_tools("Hi", [add], model=m),
    "load": lambda p, m: p.load(m),
    "unload": lambda p, m: p.unload(m),
    "keep_loaded": _keep_loaded,
    "model_info": lambda p, m: p.model_info(m),
    "model_capabilities": lambda p, m: p.model_capabilities(m),
    "pull": lambda p, m: p.pull(m),
}
OLLAMA_ONLY: Dict[str, Callable[[Any, Any], Any]] = {
    "render": lambda p, m: p.render("Hi", model=m),
    "show": lambda p, m: p.show(m),
    "copy": lambda p, m: p.copy(m, "other"),
    "delete": lambda p, m: p.delete(m),
    "create": lambda p, m: p.create("new", from_model=m),
}
LM_STUDIO_ONLY: Dict[str, Callable[[Any, Any], Any]] = {
    "stateful_chat": lambda p, m: p.stateful_chat("Hi", model=m),
    "stateful_stream": lambda p, m: p.stateful_stream("Hi", model=m),
    "download": lambda p, m: p.download(m),
}
NOT_HELPED_BY_A_DOWNLOAD = ("unload", "copy", "delete", "pull", "create", "download")


@pytest.fixture
def ollama() -> Iterator[OllamaProvider]:
    with FakeOllama() as fake, OllamaProvider(fake.url, retry=ONCE) as provider:
        yield provider


@pytest.fixture
def studio() -> Iterator[LMStudioProvider]:
    with FakeLMStudio() as fake, LMStudioProvider(fake.url, retry=ONCE) as provider:
        yield provider


def _missing(call: Callable[[Any, Any], Any], provider: Any, model: str) -> ModelNotFoundError:
    with pytest.raises(ModelNotFoundError) as caught:
        call(provider, model)
    assert "<" not in str(caught.value)
    assert str(caught.value).count("did you mean") <= 1
    return caught.value


def test_every_verb_on_ollama_names_the_model_that_was_meant_and_those_that_are_there(
    ollama: OllamaProvider,
) -> None:
    for verb, call in {**VERBS, **OLLAMA_ONLY}.items():
        error = _missing(call, ollama, "llama3.3")
        assert "; did you mean 'llama3.2'?" in error.message, verb
        assert error.available == ("llama3.2:latest", "nomic-embed-text:latest"), verb
        hint = str(error.hint)
        assert hint.startswith("the server has: llama3.2:latest, nomic-embed-text:latest"), verb
        pulls = "to get this one: ollama pull llama3.3" in hint
        assert pulls is (verb not in NOT_HELPED_BY_A_DOWNLOAD), verb


def test_every_verb_on_lm_studio_names_the_model_that_was_meant_and_those_that_are_there(
    studio: LMStudioProvider,
) -> None:
    for verb, call in {**VERBS, **LM_STUDIO_ONLY}.items():
        error = _missing(call, studio, "qwen/qwen3-4")
        assert "; did you mean 'qwen/qwen3-4b'?" in error.message, verb
        assert "qwen/qwen3-4b" in error.available, verb
        assert str(error.hint).startswith("the server has: qwen/qwen3-4b, "), verb
        assert "pull" not in str(error.hint), verb


def test_another_version_may_be_downloaded_and_a_misspelt_name_may_not(
    ollama: OllamaProvider, studio: LMStudioProvider
) -> None:
    for provider, model, way in (
        (ollama, "llama3.3", "ollama pull llama3.3"),
        (ollama, "Llama3.1:8b", "ollama pull Llama3.1:8b"),
        (studio, "qwen/qwen2.5-4b", "pull('qwen/qwen2.5-4b')"),
    ):
        assert f"to get this one: {way}" in str(_missing(VERBS["chat"], provider, model).hint)
    for provider, model in (
        (ollama, "lama3.2"),
        (ollama, "ollama/llama3.2"),
        (studio, "qwen/qwen-3-4bb"),
    ):
        error = _missing(VERBS["chat"], provider, model)
        assert "did you mean" in error.message
        assert "to get this one" not in str(error.hint)


def test_a_misspelt_alias_suggests_no_download(
    ollama: OllamaProvider, studio: LMStudioProvider
) -> None:
    aliases = {"fast": ("ollama/llama3.2",), "vectors": ("ollama/nomic-embed-text",)}
    for providers in ([ollama], [studio], [ollama, studio]):
        local = LocalProvider(providers, aliases=aliases)
        for verb, call in VERBS.items():
            for typo, alias in (("fats", "fast"), ("vector", "vectors")):
                error = _missing(call, local, typo)
                assert error.message.endswith(f"; did you mean {alias!r}?"), verb
                assert "pull" not in str(error), verb
                assert "the aliases are: fast, vectors; the models are: " in str(error.hint)


def test_a_name_that_resembles_no_alias_suggests_a_download(ollama: OllamaProvider) -> None:
    local = LocalProvider([ollama], aliases={"fast": "llama3.2"})
    error = _missing(VERBS["chat"], local, "mistral")
    assert "did you mean" not in error.message
    assert str(error.hint) == (
        "the aliases are: fast; the server has: llama3.2:latest, nomic-embed-text:latest; "
        "to get this one: ollama pull mistral"
    )


def test_the_target_of_an_alias_is_not_taken_for_a_misspelt_alias(ollama: OllamaProvider) -> None:
    local = LocalProvider([ollama], aliases={"llama": "llama3"})
    error = _missing(VERBS["chat"], local, "llama")
    assert "did you mean 'llama3.2'?" in error.message
    assert "alias" not in str(error)


def test_several_servers_name_their_models(
    ollama: OllamaProvider, studio: LMStudioProvider
) -> None:
    misspelt_server = _missing(VERBS["chat"], LocalProvider([ollama, studio]), "olama/llama3.2")
    assert misspelt_server.message.endswith("did you mean 'ollama/llama3.2:latest'?")
    error = _missing(VERBS["chat"], LocalProvider([ollama, studio]), "llama3.3")
    assert error.message.endswith(
        "has the model 'llama3.3'; tried: ollama, lmstudio; did you mean 'llama3.2:latest'?"
    )
    assert str(error.hint).startswith("the servers have: ollama/llama3.2:latest, ollama/nomic-")


def test_a_misspelt_alias_is_named_if_another_server_is_down(ollama: OllamaProvider) -> None:
    with ScriptedServer(lambda _: [http_answer({"error": "x"}, status="500 No")]) as broken:
        down = LMStudioProvider(broken.url, retry=ONCE)
        local = LocalProvider([ollama, down], aliases={"fast": "llama3.2"})
        with pytest.raises(AllFailedError) as caught:
            local.chat("Hi", model="fats")
    assert caught.value.hint == "did you mean the alias 'fast'?"


NOT_THERE: List[Tuple[str, Any]] = [
    ("404 Not Found", {"error": {"message": "The model `lama` does not exist.", "code": 404}}),
    ("400 Bad Request", {"error": {"code": "model_not_found", "message": "No lama here"}}),
    ("404 Not Found", {"detail": "model 'lama' not found"}),
]


@pytest.mark.parametrize(("status", "body"), NOT_THERE)
@pytest.mark.parametrize("verb", ["chat", "embed"])
def test_a_server_of_openais_dialect_is_asked_for_its_models(
    verb: str, status: str, body: Any
) -> None:
    models = http_answer({"data": [{"id": f"llama-{size}b"} for size in range(7)]})

    def script(exchange: Any) -> Any:
        return [models if exchange.path == "/v1/models" else http_answer(body, status=status)]

    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(f"{server.url}/v1", retry=ONCE) as provider:
            error = _missing(VERBS[verb], provider, "llama-9b")
    assert "did you mean 'llama-" in error.message
    assert error.hint == (
        "the server has: llama-0b, llama-1b, llama-2b, llama-3b, llama-4b and 2 more"
    )


@pytest.mark.parametrize(
    "listing",
    [
        http_answer({"error": "no"}, status="500 Internal Server Error"),
        http_answer({"error": "model not found"}, status="404 Not Found"),
        http_answer("<html>", status="200 OK"),
    ],
)
def test_an_error_about_a_missing_model_stays_if_the_models_cannot_be_listed(listing: Any) -> None:
    refusal = http_answer({"error": "model 'lama' not found"}, status="404 Not Found")
    with ScriptedServer(lambda x: [listing if x.method == "GET" else refusal]) as server:
        with OllamaProvider(server.url, locality="any", retry=ONCE) as provider:
            error = _missing(VERBS["chat"], provider, "lama")
    assert (error.available, error.hint) == ((), "to get this one: ollama pull lama")
    assert error.server_message == "model 'lama' not found"


def test_a_server_without_models_says_so() -> None:
    with FakeOllama([]) as fake, OllamaProvider(fake.url) as provider:
        error = _missing(VERBS["chat"], provider, "m")
    assert error.hint == "the server has no models; to get this one: ollama pull m"


# --- how a model is given -----------------------------------------------------------------


def test_every_verb_takes_the_values_that_describe_a_model(
    ollama: OllamaProvider, studio: LMStudioProvider
) -> None:
    for provider, own in ((ollama, OLLAMA_ONLY), (studio, LM_STUDIO_ONLY)):
        info = provider.list_models()[0]
        loaded = provider.load(info)
        assert provider.supports_model(info)
        for model in (info, loaded):
            for verb, call in {**VERBS, **own}.items():
                if verb in ("embed", "keep_loaded", "parse", "delete"):
                    continue  # the model of the fake server cannot do this
                call(LocalProvider([provider]) if verb in VERBS else provider, model)
                call(provider, model)
            with provider.keep_loaded(model) as kept:
                assert kept.name == info.name
            assert provider.count_tokens("Hi", model=model).tokens > 0


def test_a_verb_that_needs_a_model_refuses_an_empty_name(ollama: OllamaProvider) -> None:
    verbs = ("load", "unload", "keep_loaded", "model_info", "model_capabilities", "pull")
    for provider in (ollama, LocalProvider([ollama])):
        for verb in (*verbs, *(("show", "copy", "delete") if provider is ollama else ())):
            for empty in ("", "   ", "\n", None):
                with pytest.raises(ConfigurationError) as caught:
                    {**VERBS, **OLLAMA_ONLY}[verb](provider, empty)
                assert caught.value.message == "no model was named", verb
            with pytest.raises(ConfigurationError, match="the model is int") as caught:
                {**VERBS, **OLLAMA_ONLY}[verb](provider, 3)
            assert "list_models()" in str(caught.value.hint)


def test_an_empty_name_counts_as_no_model_in_a_constructor_too(ollama: OllamaProvider) -> None:
    info = ollama.list_models()[0]
    url = ollama.settings.endpoint.url
    for empty in ("", "  ", "\t"):
        assert OllamaProvider(url, model=empty).settings.model is None
        for request in (
            CompletionRequest(prompt="p", model=empty),
            EmbeddingRequest(texts="t", model=empty),
        ):
            assert request.model is None
        assert OllamaProvider(url, model=info.name).chat("Hi", model=empty).model == info.name
        for verb in ("chat", "stream", "embed", "count_tokens"):
            with pytest.raises(ConfigurationError, match="no model was named"):
                getattr(OllamaProvider(url), verb)("Hi", model=empty)
        assert LocalProvider([ollama], model=info.name).chat("Hi", model=empty).model == info.name
    named: Any = OllamaProvider(url, model=info)  # type: ignore[arg-type]  # accepted, not advertised
    assert named.settings.model == info.name
    assert LocalProvider([ollama], model=info.name).chat("Hi", model="").model == info.name


def test_a_name_in_a_shell_command_is_quoted() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url) as ollama:
        with pytest.raises(ModelNotFoundError) as caught:
            ollama.chat("Hi", model="a b;$(id)")
    assert "ollama pull 'a b;$(id)'" in (caught.value.hint or "")
