"""Resolve with fetcher's asynchronous front door: `python resolve_async.py INDEX_URL REQUIREMENT...` prints pins."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import anyio
from async_resolver import resolve
from packaging.requirements import Requirement

from fetcher import Fetcher, this_interpreter


async def main(index: str, *wanted: str) -> None:
    """Resolve and print."""
    async with Fetcher([index]) as fetcher:
        for name, file in (await resolve(fetcher, map(Requirement, wanted), this_interpreter())).items():
            print(f"{name}=={file.version}")


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
