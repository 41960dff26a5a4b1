"""``lmms-causal run``: models x interventions x tasks through the harnesses' own evaluators.

A *cell* is one model, one intervention and one task, evaluated by the harness's command line in a
process of its own. Answers are written to the cell's journal as they are given, so that a matrix
that was killed goes on where it was; finished cells are skipped. At the end the cells are compared.
"""
