"""Makes ``attn_implementation="lmms_causal"`` known to transformers, by being imported.

::

    import lmms_causal.attention_backend
    model = AutoModelForCausalLM.from_pretrained(NAME, attn_implementation="lmms_causal")

or, of a model that is loaded, ``model.set_attn_implementation("lmms_causal")``. Models that the
wrappers of this package load need no import. See ``docs/attention-backend.md``.
"""

from __future__ import annotations

from lmms_causal.interventions.attention.backend import NAME, register

__all__ = ["NAME", "register"]

register()
