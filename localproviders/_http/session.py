"""Session of one provider in one process: an adapter for the library `requests`, and its pools.

This module is imported when the first request is sent, because it imports the library `requests`,
which takes some time.

The connection pools are those of urllib3, with three differences. The queue of idle connections
has no lock that could stay locked after a fork. If a pool is closed while a call is about to use
it, the call still works. A pool closes its connections when it is garbage collected.
"""

from __future__ import annotations

import queue
import weakref
from collections import deque
from functools import lru_cache, partial
from http.cookiejar import DefaultCookiePolicy
from types import FunctionType, MappingProxyType
from typing import Any, Callable, Deque, Dict, Mapping, Optional, Tuple, Union

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from localproviders._address import ProxyMap, as_proxies
from localproviders._http import certificates, connection
from localproviders._http.connection import PlainConnection, TLSConnection
from localproviders._http.deadline import Call
from localproviders._http.exceptions import translate
from localproviders._http.resolve import LocalityPolicy
from localproviders._http.response import Answer
from localproviders._http.service import USUAL, Service
from localproviders._http.upload import Upload
from localproviders.secret import Sealed
from localproviders.settings import Settings


class _Store:
    """The idle connections of a pool: a last-in, first-out queue that never waits.

    It has those methods of `queue.LifoQueue` that urllib3 uses, but no lock. A lock that another
    thread holds during a fork would stay locked in the child for ever. A lock is not needed,
    because the operations of a deque are atomic.
    """

    def __init__(self, maxsize: int) -> None:
        self._waiting: Deque[Any] = deque()
        self._size = maxsize

    def get(self, block: bool = False, timeout: Optional[float] = None) -> Any:
        try:
            return self._waiting.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = False) -> None:
        if len(self._waiting) >= self._size:
            raise queue.Full
        self._waiting.append(item)

    def qsize(self) -> int:
        return len(self._waiting)

    def close_all(self) -> None:
        """Close all idle connections."""
        while self._waiting:
            try:
                connection = self._waiting.pop()
            except IndexError:  # another thread took the last one
                return
            if connection is not None:
                connection.close()

    def __del__(self) -> None:
        # Connections may return to the store after the finalizer of the pool has run, for
        # example when the interpreter exits. Without this method, they would cause a
        # ResourceWarning.
        if hasattr(self, "_waiting"):  # missing after an interrupt in the constructor
            self.close_all()


class _Pool:
    """The changes to urllib3's connection pools that plain and TLS pools share."""

    # urllib3's classes set and read these attributes.
    pool: Any
    QueueCls: Any = _Store
    _closed = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The arguments may hold the password of a proxy. They are sealed, so that a traceback with
        # local variables does not show them.
        given, args, kwargs = Sealed((args, kwargs)), (), {}
        super().__init__(*given.cell_contents[0], **given.cell_contents[1])
        # urllib3 2 uses a finalizer, too. `_Store.__del__` alone is not enough: in a reference
        # cycle, Python may finalize the sockets before the store, and issue a ResourceWarning.
        weakref.finalize(self, self.pool.close_all)

    def _put_conn(self, conn: Any) -> None:
        super()._put_conn(conn)  # type: ignore[misc]  # HTTPConnectionPool comes next in the MRO
        # The check comes after the connection was put back, because another thread may call
        # `close` just before that.
        if self._closed:
            self.pool.close_all()

    def close(self) -> None:
        """Close the idle connections now, and connections that return to the pool later.

        urllib3's own method drops the queue, so a call that already uses this pool would fail.
        """
        self._closed = True
        self.pool.close_all()


class _PlainPool(_Pool, HTTPConnectionPool):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    ConnectionCls: Any = PlainConnection


class _TLSPool(_Pool, HTTPSConnectionPool):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    ConnectionCls: Any = TLSConnection


POOLS = {"http": _PlainPool, "https": _TLSPool}


# Highest number of idle connections in a pool. More threads can share a provider, but then some
# connections are closed after their call.
_POOL_SIZE = 128

# Highest number of prepared requests that are kept as templates. A provider has about a dozen
# paths, but some paths contain the name of a model.
_MOST_TEMPLATES = 64


