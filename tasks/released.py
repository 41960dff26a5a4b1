"""The files of a release: in a folder that a variable names, else from a pinned address."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.download import cache_dir, fetch
from lmms_causal.tasks.pictures import open_rgb

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PictureFolder", "Release", "hub_file", "json_rows"]


@dataclass(frozen=True)
class Release:
    """Files of one benchmark.

    Attributes:
        benchmark: name of its folder in the cache.
        variable: environment variable that may name a folder with the files.
        origin: where a user finds them, for the error messages.
        url: address below which the files are, or empty if they cannot be downloaded one by one.
    """

    benchmark: str
    variable: str
    origin: str
    url: str = ""

    def folder(self) -> Path | None:
        """The folder that the variable names; None if it is not set.

        Raises:
            UserError: it names no folder.
        """
        given = os.environ.get(self.variable)
        if not given:
            return None
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise UserError(f"{self.variable}={given} is no folder; the files are at {self.origin}")
        return folder

    def locate(self, name: str, *also: str, check: Callable[[Path], None] | None = None) -> Path:
        """A file of the release.

        Args:
            name: its path in the release. In the user's folder it may lie anywhere.
            also: other names that it may have in the user's folder.
            check: called with a downloaded file before it is kept; raises to refuse it.

        Raises:
            UserError: it is not in the folder, or cannot be downloaded.
        """
        if (folder := self.folder()) is not None:
            for wanted in (name, *also):
                for found in (folder / wanted, *sorted(folder.rglob(Path(wanted).name))):
                    if found.is_file():
                        return found
            raise UserError(
                f"{self.variable}={folder} has no file {Path(name).name}; it is at {self.origin}"
            )
        if not self.url:
            raise UserError(f"{self.variable} is not set; it must name a folder with {self.origin}")
        return fetch(
            f"{self.url}/{name}",
            cache_dir(self.benchmark, name),
            remedy=f"put it into a folder and set {self.variable} to the folder",
            check=check,
        )


@dataclass(frozen=True)
class PictureFolder:
    """Pictures that cannot be downloaded one by one, below a folder that a variable names."""

    variable: str
    meaning: str

    def path(self, name: str) -> Path:
        """Where the picture must be.

        Raises:
            UserError: the variable is not set, or names no folder.
        """
        given = os.environ.get(self.variable)
        if not given:
            raise UserError(f"{self.variable} is not set; it must be {self.meaning}")
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise UserError(f"{self.variable}={given} is no folder; it must be {self.meaning}")
        return folder / name

    def require(self, docs: Sequence[Mapping[str, Any]], field: str = "image_id") -> None:
        """See to it that no document lacks its picture file; opens none.

        Raises:
            UserError: one or several do; the message names one.
        """
        by_name: dict[str, str] = {}
        for doc in docs:
            by_name.setdefault(doc[field], doc["id"])
        missing = [name for name in by_name if not self.path(name).is_file()]
        if missing:
            raise UserError(
                f"{len(missing)} image files are missing, for example {self.path(missing[0])} "
                f"(needed by document {by_name[missing[0]]}); {self.variable} must be "
                f"{self.meaning}"
            )

    def open(self, name: str, document: str) -> Image.Image:
        """The picture, decoded, RGB.

        Raises:
            UserError: it is missing or cannot be decoded.
        """
        return open_rgb(self.path(name), document)


def hub_file(dataset: str, file: str, variable: str) -> Path:
    """A file of a data set on the Hugging Face hub, out of its cache or downloaded.

    Args:
        dataset: the data set's name there.
        file: path in it.
        variable: environment variable that may name a folder with the file instead.

    Raises:
        UserError: it cannot be had.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(dataset, file, repo_type="dataset"))
    except (OSError, ValueError) as error:
        line = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{file} of data set {dataset} cannot be had ({line}); fetch it where there is a "
            f"network, or put it into a folder and set {variable} to the folder"
        ) from error


def json_rows(path: Path) -> list[Any]:
    """The rows of a JSON array, or of JSON lines.

    Raises:
        UserError: the file is neither.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("["):
            return list(json.loads(text))
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from error
