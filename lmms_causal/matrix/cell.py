"""The process of a cell: a harness's own command line with a journal on its model.

    python -m lmms_causal.matrix.cell FOLDER -- lmms-eval|lm-eval WORDS...

The words are handed to the harness unchanged. Exit code 0 means that it evaluated and wrote its
files, which lmms-eval's own exit code does not say.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmms_causal.command_line import one_line_errors
from lmms_causal.errors import UserError
from lmms_causal.matrix.answering.costs import Costs
from lmms_causal.matrix.answering.delivery import undelivered
from lmms_causal.matrix.answering.documents import check_documents
from lmms_causal.matrix.answering.journal import Journal
from lmms_causal.matrix.keeping.locking import Lock

__all__ = ["PARENT", "RANKS", "main", "process_name"]

PARENT = "LMMS_CAUSAL_RUN"
"""Environment variable with the `process_name` of the run; when that is gone the cell ends."""

RANKS = "ranks"
"""File in the cell's folder that its processes share a lock of, also those of a launcher."""

_CHUNK = 32  # documents, where the batch size is found by trying


def main(arguments: Sequence[str]) -> int:
    """Evaluate one cell; returns the exit code."""
    folder, _, harness, *words = arguments
    _end_with(os.environ.get(PARENT, ""))
    alive = Lock.wait(Path(folder) / RANKS, shared=True)  # until the last of us is gone
    sys.argv = [harness, *words]  # what decides how mistakes are shown
    finished: list[dict[str, int]] = []
    journal = Journal(Path(folder) / "journal", int(os.environ.get("RANK", 0)))
    documents = _option(words, "--batch_size")
    size = int(documents) if documents.isdigit() else _CHUNK
    run: Callable[[Sequence[str]], int]
    if harness == "lm-eval":
        import lm_eval.evaluator as evaluator

        from lmms_causal.commands import lm_eval

        run = lm_eval.run
    else:
        import lmms_eval.evaluator as evaluator

        run = _lmms_eval
        elsewhere = any(word.startswith("--include_path") for word in words)
        _look_in_our_folder_only(_option(words, "--tasks"), elsewhere)
    costs = Costs(harness)
    evaluator.evaluate = _journaling(  # type: ignore[attr-defined]
        evaluator.evaluate, Path(folder), journal, size, costs, finished
    )
    try:
        code = run(words)
        for samples in finished:
            _check_delivery(Path(folder) / "results", samples)
        _leave_together()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        journal.close()
        alive.release()
    return code or (0 if finished else 1)


def _check_delivery(results: Path, samples: dict[str, int]) -> None:
    """Refuse half of the harness's files; ranks that write none have no samples."""
    if samples and (missing := undelivered(results, samples)):
        raise UserError(
            f"{results}: the harness could not write {missing}; make room, and the same command "
            "writes them from the answers that are kept"
        )


def _leave_together() -> None:
    """Wait for the other ranks and take the group down: a rank that is left with it may abort."""
    import torch.distributed as distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def _lmms_eval(words: Sequence[str]) -> int:
    from lmms_eval.__main__ import cli_evaluate

    cli_evaluate()
    return 0


def _option(words: Sequence[str], name: str) -> str:
    for index, word in enumerate(words):
        if word == name:
            return words[index + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""


def _journaling(
    evaluate: Callable[..., Any],
    folder: Path,
    journal: Journal,
    documents: int,
    costs: Costs,
    finished: list[dict[str, int]],
) -> Callable[..., Any]:
    """The evaluator, with the journal on the model it is given.

    When it has evaluated, ``finished`` gets what this process has to write: samples by task.
    """
    from lmms_causal.matrix.answering.journaling import put_on

    first = int(os.environ.get("RANK", 0)) == 0
    check = one_line_errors(check_documents)

    @functools.wraps(evaluate)
    def evaluated(*args: Any, **kwargs: Any) -> Any:
        lm = kwargs["lm"]
        limit, offset = kwargs.get("limit"), kwargs.get("offset") or 0
        check(folder, costs.harness, kwargs["task_dict"], limit, offset)
        put_on(lm, journal, documents, functools.partial(costs.of_chunk, lm))
        results = evaluate(*args, **kwargs)
        if first:
            costs.restore(lm, journal.costs())
            _sort_samples(results)
        samples = (results or {}).get("samples") or {} if first else {}
        finished.append({task: len(rows) for task, rows in samples.items()})
        return results

    return evaluated


def _sort_samples(results: Any) -> None:
    """Put samples into the order of the documents; ranks deliver theirs one after the other."""
    for samples in ((results or {}).get("samples") or {}).values():
        samples.sort(key=lambda sample: sample["doc_id"])


def _look_in_our_folder_only(tasks: str, elsewhere: bool) -> None:
    """Spare lmms-eval the index of its 2,000 task files when all tasks are ours.

    Its built-in tasks win over ours, but none of them has a name of ours.
    """
    from lmms_eval.tasks import TaskManager

    from lmms_causal.matrix.planning.task_names import names_in
    from lmms_causal.tasks import roots

    if elsewhere or not set(tasks.split(",")) <= names_in(roots("lmms-eval")):
        return
    original = TaskManager.initialize_tasks

    @functools.wraps(original)
    def initialize_tasks(self: Any, include_path: Any = None, include_defaults: bool = True) -> Any:
        return original(self, include_path=include_path, include_defaults=False)

    TaskManager.initialize_tasks = initialize_tasks


def process_name(pid: int) -> str:
    """Return a name of a process of this machine, by which a cell's processes find their run.

    Containers may share the machine's name and not its process ids, so these have their space's.
    """
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{socket.gethostname()}/{space}/{pid}"


def _end_with(parent: str) -> None:
    """End this process soon after the run that started it, however that ended."""
    _, _, pid = parent.rpartition("/")
    if not pid.isdigit() or process_name(int(pid)) != parent:
        return  # on another machine; a launcher such as srun ends us
    if os.name == "nt":  # where signal 0 is no question but Ctrl-C
        return
    started_by = os.getppid()

    def watch() -> None:
        while True:
            time.sleep(0.5)
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                os._exit(1)
            except PermissionError:
                pass
            if os.getppid() != started_by:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
