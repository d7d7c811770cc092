"""A real browser without a window: Chromium, by its DevTools protocol; where there is none, the test is skipped."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",  # it does not start as root with one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-port=0",
)
# What tells of a fault in a page: exceptions, what it writes to the console, what the browser says of it (CSP, say).
COMPLAINTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
# For one answer; a machine may be busy.
SECONDS = 60


class Browser:
    """One page of a browser.  `complaints` and `requests` (URLs) are those since it was last opened."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._session = ""
        self._number = 0
        self._events: list[str] = []
        self.complaints: list[dict[str, Any]] = []
        self.requests: list[str] = []

    async def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; events that come meanwhile are noted."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": values}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        while (answer := await self._receive()).get("id") != number:
            pass
        assert "error" not in answer, (method, answer)
        return answer["result"]

    async def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._socket.receive_json(timeout=SECONDS)
        if method := message.get("method"):
            self._events.append(method)
        if method in COMPLAINTS:
            self.complaints.append(message["params"])
        if method == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message

    async def attach(self) -> None:
        target = await self.call("Target.createTarget", url="about:blank")
        self._session = (await self.call("Target.attachToTarget", flatten=True, **target))["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")

    async def open(self, url: str) -> None:
        """Load a page, and whatever it asks for."""
        for noted in (self._events, self.complaints, self.requests):
            noted.clear()
        await self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            await self._receive()

    async def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page; it must be one that JSON can say."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def close(self) -> None:
        """End the browser, and with it its own processes."""
        self._session = ""
        await self.call("Browser.close")

    async def type_into(self, selector: str, text: str) -> None:
        """Put the text into a field in place of what is there, as by the keyboard."""
        await self.value(f"document.querySelector({selector!r}).select()")
        await self.call("Input.insertText", text=text)

    async def click(self, selector: str) -> None:
        """Click into the middle of an element, as by the mouse."""
        element = f"document.querySelector({selector!r})"
        await self.value(f"{element}.scrollIntoView({{block: 'center'}})")
        box = await self.value(f"{element}.getBoundingClientRect().toJSON()")
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Browser]:
    """Run a browser that keeps what it has to keep in the folder."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    process = await asyncio.create_subprocess_exec(
        program, *FLAGS, f"--user-data-dir={folder}", "about:blank", stderr=asyncio.subprocess.PIPE
    )
    try:
        url = await asyncio.wait_for(_devtools_url(process), SECONDS)
        async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
            browser = Browser(socket)
            await browser.attach()
            yield browser
            await browser.close()
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def _devtools_url(process: asyncio.subprocess.Process) -> str:
    assert process.stderr
    said = []
    async for line in process.stderr:
        said.append(line.decode(errors="replace").strip())
        if said[-1].startswith("DevTools listening on "):
            return said[-1].split()[-1]
    raise AssertionError(f"the browser ended: {said}")
