"""The only door to aiohttp's session.  One request, one response; aiohttp's exceptions stop here.

Settings that are not aiohttp's own, and why:

* no total time-out: a large file may take its time; silence and stalls are what ends an attempt.
* no cookies: a login page's cookie must not be replayed.
* no limit in the connector: the transport's own limiters hold it, so that waiting for a slot is not a time-out.
* `trust_env` off: aiohttp would send netrc passwords by itself.  Proxies are taken from the environment here.
* no redirects: each hop is resolved afresh by the transport.
* no resending by aiohttp: it repeats a GET once, unseen, when a connection breaks before the answer; attempts are
  counted and bounded in one place, the transport.
"""

import ssl
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Self

import aiohttp
import async_timeout
import truststore
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse
from aiohttp.http_exceptions import ContentEncodingError
from aiohttp.streams import EmptyStreamReader
from anyio import Lock, sleep, to_thread
from yarl import URL

from fetcher.errors import (
    BadReply,
    ConnectFailed,
    Disconnected,
    FetcherError,
    Stalled,
    TimedOut,
    TransportError,
    Truncated,
)
from fetcher.transport.pace import Pace
from fetcher.transport.reply import Reply
from fetcher.version import __version__

__all__ = ["REST_WORTH_READING", "Response", "Session", "Timeouts"]

