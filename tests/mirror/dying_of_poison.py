"""A worker that runs this by `--preload` ends at once when it is to bring a file whose name begins with `poison`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fetcher.cluster import shard

if TYPE_CHECKING:
    from fetcher.index.files import File
    from fetcher.mirror.transfer import Carried


def dask_setup(worker: object) -> None:
    carry = shard.carry

    async def carry_or_die(fetcher: Any, store: Any, file: File, incoming: Any) -> Carried:
        if file.filename.startswith("poison"):
            os._exit(1)
        return await carry(fetcher, store, file, incoming)

    shard.carry = carry_or_die
