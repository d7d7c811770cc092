"""The end of a server that tests have."""

from __future__ import annotations

import asyncio
from contextlib import suppress

# To make the transport of a connection that was accepted, to tell its protocol, to be told that it was.
TURNS = 3


async def stop_listening(server: asyncio.Server) -> None:
    """Nobody connects any more, and the protocols of all who did have been told: now they can be closed.

    A server that is closed between accepting a connection and making its transport would never close that (Python's
    issue 109564, which 3.11 has).
    """
    for listener in server.sockets:
        with suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().remove_reader(listener)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    server.close()
