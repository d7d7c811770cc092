"""One response of aiohttp's, and its exceptions translated; imported with aiohttp itself, at the first request."""

from time import monotonic
from typing import TYPE_CHECKING

import aiohttp
import async_timeout
from aiohttp import ClientResponse
from aiohttp.http_exceptions import ContentEncodingError
from aiohttp.streams import EmptyStreamReader
from anyio import sleep

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
from fetcher.transport.reply import REST_WORTH_READING, Reply

if TYPE_CHECKING:
    from fetcher.transport.session import Timeouts

__all__ = ["Response", "translate"]

# A rest of a body is not read for longer than this, in seconds.
REST_PATIENCE = 1.0
PROXY_AUTH = 407
# What is written at once is what so many full buffers bring: handing it to a thread costs as much as 100 KiB of work.
BATCH_READS = 3


class Response:
    """A response whose body is read by whoever asked for it, and closes it.

    `received` counts the body's bytes so far, decoded; up to twice the buffer more may have come.  `batch` is how many
    to write at once.
    """

    def __init__(
        self,
        response: ClientResponse,
        url: str,
        timeouts: "Timeouts",
        buffer: int,
        opened: "set[Response]",
        pace: Pace | None = None,
    ) -> None:
        opened.add(self)
        self._opened = opened
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
    def fields(self) -> list[tuple[str, str]]:
        """The header fields as they came; a name may stand there more than once."""
        return list(self._response.headers.items())

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
            failure = translate(error, self.reply.url, self._timeouts)
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
        return translate(error, self.reply.url, self._timeouts)

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

    def cut(self, error: Exception) -> None:
        """Let whoever reads the body hear why no more of it comes: aiohttp, closing, would leave them waiting."""
        if not self._content.is_eof():
            self._content.set_exception(error)

    async def close(self, *, keep: bool) -> None:
        """Give the connection back, or close it if the body is not at its end; `keep`: a small rest is read first."""
        try:
            if keep:
                await self._read_small_rest()
        finally:
            self._opened.discard(self)
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


def translate(error: Exception, url: str, timeouts: "Timeouts") -> TransportError:
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
