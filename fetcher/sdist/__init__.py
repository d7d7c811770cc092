"""WHAT does this source distribution say of itself, as far as it need be read?"""
