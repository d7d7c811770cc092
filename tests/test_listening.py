"""A server's end leaves nobody connected."""

from __future__ import annotations

import asyncio
import socket

import pytest
from listening import stop_listening

PATIENCE = 5


@pytest.mark.parametrize("turns", range(5))
async def test_who_connects_at_the_last_moment_is_known_and_can_be_sent_away(turns: int) -> None:
    loop, known = asyncio.get_running_loop(), list[asyncio.StreamWriter]()

    def hear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        known.append(writer)

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        for _ in range(turns):
            await asyncio.sleep(0)
        await stop_listening(server)
        for writer in known:
            writer.close()
        try:
            assert await asyncio.wait_for(loop.sock_recv(client, 1), PATIENCE) == b""
        except ConnectionResetError:
            assert known == []  # nobody had accepted it
