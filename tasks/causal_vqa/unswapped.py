"""Rows of VQA-Causal whose two captions do not exchange cause and effect.

Found by splitting both captions at the connector into clauses (l, r) and comparing the Jaccard
overlap J of their lower-cased content words: a row is no swap if J(l1, l2) + J(r1, r2) exceeds
J(l1, r2) + J(r1, l2), and undecided if the two are equal. The lists are fixed data, so that the
``clean`` subset never depends on a stop word list. VCR-Causal has no such row.
"""

from __future__ import annotations

__all__ = ["NOT_SWAPPED", "UNDECIDED"]

# fmt: off
NOT_SWAPPED = frozenset((
    23, 49, 50, 92, 158, 181, 196, 224, 243, 244, 268, 277, 278, 286, 291, 292, 293, 318, 321, 349,
    356, 373, 407, 411, 425, 449, 477, 480, 505, 524, 530, 548, 573, 592, 602, 641, 642, 647, 676,
    683, 688, 698, 729, 762, 779, 792, 840, 843, 890, 893, 902, 924, 939, 952, 959, 962, 968, 1003,
    1010, 1022, 1028, 1031, 1048, 1050, 1061, 1067, 1071, 1120, 1132, 1137, 1147, 1174, 1176, 1199,
    1218, 1236, 1248, 1252, 1253, 1287, 1299, 1301, 1302, 1337, 1361, 1370, 1378, 1385, 1390, 1393,
    1416, 1439, 1441, 1443, 1449, 1451, 1452, 1459, 1467, 1475, 1482, 1483, 1491, 1519, 1562, 1695,
    1824, 1850, 1855, 1858, 1922, 1930, 1933,
))
# fmt: on
"""0-based rows that keep the same clause first; the identical captions are among them."""

UNDECIDED = frozenset((722, 985, 1326))
"""0-based rows on which the test ties; left out of the ``clean`` subset."""
