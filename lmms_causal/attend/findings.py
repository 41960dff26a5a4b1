"""What every analysis is: what it wants of a pass, what it finds in a trace, and in all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torch import Tensor

from lmms_causal.attend.reading import Wanted
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import Trace
from lmms_causal.errors import UserError, nearest

__all__ = ["Analysis", "Findings", "Settings"]


@dataclass(frozen=True)
class Settings:
    """The numbers in definitions; defaults are those of the papers or their code.

    Attributes:
        proximity: sentences so close behind do not count for receiver heads.
        receivers: how many receiver heads there are.
        share: of heads that are local, and of those that are global.
        window: distances are cut off here, in tokens.
        low, high: how far behind a token its influence is measured.
        quantile: peaks of a series are at this quantile or above (ours).
        sink_threshold: mean weight above which a token is a sink.
        copy_threshold: mean score above which a head is a retrieval head.
        recall: share of the needle's words above which a run counts.
        temperature: of compared predictions.
        top_p: probability of the tokens at which predictions are compared.
        top: heads of a layer in T-VHD (the paper's number is not known to us).
        similar: cosine from which on two sentences mean the same.
    """

    proximity: int = 4
    receivers: int = 20
    share: float = 0.3
    window: int = 10
    low: int = 10
    high: int = 50
    quantile: float = 0.8
    sink_threshold: float = 0.1
    copy_threshold: float = 0.1
    recall: float = 0.5
    temperature: float = 0.6
    top_p: float = 0.9999
    top: int = 4
    similar: float = 0.8

    def __post_init__(self) -> None:
        bounds = {
            "proximity": (1, None),
            "receivers": (1, None),
            "share": (1e-9, 0.5),
            "window": (1, None),
            "low": (0, self.high),
            "quantile": (0, 1),
            "sink_threshold": (0, 1),
            "copy_threshold": (0, None),
            "recall": (0, 1),
            "temperature": (1e-9, None),
            "top_p": (1e-9, 1),
            "top": (1, None),
            "similar": (-1, 1),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not (least <= value and (most is None or value <= most)):
                limit = f"{least} or more" if most is None else f"from {least} to {most}"
                raise UserError(f"--set {name}={value}: must be {limit}")

    @classmethod
    def read(cls, given: Sequence[str]) -> Settings:
        """Read ``name=value`` texts.

        Raises:
            UserError: an unknown name, or a value of the wrong kind or out of range.
        """
        defaults = cls()
        kinds = {it.name: type(getattr(defaults, it.name)) for it in fields(cls)}
        values: dict[str, Any] = {}
        for text in given:
            name, _, value = text.partition("=")
            if name not in kinds:
                raise UserError(
                    f"--set {text}: unknown{nearest(name, kinds)}; known are {', '.join(kinds)}"
                )
            try:
                values[name] = kinds[name](value)
            except ValueError:
                kind = "a whole number" if kinds[name] is int else "a number"
                raise UserError(f"--set {text}: {name} must be {kind}") from None
        return cls(**values)

    def as_dict(self) -> dict[str, float]:
        """Return all values by name."""
        return asdict(self)


@dataclass
class Findings:
    """What one analysis found in one trace.

    Attributes:
        record: goes into the trace's row of ``traces.jsonl``.
        heads: columns of the table of heads, ``[L, H]`` each.
        tokens: columns of the table of tokens, ``[n]`` each, NaN where there is nothing to say.
        arrays: go into the trace's file of arrays.
    """

    record: dict[str, Any] = field(default_factory=dict)
    heads: dict[str, Tensor] = field(default_factory=dict)
    tokens: dict[str, Tensor] = field(default_factory=dict)
    arrays: dict[str, Tensor] = field(default_factory=dict)


class Analysis(ABC):
    """One kind of finding.

    Attributes:
        default: whether it is made without being asked for; those that take further passes for
            each sentence are not.
    """

    default = True

    @abstractmethod
    def obstacle(self, subject: Subject, trace: Trace, settings: Settings) -> str | None:
        """Return why a trace cannot be analysed so, or None."""

    def wanted(self, subject: Subject, trace: Trace, settings: Settings) -> dict[str, Wanted]:
        """Return the statistics it needs, by names of its own."""
        return {}

    @abstractmethod
    def findings(
        self, subject: Subject, trace: Trace, found: Mapping[str, Tensor], settings: Settings
    ) -> Findings:
        """Return what is found in a trace, from its statistics ``[L, H, ...]``."""

    def summary(
        self, traces: Sequence[Trace], findings: Sequence[Findings], settings: Settings
    ) -> dict[str, Any]:
        """Return what is found in all traces together, and complete what that says of each."""
        return {}
