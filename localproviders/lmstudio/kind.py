"""Facts about LM Studio that other layers use without importing its provider."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from localproviders._dialect.values import nonempty_text
from localproviders.errors import AuthenticationError
from localproviders.kinds import Greeting, Look, ProviderKind

_PATH = "/lmstudio-greeting"
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

    The greeting, a route that only LM Studio has, is described in docs/reference/lmstudio.md,
    "Recognising the server".
    """
    greeting = look.ask(_PATH)
    sign = _sign_in(greeting)
    if not sign:
        return None
    evidence = f"GET {_PATH}: status {greeting.status}, {sign}"
    return look.listed(_generation, product=KIND.title, evidence=(evidence,))


def _sign_in(greeting: Greeting) -> str:
    """Return the sign of LM Studio in the response to a greeting; empty if there is none."""
    if greeting.error is not None:
        # A server with authentication may require a token first. The message of this error names
        # LM Studio.
        message = greeting.error.server_message or ""
        is_ours = isinstance(greeting.error, AuthenticationError) and KIND.title in message
        return f"error {message!r}" if is_ours else ""
    if greeting.json.get("lmstudio") is True:
        return "lmstudio True"
    message = nonempty_text(greeting.json.get("error")) or ""
    return f"error {message!r}" if _UNEXPECTED in message else ""


def _generation(provider: Any, **limits: Any) -> Mapping[str, Any]:
    return {"generation": provider.generation(**limits)}
