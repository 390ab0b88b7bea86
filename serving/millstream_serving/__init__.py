"""The model server: several versions of one model in one process, each answer from exactly one.

    release ──► routing ──┐
    model store ──► loading ──► versions ──► ranking ──► http
                               (engine)

`engine` knows tensors and no HTTP, `http` knows HTTP and no tensors; `ranking` stands between.
"""
