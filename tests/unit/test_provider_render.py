"""`render` returns the prompt that a model would read, or says why it cannot."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping

import pytest

from localproviders import (
    CapabilityError,
    CompletionRequest,
    Image,
    LimitError,
    LMStudioProvider,
    LocalityError,
    LocalProvider,
    Message,
    ModelNotFoundError,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProtocolError,
    ProviderError,
    RetryPolicy,
    Tool,
    UnsupportedError,
    WrongModelError,
)
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    ScriptedServer,
    http_answer,
)
from tests.support.recordings import dialect_exchange

SECRET = "Mr Smith of Harrow has a tumour"
TOOL = Tool(name="weather", description="Says how the weather is.")
PICTURE = Image.from_bytes(b"\x89PNG\r\n\x1a\nrest")
ONCE = RetryPolicy(attempts=1)


# --- Ollama ---------------------------------------------------------------------------------


def test_ollama_is_asked_for_the_prompt_of_the_same_chat() -> None:
    asked: Dict[str, Any] = {"system": "Be kind.", "tools": [TOOL], "thinking": True}
    model = FakeModel(name="m", abilities=("chat", "completion", "tools", "thinking"))
    with FakeOllama([model]) as fake, OllamaProvider(fake.url, model="m") as provider:
        prompt = provider.render("How is Oslo?", **asked)
        provider.chat("How is Oslo?", **asked)

    assert prompt.startswith("Be kind. How is Oslo?") and "weather" in prompt
    rendered, chatted = [each.json for each in fake.exchanges if each.path == "/api/chat"]
    assert rendered.pop("_debug_render_only") is True
    assert rendered.pop("options") == {"num_predict": 1}
    assert rendered == {**chatted, "stream": False}


def test_the_window_of_load_is_kept() -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        provider.load("m", context_length=2048)
        provider.render("Hi")
        assert fake.exchanges[-1].json["options"] == {"num_ctx": 2048, "num_predict": 1}


def test_an_ollama_that_answers_the_prompt_is_too_old() -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        fake.renders = False
        with pytest.raises(UnsupportedError, match="too old") as caught:
            provider.render(SECRET)

    assert (caught.value.hint, caught.value.exit_code) == ("update the server", 2)
    assert (caught.value.provider, caught.value.endpoint) == ("ollama", fake.url)
    assert "tumour" not in str(caught.value.to_dict())


# A record with a prompt, as the server of docs/reference/ollama.md, "Rendered prompts", sends it.
_RECORD: Mapping[str, Any] = {
    "model": "m",
    "created_at": "2026-11-28T10:00:00Z",
    "message": {"role": "", "content": ""},
    "done": False,
    "_debug_info": {"rendered_template": "<start_of_turn>user\nHi", "image_count": 1},
}


def _ollama_that_sends(record: Any) -> ScriptedServer:
    listed = {"models": [{"name": "m:latest", "model": "m:latest"}]}

    def script(exchange: Exchange) -> List[bytes]:
        return [http_answer(listed if exchange.path == "/api/tags" else record)]

    return ScriptedServer(script)


def test_the_record_of_a_real_server_is_read() -> None:
    with _ollama_that_sends(_RECORD) as server, OllamaProvider(server.url, model="m") as provider:
        assert provider.render("Hi") == "<start_of_turn>user\nHi"


def test_an_empty_prompt_is_a_prompt() -> None:
    record = {**_RECORD, "_debug_info": {"rendered_template": ""}}
    with _ollama_that_sends(record) as server, OllamaProvider(server.url, model="m") as provider:
        assert provider.render("Hi") == ""


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"_debug_info": {}}, ProtocolError),
        ({"_debug_info": {"rendered_template": 3}}, ProtocolError),
        ({"_debug_info": None}, ProtocolError),
        ({"model": "other"}, WrongModelError),
        ({"remote_host": "https://ollama.com:443"}, LocalityError),
        ({"error": "the model is not there"}, ProviderError),
    ],
)
def test_what_is_no_prompt_of_this_model_is_an_error(change: Any, error: Any) -> None:
    with _ollama_that_sends({**_RECORD, **change}) as server:
        with OllamaProvider(server.url, model="m") as provider, pytest.raises(error):
            provider.render("Hi")


def test_a_model_of_the_cloud_gets_no_prompt_to_render() -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url) as provider:
        with pytest.raises(LocalityError):
            provider.render(SECRET, model="m:cloud")
        assert fake.exchanges == []


def test_a_missing_model_and_a_missing_ability_are_errors() -> None:
    model = FakeModel(name="m", abilities=("chat", "completion"))
    with FakeOllama([model]) as fake, OllamaProvider(fake.url, model="m") as provider:
        with pytest.raises(ModelNotFoundError):
            provider.render("Hi", model="nope")
        with pytest.raises(CapabilityError):
            provider.render("Hi", tools=[TOOL])


# --- servers of OpenAI's dialect --------------------------------------------------------------


@pytest.mark.parametrize("thinking", ["low", False, None])
def test_llama_cpp_renders_the_same_chat(thinking: Any) -> None:
    asked: Dict[str, Any] = {"system": "Be kind.", "tools": [TOOL], "thinking": thinking}
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.base_url, model="m") as provider:
            prompt = provider.render("one two", **asked)
            provider.chat("one two", **asked)

    assert prompt.startswith("Be kind. one two {")
    rendered, chatted = fake.exchanges
    assert rendered.path == "/apply-template"
    wanted = {k: v for k, v in chatted.json.items() if k not in ("stream", "stream_options")}
    assert rendered.json == wanted


def test_the_recorded_prompt_of_llama_cpp_is_read() -> None:
    _, answer = dialect_exchange("apply_template")
    for one_byte in (False, True):
        with ScriptedServer(answer, one_byte_writes=one_byte) as server:
            with OpenAICompatibleProvider(f"{server.url}/v1", model="m") as provider:
                prompt = provider.render("hi")

        assert prompt.startswith("user: What is the capital of Italy?\nassistant: Rome.</s>\n")
        assert prompt.endswith('"Emma", "year": 1815}</s>\nuser: hi\nassistant:')


class _NoTemplates(FakeOpenAICompatible):
    """A server without llama.cpp's route, such as vLLM."""

    def routes(self) -> Any:
        return {key: route for key, route in super().routes().items() if "/v1" in key[1]}


