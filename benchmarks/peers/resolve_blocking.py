"""Resolve with fetcher's blocking front door: `python resolve_blocking.py INDEX_URL REQUIREMENT...` prints pins."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from packaging.requirements import Requirement
from resolver import resolve

from fetcher import this_interpreter
from fetcher.blocking import Fetcher


def main(index: str, *wanted: str) -> None:
    """Resolve and print."""
    with Fetcher([index]) as fetcher:
        for name, file in resolve(fetcher, map(Requirement, wanted), this_interpreter()).items():
            print(f"{name}=={file.version}")


if __name__ == "__main__":
    main(*sys.argv[1:])
