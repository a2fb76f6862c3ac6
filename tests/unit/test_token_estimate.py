"""Token counts of a prompt: exact from the server, else calibrated, else by a rule."""

from __future__ import annotations

import pickle
import traceback
from typing import Any, Dict, List, Optional, Sequence

import pytest

from localproviders import (
    Audio,
    CancelledError,
    CancelToken,
    CompletionRequest,
    ConfigurationError,
    Image,
    LimitError,
    LMStudioProvider,
    LocalityError,
    Message,
    ModelNotFoundError,
    OllamaProvider,
    OpenAICompatibleProvider,
    RetryPolicy,
    Tool,
    ToolCall,
    UnreachableError,
)
from localproviders._token_estimate import Calibration, rough, tokens_by_rule
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    ScriptedServer,
    http_answer,
)
from localproviders.testing.answers import Answer
from localproviders.types import TokenCount

SECRET = "Mr Smith of Harrow has a tumour"
PICTURE = Image.from_bytes(b"\x89PNG\r\n\x1a\nrest")
SOUND = Audio.from_bytes(b"RIFF\0\0\0\0WAVErest")
TOOL = Tool(name="weather", description="Says how the weather is.")
ONCE = RetryPolicy(attempts=1)


def _asks(text: str, **fields: Any) -> CompletionRequest:
    return CompletionRequest(messages=(Message.user(text),), **fields)


def _heard(text: str) -> CompletionRequest:
    return CompletionRequest(messages=(Message.user(text, audio=[SOUND]),))


# --- the rule -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a" * 400, 100),
        ("ß" * 200, 100),
        ("語" * 100, 100),
        ("한" * 100, 100),
        ("か" * 100, 100),
        ("語" * 50 + "a" * 200, 100),
        ("😀" * 100, 100),
        ("\ud800" * 4, 3),
        ("", 0),
    ],
)
def test_the_rule_for_a_text(text: str, tokens: int) -> None:
    assert tokens_by_rule(_asks(text)) == tokens + 4


def test_the_rule_counts_messages_tools_calls_and_images() -> None:
    one = tokens_by_rule(_asks("a" * 40))
    two = CompletionRequest(messages=(Message.user("a" * 40), Message.assistant("b" * 40)))
    assert tokens_by_rule(two) == 2 * one
    assert tokens_by_rule(_asks("a" * 40, tools=(TOOL,))) > one + 20
    call = ToolCall(id="1", name="f", arguments={"text": "c" * 400})
    called = CompletionRequest(messages=(Message.assistant(tool_calls=[call]),))
    assert tokens_by_rule(called) > 100
    seen = CompletionRequest(messages=(Message.user("a" * 40, images=[PICTURE]),))
    assert tokens_by_rule(seen) == one + 512
    assert "512 per image" in rough(seen).detail
    assert "sound not counted" in rough(_heard("a")).detail
    assert "image" not in rough(_asks("a")).detail


# --- what is learnt -----------------------------------------------------------------------


def _learnt(*pairs: Sequence[int], model: str = "m") -> Calibration:
    """Return the calibration after prompts with these estimates and these counts of the server."""
    known = Calibration()
    for size, tokens in pairs:
        known.learn(model, _sized(size), tokens)
    return known


def _sized(size: int) -> CompletionRequest:
    request = _asks("a" * (4 * (size - 4)))
    assert tokens_by_rule(request) == size
    return request


@pytest.mark.parametrize(
    ("pairs", "size", "tokens"),
    [
        ([(10, 100)], 10, 100),  # the same prompt has the same count
        ([(10, 100)], 1010, 1100),  # a short prompt shows the tokens of the template
        ([(1000, 1300)], 2000, 2600),  # a long prompt shows the ratio of the text
        ([(10, 100), (110, 250)], 210, 400),  # two lengths show both
        ([(10, 20), (12, 26)], 1000, 1010),  # two similar lengths show neither
        ([*((n, 2 * n + 50) for n in range(100, 700, 100)), (700, 180)], 500, 1050),  # cached
        ([(100, 30), (200, 60)], 300, 90),
        ([(100, 30)], 10, 3),
    ],
)
def test_a_count_follows_from_others(pairs: Any, size: int, tokens: int) -> None:
    found = _learnt(*pairs).count("m", _sized(size))
    assert found.source == "calibrated"
    assert found.tokens == pytest.approx(tokens, rel=0.02)


