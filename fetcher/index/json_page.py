"""Project pages in JSON as they cross the wire (PEP 691, 700, 708, 714, 740, 792), decoded straight into structs.

One malformed file costs itself, not the page; then the page is decoded file by file.  This file is pure.
"""

from typing import Any, Generic, TypeVar

import msgspec

__all__ = ["JsonFile", "JsonPage", "Stated", "decode_json"]

Stated = bool | str | dict[str, str] | None
_Entry = TypeVar("_Entry")


class JsonFile(msgspec.Struct, rename="kebab", gc=False):
    """An entry of `files`, as it stands."""

    filename: str
    url: str
    hashes: dict[str, str] | None = None
    requires_python: str | None = None
    size: int | None = None
    upload_time: str | None = None
    yanked: bool | str | None = None
    core_metadata: Stated = None
    dist_info_metadata: Stated = None
    data_dist_info_metadata: Stated = None
    provenance: str | None = None


class JsonPage(msgspec.Struct, Generic[_Entry], rename="kebab"):
    """The page; all but its files is read loosely: a slip in one of these few must not cost the page."""

    files: list[_Entry]
    meta: Any = None
    versions: Any = None
    project_status: Any = None
    alternate_locations: Any = None


class _Named(msgspec.Struct):
    filename: str = "?"


# A slip costs its file; a page full of them is no page.
MAX_MALFORMED = 1000

_page_decoder = msgspec.json.Decoder(JsonPage[JsonFile])
_loose_decoder = msgspec.json.Decoder(JsonPage[msgspec.Raw])
_file_decoder = msgspec.json.Decoder(JsonFile)
_name_decoder = msgspec.json.Decoder(_Named)


def decode_json(content: bytes) -> tuple[JsonPage[Any], list[JsonFile], list[str]]:
    """Return the page, its well-formed files, and the names of the others.  Raises ValueError, RecursionError."""
    try:
        page = _page_decoder.decode(content)
    except msgspec.ValidationError:
        loose = _loose_decoder.decode(content)
    else:
        return page, page.files, []
    files: list[JsonFile] = []
    malformed: list[str] = []
    for entry in loose.files:
        try:
            files.append(_file_decoder.decode(entry))
        except ValueError:
            malformed.append(_name_of(entry))
            if len(malformed) > MAX_MALFORMED:
                raise ValueError(f"more than {MAX_MALFORMED} malformed files") from None
    return loose, files, malformed


def _name_of(entry: msgspec.Raw) -> str:
    try:
        return _name_decoder.decode(entry).filename
    except ValueError:
        return _Named().filename
