"""What a source distribution's PKG-INFO vouches for (PEP 643).

From Metadata-Version 2.2 on a field that is not named in `Dynamic` is what the wheels built of it will say.  Before, no
field is: setup.py may have its say.  A resolver goes by the dependencies, the extras and the Python versions.

This file is pure.
"""

import re

from fetcher.errors import NotStatic
from fetcher.wheel.identity import header_values

__all__ = ["refuse_dynamic"]

_NEEDED = ("Name", "Version", "Requires-Dist", "Requires-Python", "Provides-Extra")
_FIRST_STATIC = (2, 2)
_METADATA_VERSION = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)


def refuse_dynamic(filename: str, raw: bytes) -> None:
    """Raise NotStatic unless PKG-INFO vouches for all that a resolver goes by."""
    fields = header_values(raw, "Metadata-Version", "Dynamic")
    stated = " ".join(fields["Metadata-Version"])
    match = _METADATA_VERSION.fullmatch(stated)
    if match is None or (int(match[1]), int(match[2])) < _FIRST_STATIC:
        raise NotStatic(filename, stated)
    named = {field.lower() for field in fields["Dynamic"]}
    if dynamic := tuple(field for field in _NEEDED if field.lower() in named):
        raise NotStatic(filename, stated, dynamic)
