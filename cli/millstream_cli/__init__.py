"""The command line: what a person or a CronJob does to a model store by hand.

Each command is one small shell around a decision or a job of `millstream_core`.
"""
