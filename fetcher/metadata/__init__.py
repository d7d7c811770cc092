"""WHAT does this wheel say of itself, in as few round trips as there can be?"""
