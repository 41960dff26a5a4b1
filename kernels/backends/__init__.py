"""Ways to compute attention, one file each; ``registry.py`` finds them, ``choice.py`` chooses.

problem.py         what a backend is given, and what it is
reference.py       the specification, in float32 or float64
cpu.py             our kernels for processors (``kernels/native``)
sdpa.py            torch's kernel; small masks, additive edits as further columns (``features.py``)
gather.py          tiles of queries with the keys they meet, by torch alone; differentiable
flex.py            torch's flex_attention, compiled, with our tile lists
triton_sparse.py   our kernel for GPUs; experimental, run in Triton's interpreter only
flash_attn.py, natten.py   those packages, where they are installed; never run by us

fused.py, explicit.py, selection.py, reordering.py, conditions.py   what several of them share
"""
