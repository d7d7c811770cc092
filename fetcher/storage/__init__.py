"""Where files are kept that others are to read: a directory or a bucket."""
