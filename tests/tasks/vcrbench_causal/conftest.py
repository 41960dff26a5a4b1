"""Shuffled clips in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

#: (qid, goal, right order of the clips' titles from 0): our own, in the columns of VCRBench.
SHUFFLED = (
    ("1", "Fold a paper boat", [1, 0, 2]),
    ("2", "Fold a paper boat", [2, 1, 3, 0]),
    ("3", "Sharpen a pencil", [2, 0, 1]),
)


@pytest.fixture
def tiny_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three annotated videos of coloured clips, each after a black frame with its number."""
    import av

    root = tmp_path / "vcrbench"
    (root / "videos").mkdir(parents=True)
    rows = []
    for key, goal, order in SHUFFLED:
        name = f"video_{key}.mp4"
        rows.append({"qid": key, "goal": goal, "video_file": name, "ground_truth": order})
        with av.open(str(root / "videos" / name), "w") as file:
            stream = file.add_stream("mpeg4", rate=2)
            stream.width = stream.height = 64
            for clip in range(len(order)):
                title = Image.new("RGB", (64, 64))
                ImageDraw.Draw(title).text((10, 25), f"Clip {clip + 1}", fill="white")
                scene = Image.new("RGB", (64, 64), ("red", "green", "blue", "yellow")[clip])
                for picture in (title, scene, scene):
                    file.mux(stream.encode(av.VideoFrame.from_image(picture)))
            file.mux(stream.encode())
    (root / "data.json").write_text(json.dumps(rows), encoding="utf-8")
    monkeypatch.setenv("VCRBENCH_ROOT", str(root))
    monkeypatch.delenv("VCRBENCH_VIDEO_DIR", raising=False)
    return root