class _Adapter(HTTPAdapter):
    """A transport adapter for the library `requests`; its connections obey the limits of the call.

    The library passes the argument `timeout` unchanged to the adapter. So this argument is used to
    pass the `Call`.

    An adapter is used for one endpoint, with fixed proxies. So the connection pool is determined
    only once. The target in the request line is determined once for each prepared request that is
    kept as a template. Together, this saves 50 µs for each call.
    """

    def __init__(self, policy: LocalityPolicy, bundle: str) -> None:
        self._policy = policy
        self._bundle = bundle
        self._closed = False
        self._pool: Any = None
        super().__init__(pool_connections=4, pool_maxsize=_POOL_SIZE, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        given, args = Sealed(args), ()  # the URL of the proxy may hold a password
        context = certificates.trusting(self._bundle)
        manager = super().proxy_manager_for(
            *given.cell_contents, **{"proxy_ssl_context": context, **kwargs}
        )
        manager.pool_classes_by_scheme = POOLS
        return manager

    def close(self) -> None:
        self._closed = True
        # The pools are closed here, because urllib3 2 leaves closing to the garbage collector.
        # While a program still holds a finished stream, the idle connections would stay open.
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            # The keys of `pools` contain the proxy's password. So no local variable may hold such
            # a key.
            for pool in list(map(manager.pools.get, list(manager.pools.keys()))):
                if pool is not None:
                    pool.close()
        super().close()

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        call = kwargs["timeout"]
        assert isinstance(call, Call)  # noqa: S101  # only `Session` uses this adapter
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
            # If another thread has closed the adapter during this call, close its pools again.
            if self._closed:
                self.close()

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        # For an http:// address, requests up to 2.31 does not verify certificates. But the
        # connection to the proxy may use TLS, and the prompt and the password are sent over it.
        url = "https://" if conn.scheme == "https" else url
        super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]  # untyped in requests

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        return self._kept_pool(super().get_connection_with_tls_context, *args, **kwargs)

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        # requests before 2.32 calls this method. Newer versions call the method above.
        return self._kept_pool(super().get_connection, *args, **kwargs)

    def _kept_pool(self, find: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._pool is None:
            self._pool = find(*args, **kwargs)
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        # `Session._prepare` has stored the target in the request.
        found: Optional[str] = vars(request).get("target")
        return super().request_url(request, proxies) if found is None else found

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        # This replaces the method of requests, which takes 30 µs and fails if the charset has no
        # value. That method also reads cookies, but they are never kept here.
        response = requests.Response()
        response.status_code, response.reason = resp.status, resp.reason
        response.headers = resp.headers  # also case-insensitive
        response.encoding = "utf-8"  # as JSON requires
        response.url, response.request = req.url, req  # type: ignore[assignment]  # it has been prepared
        response.raw = resp
        vars(response)["connection"] = self
        return response


class Session:
    """A session of the library `requests`, for one provider in one process. Threads share it."""

    def __init__(self, settings: Settings, service: Service = USUAL) -> None:
        self._settings = settings
        # `_verify` is always a path. For True, some releases of requests would pass a shared TLS
        # context to the pool instead of a path.
        self._verify = certificates.trusted(settings.ca_bundle) or _bundled()
        certificates.check_client(settings.client_cert)
        self._proxies = self._choose_proxies()
        in_the_clear = settings.endpoint.scheme == "http" and settings.has_key
        self._adapter = _Adapter(
            LocalityPolicy(
                settings.locality,
                needs_loopback=in_the_clear and not settings.allow_plaintext_key,
                proxied=bool(self._proxies),
                socket_path=settings.endpoint.socket_path,
                public_hosts=service.hosts,
            ),
            self._verify,
        )
        self._session = requests.Session()
        # The library must ignore .netrc and the environment variables for proxies and certificates.
        # The settings say whether the provider uses these variables.
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Redirects are never followed, because the prompt would be sent to another address.
        # Without this line, the library would still prepare the request for the redirect.
        self._session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]  # a hook of requests
        self._session.adapters.clear()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)
        self._templates: Dict[Tuple[Any, ...], requests.PreparedRequest] = {}

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Union[bytes, Upload, None],
        call: Call,
    ) -> Answer:
        """Send a request once and return its open response.

        Raises:
            ProviderError: The request could not be sent, or no response arrived.
            Exception: The uploaded file could not be read; or the listener of the upload, or a
                signal handler, raised an exception. This exception is raised unchanged.
        """
        call.connected = call.reused = call.got_bytes = False
        call.sent_at = None
        upload = body if isinstance(body, Upload) else None
        if upload is not None:
            upload.rewind()
        try:
            request = self._prepare(method, url, headers, body)
            response: requests.Response = self._sender(url)(
                request,
                stream=True,
                timeout=call,  # passed on unchanged to `_Adapter.send`
                verify=self._verify,
                cert=self._settings.client_cert,
                proxies=self._proxies,
            )
            if upload is not None and upload.failure is not None:
                response.close()  # something, such as a mock of requests, ignored the failure
                raise upload.failure
            parsed, connection.current.response = connection.current.response, None
            return Answer(response, parsed, call)
        except Exception as error:
            ours = None if upload is None else upload.failure
            failure = ours or translate(error, call)
        finally:
            if upload is not None:
                upload.close()
        call.detach()
        # The error is raised outside the except block. Otherwise the exception of requests would
        # be its context, which holds the request with the API key and the prompt.
        try:
            raise failure
        finally:
            del failure  # its traceback refers to this frame

    def _prepare(
        self, method: str, url: str, headers: Mapping[str, str], body: Union[bytes, Upload, None]
    ) -> requests.PreparedRequest:
        """Return a prepared request: a copy of an earlier one that differs only in its body.

        A copy takes 4 µs; preparing the request again would take 130 µs.
        """
        if isinstance(body, Upload):
            return _prepared(method, url, headers, body)
        key = (method, url, body is None, *headers.items())
        template = self._templates.get(key)
        if template is None:
            template = _prepared(method, url, headers, None if body is None else b"{}")
            vars(template)["target"] = self._adapter.request_url(template, self._proxies)
            # It is rare that all templates are dropped, and making one again takes little time.
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates = {}
            self._templates[key] = template
        return _filled(template, body)

    def _sender(self, url: str) -> Callable[..., Any]:
        """Return the function that sends a prepared request: `send` of the adapter.

        `requests.Session.send` is not used, because it spends 50 µs on cookies and redirects,
        which are not used here. But if a mock or a tracer has replaced this method, its
        replacement is used.
        """
        if not _is_requests_own(requests.Session.send):
            return partial(self._session.send, allow_redirects=False)
        send: Callable[..., Any] = self._session.get_adapter(url).send
        return send

    def _choose_proxies(self) -> ProxyMap:
        """Return the proxies of the settings or the environment; none for a loopback address."""
        settings = self._settings
        if not settings.proxies or settings.endpoint.is_loopback:
            return ProxyMap()
        if settings.proxies == "environment":
            found = as_proxies(Sealed(requests.utils.get_environ_proxies(settings.endpoint.url)))
        else:
            found = as_proxies(Sealed(settings.proxies))
        assert isinstance(found, ProxyMap)  # noqa: S101  # the settings checked it
        found.check_passwords()
        return found

    def scrub(self, text: str) -> str:
        """Return the text with the passwords of the proxies redacted."""
        return self._proxies.scrub(text)

    def close(self) -> None:
        """Close the idle connections. A connection in use is closed after its response."""
        self._session.close()


