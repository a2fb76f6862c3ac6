"""The arguments of `rerank`, and the ranking that it returns."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace
from typing import Any, List

import pytest

from localproviders import OllamaProvider, OpenAICompatibleProvider, Ranking
from localproviders._rerank_verb import RerankRequest
from localproviders.testing import FakeOpenAICompatible
from localproviders.types import ModelInfo, RankedDocument, ServerAttempt, Usage

_WRONG: List[Any] = [
    ("one text", "documents is a single text, and must be several: pass [text, ...]"),
    ([], "there is no document to rank"),
    (iter(()), "there is no document to rank"),
    (["a", None], "document 1 is NoneType, and must be text"),
    ([{"text": "a"}], "document 0 is dict, and must be text: pass document['text']"),
    (
        [SimpleNamespace(content="a")],
        "document 0 is SimpleNamespace, and must be text: pass document.content",
    ),
    ({"a": "b"}, "documents is dict, and must be a list of texts: pass list(documents.values())"),
    (b"a", "documents is bytes, and must be text: pass data.decode()"),
    (7, "documents is int, and must be a list"),
]


@pytest.mark.parametrize(("documents", "message"), _WRONG, ids=[str(i) for i in range(len(_WRONG))])
def test_documents_that_are_not_several_texts_are_refused(documents: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        OllamaProvider(model="m").rerank("q", documents)
    assert str(caught.value) == message


@pytest.mark.parametrize("top_n", [0, -1, 1.5, True, "2"])
def test_a_number_below_one_is_refused(top_n: Any) -> None:
    with FakeOpenAICompatible(["a-reranker"]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model="a-reranker") as provider:
            with pytest.raises(ValueError, match=r"top_n is .* at least 1"):
                provider.rerank("q", ["a"], top_n=top_n)
    assert fake.exchanges == []


@pytest.mark.parametrize(
    ("query", "message"),
    [("", "query is empty"), (None, "query is NoneType"), (["q"], "query is list, and must be")],
)
def test_a_query_is_a_text(query: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OllamaProvider(model="m").rerank(query, ["a"])


def test_a_wrong_keyword_is_named() -> None:
    with pytest.raises(TypeError, match="'top_k'; did you mean 'top_n'"):
        OllamaProvider(model="m").rerank("q", ["a"], top_k=3)  # type: ignore[call-arg]  # a mistake
    with pytest.raises(ValueError, match="extra_body is str, and must be a dictionary"):
        OllamaProvider(model="m").rerank("q", ["a"], extra_body="{}")  # type: ignore[arg-type]  # a mistake


@pytest.mark.parametrize("name", ["query", "documents", "texts", "model", "top_n"])
def test_a_further_field_does_not_replace_an_argument(name: str) -> None:
    """The scores of other documents would be shown for those of the call."""
    with pytest.raises(ValueError, match=f"extra_body has '{name}', which rerank"):
        OllamaProvider(model="m").rerank("q", ["a"], extra_body={name: ["b"]})


def test_the_documents_are_read_once() -> None:
    read: List[str] = []

    def documents() -> Any:
        for text in ("one", "two"):
            read.append(text)
            yield text

    with FakeOpenAICompatible(["a-reranker"]) as fake:
        with OpenAICompatibleProvider(fake.base_url) as provider:
            model = ModelInfo(name="a-reranker", provider="p")
            ranking = provider.rerank("two", documents(), model=model, extra_body={"user": "me"})

    assert [ranked.document for ranked in ranking] == ["two", "one"]
    assert read == ["one", "two"]
    assert fake.exchanges[0].json == {
        "model": "a-reranker", "query": "two", "documents": ["one", "two"], "user": "me",
    }  # fmt: skip


def test_an_exception_of_the_callers_iterable_is_the_callers() -> None:
    def documents() -> Any:
        yield "one"
        raise KeyError("a row is missing")

    with pytest.raises(KeyError, match="a row is missing"):
        OllamaProvider(model="m").rerank("two", documents())


def test_an_empty_document_is_a_document() -> None:
    assert RerankRequest(query="q", documents=("", "a")).documents == ("", "a")


RANKING = Ranking(
    results=[  # type: ignore[arg-type]  # lists become tuples
        RankedDocument(index=1, score=0.196938, document="the best\n**one**"),
        RankedDocument(index=0, score=-3.5, document="x" * 200),
    ],
    model="m",
    provider="p",
    endpoint="http://127.0.0.1:1/v1",
    usage=Usage(prompt_tokens=7),
    warnings=("one\ntwo",),
    attempts=2,
    tried=(ServerAttempt(provider="p", model="m"),),
    raw={"results": []},
)


def test_a_ranking_is_iterable_and_has_a_length() -> None:
    assert [ranked.index for ranked in RANKING] == [1, 0]
    assert len(RANKING) == 2
    assert isinstance(RANKING.results, tuple)


def test_a_ranking_is_shown_line_by_line_and_its_repr_has_no_document() -> None:
    first, second = str(RANKING).split("\n")
    assert first == "0.1969 [1] the best\\n**one**"
    assert second.startswith("-3.5 [0] xxx") and len(second) == 100
    assert str(RANKING.results[0]) == first
    assert "best" not in repr(RANKING) + repr(RANKING.results[0])
    shown = RANKING._repr_markdown_()
    assert shown.startswith(
        "- 0.1969 &#91;1&#93; the best&#92;n&#42;&#42;one&#42;&#42;\n- &#45;3.5"
    )
    assert "*m (p), 7 tokens*\n\n- warning: one&#92;ntwo" in shown


def test_a_ranking_comes_back_from_json_and_from_a_pickle() -> None:
    assert Ranking.from_dict(json.loads(json.dumps(RANKING.to_dict()))) == RANKING
    again = pickle.loads(pickle.dumps(RANKING))
    assert again == RANKING
    assert not hasattr(again, "raw") or again.raw is None
    assert "raw" not in RANKING.to_dict()
