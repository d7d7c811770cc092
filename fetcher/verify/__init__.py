"""Is a mirror what it should be, and if not, how does it become so?"""
