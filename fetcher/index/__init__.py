"""WHICH index does this URL belong to?"""
