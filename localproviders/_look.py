"""The interface through which a fingerprint function examines one address.

Discovery calls the fingerprint functions to find out which kind of server listens at an address.
`localproviders.kinds` exports both classes of this module.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, Protocol

from localproviders.errors import ProviderError


class Greeting(Protocol):
    """The result of a discovery request: the beginning of a response, or a refusal.

    A refusal is a response with a status other than 2xx. So a redirect is a refusal, too; it is not
    followed.
    """

    @property
    def text(self) -> str:
        """The beginning of the response body; empty if the server refused the request."""
        ...

    @property
    def error(self) -> Optional[ProviderError]:
        """The error for a status other than 2xx, or None."""
        ...

    @property
    def status(self) -> Optional[int]:
        """The status of the response."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response or of the refusal; the case of their names is ignored."""
        ...

    @property
    def data(self) -> Any:
        """The JSON value in the text; None if the text is not JSON."""
        ...

    @property
    def json(self) -> Mapping[str, Any]:
        """The JSON object in the text; empty if the text is not a JSON object."""
        ...

    @property
    def refusal(self) -> Mapping[str, Any]:
        """The JSON object in the body of the refusal; empty if there is none."""
        ...


class Look(Protocol):
    """The interface through which a fingerprint function examines one address.

    A fingerprint function sends a request with `ask`. If another kind of server answers, the
    function returns None. Otherwise it returns the result of `listed`, `found` or `unknown`. All
    requests are ``GET`` requests, and share the limits of the search. They contain the API key and
    the headers that the configuration has for the address, but no key from an environment variable.
    """

    def ask(self, path: str) -> Greeting:
        """Send a request, and return the beginning of the response, or the refusal.

        The response is remembered: during a search, each path of an address is requested only once,
        even if the fingerprint functions of several kinds ask for it.

        Args:
            path: Path of the request.

        Raises:
            ProviderError: There was no response in time, or it was not HTTP.
        """
        ...

    def json(self, path: str) -> Any:
        """Send a request, and return the complete response, parsed as JSON.

        Args:
            path: Path of the request.

        Raises:
            ProviderError: There was no response in time, the server refused the request, or the
                response is not JSON.
        """
        ...

    @property
    def refusal(self) -> Mapping[str, Any]:
        """The JSON object in the body of the last refusal; empty if there was none."""
        ...

    def check_limits(self) -> None:
        """Check that the search may continue.

        Raises:
            ProviderError: A limit of the search expired, or the search was cancelled.
        """
        ...

    def has_unsent_key(self, kind: str) -> bool:
        """Return whether there is an API key that the requests of `ask` and `json` do not contain.

        This is the API key of this kind of server from an environment variable. `listed` sends it
        to the address.

        Args:
            kind: The name of the kind of the server.
        """
        ...

    def listed(
        self,
        facts: Optional[Callable[..., Mapping[str, Any]]] = None,
        *,
        kind: Optional[str] = None,
        **known: Any,
    ) -> Optional[object]:
        """Return the server with the list of its models, or None if it has no such list.

        A provider of the kind reads the list. If there is such a list but reading it fails, the
        server is returned without models, and its state and reason describe the failure.

        Args:
            facts: A function that returns further fields of `FoundServer`, such as ``version``.
                It is called with the provider, and with the keyword arguments ``timeout`` and
                ``cancel`` for the provider's methods.
            kind: The name of another kind, if the server belongs to that kind.
            **known: Further fields of `FoundServer` that do not depend on the list, such as
                ``product`` and ``evidence``.
        """
        ...

    def found(
        self,
        state: str,
        reason: str = "",
        *,
        kind: Optional[str] = None,
        api_path: Optional[str] = None,
        **facts: Any,
    ) -> object:
        """Return a server of the kind to which the fingerprint function belongs.

        Args:
            state: The value of `FoundServer.state`.
            reason: The reason why the server is not available, or an empty string.
            kind: The name of another kind, if the server belongs to that kind.
            api_path: The path of the API of this server; None uses `ProviderKind.address_path`.
            **facts: Further fields of `FoundServer`.
        """
        ...

    def unknown(self, state: str, reason: str) -> object:
        """Return a server of an unknown kind.

        Args:
            state: The value of `FoundServer.state`.
            reason: The reason why its kind is unknown.
        """
        ...

    def words(self, error: ProviderError) -> str:
        """Return the text of an error, for use as the reason of `found` or `unknown`."""
        ...
