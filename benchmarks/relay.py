"""A link: `python relay.py PORT TARGET LATENCY RATE [shared]` passes bytes from a port of loopback to another.

What a client sends waits LATENCY seconds, and what a connection brings back flows at RATE bytes per second (0: as fast
as it can); with `shared` all connections together have that rate.  It stands before a web server that can do neither by
itself.
"""

import asyncio
import sys
from collections.abc import Callable
from functools import partial

CHUNK = 256 * 1024
# The rate is kept in steps of this many seconds.
STEP = 0.01


async def carry_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float) -> None:
    """Pass requests on, each piece after the latency."""
    while piece := await reader.read(CHUNK):
        await asyncio.sleep(latency)
        writer.write(piece)
        await writer.drain()
    writer.write_eof()  # one who has no more to ask may still wait for the answer


class Line:
    """Something that carries so many bytes a second, one piece after the other; 0: as fast as it can."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.free_at = 0.0

    async def carry(self, count: int) -> None:
        """Wait until so many bytes are through."""
        if self.rate:
            clock = asyncio.get_running_loop().time
            self.free_at = max(self.free_at, clock() - STEP) + count / self.rate
            await asyncio.sleep(self.free_at - clock())


async def carry_down(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
    """Pass answers back, at the rate of the line."""
    while piece := await reader.read(int(line.rate * STEP) or CHUNK):
        writer.write(piece)
        await writer.drain()
        await line.carry(len(piece))
    writer.close()


async def connect(
    target: int, latency: float, line: Callable[[], Line], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one connection until either side has had enough."""
    up_reader, up_writer = await asyncio.open_connection("127.0.0.1", target, limit=CHUNK)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(carry_up(reader, up_writer, latency))
            tasks.create_task(carry_down(up_reader, writer, line()))
    except* ConnectionError:
        pass  # a client that has what it wants goes without a word
    finally:
        up_writer.close()
        writer.close()


async def main(port: int, target: int, latency: float, line: Callable[[], Line]) -> None:
    """Listen until terminated; `line` is what a new connection gets."""
    server = await asyncio.start_server(partial(connect, target, latency, line), "127.0.0.1", port, limit=CHUNK)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    shared = Line(int(sys.argv[4]))
    one_each = partial(Line, shared.rate)
    lines = (lambda: shared) if "shared" in sys.argv[5:] else one_each
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), lines))
