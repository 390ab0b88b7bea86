"""Tables keyed by 64-bit ids: one for the worker that trains, one for the server.

Both stand on the same index, the same arena and the same state digest.
"""
