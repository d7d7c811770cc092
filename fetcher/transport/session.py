"""The only door to aiohttp's session.  One request, one response; aiohttp's exceptions stop here.

aiohttp is imported at the first request: what is answered from the cache does not pay for it.

Settings that are not aiohttp's own, and why:

* no total time-out: a large file may take its time; silence and stalls are what ends an attempt.
* no cookies: a login page's cookie must not be replayed.
* no limit in the connector: the transport's own limiters hold it, so that waiting for a slot is not a time-out.
* `trust_env` off: aiohttp would send netrc passwords by itself.  Proxies are taken from the environment here.
* no redirects: each hop is resolved afresh by the transport.
* no resending by aiohttp: it repeats a GET once, unseen, when a connection breaks before the answer; attempts are
  counted and bounded in one place, the transport.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from anyio import Lock, to_thread
from yarl import URL

from fetcher.transport.pace import Pace
from fetcher.version import __version__

if TYPE_CHECKING:
    import ssl

    import aiohttp
    from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

    from fetcher.transport.response import Response

__all__ = ["Session", "Timeouts"]

# With a limited rate no more is taken from the wire, unread, than comes in so many seconds.
BUFFERED = 0.25
LEAST_BUFFER = 16 * 1024


@dataclass(frozen=True)
class Timeouts:
    """Seconds: `connect` for a connection, `read` without a byte; less than `least` bytes in `window` is a stall."""

    connect: float = 30.0
    read: float = 30.0
    window: float = 30.0
    least: int = 4096


class Session:
    """An aiohttp session set up for package files.  Use it as an async context manager."""

    def __init__(self, timeouts: Timeouts, pace: Pace | None = None) -> None:
        self._timeouts = timeouts
        self._pace = pace
        self._open = False
        self._proxies: Mapping[str, str] = {}
        self._http: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._tls_lock = Lock()
        self._responses: set[Response] = set()

    async def __aenter__(self) -> Self:
        if self._open:
            raise RuntimeError("it is open already")
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        http, self._http = self._http, None
        if http is not None:
            for response in self._responses:
                response.cut(_closed())
            await http.close()

    def _begin(self) -> "aiohttp.ClientSession":
        """Return aiohttp's session, made for the first request."""
        if not self._open:
            raise _closed()
        if self._http is not None:
            return self._http
        import urllib.request

        import aiohttp

        self._proxies = urllib.request.getproxies()
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._timeouts.connect, sock_read=self._timeouts.read
            ),
            headers={"User-Agent": f"fetcher/{__version__}"},
            trust_env=False,
        )
        self._http._retry_connection = False
        return self._http

    @property
    def is_paced(self) -> bool:
        """Whether the rate is limited, over all responses together."""
        return self._pace is not None

    async def get(
        self,
        url: URL,
        headers: Mapping[str, str],
        *,
        middleware: "ClientMiddlewareType",
        decode: bool,
        buffer: int,
    ) -> "Response":
        """Send one GET and return the response, which the caller closes.

        Up to twice `buffer` bytes of the body are taken from the wire before anybody reads them.

        Raises TransportError for whatever goes wrong on the wire, RuntimeError if the session is closed meanwhile.
        """
        if self._pace is not None:
            buffer = min(buffer, max(LEAST_BUFFER, int(self._pace.rate * BUFFERED)))
        answer = await self._get(url, headers, middleware, decode, buffer)
        from fetcher.transport.response import Response

        response = Response(answer, str(url), self._timeouts, buffer, self._responses, self._pace)
        if not self._open:  # it was closed when the head had just come
            response.cut(_closed())
        return response

    async def _get(
        self, url: URL, headers: Mapping[str, str], middleware: "ClientMiddlewareType", decode: bool, buffer: int
    ) -> "ClientResponse":
        http = self._begin()
        import aiohttp

        try:
            return await http.get(
                url,
                headers=headers,
                middlewares=(middleware, self._bound_head),
                allow_redirects=False,
                auto_decompress=decode,
                read_bufsize=buffer,
                proxy=self._proxy(url),
                ssl=await self._tls_context() if url.scheme == "https" else True,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            from fetcher.transport.response import translate

            failure: Exception = translate(error, str(url), self._timeouts) if self._open else _closed()
        # Raised out here: aiohttp's errors hold the request's headers, and would go along as the context.
        raise failure

    async def _bound_head(self, request: "ClientRequest", handler: "ClientHandlerType") -> "ClientResponse":
        """The innermost middleware: a name look-up, a connection and a head that drips have an end, too."""
        import async_timeout

        if not self._open:  # or aiohttp fails an assertion: it was closed while the middlewares waited
            raise _closed()
        async with async_timeout.timeout(self._timeouts.connect + self._timeouts.read):
            return await handler(request)

    async def _tls_context(self) -> "ssl.SSLContext":
        """Return the one context of this session; made in a thread when first needed, for it reads all roots."""
        async with self._tls_lock:
            if self._tls is None:
                self._tls = await to_thread.run_sync(_make_tls_context)
        return self._tls

    def _proxy(self, url: URL) -> str | None:
        if not self._proxies:
            return None
        from urllib.request import proxy_bypass

        if proxy_bypass(url.raw_host or ""):
            return None
        return self._proxies.get(url.scheme) or self._proxies.get("all")


def _closed() -> RuntimeError:
    return RuntimeError("the session is not open: use `async with`")


def _make_tls_context() -> "ssl.SSLContext":
    """Return a context that trusts what the operating system trusts.

    Where OpenSSL itself finds the roots (SSL_CERT_FILE, the system's file), its own context does: truststore reads them
    again for every connection, some 25 ms each time, in the event loop.
    """
    import ssl

    import truststore

    context = ssl.create_default_context()
    if sys.platform in ("darwin", "win32") or context.cert_store_stats()["x509_ca"] == 0:
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return context
