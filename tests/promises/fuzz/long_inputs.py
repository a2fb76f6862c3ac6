"""Inputs so long that quadratic code would run for hours. A script with a limit of CPU time.

python -m tests.promises.fuzz.long_inputs "<case>"
"""

from __future__ import annotations

import contextlib
import gzip
import resource
import sys
from typing import Any, Callable, Dict, Iterable

from localproviders import OpenAICompatibleProvider, ProtocolError, ProviderError, SecretString
from localproviders._address import parse_endpoint
from localproviders._dialect import values as ollama_values
from localproviders._dialect.error_answers import Words, explain, from_words
from localproviders._dialect.values import retry_after
from localproviders._http.framing import (
    LineSplitter,
    NDJSONDecoder,
    SSEDecoder,
    WholeDecoder,
    parse_json,
)
from localproviders.capabilities import detect
from localproviders.lmstudio.wire import errors as studio_errors
from localproviders.ollama.names import parse_name
from localproviders.ollama.wire import errors as ollama_errors
from localproviders.openai_compatible.wire import errors as dialect_errors
from localproviders.openai_compatible.wire.tool_calls import ToolCallAssembler
from localproviders.schema import check
from localproviders.testing import ScriptedServer, http_answer

SIZES = (500_000, 2_000_000)
MAX_BYTES = 1 << 30
_MOST_MEMORY = 2 << 30
# CPU time in seconds, which does not depend on other programs. Linear code needs a few seconds.
_MOST_WORK_S = 60

#: Cases by the name of their function and by their own name. Each case runs with both sizes.
FAMILIES: Dict[str, Dict[str, Callable[[int], Any]]] = {}


