"""WHAT is in the bytes?  Everything here is pure: bytes in, values out."""
