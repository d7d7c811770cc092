"""A worker of this machine: `python -m fetcher.cluster.local_worker SCHEDULER DIR`, which the coordinator runs.

The coordinator's pipe says first with which certificate it is let in.  Ctrl-C goes to the whole process group of a
terminal, and is the coordinator's to heed.  However that ends, its end of the pipe is closed then, and the worker ends
with it.
"""

import asyncio
import signal
import sys
from threading import Thread
from typing import Any

import dask
import msgspec
from distributed import Security, Worker

__all__ = ["main"]


def main(scheduler: str, directory: str) -> None:
    """Work until the coordinator is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = msgspec.json.decode(sys.stdin.readline())
    security = Security(require_encryption=True, **told)  # type: ignore[no-untyped-call]
    Thread(target=_end_with_coordinator, daemon=True).start()
    with dask.config.set({"distributed.worker.profile.enabled": False}):
        asyncio.run(_work(scheduler, directory, security))


async def _work(scheduler: str, directory: str, security: Security) -> None:
    # What it is to bring is on its way to disk at once: no limit of memory is worth an end in the middle of it.
    worker: Any = Worker(
        scheduler, nthreads=1, local_directory=directory, memory_limit=0, dashboard=False, security=security
    )
    async with worker:
        await worker.finished()


def _end_with_coordinator() -> None:
    sys.stdin.read()
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
