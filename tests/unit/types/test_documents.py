"""Documents, and the fields of messages that only some servers read."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, Dict

import pytest

from localproviders import (
    CompletionResponse,
    Document,
    LlamaCppProvider,
    Message,
    OllamaProvider,
    OpenAICompatibleProvider,
    ToolCall,
    UnsupportedError,
)
from localproviders.testing import FakeLlamaCpp, FakeOllama
from localproviders.types.messages import as_messages
from localproviders.types.requests import CompletionRequest, texts_of

_PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
_BLOCKS: Dict[str, Any] = {"content": [{"type": "thinking", "thinking": "", "signature": "sig"}]}


def test_the_type_of_a_document_is_read_from_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(_PDF)
    assert Document.from_path(path).media_type == "application/pdf"
    path.write_text("a\u20ac", encoding="utf-8")
    found = Document.from_path(path, title="Notes")
    assert (found.media_type, found.text, found.title) == ("text/plain", "a\u20ac", "Notes")
    assert Document.from_bytes(_PDF).text is None
    assert Document.from_bytes(b"\xff\xfe", "image/x").media_type == "image/x"


def test_a_text_is_a_document_only_on_request() -> None:
    assert Document.from_text("a b").data == b"a b"
    with pytest.raises(ValueError, match=r"Document\.from_text\(text\)"):
        Message.user("Hi", documents=["a b"])  # type: ignore[list-item]  # what a beginner writes


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a\x00b"])
def test_data_that_is_neither_pdf_nor_text_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="neither a PDF file nor text"):
        Document.from_bytes(data)


def test_a_document_has_data_and_its_title_is_text() -> None:
    with pytest.raises(ValueError, match="no data"):
        Document.from_text("")
    with pytest.raises(ValueError, match="title is int"):
        Document.from_text("a", title=3)  # type: ignore[arg-type]  # the wrong type
    with pytest.raises(TypeError, match="takes a string"):
        Document.from_text(b"a")  # type: ignore[arg-type]  # the wrong type
    with pytest.raises(TypeError, match=r"pathlib\.Path"):
        Document.from_path("a.pdf")  # type: ignore[arg-type]  # a string is never a path


def test_a_message_takes_paths_files_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a")
    message = Message.user("Hi", documents=[path, io.BytesIO(b"b"), b"c", Document.from_text("d")])
    assert [each.text for each in message.documents] == ["a", "b", "c", "d"]
    assert Message.from_dict(message.to_dict()) == message
    assert "<1 bytes>" in repr(message) and "'a'" not in repr(message)


def test_a_dictionary_in_anthropics_form_has_a_document() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "a\u20ac"}
    part = {"type": "document", "source": source, "title": "T"}
    (message,) = as_messages([{"role": "user", "content": [{"type": "text", "text": "x"}, part]}])
    assert message.documents == (Document.from_text("a\u20ac", title="T"),)
    with pytest.raises(ValueError, match="nothing is downloaded"):
        part = {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}
        as_messages([{"role": "user", "content": [part]}])


def test_an_error_quotes_neither_a_document_nor_the_data_of_the_provider() -> None:
    answer = Message(role="assistant", content="a", provider_data=_BLOCKS)
    user = Message.user("b", documents=[Document.from_text("the text", title="the title")])
    texts = list(texts_of(CompletionRequest(messages=(user, answer))))
    assert {"the text", "the title", "sig"} <= set(texts)


def test_the_data_of_the_provider_is_in_dictionaries_and_pickles_and_not_in_a_repr() -> None:
    response = CompletionResponse(text="a", model="m", provider="p", provider_data=_BLOCKS)
    message = response.message
    for value in (response, message):
        assert value.provider_data == _BLOCKS
        assert "sig" not in repr(value) and "provider_data" not in repr(value)
        assert type(value).from_dict(value.to_dict()) == value
        assert pickle.loads(pickle.dumps(value)).provider_data == _BLOCKS
    with pytest.raises(TypeError, match="cannot be changed"):
        message.provider_data["a"] = 1  # type: ignore[index]  # frozen
    with pytest.raises(ValueError, match="must be a dictionary"):
        Message(role="assistant", provider_data=[1])  # type: ignore[arg-type]  # the wrong type


def test_a_failed_tool_is_marked() -> None:
    call = ToolCall(id="c", name="f")
    assert Message.tool("no", call, is_error=True).is_error
    assert not Message.tool("yes", call).is_error
    with pytest.raises(ValueError, match="is_error is int"):
        Message(role="tool", is_error=1)  # type: ignore[arg-type]  # the wrong type


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("provider_class", [OllamaProvider, OpenAICompatibleProvider])
def test_other_providers_refuse_documents(provider_class: Any, strict: bool) -> None:
    message = Message.user("Hi", documents=[b"a"])
    with provider_class("http://127.0.0.1:1/v1", model="m") as provider:
        with pytest.raises(UnsupportedError, match="does not support documents"):
            provider.chat([message], strict=strict)


def test_no_prompt_is_rendered_or_counted_without_its_documents() -> None:
    message = Message.user("Hi", documents=[b"a"])
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as ollama:
        with pytest.raises(UnsupportedError, match="does not support documents"):
            ollama.render([message])
        assert "/api/chat" not in [each.path for each in fake.exchanges]
    with FakeLlamaCpp(["m"]) as server, LlamaCppProvider(server.url, model="m") as provider:
        assert provider.count_tokens("Hi").source == "exact"
        counted = provider.count_tokens([message])
    assert counted.source != "exact"
    assert "documents not counted" in counted.detail
