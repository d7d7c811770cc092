"""WHERE do bytes go?"""
