"""HOW do bytes cross the wire?"""
