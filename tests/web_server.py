"""The benchmarks' web server for a test: nginx, else Caddy; where there is neither, the test is skipped."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def serving(root: Path, **how: Any) -> Iterator[server.Server]:
    """Serve a folder; `how` is that of the benchmarks: latency, rate, ranges."""
    with ExitStack() as stack:
        try:
            served = stack.enter_context(server.serving(root, **how))
        except server.NoServer as missing:
            pytest.skip(str(missing))
        yield served
