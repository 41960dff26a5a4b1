"""Task folders for upstream: a benchmark of ours in the form of a harness's own tasks.

task_files.py   which task files an export takes, and what they name
modules.py      a module of ours as statements, what each binds and refers to
references.py   which names of a statement are globals
gathering.py    the statements that the named functions need, in the order of imports
names.py        one namespace for all of them
edits.py        changes to a piece of source
rendering.py    their text under the new names, as one module
paths.py        files that the code reads
readme.py       the benchmark's page without what only this package has
folder.py       the export itself
"""

from __future__ import annotations

from lmms_causal.export.folder import Exported, export

__all__ = ["Exported", "export"]
