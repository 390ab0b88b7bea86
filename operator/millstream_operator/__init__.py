"""The operator: turns RecTraining and RecServing objects into running programs and releases.

handlers (kopf: what changed) ──► shell (queue, gather, apply) ──► decide, render (pure)
"""