def test_a_server_without_the_route_is_named() -> None:
    with _NoTemplates() as fake, OpenAICompatibleProvider(fake.base_url, model="m") as provider:
        with pytest.raises(UnsupportedError, match="no /apply-template") as caught:
            provider.render(SECRET)
        assert caught.value.hint and "llama.cpp" in caught.value.hint
        assert provider.chat("Hi").text


def test_where_the_route_would_be_is_unknown_without_v1() -> None:
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.url + "/api", model="m") as provider:
            with pytest.raises(UnsupportedError, match="/v1"):
                provider.render("Hi")
        assert fake.exchanges == []


@pytest.mark.parametrize("status", ["500 Internal Server Error", "400 Bad Request"])
def test_a_template_that_fails_is_the_servers_error(status: str) -> None:
    words = {"error": {"code": 500, "message": "Missing close tag", "type": "server_error"}}
    with ScriptedServer(http_answer(words, status=status)) as server:
        with OpenAICompatibleProvider(f"{server.url}/v1", model="m", retry=ONCE) as provider:
            with pytest.raises(ProviderError) as caught:
                provider.render("Hi")

    assert caught.value.server_message == "Missing close tag"
    assert not isinstance(caught.value, UnsupportedError)


def test_thinking_without_a_switch_is_refused_as_in_a_chat() -> None:
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.base_url, model="m") as provider:
            errors = []
            for verb in (provider.chat, provider.render):
                with pytest.raises(UnsupportedError) as caught:
                    verb("Hi", thinking=True)
                errors.append(str(caught.value))
    assert errors[0] == errors[1]
    assert fake.exchanges == []


# --- other providers --------------------------------------------------------------------------


