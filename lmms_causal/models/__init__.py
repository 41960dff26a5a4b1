"""The generic model `causal`, and interventions on any registered wrapper, for both harnesses.

Below the harness: :mod:`loading` (checkpoint to model), :mod:`media` and :mod:`prompts`
(conversation to tensors), :mod:`generation`, :mod:`scoring`, :mod:`cost`. The skins:
:mod:`for_lmms_eval`, :mod:`for_lm_eval`.
What puts interventions on a harness's class: :mod:`intervening`, with a part for each harness.
"""
