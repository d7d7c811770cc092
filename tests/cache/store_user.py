"""A process that uses a store: `python store_user.py DIRECTORY MOST_BYTES SECONDS SEED`.

Its threads put in, take out and remove the same few keys that others do.  A value tells of which key it is, and can be
checked to the last byte; the first wrong one ends the process with 1.  When it has begun it prints a line, and at the
end how many values it has put in and taken out.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import threading
import time
from pathlib import Path

from fetcher.cache.store import Store

THREADS = 4
KEYS = [f"key {number}" for number in range(100)]
# Of a value, in pieces of 32 bytes.
MOST_PIECES = 600


def value_of(key: str, version: int) -> bytes:
    """A value for this key, one of many."""
    stamp = f"{key}|{version}|".encode()
    return stamp + hashlib.sha256(stamp).digest() * (version % MOST_PIECES)


def is_right(key: str, value: bytes) -> bool:
    of, version, _ = value.split(b"|", 2)
    return of == key.encode() and value == value_of(key, int(version))


def use(store: Store, until: float, chance: random.Random, counts: dict[str, int]) -> None:
    while time.monotonic() < until:
        key = chance.choice(KEYS)
        action = chance.random()
        if action < 0.4:
            store.put("page", key, value_of(key, chance.randrange(1 << 32)))
            counts["put"] += 1
        elif action < 0.99:
            value = store.get("page", key)
            counts["got"] += value is not None
            if value is not None and not is_right(key, value):
                print(f"wrong: {key}: {value[:100]!r}", flush=True)
                os._exit(1)
        else:
            store.remove("page", key)


def main(directory: str, most_bytes: str, seconds: str, seed: str) -> None:
    store = Store(Path(directory), int(most_bytes))
    until = time.monotonic() + float(seconds)
    counts = {"put": 0, "got": 0}
    chances = [random.Random(f"{seed} {number}") for number in range(THREADS)]
    threads = [threading.Thread(target=use, args=(store, until, chance, counts)) for chance in chances]
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    for thread in threads:
        thread.join()
    print(counts["put"], counts["got"])


if __name__ == "__main__":
    main(*sys.argv[1:])
