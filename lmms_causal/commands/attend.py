"""``lmms-causal attend MODEL``: where a model's attention goes, and which heads matter."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lmms_causal.commands import model_options
from lmms_causal.errors import UserError

__all__ = ["add_parser"]

_EPILOG = """\
statistics: masses (parts of the prompt), heat (over the picture), sinks, receiver (heads, by
kurtosis), rhythm (windowed distance, future influence), retrieval (of a needle, or the picture),
divergence (vision-aware heads), suppression (of sentences; one pass for each), importance (of
sentences, from rollouts in the documents). Without --statistics, all but suppression that apply.

examples:
  lmms-causal attend lmms-causal/tiny-llava --image scene.png \\
      --prompt "is there a banana in the image ?" --generate 8 --output attention --pictures
  lmms-causal attend MODEL --documents traces.jsonl --statistics receiver,suppression --output OUT
  lmms-causal attend MODEL --haystack 512,1024,2048 --depths 5 --generate 40 --output OUT
  lmms-causal attend MODEL --effect causal_vqa_mini_choice --limit 100 --heads 0.0-3 --output OUT

Weights are read in chunks of rows; no attention matrix is ever in memory. Formulas, tables and
files are described in docs/attend.md.
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "attend",
        help="analyse a model's attention: parts, heads, sentences, pictures",
        description="Read prompts and answers once and say where attention goes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model_options.add_model(parser)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prompt", metavar="TEXT", help="the user's words")
    what.add_argument(
        "--documents", metavar="FILE", type=Path, help="JSON lines with prompt, images, response"
    )
    what.add_argument(
        "--haystack", metavar="N,N", help="made-up texts of about N tokens with a needle to find"
    )
    what.add_argument("--effect", metavar="TASK", help="each head's effect on a task of lm-eval")
    add(
        "--image",
        metavar="FILE",
        action="append",
        default=[],
        help="shown with --prompt; may be repeated",
    )
    add("--system", metavar="TEXT", help="system prompt, with --prompt")
    add("--response", metavar="TEXT", help="the answer to analyse, with --prompt")
    add("--generate", metavar="N", type=int, default=0, help="let the model answer, N tokens")
    add("--depths", metavar="N", type=int, default=5, help="places of a needle (default: 5)")
    add("--seed", type=int, default=0, help="of the made-up texts (default: 0)")
    add("--statistics", metavar="A,B", help="which analyses to make")
    add("--set", metavar="NAME=VALUE", action="append", default=[], help="number in a definition")
    add("--interventions", metavar="SPEC", help="analyse the model under these")
    add("--heads", metavar="L.H,...", default="all", help="with --effect (default: all)")
    add(
        "--ablation",
        choices=("zero", "uniform"),
        default="zero",
        help="with --effect (default: zero)",
    )
    add("--metric", metavar="NAME", help="with --effect (default: the task's first)")
    add("--limit", metavar="N", type=int, help="documents, with --effect")
    add("--batch-size", metavar="N", type=int, default=1, help="with --effect (default: 1)")
    add("--apply-chat-template", action="store_true", help="with --effect, of a text model")
    add("--output", metavar="DIR", type=Path, help="write tables and records here")
    add("--pictures", action="store_true", help="draw them too; needs Matplotlib")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    checkpoint = model_options.checkpoint(arguments)
    if arguments.effect is not None:
        return _effects(arguments, checkpoint)
    # Here, not above: adding the sub-command must not cost the start of torch.
    from lmms_causal.attend.analyses import chosen
    from lmms_causal.attend.findings import Settings
    from lmms_causal.attend.reporting import text_of
    from lmms_causal.attend.running import analyse
    from lmms_causal.attend.subject import Subject
    from lmms_causal.attend.writing import write

    settings = Settings.read(arguments.set)  # before any weights are loaded
    names = None
    if arguments.statistics is not None:
        names = list(chosen([it.strip() for it in arguments.statistics.split(",") if it.strip()]))
    template = model_options.chat_template(arguments)
    given = _documents(arguments)
    if given is None:
        given = _haystacks(arguments, checkpoint.load_readers()[0])
    subject = Subject.load(checkpoint, arguments.interventions, template)
    results = analyse(
        subject,
        given,
        names=names,
        settings=settings,
        max_new_tokens=arguments.generate,
        quiet=False,
    )
    print(text_of(results))
    if arguments.output is not None:
        files = write(results, arguments.output)
        if arguments.pictures:
            from lmms_causal.attend.pictures import draw

            files += draw(results, arguments.output / "pictures")
        print(f"{len(files)} files written to {arguments.output}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that have no meaning together.

    Raises:
        UserError: there are such.
    """
    if arguments.prompt is None:
        for name in ("image", "system", "response"):
            if getattr(arguments, name):
                raise UserError(f"--{name} goes with --prompt; documents have a field for it")
    if arguments.effect is not None:
        for name in ("interventions", "statistics", "set", "generate"):
            if getattr(arguments, name):
                raise UserError(f"--{name} has no meaning with --effect; leave it out")
    if arguments.response is not None and arguments.generate:
        raise UserError("--response is the answer, and --generate makes one; use one of them")
    if arguments.generate < 0 or arguments.batch_size < 1:
        raise UserError("--generate takes 0 or more tokens, --batch-size 1 or more rows")
    if arguments.haystack is not None:
        _lengths(arguments.haystack)
        if arguments.depths < 1:
            raise UserError(f"--depths {arguments.depths}: take 1 or more places of the needle")
    if arguments.pictures:
        if arguments.output is None:
            raise UserError("--pictures are written to a folder; add --output DIR")
        from lmms_causal.attend.pictures import require

        require()


def _documents(arguments: argparse.Namespace) -> Any:
    """What is asked, every picture looked at; None if it is to be made up."""
    from lmms_causal.attend.documents import Document, check_pictures, read_documents

    for file in arguments.image:
        check_pictures([file], "--image")
    if arguments.documents is not None:
        documents = read_documents(arguments.documents)
        for document in documents:
            check_pictures(document.images, f"--documents {arguments.documents}: {document.id}:")
        return documents
    if arguments.prompt is None:
        return None
    return [
        Document(
            "prompt",
            arguments.prompt,
            tuple(arguments.image),
            arguments.system,
            arguments.response,
        )
    ]


def _haystacks(arguments: argparse.Namespace, tokenizer: Any) -> Any:
    from lmms_causal.attend.haystack import haystacks

    return haystacks(tokenizer, _lengths(arguments.haystack), arguments.depths, arguments.seed)


def _lengths(text: str) -> list[int]:
    lengths = [it.strip() for it in text.split(",")]
    if not all(it.isdecimal() for it in lengths):
        raise UserError(f"--haystack {text}: give lengths in tokens, as in 512,1024")
    return [int(it) for it in lengths]


def _effects(arguments: argparse.Namespace, checkpoint: Any) -> int:
    from lmms_causal.attend.effects import head_effects, lm_eval_scores
    from lmms_causal.attend.reporting import effects_text
    from lmms_causal.attend.writing import write_effects
    from lmms_causal.interventions.attention.heads import parse_heads

    try:
        heads = parse_heads("attend", "--heads", arguments.heads)
    except UserError as error:
        raise UserError(
            str(error).removeprefix("intervention attend: ").replace("=", " ", 1)
        ) from None
    text = checkpoint.config().get_text_config()
    layers = getattr(text, "num_hidden_layers", None)
    in_layer = getattr(text, "num_attention_heads", None)
    if layers and in_layer and (reason := heads.beyond(layers, in_layer)) is not None:
        raise UserError(f"--heads {arguments.heads}: {reason}")
    run, subject = lm_eval_scores(
        checkpoint,
        arguments.effect,
        arguments.metric,
        limit=arguments.limit,
        batch_size=arguments.batch_size,
        chat=arguments.apply_chat_template,
    )
    depth, count = subject.adapter.depth, subject.heads
    if (reason := heads.beyond(depth, count)) is not None:
        raise UserError(f"--heads {arguments.heads}: {reason}")
    pairs = [
        (layer, head)
        for layer in range(depth)
        for head in range(count)
        if (own := heads.of(layer)) is None or head in own
    ]
    found = head_effects(run, pairs, arguments.ablation)
    print(effects_text(found, arguments.effect, arguments.ablation))
    if arguments.output is not None:
        about = {
            "model": arguments.model,
            "task": arguments.effect,
            "metric": arguments.metric,
            "ablation": arguments.ablation,
            "limit": arguments.limit,
            "apply_chat_template": arguments.apply_chat_template,
        }
        files = write_effects(found, about, arguments.output)
        if arguments.pictures:
            from lmms_causal.attend.pictures import draw_effects

            files += draw_effects(found, (depth, count), arguments.output / "pictures")
        print(f"{len(files)} files written to {arguments.output}")
    return 0