def test_lm_studio_cannot_render() -> None:
    with FakeLMStudio() as fake, LMStudioProvider(fake.url) as provider:
        with pytest.raises(UnsupportedError, match=r"render\(\)") as caught:
            provider.render(SECRET, model="qwen/qwen3-4b")
        assert (
            caught.value.hint == "use OllamaProvider, or llama.cpp's server, which support render()"
        )
        assert fake.exchanges == []


def test_a_local_provider_asks_the_server_of_the_model() -> None:
    models = ["both"]
    with FakeLMStudio(models) as lmstudio, FakeOllama(models) as ollama:
        local = LocalProvider([LMStudioProvider(lmstudio.url), OllamaProvider(ollama.url)])
        with local:
            assert local.render("one two", model="ollama/both") == "one two"
            # LM Studio cannot render a prompt, so the next server is asked.
            assert local.render("one two", model="both") == "one two"
            with pytest.raises(UnsupportedError):
                local.render("one two", model="lmstudio/both")


def test_a_limit_ends_the_call(fake_clock: Any) -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m", retry=ONCE) as provider:
        fake.break_next("silence", path="/api/chat")
        with pytest.raises(LimitError, match="total_s"):
            provider.render("Hi", timeout=7)


@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_no_error_quotes_the_prompt(kind: str) -> None:
    said = http_answer({"error": f"cannot render {SECRET}"}, status="400 Bad Request")
    with ScriptedServer(said) as server:
        provider: ModelProvider = (
            OllamaProvider(server.url, model="m", locality="any")
            if kind == "ollama"
            else OpenAICompatibleProvider(f"{server.url}/v1", model="m")
        )
        with provider, pytest.raises(ProviderError) as caught:
            provider.render(SECRET)
    assert "tumour" not in json.dumps(caught.value.to_dict())


# --- the switch in a chat ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ollama", "openai", "lmstudio"])
@pytest.mark.parametrize("form", ["chat", "stream", "complete", "parse", "run_tools"])
def test_ollamas_switch_in_a_chat_names_the_method(kind: str, form: str) -> None:
    makers: Mapping[str, Any] = {
        "ollama": (FakeOllama, OllamaProvider),
        "openai": (FakeOpenAICompatible, lambda url: OpenAICompatibleProvider(f"{url}/v1")),
        "lmstudio": (FakeLMStudio, LMStudioProvider),
    }
    server, make = makers[kind]
    extra = {"_debug_render_only": True}
    calls: Mapping[str, Any] = {
        "chat": lambda p: p.chat("Hi", model="m", extra_body=extra),
        "stream": lambda p: p.stream("Hi", model="m", extra_body=extra),
        "complete": lambda p: p.complete(
            CompletionRequest(prompt="Hi", model="m", extra_body=extra)
        ),
        "parse": lambda p: p.parse("Hi", int, model="m", extra_body=extra),
        "run_tools": lambda p: p.run_tools("Hi", [], model="m", extra_body=extra),
    }
    with server(["m"]) as fake, make(fake.url) as provider:
        with pytest.raises(UnsupportedError, match="_debug_render_only") as caught:
            calls[form](provider)
        assert caught.value.hint == "call render() to get the prompt"
        assert not [each for each in fake.exchanges if each.path in fake.work_paths]
        assert provider.chat("Hi", model="m", extra_body={"_debug_render_only": False}).text


# --- the real engine ----------------------------------------------------------------------------

_REASON = why_unsupported() or why_missing()


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
def test_the_real_engine_renders_what_it_counts() -> None:
    conversation = [Message.user("a"), Message.assistant("b"), Message.user("Why is the sky blue?")]
    with LocalEngine("chat", context_length=1024) as provider:
        prompt = provider.render(conversation, system="Be kind.")
        with_tool = provider.render(conversation, tools=[TOOL])
        count = provider.count_tokens(conversation, system="Be kind.").tokens
        raw = provider.complete(CompletionRequest(prompt=prompt, max_tokens=1)).usage.prompt_tokens

    assert "Be kind." in prompt and prompt.index("Be kind.") < prompt.index("Why is the sky blue?")
    assert "weather" in with_tool and "weather" not in prompt
    assert raw == count
