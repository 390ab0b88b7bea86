"""`millstream tables`: what is in the embedding tables of a version.

command ──► reading: the store, arrays ──► census (millstream_core) ──► text, JSON or picture
"""
