"""Recognize that a server refuses a response schema, and write the schema into the prompt instead.

Some servers accept no schema at all, or none for some models. Others cannot convert a particular
schema to a grammar. docs/dialects.md, "Schemas that servers refuse", lists the error texts for both
cases.
"""

from __future__ import annotations

import json
from typing import Any, Hashable, List, Mapping, Optional, Sequence, Tuple

from localproviders._refusals import refuses, says
from localproviders.errors import (
    AllFailedError,
    CapabilityError,
    ProviderError,
    RequestRejectedError,
    ServerError,
    UnsupportedError,
)
from localproviders.secret import Unseen
from localproviders.types.requests import CompletionRequest

# Classes of errors that can mean that the server refused a schema. Errors of their subclasses have
# other meanings, so the class is compared exactly.
_CLASSES = (RequestRejectedError, CapabilityError, UnsupportedError, ServerError)

#: Pattern of the names by which error texts mention a schema, ignoring case.
NAMES = (
    r"(response[ _.-]?(format|schema)|json[ _-]?(schema|mode)|\bschemas?\b|structured[ _-]?output"
    r"|guided[ _-]?(json|decod)|grammars?\b|initiali[sz]e samplers|required for format"
    r"|invalid format|\.format of type)"
)
#: Pattern of the words that express a refusal. A status 4xx already shows that the server refused
#: the request before it did any work. With any other status, the error text must also contain one
#: of these words.
DENIAL = (
    r"(\b(not|no|cannot|unable|invalid|errors?|fail(ed|s|ure)?|too|must|should"
    r"|un(supported|available|known|recogni[sz]ed|expected))\b|n't\b)"
)
#: Pattern of the error texts about the content of one schema. Any other refusal concerns all
#: schemas.
ABOUT_CONTENT = (
    r"invalid (json[ _]?)?(schema|grammar)|schema for\b|in context=|features|schema (fields?|keyw)"
    r"|unrecogni[sz]ed schema|conver(t|sion)|compil|pars(e|ing)\b.{0,40}(grammar|schema)|samplers"
    r"|grammar error|constraint|too (many|deep|complex|large|long)"
)

#: The warning of a response for which the schema was written into the prompt.
WARNING = (
    "the server refuses the response schema, so the schema was written into the prompt, and the "
    "model was not made to follow it"
)


def refuses_schema(error: ProviderError) -> bool:
    """Return whether an error means that the server refuses the schema of the request."""
    if isinstance(error, AllFailedError):
        return any(map(refuses_schema, error.errors))
    if type(error) not in _CLASSES:
        return False
    if error.server_message is None:  # the provider itself refused the schema, and sent no request
        return error.message.endswith("does not support response_schema")
    return refuses(error, NAMES, DENIAL) and not error.partial


def in_words(request: CompletionRequest) -> CompletionRequest:
    """Return the request with its schema in the text of a message instead of `response_schema`.

    The schema is added to the last message of the user. So the number and the roles of the messages
    stay the same, and every chat template accepts the conversation: some templates allow no system
    message, and others allow no two messages of the same role in sequence.
    """
    messages = list(request.messages)
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    chosen = users[-1] if users else -1
    message = messages[chosen]
    words = words_for(request.response_schema)
    # The text is in no local variable, so a traceback with local variables does not show it.
    messages[chosen] = message.replace(content=f"{message.content}\n\n{words}".lstrip())
    return request.replace(messages=tuple(messages), response_schema=None)


def with_words(
    messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]
) -> List[Mapping[str, Any]]:
    """Return the JSON of messages, with the schema added to the text of one of them.

    It is the message that `in_words` would choose.
    """
    users = [index for index, message in enumerate(messages) if message["role"] == "user"]
    chosen = users[-1] if users else -1
    made, content, words = list(messages), messages[chosen]["content"], words_for(schema)
    is_text = isinstance(content, str)
    spoken = f"{content}\n\n{words}" if is_text else [*content, {"type": "text", "text": words}]
    made[chosen] = {**messages[chosen], "content": spoken}
    return made


def words_for(schema: Optional[Mapping[str, Any]]) -> str:
    """Return the sentence that asks for an answer that follows the schema."""
    return f"Answer with nothing but JSON that follows this JSON Schema:\n{_as_json(schema)}"


def _as_json(schema: Optional[Mapping[str, Any]]) -> str:
    return json.dumps(schema, ensure_ascii=False, default=str)


def schema_keys(request: CompletionRequest) -> Tuple[Hashable, Hashable]:
    """Return two keys of `Refusals`: one for all schemas, and one for the schema of the request."""
    return ("schema", None), ("schema", hash(_as_json(request.response_schema)))


def refused_key(error: ProviderError, request: CompletionRequest) -> Hashable:
    """Return the key under which `Refusals` remembers an error that refuses the request's schema.

    If the text of the error is about the content of the schema, the key is for this schema only.
    Otherwise, it is the key for all schemas.
    """
    is_only_this = says(ABOUT_CONTENT, Unseen(error.server_message or ""))
    return schema_keys(request)[is_only_this]
