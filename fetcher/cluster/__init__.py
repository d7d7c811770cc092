"""The files of a mirror, brought by several machines."""
