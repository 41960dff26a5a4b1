"""The spec grammar: text such as ``re2+vcd(alpha=1.0;beta=0.1)`` to parameter records and back.

    spec      = "none" | "" | "@" file "#" digest | item { "+" item }
    item      = name [ "(" argument { ";" argument } ")" ]
    argument  = parameter "=" value

Commas, brackets and blanks are not part of the grammar, because both harnesses split
``--model_args`` at commas and one of them at commas inside brackets as well. A longer plan lives in
a YAML file, a list of ``{name: {parameter: value}}``; the digest pins its content, so that results
and response caches, which record the model arguments only, change when the file does.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions import registry
from lmms_causal.interventions.pinned import read_pinned
from lmms_causal.interventions.plan import Plan

__all__ = ["Spec", "parse"]

_ITEM = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:\((?P<arguments>[^()]*)\))?")
_NOTHING = {"", "none", "off"}
_RESERVED = ";()\n"


@dataclass(frozen=True)
class Spec:
    """Methods with their parameters, in the order in which they were named."""

    methods: tuple[Any, ...] = ()

    def __str__(self) -> str:
        """Return the canonical text: every parameter spelled out, in the order of definition."""
        return "+".join(_print_method(method) for method in self.methods) or "none"

    def __bool__(self) -> bool:
        return bool(self.methods)

    def plan(self) -> Plan:
        """Return the composed plan of all methods.

        Raises:
            UserError: two of the methods cannot be composed.
        """
        plan = Plan()
        for method in self.methods:
            plan = plan.then(method.plan())
        return plan.checked()


def parse(text: str | Spec | None) -> Spec:
    """Read a spec; ``None``, ``""``, ``none`` and ``off`` all mean no intervention.

    Raises:
        UserError: a syntax error, an unknown method or parameter, a value of the wrong type or out
            of range, a method named twice, an unreadable or unpinned plan file.
    """
    if isinstance(text, Spec):
        return text
    text = "" if text is None else str(text).strip()
    if text.lower() in _NOTHING:
        return Spec()
    items = _read_file(text[1:]) if text.startswith("@") else _read_text(text)
    methods = tuple(_build(name, arguments) for name, arguments in items)
    seen: set[str] = set()
    for name, _ in items:
        if name in seen:
            raise UserError(f"interventions={text}: {name!r} is named twice; name each method once")
        seen.add(name)
    spec = Spec(methods)
    spec.plan()  # two methods that cannot be composed are refused here, before a model is loaded
    return spec


def _read_text(text: str) -> list[tuple[str, dict[str, str]]]:
    items = []
    position = 0
    while True:
        match = _ITEM.match(text, position)
        if not match:
            raise _syntax_error(text, position)
        items.append((match["name"], _read_arguments(match["name"], match["arguments"])))
        position = match.end()
        if position == len(text):
            return items
        if text[position] != "+":
            raise _syntax_error(text, position)
        position += 1


def _syntax_error(text: str, position: int) -> UserError:
    rest = text[position:] or "the end"
    hint = (
        "; separate arguments by ';' (the harness splits model arguments at commas)"
        if text.count("(") != text.count(")")
        else ""
    )
    return UserError(
        f"interventions={text}: cannot read {rest!r}; write name(parameter=value;parameter=value) "
        f"and join methods by '+'{hint}"
    )


def _read_arguments(name: str, text: str | None) -> dict[str, str]:
    arguments: dict[str, str] = {}
    for part in filter(None, (text or "").split(";")):
        parameter, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not parameter:
            raise UserError(f"intervention {name}: {part!r} is not parameter=value")
        if parameter in arguments:
            raise UserError(f"intervention {name}: parameter {parameter!r} is given twice")
        arguments[parameter] = value
    return arguments


def _read_file(reference: str) -> list[tuple[str, dict[str, Any]]]:
    import yaml

    content = read_pinned(reference, "interventions=@", "plan file")
    name = reference.partition("#")[0]
    try:
        entries = yaml.safe_load(content) or []
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())  # YAML's message has several lines
        raise UserError(f"interventions=@{name}: not valid YAML: {problem}") from None
    if not isinstance(entries, list):
        raise UserError(
            f"interventions=@{name}: expected a list of methods, e.g. '- vcd: {{alpha: 1}}'"
        )
    items: list[tuple[str, dict[str, Any]]] = []
    for entry in entries:
        if isinstance(entry, str):
            items.append((entry, {}))
        elif isinstance(entry, Mapping) and len(entry) == 1:
            ((method, arguments),) = entry.items()
            if not isinstance(arguments, (Mapping, type(None))):
                raise UserError(
                    f"interventions=@{name}: {method}: {arguments!r} is not {{parameter: value}}"
                )
            given = {str(key): value for key, value in (arguments or {}).items()}
            items.append((str(method), given))
        else:
            raise UserError(f"interventions=@{name}: {entry!r} is not 'name' or 'name: {{...}}'")
    return items


def _build(name: str, arguments: Mapping[str, Any]) -> Any:
    cls = registry.get(name)
    hints = get_type_hints(cls)
    known = registry.parameters(cls)
    values = {}
    for parameter, value in arguments.items():
        if joined := re.search(rf",\s*(?:{'|'.join(known)})\s*=", str(value)):
            raise UserError(
                f"intervention {name}: {parameter}={value}: separate parameters by ';', not ',', "
                f"as in {name}({parameter}={str(value)[: joined.start()]};...)"
            )
        if parameter not in known:
            raise UserError(
                f"intervention {name}: unknown parameter {parameter!r}"
                f"{nearest(parameter, known)}; it takes {', '.join(known) or 'none'}"
            )
        values[parameter] = _convert(name, parameter, value, hints[parameter])
    missing = [
        field.name
        for field in fields(cls)
        if field.init and field.default is MISSING and field.default_factory is MISSING
        if field.name not in values
    ]
    if missing:
        raise UserError(f"intervention {name}: parameter {missing[0]!r} is required")
    return cls(**values)


def _convert(name: str, parameter: str, value: Any, hint: Any) -> Any:
    """Read one value as the annotated type: bool, int, float, str, Literal or ``X | None``.

    A value from a plan file goes through its text, so that 2.5 is no whole number there either.
    """
    text = str(value).strip()
    if get_origin(hint) in (Union, types.UnionType):
        if text.lower() == "none":
            return None
        hint = next(option for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise UserError(
                f"intervention {name}: {parameter}={text} is not one of {', '.join(get_args(hint))}"
            )
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"intervention {name}: {parameter}={text} is not true or false")
        return text.lower() == "true"
    if hint is str and (reserved := set(text) & set(_RESERVED)):
        raise UserError(
            f"intervention {name}: {parameter}={text!r} contains {min(reserved)!r}, which the "
            "grammar of specs reserves; choose other words"
        )
    try:
        return hint(text)
    except ValueError:
        kind = {int: "a whole number", float: "a number"}.get(hint, hint.__name__)
        raise UserError(f"intervention {name}: {parameter}={text} is not {kind}") from None


def _print_method(method: Any) -> str:
    arguments = (f"{name}={getattr(method, name)}" for name in registry.parameters(type(method)))
    return f"{registry.name_of(type(method))}({';'.join(arguments)})"
