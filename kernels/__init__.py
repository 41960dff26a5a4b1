"""Attention as operators on tensors; nothing here knows a model.

partial.py             attention to a part of the keys, with its log-sum-exp, and the merge
rotation.py            rotary embedding: turn further, or undo
segments/              position-invariant attention over groups of segments (PINE)
stream.py              attention weights in pieces, for what reads them
statistics.py, column_statistics.py   what can be known of a weight matrix without having it
"""
