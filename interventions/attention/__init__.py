"""Edits of attention: what they are (``edits``), where (``spans``), and how they are carried out.

edits.py     records: an operation, and where it applies
spans.py     sets of tokens by role, segment or index;  heads.py  sets of heads
layout.py    what the tokens of a batch are
explicit.py  the meaning of a list of edits, written out
compiled.py  the same by the fastest means that can express it
running.py   puts edits into a model's passes;  observing.py  looks at them
"""
