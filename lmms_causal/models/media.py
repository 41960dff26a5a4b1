"""Open what a prompt shows: pictures fully decoded in RGB, videos as sampled frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lmms_causal.errors import UserError
from lmms_causal.tasks.pictures import truncation_is_an_error

__all__ = ["UNREADABLE", "Video", "open_picture", "open_video", "span_of"]

UNREADABLE = (
    AttributeError,  # not a file at all
    OSError,
    SyntaxError,  # of PNG files
    TypeError,
    ValueError,
    Image.DecompressionBombError,
)
"""What Pillow raises for a file that is no picture, or half of one."""


@dataclass(frozen=True, eq=False)
class Video:
    """Frames ``[F, H, W, 3]``, with transformers' record of their places in the file if known.

    A video equals itself only; frames are not compared.
    """

    frames: Any
    metadata: Any | None = None


def open_picture(source: Any, key: str = "") -> Image.Image:
    """Return a picture fully decoded in RGB; ``key`` names the document that shows it.

    Raises:
        UserError: the file is missing, truncated, or not a readable picture.
    """
    try:
        with truncation_is_an_error():
            if isinstance(source, Image.Image):
                source.load()  # a picture that a task has opened may not have been read yet
                return source if source.mode == "RGB" else source.convert("RGB")
            with Image.open(source) as picture:
                return picture.convert("RGB")
    except UNREADABLE as error:
        name = getattr(source, "filename", "") or source
        raise UserError(
            f"{key}: cannot read the image {name}: {error}; replace the file"
        ) from error


def open_video(
    source: Any,
    num_frames: int,
    span: tuple[float | None, float | None] = (None, None),
    key: str = "",
) -> Video:
    """Return ``num_frames`` evenly spaced frames of a file, or the frames that are given.

    Args:
        source: a path or address, a sequence of pictures, which are all shown, or an opened video.
        num_frames: frames to sample, both ends included; a shorter video shows all it has.
        span: first and last second of the part to show; None for the file's own ends.
        key: the document that shows it.

    Raises:
        UserError: the file is missing or cannot be decoded; frames of different sizes.
    """
    if isinstance(source, Video):
        return source
    if not isinstance(source, (str, bytes)) and not hasattr(source, "__fspath__"):
        frames = [np.asarray(open_picture(frame, key)) for frame in source]
        if len({frame.shape for frame in frames}) != 1:
            raise UserError(f"{key}: a video needs one or more frames, all of one size")
        return Video(np.stack(frames))
    from transformers.video_utils import load_video

    def evenly(metadata: Any, **_: Any) -> Any:
        start, end = span
        last = metadata.total_num_frames - 1
        first = min(round(start * metadata.fps), last) if start is not None else 0
        last = min(round(end * metadata.fps), last) if end is not None else last
        count = min(num_frames, last - first + 1)
        return np.linspace(first, last, max(count, 1)).round().astype(int)

    try:
        frames, metadata = load_video(source, backend="pyav", sample_indices_fn=evenly)
    except ImportError as error:
        raise UserError(f"{key}: reading {source} needs PyAV: pip install av") from error
    except Exception as error:  # PyAV raises errors of its own for every kind of broken file
        raise UserError(
            f"{key}: cannot read the video {source}: {error}; replace the file"
        ) from error
    return Video(np.asarray(frames), metadata)


def span_of(part: Mapping[str, Any]) -> tuple[Any, tuple[float | None, float | None]]:
    """A video part's source and the seconds to show, which lmms-eval may pack into a mapping."""
    source = part["video"]
    where = {**part, **source} if isinstance(source, Mapping) else part
    if isinstance(source, Mapping):
        source = source.get("url") or source.get("path") or source.get("video")
    return source, (where.get("video_start"), where.get("video_end"))