def test_a_longer_prompt_never_has_fewer_tokens() -> None:
    known = _learnt((100, 300), (200, 150))
    counts = [known.count("m", _sized(size)).tokens for size in (50, 100, 200, 400)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


@pytest.mark.parametrize("tokens", [None, 0, -5, 20, 4097 + 800, 10**9])
def test_a_count_that_cannot_be_teaches_nothing(tokens: Optional[int]) -> None:
    known = Calibration()
    known.learn("m", _sized(100), tokens)
    assert known.count("m", _sized(100)) == rough(_sized(100))


@pytest.mark.parametrize(
    "request_",
    [
        CompletionRequest(prompt="a" * 400),
        _asks("a" * 400, overflow="truncate"),
        _asks("a" * 400, overflow="allow"),
        CompletionRequest(messages=(Message.user("a" * 400, images=[PICTURE]),)),
        CompletionRequest(messages=(Message.user("a" * 400, audio=[SOUND]),)),
    ],
)
def test_a_prompt_that_tells_nothing_teaches_nothing(request_: CompletionRequest) -> None:
    known = Calibration()
    known.learn("m", request_, 104)
    assert known.count("m", _sized(100)).source == "rough"


# --- prompts that a server cut ------------------------------------------------------------


_FOX = "The quick brown fox jumps over the lazy dog. " * 700


def test_a_count_far_below_the_estimate_of_a_long_prompt_teaches_nothing() -> None:
    known = _learnt((10, 30))
    before = known.count("m", _asks(_FOX))
    known.learn("m", _asks(_FOX), 2051)
    assert known.count("m", _asks(_FOX)) == before
    known.learn("m", _asks(_FOX), 7094)
    assert known.count("m", _asks(_FOX)).tokens == pytest.approx(7094, rel=0.02)


@pytest.mark.parametrize(
    ("text", "tokens", "is_learnt"),
    [
        (_FOX, 4000, False),  # fewer tokens than words
        (_FOX, 6400, True),
        ("a" * 4000, 499, False),  # no words, so the ratio decides
        ("a" * 4000, 600, True),
        ("a" * 900, 60, True),  # a short prompt
    ],
)
def test_a_long_prompt_is_learnt_from_unless_much_is_missing(
    text: str, tokens: int, is_learnt: bool
) -> None:
    known = Calibration()
    known.learn("m", _asks(text), tokens)
    assert (known.count("m", _asks("Hi")).source == "calibrated") == is_learnt


def test_a_language_with_few_tokens_for_its_bytes_is_learnt_from_short_prompts() -> None:
    text = "\u0928\u092e\u0938\u094d\u0924\u0947 " * 20  # 4.75 tokens a word by the rule
    known = Calibration()
    known.learn("m", _asks(text), 40)
    known.learn("m", _asks(text * 20), 800)
    assert known.count("m", _asks(text * 20)).tokens == pytest.approx(800, rel=0.02)


@pytest.mark.parametrize(
    ("text", "tokens", "is_cut"),
    [
        (_FOX, 2051, True),
        (_FOX, 4200, True),
        (_FOX, 4201, False),  # too near the number of words
        (_FOX, 7094, False),
        (_FOX, 127, False),  # a count without the cache: a server that cuts leaves more
        ("a" * 20_000, 2051, False),  # no words: the text may be made of long tokens
        (" " * 20_000, 200, False),
        ("x " * 4000, 2000, False),
        ("\u4f60\u597d" * 3000, 2051, False),
        ("Hi", 10, False),
        ("Hi", 0, False),
    ],
)
@pytest.mark.parametrize("form", ["messages", "prompt"])
def test_only_a_clear_cut_is_reported(text: str, tokens: int, is_cut: bool, form: str) -> None:
    messages = (Message.user(text),)
    if form == "prompt":
        request = CompletionRequest(prompt=text)
    else:
        request = CompletionRequest(messages=messages)
    found = Calibration().estimate_if_cut("m", request, tokens)
    assert (found is not None) == is_cut
    if found is not None:
        assert found == tokens_by_rule(request)


def test_the_estimate_of_a_cut_prompt_is_calibrated_but_has_a_token_for_each_word() -> None:
    request = _asks(_FOX)
    assert _learnt((1000, 900)).estimate_if_cut("m", request, 2051) == round(0.9 * 7879)
    assert _learnt((200, 60)).estimate_if_cut("m", request, 2051) == 6300


# --- models -------------------------------------------------------------------------------


def test_another_model_is_another_tokenizer() -> None:
    assert _learnt((100, 200)).count("other", _sized(100)).source == "rough"


def test_images_and_sound_are_never_calibrated() -> None:
    seen = CompletionRequest(messages=(Message.user("a", images=[PICTURE]),))
    assert _learnt((100, 200)).count("m", seen).source == "rough"
    assert _learnt((100, 200)).count("m", _heard("a")).source == "rough"


def test_the_detail_says_from_how_much() -> None:
    one, two = _learnt((100, 200)), _learnt((100, 200), (200, 390))
    assert one.count("m", _sized(9)).detail == "from 1 prompt of this model, of 200 tokens"
    expected = "from 2 prompts of this model, of 200 to 390 tokens"
    assert two.count("m", _sized(9)).detail == expected


def test_old_prompts_and_too_many_models_are_forgotten() -> None:
    known = _learnt(*[(100, 200)] * 40, *[(100, 100)] * 32)
    assert known.count("m", _sized(100)).tokens == 100
    for number in range(256):
        known.learn(f"m{number}", _sized(100), 100)
    assert known.count("m", _sized(100)).source == "rough"
    assert known.count("m255", _sized(100)).source == "calibrated"


# --- a server that counts -----------------------------------------------------------------


def _paths(server: FakeOpenAICompatible) -> List[str]:
    return [exchange.path for exchange in server.exchanges]


def test_llama_cpp_counts_exactly_what_a_chat_would_use() -> None:
    messages = [Message.system("Be kind."), Message.user("one two three")]
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.base_url, model="m") as provider:
            found = provider.count_tokens(messages[1], system="Be kind.", tools=[TOOL])
            used = provider.chat(messages, tools=[TOOL]).usage.prompt_tokens

    assert found.source == "exact"
    assert found.tokens == used
    assert found.detail == "the server's /apply-template and /tokenize"
    assert _paths(fake) == ["/apply-template", "/tokenize", "/v1/chat/completions"]
    assert fake.exchanges[0].json["messages"] == fake.exchanges[2].json["messages"]
    asked = fake.exchanges[1].json
    assert (asked["add_special"], asked["parse_special"]) == (True, True)


