"""WHAT does that index want to hear?"""
