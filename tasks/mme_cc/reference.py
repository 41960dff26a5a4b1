"""The two parts of an item's ``ground_truth.answer``: what is right, and how to mark it."""

from __future__ import annotations

__all__ = ["ANSWER_MARKER", "CRITERIA_MARKER", "split_reference"]

ANSWER_MARKER = "## The correct answer is:"
CRITERIA_MARKER = "## Scoring criteria:"


def split_reference(text: str) -> tuple[str, str]:
    """The reference answer and the scoring notes, either of which may be empty.

    Either marker may be missing: without the first one the reference begins at the start, without
    the second one there are no notes.

    >>> split_reference("## The correct answer is:\\n6\\n\\n## Scoring criteria:\\nExactly six.")
    ('6', 'Exactly six.')
    >>> split_reference("6")
    ('6', '')
    """
    answer = text.split(ANSWER_MARKER, 1)[-1]
    reference, _, criteria = answer.partition(CRITERIA_MARKER)
    return reference.strip(), criteria.strip()