def _bundled() -> str:
    """Return the path of the certificates that come with the library `requests`."""
    return _unzipped(requests.utils.DEFAULT_CA_BUNDLE_PATH)


@lru_cache(maxsize=None)
def _unzipped(path: str) -> str:
    """Return the path of a file that may be in an archive. The file is looked for only once."""
    return str(requests.utils.extract_zipped_paths(path))  # type: ignore[no-untyped-call]  # untyped in requests


def _is_requests_own(function: Any) -> bool:
    """Return whether a function of the library `requests` is the original, and no replacement.

    A replacement can copy the name and the module of the original function, but not its globals.
    """
    own = vars(requests.sessions)
    return isinstance(function, FunctionType) and function.__globals__ is own


class _Headers(CaseInsensitiveDict):  # type: ignore[type-arg]  # 3.8 cannot subscript it
    """Request headers that are copied in one operation, not one header at a time.

    `copy`, which urllib3 calls for each request, returns a plain dict.
    """

    # An attribute of the base class. It maps lower-case names to the original names and the values.
    # The default is used if the constructor was interrupted.
    _store: Any = MappingProxyType({})

    def __init__(self, others: Any) -> None:
        self._store = others._store.copy()

    def copy(self) -> Any:
        return dict(self._store.values())


def _prepared(
    method: str, url: str, headers: Mapping[str, str], body: Any
) -> requests.PreparedRequest:
    """Prepare a request with the library `requests`. An `Upload` is passed like an open file."""
    return requests.Request(method, url, headers=dict(headers), data=body).prepare()


def _filled(template: requests.PreparedRequest, body: Optional[bytes]) -> requests.PreparedRequest:
    """Return a copy of a prepared request with another body."""
    request = requests.PreparedRequest()
    vars(request).update(vars(template))
    # The headers are copied, too, because they contain the length of the body.
    request.headers = _Headers(template.headers)
    if body is not None:
        request.body = body
        request.headers["Content-Length"] = str(len(body))
    return request
