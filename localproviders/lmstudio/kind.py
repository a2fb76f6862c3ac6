"""Facts about LM Studio that other layers use without importing its provider."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from localproviders._dialect.values import nonempty_text
from localproviders.errors import AuthenticationError
from localproviders.kinds import Greeting, Look, ProviderKind

_WEBSOCKET = "LM Studio's own SDKs use WebSocket at this port"

KIND = ProviderKind(
    name="lmstudio",
    title="LM Studio",
    provider="localproviders.lmstudio.provider:LMStudioProvider",
    default_address="http://127.0.0.1:1234",
    # Three APIs share one origin, and a user's address may end with the path of any of them
    # (docs/reference/lmstudio.md, "Address").
    api_paths=("api/v1", "api/v0", "v1", "api"),
    ports=((1234, "LM Studio"),),
    avoided_ports=tuple((port, _WEBSOCKET) for port in (41343, 52993, 16141, 39414, 22931)),
    key_variables=("LM_API_TOKEN", "LMSTUDIO_API_TOKEN"),
    fingerprint="localproviders.lmstudio.kind:recognise",
    # This kind is tried before other kinds: LM Studio answers unknown paths with status 200, so it
    # can be mistaken for another server.
    fingerprint_order=10,
    fake="localproviders.testing.lmstudio:FakeLMStudio",
    start_hint="run `lms server start`, or switch the server on in its Developer tab",
    start_command="lms server start",
    keyless_hint='LM Studio can also be used as kind "openai-compatible"',
)

# No other server has this text. LM Studio sends it for every path that it does not have
# (docs/reference/lmstudio.md, "Error texts").
_UNEXPECTED = "Unexpected endpoint or method"


def recognise(look: Look) -> Optional[object]:
    """Return a description of the server with its generation; None if it is not LM Studio.

    The greeting is described in docs/reference/lmstudio.md, "Recognising the server".
    """
    return look.listed(_generation) if _greets(look.ask("/lmstudio-greeting")) else None


def _greets(greeting: Greeting) -> bool:
    """Return whether a greeting comes from an LM Studio server of any version."""
    if greeting.error is not None:
        # A server with authentication may require a token first. Its message names LM Studio.
        message = greeting.error.server_message or ""
        return isinstance(greeting.error, AuthenticationError) and "LM Studio" in message
    message = nonempty_text(greeting.json.get("error")) or ""
    return greeting.json.get("lmstudio") is True or _UNEXPECTED in message


def _generation(provider: Any, **limits: Any) -> Mapping[str, Any]:
    return {"generation": provider.generation(**limits)}
