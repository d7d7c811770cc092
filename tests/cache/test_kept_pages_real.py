"""Kept pages and a real web server's validators: nginx, else Caddy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import corpus
import pytest
from web_server import serving
from wire_checks import NOTHING_KNOWN

from fetcher import Fetcher

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

PROJECTS = 3


async def read(url: str, cache: Path, wheels: list[corpus.Wheel]) -> None:
    """One run: page and METADATA of each project."""
    async with Fetcher([f"{url}/simple"], environ=NOTHING_KNOWN, cache=cache) as fetcher:
        for wheel in wheels:
            (file,) = (await fetcher.project(wheel.project)).files
            assert (await fetcher.metadata(file)).raw == wheel.metadata


@pytest.mark.parametrize(("max_age", "requests"), [(None, [6, 3, 3]), (0, [6, 3, 3]), (600, [6, 0, 0])])
async def test_three_runs(max_age: int | None, requests: list[int], tmp_path: Path) -> None:
    site, made = tmp_path / "site", tmp_path / "made"
    made.mkdir()
    wheels = corpus.generate_wheels(made, PROJECTS)
    corpus.lay_out(wheels, site)
    found = []
    with serving(site, max_age=max_age) as server:
        for _ in requests:
            server.forget()
            await read(server.url, tmp_path / "cache", wheels)
            found.append(server.count())
    assert [count for count, _ in found] == requests
    assert [size for _, size in found][1:] == [0, 0]  # a 304 has no body
