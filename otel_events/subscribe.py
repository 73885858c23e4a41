"""Subscriptions: a callback for every line that is on disk.

Nothing is published that is not a line first: the subscriber reads the file, like everybody else.
"""
