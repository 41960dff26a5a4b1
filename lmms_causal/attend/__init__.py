"""Analyses of a model's attention over prompts and answers: ``lmms-causal attend``.

    documents.py  what is asked, from the command line, a file, or generated (haystack.py)
    subject.py    a loaded model;  traces.py  a prompt with its answer, token by token
    reading.py    one pass over a trace, from which all statistics of attention are taken
    analyses/     one analysis a file
    running.py    documents in, results out;  writing.py  results as files;  pictures.py  drawn
    effects.py    heads by their effect on a task's metric

Statistics and formulas are elsewhere, in :mod:`lmms_causal.kernels` and
:mod:`lmms_causal.interventions.analysis`, and know of no model.
"""