# A body left with at most this many bytes is read to its end, so that the connection can be used again.
REST_WORTH_READING = 16 * 1024
# ... but not for longer than this, in seconds.
REST_PATIENCE = 1.0
PROXY_AUTH = 407
# With a limited rate no more is taken from the wire, unread, than comes in so many seconds.
BUFFERED = 0.25
LEAST_BUFFER = 16 * 1024
# What is written at once is what so many full buffers bring: handing it to a thread costs as much as 100 KiB of work.
BATCH_READS = 3


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
        self._proxies = urllib.request.getproxies()
        self._http: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._tls_lock = Lock()

    async def __aenter__(self) -> Self:
        if self._http is not None:
            raise RuntimeError("it is open already")
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
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    @property
    def is_paced(self) -> bool:
        """Whether the rate is limited, over all responses together."""
        return self._pace is not None

    async def get(
        self,
        url: URL,
        headers: Mapping[str, str],
        *,
        middleware: ClientMiddlewareType,
        decode: bool,
        buffer: int,
    ) -> "Response":
        """Send one GET and return the response, which the caller closes.

        Up to twice `buffer` bytes of the body are taken from the wire before anybody reads them.

        Raises TransportError for whatever goes wrong on the wire.
        """
        if self._pace is not None:
            buffer = min(buffer, max(LEAST_BUFFER, int(self._pace.rate * BUFFERED)))
        response = await self._get(url, headers, middleware, decode, buffer)
        return Response(response, str(url), self._timeouts, buffer, self._pace)

    async def _get(
        self, url: URL, headers: Mapping[str, str], middleware: ClientMiddlewareType, decode: bool, buffer: int
    ) -> ClientResponse:
        if self._http is None:
            raise RuntimeError("the session is not open: use `async with`")
        try:
            return await self._http.get(
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
            failure = _translate(error, str(url), self._timeouts)
        # Raised out here: aiohttp's errors hold the request's headers, and would go along as the context.
        raise failure

    async def _bound_head(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """The innermost middleware: a name look-up, a connection and a head that drips have an end, too."""
        async with async_timeout.timeout(self._timeouts.connect + self._timeouts.read):
            return await handler(request)

    async def _tls_context(self) -> ssl.SSLContext:
        """Return the one context of this session; made in a thread when first needed, for it reads all roots."""
        async with self._tls_lock:
            if self._tls is None:
                self._tls = await to_thread.run_sync(_make_tls_context)
        return self._tls

    def _proxy(self, url: URL) -> str | None:
        host = url.raw_host or ""
        if not self._proxies or urllib.request.proxy_bypass(host):
            return None
        return self._proxies.get(url.scheme) or self._proxies.get("all")


class Response:
    """A response whose body is read by whoever asked for it, and closes it.

    `received` counts the body's bytes so far, decoded; up to twice the buffer more may have come.  `batch` is how many
    to write at once.
    """

    def __init__(
        self, response: ClientResponse, url: str, timeouts: Timeouts, buffer: int, pace: Pace | None = None
    ) -> None:
        self.batch = BATCH_READS * buffer
        self._pace = pace
        self.reply = Reply.of(url, response.status, response.headers)
        self.location = response.headers.get("Location")
        self.received = 0
        self._response = response
        self._content = response.content
        self._abandoned = False
        self._failure: FetcherError | None = None
        self._timeouts = timeouts
        self._window_bytes = 0
        self._window_left = timeouts.window

    @property
    def transferred(self) -> int:
        """The bytes of the body that have crossed the wire, read or not, as encoded there."""
        # A 204 or 304 has no body, and aiohttp's stand-in for one does not count.
        return 0 if isinstance(self._content, EmptyStreamReader) else self._content.total_raw_bytes

    async def read_some(self) -> bytes:
        """Return the next bytes as they arrive, `b""` at the end.

        Raises Truncated, Disconnected, TimedOut, Stalled, BadReply.  Only time spent waiting counts as a stall.
        """
        failure: FetcherError | None = self._failure
        chunk = b""
        if failure is not None:
            raise failure
        try:
            chunk = self._content.read_nowait()
            if not chunk and not self._content.at_eof():
                chunk = await self._wait_for_some()
        except aiohttp.ClientError as error:
            failure = self._broken(error)
            chunk, self._failure = self._salvage(error), failure
        except TimeoutError:
            failure = Stalled(self.reply.url, least=self._timeouts.least, seconds=self._timeouts.window)
        except OSError as error:
            failure = _translate(error, self.reply.url, self._timeouts)
        if failure is not None and not chunk:
            raise failure
        self.received += len(chunk)
        self._window_bytes += len(chunk)
        if self._window_bytes >= self._timeouts.least:
            self._window_bytes, self._window_left = 0, self._timeouts.window
        if self._pace is not None and (pause := self._pace.pause(len(chunk), monotonic())):
            await sleep(pause)
        return chunk

    def _salvage(self, error: aiohttp.ClientError) -> bytes:
        """Return what came before the body broke: aiohttp would keep it to itself."""
        self._content._exception = None
        chunk = self._content.read_nowait()
        self._content._exception = error
        return chunk

    async def _wait_for_some(self) -> bytes:
        began = monotonic()
        async with async_timeout.timeout(self._window_left):
            chunk = await self._content.readany()
        self._window_left -= monotonic() - began
        return chunk

    def _broken(self, error: Exception) -> FetcherError:
        undecodable = isinstance(error.__cause__, ContentEncodingError)
        if isinstance(error, aiohttp.ClientPayloadError) and not undecodable:
            return Truncated(self.reply.url, received=self.transferred, expected=self.reply.content_length)
        return _translate(error, self.reply.url, self._timeouts)

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raises BadReply if it is larger than `limit` bytes."""
        body = await self.read_up_to(limit + 1)
        if len(body) > limit:
            raise BadReply(self.reply.url, f"a body of more than {limit} bytes")
        return body

    async def read_up_to(self, count: int) -> bytes:
        """Return `count` bytes, or fewer at the end of the body, or the few more that came in the last chunk."""
        chunks = []
        held = 0
        while held < count and (chunk := await self.read_some()):
            chunks.append(chunk)
            held += len(chunk)
        return b"".join(chunks)

    def abandon(self) -> None:
        """Read nothing more of the body: the connection is closed, and what is under way is lost."""
        self._abandoned = True

    async def close(self, *, keep: bool) -> None:
        """Give the connection back, or close it if the body is not at its end; `keep`: a small rest is read first."""
        try:
            if keep:
                await self._read_small_rest()
        finally:
            self._response.close()

    async def _read_small_rest(self) -> None:
        """Read what is left if it is little, so that the connection is given back and not closed."""
        length, left = self.reply.content_length, REST_WORTH_READING
        if self._abandoned or self._content.at_eof() or length is None or length - self.transferred > left:
            return
        try:
            async with async_timeout.timeout(REST_PATIENCE):
                while left > 0 and (chunk := await self._content.readany()):
                    left -= len(chunk)
                    self.received += len(chunk)
        except (aiohttp.ClientError, TimeoutError):
            return  # the body is not wanted any more: the connection is then closed instead


def _make_tls_context() -> ssl.SSLContext:
    """Return a context that trusts what the operating system trusts.

    Where OpenSSL itself finds the roots (SSL_CERT_FILE, the system's file), its own context does: truststore reads them
    again for every connection, some 25 ms each time, in the event loop.
    """
    context = ssl.create_default_context()
    if sys.platform in ("darwin", "win32") or context.cert_store_stats()["x509_ca"] == 0:
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return context


def _translate(error: Exception, url: str, timeouts: Timeouts) -> TransportError:
    """Return our error for one of aiohttp's."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return ConnectFailed(url, f"its TLS certificate is not trusted: {error.certificate_error}", lasting=True)
        case aiohttp.InvalidURL():
            return ConnectFailed(url, "the address, or the proxy's, cannot be used", lasting=True)
        case aiohttp.ClientHttpProxyError():
            return ConnectFailed(url, f"the proxy answered HTTP {error.status}", lasting=error.status == PROXY_AUTH)
        case aiohttp.ConnectionTimeoutError():
            return TimedOut(url, "no connection", seconds=timeouts.connect)
        case TimeoutError():
            return TimedOut(url, "nothing came", seconds=timeouts.read)
        case aiohttp.ClientConnectorError():
            return ConnectFailed(url, error.os_error.strerror or str(error.os_error))
        case aiohttp.ServerDisconnectedError():
            return Disconnected(url, "the server closed it without an answer")
        case OSError():
            return Disconnected(url, error.strerror or type(error).__name__)
        case aiohttp.ClientResponseError():
            return BadReply(url, error.message)
        case aiohttp.ClientError():
            return BadReply(url, type(error).__name__)
        case _:
            # A host name that cannot be encoded is a ValueError out of the resolver.
            return ConnectFailed(url, "the host name cannot be used", lasting=True)