def case(name: str, *args: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a case: the decorated function runs with a size and these arguments."""

    def register(work: Callable[..., Any]) -> Callable[..., Any]:
        family = FAMILIES.setdefault(work.__name__, {})
        family[name] = lambda size: work(size, *args)
        return work

    return register


def ignore_errors(read: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Call a function and ignore its typed error, because only the duration matters."""
    try:
        read(*args, **options)
    except ProviderError:
        pass


# --- framing --------------------------------------------------------------------------------


@case("a line in tiny pieces: lines", LineSplitter, b"x" * 16, 4)
@case("a line in tiny pieces: NDJSON", NDJSONDecoder, b"x" * 16, 4)
@case("a line in tiny pieces: events", SSEDecoder, b"x" * 16, 4)
@case("a body in tiny pieces", WholeDecoder, b"x" * 16, 4)
@case("empty lines: NDJSON", NDJSONDecoder, b"\n\r\n\r" * 4, 20)
@case("empty lines: events", SSEDecoder, b"\n\r\n\r" * 4, 20)
@case("an event of many lines", SSEDecoder, b"data: x\ndata\n:\n", 8)
def feed(size: int, make: Callable[[int], Any], piece: bytes, fewer: int) -> None:
    decoder = make(MAX_BYTES)
    for _ in range(size // fewer):
        for _ in decoder.feed(piece):
            pass
    rest = decoder.rest if make is LineSplitter else decoder.end
    rest()


# --- JSON -----------------------------------------------------------------------------------


@case("nesting", lambda n: "[" * n)
@case("nesting that ends", lambda n: "[" * n + "]" * n)
@case("brackets in a string", lambda n: '["' + "[{" * (2 * n) + '"]')
@case("brackets side by side", lambda n: "[" + "[]," * (n // 2) + "1]")
@case("a long integer", lambda n: "9" * n)
@case("a long fraction", lambda n: "0." + "9" * n)
@case("a long exponent", lambda n: "1e" + "9" * n)
@case("many long integers", lambda n: "[" + ",".join(["9" * 400] * (n // 400)) + "]")
@case("escapes", lambda n: '["' + "\\n\\u00e9" * n + '"' + ",[]" * 200 + "]")
@case("backslashes", lambda n: "[" * 200 + '"' + "\\\\" * n)
@case("an open string", lambda n: "[" * 50 + '"' + "a" * (16 * n) + "[" * 200)
@case("quotes", lambda n: "[" * 50 + '""' * n)
@case("blanks", lambda n: " " * n + "[" + " " * n)
def json(size: int, text: Callable[[int], str]) -> None:
    ignore_errors(parse_json, text(size), 100)


# --- refusals -------------------------------------------------------------------------------

RULES = [*ollama_errors.RULES, *studio_errors.RULES]


@case("a refusal: model", "model ")
@case("a refusal: input length", "input length ")
@case("a refusal: requires", "requires ")
@case("a refusal: option", "option ")
@case("a refusal: not found", "not_found_error")
@case("a refusal: numbers", "exceed_context_size first 1 tokens ")
@case("a refusal: sizes", "exceed_context_size (1 tokens) is too large ")
@case("a refusal: blanks", "exceed_context_size n_keep: 1 " + " " * 1000)
@case("a refusal: digits", '{"error": ' + "9" * 500)
@case("a refusal: brackets", '{"error": ' + "[" * 500)
def refusal(size: int, words: str) -> None:
    text = words * (size // len(words))
    for rules in (ollama_errors.RULES, dialect_errors.RULES, studio_errors.RULES):
        explain(400, text, {}, rules)
        from_words(Words(text=text, kind=text), rules)


@case("a refusal: one number", 0)
def one_number(size: int, _: int) -> None:
    explain(400, '{"error": %s}' % ("9" * size), {}, ollama_errors.RULES)


@case("a wait: blanks", " ")
@case("a wait: digits", "1")
@case("a wait: colons", "Mon, 1 Jan 2026 1:")
@case("a wait: words", "Jan ")
def wait(size: int, text: str) -> None:
    retry_after(text * (size // len(text)))


# --- names and addresses --------------------------------------------------------------------


@case("an address: brackets", "[")
@case("an address: colons", ":")
@case("an address: slashes", "/")
@case("an address: dots", "1.")
@case("an address: quotes", "\"'")
@case("an address: blanks", "a\t")
def address(size: int, text: str) -> None:
    for more in ("", "http://", "http://[::1]:", "http://h/"):
        ignore_errors(parse_endpoint, more + text * size, default_port=1, api_suffixes=("v1",))


@case("a name: dashes", "-")
@case("a name: hints", "-bge")
@case("a name: colons", ":cloud")
def name(size: int, text: str) -> None:
    named = text * (size // len(text))
    detect(named)
    parse_name(named)
    ollama_values.parse_timestamp("2026-01-02T03:04:05." + "1" * size)


@case("a long key", "a" * 2_000)
@case("a long key, quoted in part", "aaaaaa+" * 280)
def scrub(size: int, text: str) -> None:
    SecretString("a" * size).scrub(text)


def _allowed(size: int) -> Any:
    return [f"choice {number}" for number in range(size // 400)], "choice 7"


def _not_allowed(size: int) -> Any:
    return _allowed(size)[0], "x"


@case("values that are choices", _allowed)
@case("values that are no choices", _not_allowed)
def choices(size: int, make: Callable[[int], Any]) -> None:
    among, value = make(size)
    check([value] * (size // 40), {"items": {"enum": among}})


@case("keys that are not allowed")
def keys(size: int) -> None:
    known = {f"known {number}": True for number in range(size // 400)}
    value = dict.fromkeys(map(str, range(size // 40)))
    check(value, {"properties": known, "additionalProperties": False})


# --- whole answers --------------------------------------------------------------------------


@case("a call in tiny pieces", '{"x": "', "y" * 16, '"}')
def tool_call(size: int, start: str, middle: str, end: str) -> None:
    assembler = ToolCallAssembler()
    assembler.add([{"index": 0, "function": {"name": "f", "arguments": start}}])
    for _ in range(size // 4):
        assembler.add([{"index": 0, "function": {"arguments": middle}}])
    assembler.add([{"index": 0, "function": {"arguments": end}}])
    assembler.complete_calls(None)


def answer(data: bytes) -> Any:
    with ScriptedServer(data) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            return provider.chat("Hello")


@case("an answer of many chunks", b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n')
def chunks(size: int, event: bytes) -> None:
    end = b'data: {"choices": [{"finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    data = event % (b"Hi" * 50) * (size // 20) + end
    answer(http_answer(data, content_type="text/event-stream"))


@case(
    "bytes after a compressed answer",
    b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}',
)
def junk(size: int, body: bytes) -> None:
    data = gzip.compress(body) + b"x" * (size * 150)
    with contextlib.suppress(ProtocolError):  # refused after 1 MiB of it
        answer(http_answer(data, headers=[("Content-Encoding", "gzip")]))


def main(arguments: Iterable[str]) -> None:
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)  # old Pythons do not have this limit
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_WORK_S, _MOST_WORK_S))
    for family in arguments:
        for name, work in FAMILIES[family].items():
            print(name, flush=True)  # noqa: T201  # if the run is stopped, the last name shows where
            for size in SIZES:
                work(size)


if __name__ == "__main__":
    main(sys.argv[1:])
