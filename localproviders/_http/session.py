"""The session of one provider in one process, over `HTTPAdapter`.

This module is loaded when the first request is sent, because it loads requests.
"""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any, Dict, Mapping, Union

import requests
from requests.adapters import HTTPAdapter

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


class _Adapter(HTTPAdapter):
    """requests' adapter over bounded connections; the call arrives as `timeout`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closed = False
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
        settings = self._settings
        in_the_clear = settings.endpoint.scheme == "http" and settings.api_key is not None
        current = connection.current
        current.call, current.response, current.connection = call, None, None
        current.policy = Policy(
            settings.locality,
            needs_loopback=in_the_clear and not settings.allow_plaintext_key,
            proxied=bool(kwargs.get("proxies")),
        )
        try:
            return super().send(request, *args, **{**kwargs, "timeout": None})
        except BaseException:
            connection.abandon()
            raise
        finally:
            current.call = current.connection = None
            if self._closed:  # meanwhile: what this call has opened is not kept
                self.close()

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        # requests trips over a charset without a value; nobody here asks for the charset.
        if "Content-Type" in resp.headers:
            resp.headers["Content-Type"] = resp.headers["Content-Type"].partition(";")[0]
        return super().build_response(req, resp)


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
        self._session = requests.Session()
        self._session.trust_env = False  # neither .netrc nor proxies nor CA variables
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Redirects are not followed; unasked, requests still prepares the next request.
        self._session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]  # its own hook
        self._session.adapters.clear()
        adapter = _Adapter(settings)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        self._proxies = self._choose_proxies()

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
            data: Any = body  # requests reads an upload like a file
            request = requests.Request(method, url, headers=dict(headers), data=data)
            response = self._send(request.prepare(), call)
            parsed, connection.current.response = connection.current.response, None
            return Answer(response, parsed, call)
        except Exception as error:
            ours = body.failure if isinstance(body, Upload) else None
            failure = ours or translate(error, call)
        call.detach()
        # Raised out here, so that requests' exception, which holds the request and with it
        # key and prompt, is not the context of ours.
        raise failure

    def _send(self, request: requests.PreparedRequest, call: Call) -> requests.Response:
        settings = self._settings
        return self._session.send(
            request,
            stream=True,
            timeout=call,  # type: ignore[arg-type]  # requests hands it on unchanged
            verify=self._verify,
            cert=settings.client_cert,
            proxies=self._proxies,
            allow_redirects=False,
        )

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
