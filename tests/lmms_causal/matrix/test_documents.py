"""The digest of documents sees every change of them, and nothing else."""

from __future__ import annotations

import io

import datasets
from PIL import Image

from lmms_causal.matrix.answering.documents import digest_rows


def rows(colour: int = 0, word: str = "a", count: int = 70) -> datasets.Dataset:
    def picture(number: int) -> dict[str, object]:
        stream = io.BytesIO()
        Image.new("RGB", (4, 4), (number, colour, 0)).save(stream, "PNG")
        return {"bytes": stream.getvalue(), "path": f"{word}-{number}.png"}

    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "picture": datasets.Image(),
            "score": datasets.Value("float64"),
        }
    )
    data = {
        "text": [f"{word}{n}" for n in range(count)],
        "picture": [picture(n) for n in range(count)],
        "score": [n / 3 for n in range(count)],
    }
    return datasets.Dataset.from_dict(data, features=features)


def test_digests_are_of_contents():
    plain = digest_rows(rows(), 0, 70)
    assert plain == digest_rows(rows(), 0, 70)
    assert plain == digest_rows(rows(count=80), 0, 70)
    shuffled = rows().select([*range(1, 70), 0])
    changed = [
        digest_rows(rows(), 0, 69),
        digest_rows(rows(), 1, 70),
        digest_rows(rows(colour=1), 0, 70),
        digest_rows(rows(word="b"), 0, 70),
        digest_rows(shuffled, 0, 70),
    ]
    assert len({plain, *changed}) == 6


def test_where_a_stored_picture_came_from_does_not_count():
    table = rows()
    moved = [
        {**row, "picture": {**row["picture"], "path": "elsewhere.png"}}
        for row in table.cast_column("picture", datasets.Image(decode=False))
    ]
    assert digest_rows(datasets.Dataset.from_list(moved, features=table.features), 0, 70) == (
        digest_rows(table, 0, 70)
    )


def test_pieces_do_not_run_together():
    assert digest_rows([{"a": "bc"}], 0, 1) != digest_rows([{"ab": "c"}], 0, 1)
    assert digest_rows([["a", "b"]], 0, 1) != digest_rows([["a"], ["b"]], 0, 2)
