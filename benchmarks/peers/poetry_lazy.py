"""Read METADATA with poetry: `python poetry_lazy.py INDEX_URL PINS` prints what each depends on, a JSON object a line.

It asks poetry's repository as poetry's resolver does: one release after the other, wheels by ranges.  poetry tells of
METADATA what its resolver needs.
"""

import json
import sys
from pathlib import Path

from packaging.utils import canonicalize_name
from poetry.config.config import Config
from poetry.core.constraints.version import Version
from poetry.repositories.legacy_repository import LegacyRepository


def main(index: str, pins: Path) -> None:
    """Read the METADATA of every pin."""
    repository = LegacyRepository("benchmark", index, config=Config(use_environment=False), disable_cache=True)
    for pin in pins.read_text(encoding="utf-8").split():
        name, _, version = pin.partition("==")
        info = repository.get_release_info(canonicalize_name(name), Version.parse(version))
        print(json.dumps({"name": name, "requires_dist": info.requires_dist or []}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
