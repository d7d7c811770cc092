"""A lock on an open file that ends with the process, on every system."""

import sys

__all__ = ["lock"]

if sys.platform == "win32":
    import msvcrt

    def lock(descriptor: int) -> bool:
        """Lock the file for this process; False if another has it, or if it cannot be told."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def lock(descriptor: int) -> bool:
        """Lock the file for this descriptor; False if another has it, or if it cannot be told."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
