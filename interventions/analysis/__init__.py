"""From statistics of attention to findings: one analysis a file, pure functions on tensors.

    masses.py        where the answer looks: shares of the prompt's parts
    divergence.py    vision-aware heads: what a head says with and without the picture
    receiver.py      receiver heads: attention to few sentences from far behind
    retrieval.py     retrieval heads: copying a needle, or looking at a picture
    rhythm.py        local and global heads, windowed distance, future influence, their peaks
    sinks.py         attention sinks
    suppression.py   what happens to later sentences when one is hidden
    anchors.py       importance of sentences by resampled continuations
    sentences.py     sentences of a text, in characters and tokens
    causal_effect.py heads by their effect on a metric

Statistics come from :mod:`lmms_causal.kernels.statistics`. ``L`` layers, ``H`` heads, ``S``
sentences or segments, ``n`` keys, ``T`` tokens.
"""
