"""Many files: a static mirror of what is wanted of an index."""
