"""A Python that has imported what harnesses import of others, and becomes a command when asked to.

Run as a script, so that nothing of ours is imported. A request is a line of JSON on standard input;
the process forks, the child runs the script named from its first line as Python would, and the
exit code comes back as a line on standard output. The end of standard input is its own end.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import sys
from typing import Any

import yaml

#: One that is missing is left to the command itself.
LIBRARIES = (
    *("torch", "torch._dynamo", "torchvision.transforms", "transformers.pipelines"),
    *("transformers.models.llava.modeling_llava", "datasets", "evaluate", "accelerate"),
    *("pandas", "scipy.stats", "sklearn.metrics", "sacrebleu", "openai", "jinja2", "PIL.Image"),
)


def asked() -> dict[str, Any]:
    """Serve requests; return in a child, with its request."""
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            child = os.fork()
            if not child:
                return json.loads(line)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()


def become(
    command: list[str], environment: dict[str, str], folder: str, printed: str, prelude: str
) -> None:
    """Take the command's environment, folder, streams and arguments; execute the prelude."""
    for stream, name in enumerate((os.devnull, f"{printed}/stdout", f"{printed}/stderr")):
        opened = os.open(name, os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(opened, stream)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = command
    sys.path[0] = os.path.dirname(command[0])
    exec(prelude, {})


def read_yaml_by_libyaml() -> None:
    """Let YAML's C parser read the 3,700 files of tasks that lmms-eval looks through at a start."""
    if not yaml.__with_libyaml__:
        return

    class Loader(yaml.CFullLoader):
        """Knows its file's name, as PyYAML's own does: `!function` is looked up beside it."""

        def __init__(self, stream: Any) -> None:
            super().__init__(stream)
            self.name = getattr(stream, "name", "<unicode string>")

    yaml.FullLoader = yaml.loader.FullLoader = Loader  # type: ignore[misc]


if __name__ == "__main__":
    read_yaml_by_libyaml()
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    request = asked()
    become(**request)
    runpy.run_path(request["command"][0], run_name="__main__")
