"""Numbers as people read them.  This file is pure."""

__all__ = ["counted", "duration", "size"]


def counted(number: int, noun: str) -> str:
    """Return a number of things as people read it: `1 file`, `12,345 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(count: float) -> str:
    """Return a number of bytes as people read it: `999 bytes`, `1.2 kB`, `45 MB`."""
    if count < 999.5:
        return f"{count:.0f} {'byte' if round(count) == 1 else 'bytes'}"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            break
    return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"


def duration(seconds: float) -> str:
    """Return a time as people read it: `5.4 s`, `12 min 5 s`, `3 h 2 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
