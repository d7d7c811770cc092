"""One entry, between its local header and the next one (APPNOTE.TXT 4.3.7 to 4.3.9).

- The local header says what the directory says: name, flags and method always; CRC and sizes too, except that an entry
  with a descriptor (bit 3) may leave them zero.
- Nothing stands between the data and the next entry but the descriptor, which agrees as well.
- The data inflates to exactly the stated size (`inflate`) with the stated CRC.
"""

from zlib import crc32

from fetcher.wheel.inflate import inflate
from fetcher.wheel.records import (
    FLAG_DESCRIPTOR,
    LOCAL_SIZE,
    LocalHeader,
    Malformed,
    decode_name,
    parse_descriptor,
    parse_local,
    with_sizes,
)
from fetcher.wheel.zipend import Entry

__all__ = ["read_entry"]


def read_entry(entry: Entry, data: bytes) -> bytes:
    """Return the decompressed bytes of `entry`.

    `data` is everything from its local header to the next entry, or to the directory.  Raises Malformed.
    """
    if len(data) < LOCAL_SIZE:
        raise Malformed(f"the entry {entry.name!r} is cut")
    header = parse_local(data)
    name_stop = LOCAL_SIZE + header.name_length
    begin = name_stop + header.extra_length
    stop = begin + entry.compressed
    if stop > len(data):
        raise Malformed(f"the entry {entry.name!r} overlaps what follows it")
    if data[LOCAL_SIZE:name_stop] != entry.raw_name:
        raise Malformed(f"the local header of {entry.name!r} has another name, {data[LOCAL_SIZE:name_stop]!r}")
    decode_name(entry.raw_name, entry.flags, data[name_stop:begin])  # refuses a second name
    _compare_header(entry, with_sizes(header, data[name_stop:begin]))
    _compare_rest(entry, data[stop:])
    raw = inflate(entry.method, entry.flags, data[begin:stop], entry.size)
    if crc32(raw) != entry.crc:
        raise Malformed(f"the CRC of {entry.name!r} is wrong")
    return raw


def _compare_header(entry: Entry, header: LocalHeader) -> None:
    later = bool(entry.flags & FLAG_DESCRIPTOR)
    for fact in ("flags", "method", "crc", "compressed", "size"):
        here, there = getattr(header, fact), getattr(entry, fact)
        if here != there and not (later and here == 0 and fact in ("crc", "compressed", "size")):
            raise Malformed(f"{fact} of {entry.name!r}: {here} in its local header, {there} in the central directory")


def _compare_rest(entry: Entry, rest: bytes) -> None:
    if not entry.flags & FLAG_DESCRIPTOR:
        if rest:
            raise Malformed(f"after the entry {entry.name!r} come {len(rest)} bytes that belong to no entry")
        return
    if parse_descriptor(rest) != (entry.crc, entry.compressed, entry.size):
        raise Malformed(f"the descriptor of {entry.name!r} is missing or contradicts the central directory")
