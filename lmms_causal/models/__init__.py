"""The generic model `causal`, and interventions on any registered wrapper, for both harnesses.

Below the harness: :mod:`loading` (checkpoint to model), :mod:`media` and :mod:`prompts`
(conversation to tensors, :mod:`turns` for its records), :mod:`questions` (the last user turn of a
prompt), :mod:`marking`, :mod:`piecewise` and :mod:`parts` (segments as declared, as tokenised, as
told to an intervention), :mod:`batches` (tensors that fit), :mod:`assistant` and :mod:`preparing`
(what plans do before a batch is encoded), :mod:`generation`, :mod:`scoring`, :mod:`cost`, and over
all of these :mod:`runner`. The skins: :mod:`for_lmms_eval`, :mod:`for_lm_eval` (with :mod:`asked`).
What puts interventions on a harness's class: :mod:`intervening`, with a part for each harness.
"""