class _VLLM(FakeOpenAICompatible):
    """A server that counts the tokens of a conversation in one request, like vLLM."""

    def routes(self) -> Any:
        routes = super().routes()
        del routes["POST", "/apply-template"]
        return routes

    def _tokenize(self, exchange: Exchange) -> Answer:
        assert exchange.json["messages"]
        return self.json({"count": 7, "max_model_len": 99, "tokens": [1] * 7})


def test_vllm_counts_exactly_but_not_tools() -> None:
    with _VLLM() as fake, OpenAICompatibleProvider(fake.base_url, model="m") as provider:
        assert provider.count_tokens("one two").tokens == 7
        assert provider.count_tokens("one two").source == "exact"
        assert provider.count_tokens("one two", tools=[TOOL]).source == "rough"

    # The missing route is tried only once.
    assert _paths(fake) == ["/apply-template", "/tokenize", "/tokenize"]


class _Neither(FakeOpenAICompatible):
    """A server without a route to count tokens."""

    def routes(self) -> Any:
        return {key: route for key, route in super().routes().items() if "/v1" in key[1]}


def test_where_no_way_is_none_is_tried_again_and_counts_are_learnt() -> None:
    with _Neither() as fake, OpenAICompatibleProvider(fake.base_url, model="m") as provider:
        assert provider.count_tokens("one two three").source == "rough"
        assert provider.count_tokens("one two three").source == "rough"
        provider.chat("one two three")
        found = provider.count_tokens("one two three")

    assert (found.source, found.tokens) == ("calibrated", 3)
    assert _paths(fake) == ["/apply-template", "/tokenize", "/v1/chat/completions"]


@pytest.mark.parametrize(
    "fault", ["status 403 with HTML", "status 400 with JSON", "status 500 with text"]
)
def test_a_refused_count_is_an_estimate_and_is_asked_again(fault: str) -> None:
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.base_url, model="m", retry=ONCE) as provider:
            fake.break_next(fault, path="/apply-template")
            assert provider.count_tokens("one two").source == "rough"
            fake.heal()
            assert provider.count_tokens("one two").source == "exact"


@pytest.mark.parametrize("fault", ["a login page", "not JSON", "status 405 with HTML"])
def test_what_is_no_count_means_that_there_is_no_way(fault: str) -> None:
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.base_url, model="m", retry=ONCE) as provider:
            fake.break_next(fault, path="/apply-template")
            assert provider.count_tokens("one two").source == "rough"
            fake.heal()
            asked = len(fake.exchanges)
            assert provider.count_tokens("one two").source == "rough"
            assert len(fake.exchanges) == asked


@pytest.mark.parametrize(
    "media", [{"images": [PICTURE]}, {"audio": [SOUND]}], ids=["images", "audio"]
)
def test_images_and_sound_are_not_counted_exactly(media: Any) -> None:
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.base_url, model="m") as provider:
            found = provider.count_tokens(Message.user("look", **media))

    assert found.source == "rough"
    assert fake.exchanges == []


def test_above_an_unknown_path_nothing_is_asked() -> None:
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.url + "/api", model="m") as provider:
            assert provider.count_tokens("one").source == "rough"
    assert fake.exchanges == []


