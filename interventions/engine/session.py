"""All passes of one call: the factual one and the branches, of one generation or one scoring.

A generation's first pass fills a cache for each branch; from the second token on, all branches are
rows of one batch (``stacked``) or run one after the other (``paired``). ``auto`` stacks wherever
the cache can be: a decoding step is bound by reading the weights, which one batch does once. The
figures are in ``docs/architecture.md``, from ``benchmarks/decoding_overhead.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.edits import tokens
from lmms_causal.interventions.edits.hidden import recorded, steered
from lmms_causal.interventions.edits.media import has_pixels
from lmms_causal.interventions.engine.branching import BranchInputs
from lmms_causal.interventions.engine.cache import BranchedCache
from lmms_causal.interventions.engine.encoding import Pictures
from lmms_causal.interventions.engine.guards import check_pictures
from lmms_causal.interventions.engine.positions import prompt_part, scored_steps
from lmms_causal.interventions.engine.probing import probed
from lmms_causal.interventions.engine.readout import Shown, decoded
from lmms_causal.interventions.engine.request import Request, seeds_of
from lmms_causal.interventions.engine.scopes import FACTUAL, Block, Scopes
from lmms_causal.interventions.engine.steering import steering_vectors
from lmms_causal.interventions.plan import Branch, Plan
from lmms_causal.kernels.rotation import Rotation

__all__ = ["Execution", "Session"]

Execution = Literal["auto", "stacked", "paired"]


class Session:
    """Runs the passes of one call of ``generate`` or ``forward``.

    Args:
        adapter: the model.
        forward: its own forward pass.
        plan: what to run.
        request: what the host said about the batch.
        generation: the arguments of ``generate``; None when scoring.
        execution: how branches are run once their prompts are read.
        rotations: of each decoder layer, where the plan needs them.
    """

    def __init__(
        self,
        adapter: ModelAdapter,
        forward: Callable[..., Any],
        plan: Plan,
        request: Request,
        generation: Mapping[str, Any] | None,
        execution: Execution = "auto",
        rotations: Sequence[Rotation] = (),
    ) -> None:
        self.passes = 0
        self._adapter = adapter
        self._forward = forward
        self._plan = plan
        self._request = request
        self._generation = generation
        self._execution = execution
        self._pictures = Pictures(adapter, request, generation)
        self._scopes = Scopes(adapter, plan, rotations)
        self._branch_inputs = BranchInputs(adapter, self._pictures, self._scopes)
        self._prompt_length = request.prompt_length
        self._with_image = torch.empty(0)
        self._active: list[Branch] = []
        self._seeds: tuple[int, ...] = ()
        self._vectors: dict[int, Tensor] = {}

    @property
    def _step(self) -> int:
        return self._branch_inputs.step

    @property
    def _scoring(self) -> bool:
        return self._generation is None

    def run(self, inputs: dict[str, Any]) -> Any:
        """Run one step: the factual output with its logits replaced by the combined ones."""
        if self._step < 0:
            self._start(inputs)
        self._branch_inputs.step += 1
        cache = inputs.get("past_key_values")
        branches = [b for b in self._active if not (b.first_token_only and self._step > 0)]
        if isinstance(cache, BranchedCache) and self._step > 0:
            self._branch_inputs.grow()
            if cache.blocks > 1:
                return self._run_stacked(inputs, branches)
        return self._run_paired(inputs, branches, cache)

    def _start(self, inputs: Mapping[str, Any]) -> None:
        """Look at the prompt: which rows have pictures, which branches apply, what steers."""
        ids = inputs.get("input_ids")
        rows = inputs["inputs_embeds"] if ids is None else ids
        self._with_image = self._rows_with_image(inputs, rows)
        steering = self._plan.steering
        check_pictures(self._plan, self._with_image)
        self._active = [
            branch
            for branch in self._plan.branches
            if branch.without_image is None or self._with_image.any()
        ]
        if self._scoring and self._plan.counts_tokens and self._prompt_length is None:
            raise UserError(
                "this intervention counts the answer's tokens, and a forward pass does not say "
                "where the answer begins: score through `causal`, or within "
                "handle.request(prompt_length=...)"
            )
        if ids is None and self._active:
            raise UserError("an intervention with branches needs input_ids, not inputs_embeds")
        if not self._scoring and ids is not None:
            self._prompt_length = ids.shape[1]
        if ids is not None:
            self._seeds = self._scopes.seeds = seeds_of(self._request, inputs)
        elif self._scopes.active:
            raise UserError("an intervention on attention needs input_ids, not inputs_embeds")
        self._branch_inputs.prompt_length = self._prompt_length
        self._scopes.start(inputs, self._request, self._prompt_length, self._generation)
        if self._plan.probes:
            prompt = prompt_part(inputs, self._prompt_length)
            self._scopes.probed = {
                probe.name: probed(self._adapter, self._forward, probe, prompt, self._pictures)
                for probe in self._plan.probes
            }
            run = sum(probe.reads for probe in self._plan.probes)
            self.passes += run * len(self._with_image)
        if steering and (steering.negative.without_image is None or self._with_image.any()):
            prompt = prompt_part(inputs, self._prompt_length)
            self._vectors = steering_vectors(
                self._adapter, self._forward, steering, prompt, self._with_image
            )
            self.passes += 2 * len(self._with_image)

    def _rows_with_image(self, inputs: Mapping[str, Any], rows: Tensor) -> Tensor:
        """Which rows ``[B]`` show an image or a video."""
        shown = has_pixels(inputs) or bool(inputs.get("mm_encoder_outputs"))
        if not shown or inputs.get("input_ids") is None or not self._adapter.visual_tokens:
            return torch.full((rows.shape[0],), shown, device=rows.device)
        return self._adapter.is_visual(rows).any(dim=1)

    # --- the passes -------------------------------------------------------------------------------

    def _run_factual(
        self, inputs: dict[str, Any], blocks: Sequence[Block]
    ) -> tuple[Any, dict[int, Tensor]]:
        """The factual pass, edited, with the layers that increments read recorded.

        Args:
            inputs: what it is given.
            blocks: the factual rows, and those of branches that share the pass.
        """
        wanted = self._layers_read()
        with ExitStack() as stack:
            stack.enter_context(self._scopes.editing(blocks, inputs))
            if self._vectors and self._plan.steering is not None:
                stack.enter_context(
                    steered(self._adapter.mlps, self._vectors, self._plan.steering.function)
                )
            hidden = stack.enter_context(recorded(self._adapter.layers, wanted))
            output = self._forward(**inputs)
        self.passes += len(self._with_image)
        return output, hidden

    def _layers_read(self) -> list[int]:
        depth = self._adapter.depth
        read = (i.layers(depth) for i in self._plan.increments if i.layers is not None)
        return sorted({layer for layers in read for layer in layers})

    def _run_paired(
        self, inputs: dict[str, Any], branches: Sequence[Branch], cache: BranchedCache | None
    ) -> Any:
        """Run the passes one after the other; after a prompt, perhaps join their caches."""
        inputs = self._pictures.encoded_once(inputs, branches)
        own_inputs = {it.name: self._branch_inputs.of(it, inputs, cache) for it in branches}
        rows = slice(0, len(self._with_image))
        output, hidden = self._run_factual(dict(inputs), [(FACTUAL, rows)])
        logits = {}
        for branch in branches:
            own = own_inputs[branch.name]
            with ExitStack() as stack:
                if branch.vision is not None and has_pixels(own):
                    stack.enter_context(branch.vision(self._adapter))
                behind = self._left_out(branch, inputs)
                own = prompt_part(own, own["input_ids"].shape[1] - behind)
                stack.enter_context(self._scopes.editing([(branch.name, rows)], own))
                found = self._forward(**own).logits
                logits[branch.name] = pad(found, (0, 0, 0, behind))
            self.passes += len(self._with_image)
        if cache is not None and self._step == 0:
            lasting = [branch for branch in branches if not branch.first_token_only]
            if lasting and self._execution != "paired" and cache.stackable:
                self._branch_inputs.join(inputs, lasting, cache)
            output.past_key_values = cache
        offsets = {
            branch.name: self._in_step(branch, inputs, own_inputs[branch.name])
            for branch in branches
        }
        return self._finish(output, hidden, logits, inputs, offsets)

    def _left_out(self, branch: Branch, inputs: Mapping[str, Any]) -> int:
        """How many columns of an answer that is scored a branch is not shown."""
        if not (self._scoring and branch.first_token_only) or self._prompt_length is None:
            return 0
        return int(inputs["input_ids"].shape[1]) - self._prompt_length

    def _run_stacked(self, inputs: dict[str, Any], branches: Sequence[Branch]) -> Any:
        """Run one decoding step of all branches as one batch, the factual rows first."""
        rows = len(self._with_image)
        own = self._branch_inputs.stacked(inputs, branches, rows)
        names = (FACTUAL, *(branch.name for branch in branches))
        blocks = [(name, slice(rows * i, rows * (i + 1))) for i, name in enumerate(names)]
        output, hidden = self._run_factual(own, blocks)
        self.passes += rows * len(branches)
        factual, *others = output.logits.split(rows)
        output.logits = factual
        logits = {branch.name: part for branch, part in zip(branches, others, strict=True)}
        hidden = {layer: states[:rows] for layer, states in hidden.items()}
        return self._finish(output, hidden, logits, inputs, {})

    # --- what becomes of the logits ---------------------------------------------------------------

    def _in_step(
        self, branch: Branch, inputs: Mapping[str, Any], own: Mapping[str, Any]
    ) -> Tensor | None:
        """How many last positions ``[B]`` a branch with other tokens shares; None for all."""
        if branch.tokens is None or not self._scoring:
            return None
        return tokens.in_step(inputs["input_ids"], own["input_ids"])

    def _finish(
        self,
        output: Any,
        hidden: Mapping[int, Tensor],
        logits: Mapping[str, Tensor],
        inputs: Mapping[str, Any],
        shared: Mapping[str, Tensor | None],
    ) -> Any:
        """Put the combined logits into the factual output."""
        whole = output.logits
        step: Tensor | None
        if not self._scoring:
            step, count = torch.tensor([self._step], device=whole.device), 1
        elif self._prompt_length is None:
            step, count = None, whole.shape[1]
        else:
            step = scored_steps(inputs["input_ids"], whole.shape[1], self._prompt_length)
            count = len(step)
        shown = Shown(step, count, self._with_image.to(whole.device), self._seeds, self._scoring)
        result = decoded(self._plan, self._adapter, whole, hidden, logits, shared, shown)
        if result is not None:
            output.logits = result
        return output
