"""What a run of a mirror came to, as one page for people."""
