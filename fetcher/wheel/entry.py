"""One entry, between its local header and the next one (APPNOTE.TXT 4.3.7 to 4.3.9).

- The local header says what the directory says: name, flags and method always; CRC and sizes too, except that an entry
  with a descriptor (bit 3) may leave them zero.
- Nothing stands between the data and the next entry but the descriptor, which agrees as well.
- The data inflates to exactly the stated size (`inflate`) with the stated CRC.
"""

from zlib import crc32

from fetcher.wheel.directory import Entry
from fetcher.wheel.inflate import inflate
from fetcher.wheel.records import (
    FLAG_DESCRIPTOR,
    LOCAL_SIZE,
    LocalHeader,
    Malformed,
    decode_name,
    parse_descriptor,
    parse_local,
    shown,
    with_sizes,
)

__all__ = ["read_entry"]


def read_entry(entry: Entry, data: bytes) -> bytes:
    """Return the decompressed bytes of `entry`.

    `data` is everything from its local header to the next entry, or to the directory.  Raises Malformed.
    """
    if len(data) < LOCAL_SIZE:
        raise Malformed(f"the entry {shown(entry.name)} is cut")
    header = parse_local(data)
    name_stop = LOCAL_SIZE + header.name_length
    begin = name_stop + header.extra_length
    stop = begin + entry.compressed
    if stop > len(data):
        raise Malformed(f"the entry {shown(entry.name)} overlaps what follows it")
    if data[LOCAL_SIZE:name_stop] != entry.raw_name:
        raise Malformed(
            f"the local header of {shown(entry.name)} has another name, {shown(data[LOCAL_SIZE:name_stop])}"
        )
    decode_name(entry.raw_name, entry.flags, data[name_stop:begin])  # refuses a second name
    _compare_header(entry, with_sizes(header, data[name_stop:begin]))
    _compare_rest(entry, data[stop:])
    raw = inflate(entry.method, entry.flags, data[begin:stop], entry.size)
    if crc32(raw) != entry.crc:
        raise Malformed(f"the CRC of {shown(entry.name)} is wrong")
    return raw


def _compare_header(entry: Entry, header: LocalHeader) -> None:
    later = bool(entry.flags & FLAG_DESCRIPTOR)
    facts = [
        ("flag word", header.flags, entry.flags, False),
        ("method", header.method, entry.method, False),
        ("CRC", header.crc, entry.crc, later),
        ("compressed size", header.compressed, entry.compressed, later),
        ("size", header.size, entry.size, later),
    ]
    for fact, here, there, may_be_zero in facts:
        if here != there and not (may_be_zero and here == 0):
            raise Malformed(
                f"the {fact} of {shown(entry.name)} is {here} in its local header, {there} in the directory"
            )


def _compare_rest(entry: Entry, rest: bytes) -> None:
    if not entry.flags & FLAG_DESCRIPTOR:
        if rest:
            raise Malformed(f"after the entry {shown(entry.name)} come {len(rest)} bytes that belong to no entry")
        return
    if parse_descriptor(rest) != (entry.crc, entry.compressed, entry.size):
        raise Malformed(f"the descriptor of {shown(entry.name)} is missing or contradicts the central directory")
