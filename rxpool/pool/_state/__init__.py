"""What decides: no clock, no lock, no thread, no Rx and no code of users.

The engine's lock guards all of it.
"""
