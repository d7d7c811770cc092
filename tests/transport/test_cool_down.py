"""A host's pause is told, and kept by a Fetcher that was told of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from fake_faults import Status
from fake_index import FakeIndex
from fake_wheels import make_wheel, wheel_filename

from fetcher import ConfigError, Fetcher

if TYPE_CHECKING:
    from pathlib import Path

NAME = wheel_filename()


async def test_a_pause_is_told_by_one_and_kept_by_the_other(tmp_path: Path) -> None:
    told: list[tuple[str, float, int]] = []
    full = Status(429, times=1, headers={"Retry-After": "1"})
    async with FakeIndex(wheels={NAME: make_wheel()}, faults={NAME: full}) as index:

        def note(host: str, seconds: float, status: int) -> None:
            told.append((host, seconds, status))

        async with Fetcher([index.url], on_cool_down=note) as one, Fetcher([index.url], on_cool_down=note) as other:
            await one.download(f"{index.files_url}/{NAME}", tmp_path)
            assert told == [(index.base, 1.0, 429)]
            began = time.monotonic()
            other.cool_down(index.files_url, 0.3, 429)
            await other.project("demo")
            assert time.monotonic() - began >= 0.3
    assert len(told) == 1


async def test_what_is_no_url_has_no_host() -> None:
    async with Fetcher() as fetcher:
        with pytest.raises(ConfigError, match="is not an http or https URL"):
            fetcher.cool_down("tcp://host:1", 1, 429)