def test_a_prefix_stays() -> None:
    def script(exchange: Exchange) -> Any:
        answer: Dict[str, Any] = {"prompt": "p"} if "template" in exchange.path else {"tokens": [1]}
        return [http_answer(answer)]

    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(server.url + "/llama/v1", model="m") as provider:
            assert provider.count_tokens("one").tokens == 1
    assert [e.path for e in server.exchanges] == ["/llama/apply-template", "/llama/tokenize"]


# --- servers that do not ------------------------------------------------------------------


def test_ollama_and_lm_studio_are_not_asked() -> None:
    servers: Any = [(FakeOllama, OllamaProvider), (FakeLMStudio, LMStudioProvider)]
    for start, make in servers:
        fake = start()
        model = fake.models[0].name
        with fake, make(fake.url, model=model) as provider:
            assert provider.count_tokens("one two three").source == "rough"
            assert fake.exchanges == []
            provider.chat("one two three")
            assert provider.count_tokens("one two three") == TokenCount(
                tokens=3, source="calibrated", detail="from 1 prompt of this model, of 3 tokens"
            )
            with pickle.loads(pickle.dumps(provider)) as other:
                assert other.count_tokens("one two three").source == "rough"


def test_a_stream_teaches_when_it_has_ended() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url, model="llama3.2") as provider:
        with provider.stream("one two three") as stream:
            next(stream)
            assert provider.count_tokens("one two three").source == "rough"
            stream.result()
        assert provider.count_tokens("one two three").source == "calibrated"


# --- what is refused, and what is said ----------------------------------------------------


def test_without_a_model_nothing_is_guessed() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url) as provider:
        with pytest.raises(ConfigurationError, match="no model was named"):
            provider.count_tokens("one")


@pytest.mark.parametrize("messages", ["", [], [5]])
def test_bad_messages_are_named_without_frames(messages: Any) -> None:
    with pytest.raises(ValueError, match=r"message|text"):
        OllamaProvider(model="m").count_tokens(messages)


def _shown(error: BaseException) -> str:
    frames = traceback.TracebackException.from_exception(error, capture_locals=True)
    lines = [line for line in frames.format() if "tests/unit/test_token_estimate.py" not in line]
    return str(error) + "".join(lines)


def test_no_prompt_is_in_an_error() -> None:
    with FakeOpenAICompatible() as fake:
        fake.break_next("silence", path="/tokenize")
        with OpenAICompatibleProvider(fake.base_url, model="m", retry=ONCE) as provider:
            with pytest.raises(LimitError) as caught:
                provider.count_tokens(SECRET, timeout=0.3)
        assert SECRET not in _shown(caught.value)

        refusal = {"error": {"message": f"model 'm' not found for {SECRET}"}}
        with ScriptedServer(http_answer(refusal, status="404 Not Found")) as server:
            with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
                with pytest.raises(ModelNotFoundError) as other:
                    provider.count_tokens(SECRET)
        assert SECRET not in _shown(other.value)
        assert (caught.value.endpoint, other.value.provider) == (
            fake.base_url[: -len("/v1")],
            "openai-compatible",
        )


def test_a_prompt_is_counted_only_where_it_may_go() -> None:
    provider = OpenAICompatibleProvider("http://192.0.2.7/v1", model="m")
    with pytest.raises(LocalityError):
        provider.count_tokens(SECRET)


def test_a_server_that_is_down_is_no_estimate() -> None:
    with FakeOpenAICompatible() as fake:
        url = fake.base_url
    with OpenAICompatibleProvider(url, model="m", retry=ONCE) as provider:
        with pytest.raises(UnreachableError):
            provider.count_tokens("one")


def test_a_cancelled_count_counts_nothing() -> None:
    token = CancelToken()
    token.cancel()
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.base_url, model="m") as provider:
            with pytest.raises(CancelledError):
                provider.count_tokens("one", cancel=token)
        assert fake.exchanges == []


# --- the real engine ----------------------------------------------------------------------

_REASON = why_unsupported() or why_missing()


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
def test_the_real_engine_counts_what_it_uses() -> None:
    conversations: List[Dict[str, Any]] = [
        {"messages": "What is the capital of France?"},
        {"messages": "Was ist 你好 😀?\n\tx", "system": "Be kind."},
        {"messages": "How is the weather?", "tools": [TOOL]},
        {"messages": [Message.user("a"), Message.assistant("b"), Message.user("c")]},
    ]
    with LocalEngine("chat", context_length=1024) as provider:
        for asked in conversations:
            found = provider.count_tokens(**asked)
            used = provider.chat(**asked, max_tokens=1, temperature=0).usage.prompt_tokens
            assert (found.tokens, found.source) == (used, "exact")
