"""Read METADATA with nab-index: `python nab.py INDEX_URL PINS [--concurrency N]` prints a name and a sha256 a line.

It is what nab does for an index without sidecars: the page, then ranges of the wheel, by the library's own reader.  Of
its transports that of urllib3 is used, the fastest of the three here as long as it has a thread for each request.
"""

import argparse
import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nab_index.client import AsyncSimpleClient
from nab_index.lazy_wheel import RangeCapabilityMemo, read_wheel_metadata_over_range
from nab_index.urllib3_async_transport import Urllib3AsyncTransport
from nab_provider.records import select_artifact_hash

# The library leaves it to its caller; nab asks for so much at once.
CONCURRENCY = 50


async def read_all(index: str, pins: list[str], concurrency: int) -> None:
    """Read the METADATA of every pin, side by side."""
    # The event loop's own pool has a few threads for each core, which is few for work that waits for the network.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(concurrency))
    transport, memo, places = Urllib3AsyncTransport(), RangeCapabilityMemo(), asyncio.Semaphore(concurrency)
    async with AsyncSimpleClient(transport, index) as client:

        async def read(pin: str) -> None:
            name, _, version = pin.partition("==")
            async with places:
                file = next(file for file in await client.get_files(name) if file.version == version)
                digest = select_artifact_hash(file.hashes)
                read = await read_wheel_metadata_over_range(transport, file.url, name, memo, wheel_hash=digest)
            print(name, hashlib.sha256((read.text or "").encode()).hexdigest())

        await asyncio.gather(*map(read, pins))


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("index")
    parser.add_argument("pins", type=Path)
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY)
    asked = parser.parse_args()
    asyncio.run(read_all(asked.index, asked.pins.read_text(encoding="utf-8").split(), asked.concurrency))


if __name__ == "__main__":
    main()
