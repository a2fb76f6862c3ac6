"""What the JSON of all dialects has in common. Pure."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, NoReturn, Sequence, Tuple, Union

from localproviders._http.rejection import Rule, from_words, read_words
from localproviders._values import mappings, number, text
from localproviders.errors import ProtocolError, ProviderError
from localproviders.types.answer import ServerTimings, TokenLogprob, Usage
from localproviders.types.message import Tool

#: A vector as it came, or the error of the one text that it belongs to.
Row = Union[Sequence[float], ProviderError]


class Vectors(NamedTuple):
    """What an embedding answer held, in our words; the fields are `EmbeddingResponse`'s."""

    rows: Sequence[Row]
    model: str
    usage: Usage
    server_timings: ServerTimings
    warnings: Tuple[str, ...] = ()
    truncation: str = "unknown"


def unexpected(what: str) -> NoReturn:
    """Refuse an answer whose shape is not this server's.

    Raises:
        ProtocolError: Always.
    """
    raise ProtocolError(
        f"the answer has no {what}", hint="is this the right kind of server at this address?"
    )


def checked(data: Any, rules: Sequence[Rule]) -> Mapping[str, Any]:
    """Give an answer that is an object and no error, whatever its status was.

    Raises:
        ProviderError: It is an error, or no object.
    """
    words = read_words(data)
    if words is not None:
        raise from_words(words, rules)
    if not isinstance(data, dict):
        unexpected("JSON object")
    return data


def parse_logprobs(items: Any) -> Tuple[TokenLogprob, ...]:
    """Read log-probabilities, which all dialects write alike (ollama-api §3.7).

    Raises:
        ProtocolError: One is misshapen.
    """
    return tuple(map(_logprob, mappings(items)))


def _logprob(item: Mapping[str, Any]) -> TokenLogprob:
    data, logprob = item.get("bytes"), number(item.get("logprob"))
    if logprob is None:
        unexpected("readable log-probability")
    try:
        return TokenLogprob(
            token=text(item.get("token")),
            logprob=logprob,
            data=bytes(data) if isinstance(data, list) else None,
            top=parse_logprobs(item.get("top_logprobs")),
        )
    except (TypeError, ValueError, OverflowError):
        unexpected("readable log-probability")


def tool_payloads(tools: Sequence[Tool]) -> List[Dict[str, Any]]:
    """Give the definitions of tools, which all dialects write alike (ollama-api §4.6)."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            },
        }
        for tool in tools
    ]
