"""Measuring attention: what ``lmms-causal bench`` and ``benchmarks/attention.py`` stand on.

cases.py      what is measured: shapes, kinds, inputs, torch's dense attention beside it
ways.py       how it may be computed, and that the result is right before it is timed
timing.py     processor time, run by run in turn
memory.py     peak memory of a call
machine.py    the rate that this machine reaches, and what else runs on it
running.py    patterns x shapes x ways -> rows; efficiency lengths
reporting.py  the table and the JSON
pictures.py   the curves
"""
