"""What millstream's programs agree on: custom resources and wire formats, as typed values.

Nothing here reads a clock, a file or a network: every program imports this package, so it may
cost nothing and know nobody.
"""
