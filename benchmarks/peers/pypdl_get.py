"""Download with pypdl: `python pypdl_get.py LIST [--hash] [--concurrent N] [--segments N]`, into the working folder.

LIST holds a line `URL#sha256=...` per file.  What is not given is left as pypdl has it by default.
"""

import argparse
import sys

from pypdl import Pypdl


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("list")
    parser.add_argument("--hash", action="store_true")
    parser.add_argument("--concurrent", type=int)
    parser.add_argument("--segments", type=int)
    return parser.parse_args()


def main() -> None:
    """Download all; exit with 1 if a file is missing or has the wrong hash."""
    given = parse()
    with open(given.list, encoding="utf-8") as lines:
        hashes = dict(line.strip().split("#sha256=") for line in lines)
    settings = {"segments": given.segments, "multisegment": given.segments != 1} if given.segments else {}
    loader = Pypdl(max_concurrent=given.concurrent) if given.concurrent else Pypdl()
    done = loader.start(
        tasks=[{"url": url} for url in hashes],
        hash_algorithms="sha256" if given.hash else None,
        display=False,
        **settings,
    )
    if len(done) != len(hashes):
        sys.exit(f"{len(hashes) - len(done)} of {len(hashes)} failed: {loader.failed[:3]}")
    wrong = [url for url, file in done if given.hash and not file.validate_hash(hashes[url], "sha256")]
    if wrong:
        sys.exit(f"wrong hash: {wrong[:3]}")


if __name__ == "__main__":
    main()
