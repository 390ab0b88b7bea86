"""The whole path as a user meets it, run on a real cluster and measured while it runs.

    installation ─► story ─┬─ traffic     what users send and get
                           ├─ observer    what objects and programs say
                           ├─ faults      versions that must never win
                           └─ view        the table on the terminal
                     └──► measures ─► report

The story is the only module that knows the order of things; every figure in the report comes from
the answers that the traffic collected and from the manifests in the store.
"""
