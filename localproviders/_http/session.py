"""The session of one provider in one process, over `HTTPAdapter`.

This module is loaded when the first request is sent, because it loads requests.
"""

from __future__ import annotations

from functools import partial
from http.cookiejar import DefaultCookiePolicy
from types import FunctionType
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from localproviders._http import certificates, connection
from localproviders._http.answer import Answer
from localproviders._http.deadline import Call
from localproviders._http.pools import POOLS
from localproviders._http.resolve import Policy
from localproviders._http.translate import translate
from localproviders._http.upload import Upload
from localproviders.settings import Settings

# As many threads as may share a provider without opening a connection for each call.
_POOL_SIZE = 128

# So many requests are kept as patterns: a provider has a dozen paths, and some hold a name.
_MOST_PATTERNS = 64


class _Adapter(HTTPAdapter):
    """requests' adapter over bounded connections; the call arrives as `timeout`.

    It serves one endpoint, with one policy and the same proxies always. So what requests
    would work out anew for each request is worked out once: the pool, and what stands in the
    request line. That takes 50 µs off a call.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._closed = False
        self._pool: Any = None
        super().__init__(pool_connections=4, pool_maxsize=_POOL_SIZE, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def close(self) -> None:
        self._closed = True
        # urllib3 2 leaves this to the garbage collector, and a finished stream that somebody
        # still holds would keep the connections open.
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in list(manager.pools.keys()):
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        call = kwargs["timeout"]
        assert isinstance(call, Call)  # noqa: S101  # only Session below sends through here
        current = connection.current
        current.call, current.response, current.connection = call, None, None
        current.policy = self._policy
        try:
            return super().send(request, *args, **{**kwargs, "timeout": None})
        except BaseException:
            connection.abandon()
            raise
        finally:
            current.call = current.connection = None
            if self._closed:  # meanwhile: what this call has opened is not kept
                self.close()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        return self._kept_pool(super().get_connection_with_tls_context, *args, **kwargs)

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        # What requests called before it had the one above.
        return self._kept_pool(super().get_connection, *args, **kwargs)

    def _kept_pool(self, find: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._pool is None:
            self._pool = find(*args, **kwargs)
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        found: Optional[str] = vars(request).get("target")
        return super().request_url(request, proxies) if found is None else found

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        # requests' own looks for cookies, which nobody here keeps, and for the charset, over
        # which it trips where it has no value: 30 µs of a call.
        response = requests.Response()
        response.status_code, response.reason = resp.status, resp.reason
        response.headers = resp.headers  # they know no case either
        response.encoding = "utf-8"  # JSON's own
        response.url, response.request = req.url, req  # type: ignore[assignment]  # it has been prepared
        response.raw = resp
        vars(response)["connection"] = self
        return response


class _Proxies(Dict[str, str]):
    """Proxies by scheme; the repr shows no password, because they are local variables."""

    def __repr__(self) -> str:
        return f"<{len(self)} proxies>"


class Session:
    """Sends requests for one provider; shared by threads, not by processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._verify = certificates.trusted(settings.ca_bundle) or True
        certificates.check_client(settings.client_cert)
        self._proxies = self._choose_proxies()
        in_the_clear = settings.endpoint.scheme == "http" and settings.api_key is not None
        self._adapter = _Adapter(
            Policy(
                settings.locality,
                needs_loopback=in_the_clear and not settings.allow_plaintext_key,
                proxied=bool(self._proxies),
            )
        )
        self._session = requests.Session()
        self._session.trust_env = False  # neither .netrc nor proxies nor CA variables
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Redirects are not followed; unasked, requests still prepares the next request.
        self._session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]  # its own hook
        self._session.adapters.clear()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)
        self._patterns: Dict[Tuple[Any, ...], requests.PreparedRequest] = {}

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Union[bytes, Upload, None],
        call: Call,
    ) -> Answer:
        """Send a request, once.

        Raises:
            ProviderError: Whatever happened, translated.
            Exception: Whatever broke the reading of the body on our side, as it is.
        """
        call.connected = call.reused = call.got_bytes = False
        call.sent_at = None
        try:
            response = self._send(self._prepare(method, url, headers, body), call)
            parsed, connection.current.response = connection.current.response, None
            return Answer(response, parsed, call)
        except Exception as error:
            ours = body.failure if isinstance(body, Upload) else None
            failure = ours or translate(error, call)
        call.detach()
        # Raised out here, so that requests' exception, which holds the request and with it
        # key and prompt, is not the context of ours.
        raise failure

    def _prepare(
        self, method: str, url: str, headers: Mapping[str, str], body: Union[bytes, Upload, None]
    ) -> requests.PreparedRequest:
        """Prepare a request, as a copy of the one before it that differed in its body only.

        What requests checks and works out is the same each time. A copy takes 4 µs, and
        preparing 130.
        """
        if isinstance(body, Upload):
            return _prepared(method, url, headers, body)
        key = (method, url, body is None, *headers.items())
        pattern = self._patterns.get(key)
        if pattern is None:
            pattern = _prepared(method, url, headers, None if body is None else b"{}")
            vars(pattern)["target"] = self._adapter.request_url(pattern, self._proxies)
            vars(pattern)["pairs"] = tuple(pattern.headers.items())
            if len(self._patterns) >= _MOST_PATTERNS:
                self._patterns = {}
            self._patterns[key] = pattern
        return _filled(pattern, body)

    def _send(self, request: requests.PreparedRequest, call: Call) -> requests.Response:
        """Hand a request to the adapter, past `requests.Session.send`.

        That would look for cookies and redirects, which are not wanted here, for 50 µs. What
        takes the place of one of its methods, as a mock or a tracer does, gets its requests.
        """
        assert request.url is not None  # noqa: S101  # it has been prepared
        send: Any = self._session.get_adapter(request.url).send
        if not _is_requests_own(requests.Session.send):
            send = partial(self._session.send, allow_redirects=False)
        response: requests.Response = send(
            request,
            stream=True,
            timeout=call,  # requests hands it on unchanged
            verify=self._verify,
            cert=self._settings.client_cert,
            proxies=self._proxies,
        )
        return response

    def _choose_proxies(self) -> _Proxies:
        settings = self._settings
        if not settings.proxies or settings.endpoint.is_loopback:
            return _Proxies()
        if settings.proxies == "environment":
            return _Proxies(requests.utils.get_environ_proxies(settings.endpoint.url))
        assert not isinstance(settings.proxies, str)  # noqa: S101  # the settings checked it
        return _Proxies(settings.proxies)

    def close(self) -> None:
        """Close the kept connections; those in use end with their answers."""
        self._session.close()


def _is_requests_own(function: Any) -> bool:
    """Whether nobody has taken a function's place; its names can be copied, its globals not."""
    own = vars(requests.sessions)
    return isinstance(function, FunctionType) and function.__globals__ is own


class _Headers(CaseInsensitiveDict):  # type: ignore[type-arg]  # 3.8 cannot subscript it
    """requests' headers. The copy that urllib3 takes for each sending is a plain dict."""

    def copy(self) -> Any:
        return dict(self.items())


def _prepared(
    method: str, url: str, headers: Mapping[str, str], body: Any
) -> requests.PreparedRequest:
    """Let requests prepare a request; it reads an upload like a file."""
    return requests.Request(method, url, headers=dict(headers), data=body).prepare()


def _filled(pattern: requests.PreparedRequest, body: Optional[bytes]) -> requests.PreparedRequest:
    """Copy a prepared request, with a body of its own."""
    request = requests.PreparedRequest()
    vars(request).update(vars(pattern))
    request.headers = _Headers(vars(pattern)["pairs"])
    if body is not None:
        request.body = body
        request.headers["Content-Length"] = str(len(body))
    return request
