"""The attention kernels in C++, behind a plain C interface.

prefill.cpp   many queries: tiles of keys by a list
decode.cpp    a few queries: ranges of keys
products.h, packing.h, softmax.h, vectors.h, memory.h   what they are made of
features.cpp, peak.cpp   what the processor can do
abi.h, abi.py            the interface, on both sides
build.py, loading.py     compile it, load it
commands.py              compile it into wheels
"""
