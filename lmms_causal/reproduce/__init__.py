"""Published numbers of the methods, as recipes: what to run, and what should come out.

A recipe is a YAML file of ``recipes/``, one for a method and a benchmark (`recipe.py` says what it
holds, `reading.py` reads it, `catalogue.py` finds it, `checking.py` checks its spec and tasks).
`commands.py` turns it into commands of a harness, `running.py` runs them and refuses files that do
not fit each other, `measuring.py` computes our numbers with intervals from the harness's own files,
`comparability.py` says whether they are about what was published, and `reporting.py` prints them
beside the published ones. A number that was not read in a source is no target: such a recipe says
what is missing.
"""
