"""A link: `python relay.py PORT TARGET LATENCY RATE` passes bytes from a port of loopback to another.

What a client sends waits LATENCY seconds, and what a connection brings back flows at RATE bytes per second (0: as fast
as it can).  It stands before a web server that can do neither by itself.
"""

import asyncio
import sys
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


async def carry_down(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: int) -> None:
    """Pass answers back, at the rate."""
    clock = asyncio.get_running_loop().time
    free_at = clock()
    while piece := await reader.read(int(rate * STEP) or CHUNK):
        writer.write(piece)
        await writer.drain()
        if rate:
            free_at = max(free_at, clock() - STEP) + len(piece) / rate
            await asyncio.sleep(free_at - clock())
    writer.close()


async def connect(
    target: int, latency: float, rate: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one connection until either side has had enough."""
    up_reader, up_writer = await asyncio.open_connection("127.0.0.1", target, limit=CHUNK)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(carry_up(reader, up_writer, latency))
            tasks.create_task(carry_down(up_reader, writer, rate))
    except* ConnectionError:
        pass  # a client that has what it wants goes without a word
    finally:
        up_writer.close()
        writer.close()


async def main(port: int, target: int, latency: float, rate: int) -> None:
    """Listen until terminated."""
    server = await asyncio.start_server(partial(connect, target, latency, rate), "127.0.0.1", port, limit=CHUNK)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
