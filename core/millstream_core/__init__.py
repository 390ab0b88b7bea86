"""What the programs share: model store, embedding tables, checkpoint files, feature transforms.

`store` needs neither numpy nor numba, so that the operator can use it; no module here knows
torch or kopf.
"""
