"""Changes to the errors of a service on the internet.

The hints get no advice about local servers. An error gets the wait that the service requests.
"""

from __future__ import annotations

from typing import Mapping, Optional

from localproviders._dialect.error_answers import STATUS_HINTS
from localproviders.errors import (
    AuthenticationError,
    CapabilityError,
    ContextOverflowError,
    ProviderError,
    ServerBusyError,
)
from localproviders.openai_compatible.wire.service_rules import ServiceRules

_FORBIDDEN, _NOT_FOUND, _TOO_MANY = 403, 404, 429
_ALLOWED = "check what the key may do, and whether the service is offered in your country"
_ADDRESS = "check the address of the service"


def adapted(error: ProviderError, rules: ServiceRules, headers: Mapping[str, str]) -> ProviderError:
    """Return the error with a hint that fits a service, and with the wait that it requests.

    Args:
        error: The error of the response.
        rules: The rules of the service.
        headers: The headers of the response.
    """
    error.hint = _hint(error, rules)
    needs_wait = isinstance(error, ServerBusyError) and error.retry_after_s is None
    if isinstance(error, ServerBusyError) and needs_wait and rules.read_wait is not None:
        error.retry_after_s = rules.read_wait(headers)
    return error


def _hint(error: ProviderError, rules: ServiceRules) -> Optional[str]:
    if isinstance(error, ContextOverflowError):
        return "shorten the prompt, or use a model with a larger context window"
    if isinstance(error, CapabilityError):
        return "use a model with this ability, or leave the field out; or pass strict=False"
    if error.status == _FORBIDDEN and error.hint == STATUS_HINTS[_FORBIDDEN]:
        return _ALLOWED
    if error.status == _NOT_FOUND and error.hint == STATUS_HINTS[_NOT_FOUND]:
        return _ADDRESS
    if isinstance(error, AuthenticationError) and rules.key_variable:
        return f"pass api_key=..., or set {rules.key_variable}"
    if isinstance(error, ServerBusyError):
        return error.hint or STATUS_HINTS[_TOO_MANY]
    return error.hint
