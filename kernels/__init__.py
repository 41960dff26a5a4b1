"""Attention as operators on tensors; nothing here knows a model.

attention.py           any pattern and any edits, by the backend that fits
patterns/              which keys a query may see, one file each, and the tile lists that follow
edits.py               what kernels do to scores, weights and heads on the way
backends/              ways to compute it, one file each, and the choice between them
native/                our kernels for processors, in C++
linear/                linear attention, LightNet, local linear attention, Parallax
segments/              position-invariant attention over groups of segments (PINE)
partial.py             attention to a part of the keys, with its log-sum-exp, and the merge
rotation.py            rotary embedding: turn further, or undo
simulate.py, cost.py   bounds by tiles, and what a backend takes for them
stream.py              attention weights in pieces, for what reads them
statistics.py, column_statistics.py   what can be known of a weight matrix without having it
"""
