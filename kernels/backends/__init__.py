"""Ways to compute attention, one file each; ``registry.py`` finds them, ``choice.py`` chooses.

problem.py     what a backend is given, and what it is
reference.py   the specification, in float32 or float64
"""
