"""Make the request from the arguments of `chat`, `parse` and other methods with messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Tuple, cast

from localproviders._lazy import LazyModule
from localproviders._signatures import check_given, too_many_arguments
from localproviders.secret import errors_without_frames
from localproviders.types.messages import Messages, Tools, as_messages
from localproviders.types.requests import (
    CompletionRequest,
    ModelLike,
    ParseFields,
    check_field_names,
)

if TYPE_CHECKING:
    from localproviders import schema
else:
    schema = LazyModule("localproviders.schema")


@errors_without_frames
def make_chat_request(
    owner: Any,
    messages: Messages,
    system: Optional[str],
    fields: ParseFields,
    others: Tuple[object, ...] = (),
    *,
    model: Optional[ModelLike],
    tools: Tools,
    verb: str,
) -> CompletionRequest:
    """Return the request for the arguments of `chat`, `stream` or another method with messages.

    Args:
        owner: The class that defines the methods, `ModelProvider`.
        messages: The caller's argument.
        system: The caller's argument.
        fields: The caller's further keywords.
        others: Positional arguments that must be keyword arguments.
        model: The caller's argument.
        tools: The caller's argument.
        verb: Name of the method that the caller used.

    Raises:
        ValueError: The messages are empty or malformed, or the value of a field is impossible.
        TypeError: There is no such field, a required argument is missing, or `others` is not empty.
        ConfigurationError: A tool cannot be described.
    """
    if fields:
        check_field_names(fields, getattr(owner, verb))
    if others:
        raise too_many_arguments(getattr(owner, verb))
    check_given(verb, messages=messages, tools=tools)
    # The constructor accepts more types than its annotations, which describe the attributes.
    named, given = cast("Optional[str]", model), cast("Any", fields)
    return CompletionRequest(
        model=named,
        messages=as_messages(messages, system),
        tools=schema.as_tools(tools) if tools is not None and tools != () else (),
        **given,
    )
