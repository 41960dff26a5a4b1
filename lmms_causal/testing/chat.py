"""Chat templates: one Jinja text for all families, filled with a family's own markers."""

from __future__ import annotations

__all__ = ["chat_template"]

_TEMPLATE = (
    "<BEGIN>{%- for message in messages -%}"
    "<OPEN>{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}{%- for item in message['content'] -%}"
    "{%- if item['type'] == 'image' -%}<IMAGE>"
    "{%- elif item['type'] == 'video' -%}<VIDEO>"
    "{%- else -%}{{ item['text'] }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}<CLOSE>"
    "{%- endfor -%}{%- if add_generation_prompt -%}<REPLY>{%- endif -%}"
)


def chat_template(
    *,
    opens: str = "<|im_start|>{role}\n",
    closes: str = "<|im_end|>\n",
    reply: str = "<|im_start|>assistant\n",
    begin: str = "",
    image: str = "<image>",
    video: str = "<video>",
    roles: dict[str, str] | None = None,
) -> str:
    """Return a template for plain-string or list content, system messages and several turns.

    Args:
        opens: text before a message; ``{role}`` stands for the role's name.
        closes: text after a message.
        reply: text that asks for the assistant's turn.
        begin: text before the conversation.
        image: placeholder of an image.
        video: placeholder of a video.
        roles: names that replace ``system``, ``user`` or ``assistant``.
    """
    names = {"system": "system", "user": "user", "assistant": "assistant", **(roles or {})}
    role = "{{ " + repr(names) + "[message['role']] }}"
    head, _, tail = opens.partition("{role}")
    opening = _literal(head) + (role + _literal(tail) if "{role}" in opens else "")
    parts = {
        "<BEGIN>": _literal(begin),
        "<OPEN>": opening,
        "<IMAGE>": _literal(image),
        "<VIDEO>": _literal(video),
        "<CLOSE>": _literal(closes),
        "<REPLY>": _literal(reply),
    }
    template = _TEMPLATE
    for slot, text in parts.items():
        template = template.replace(slot, text)
    return template


def _literal(text: str) -> str:
    """A Jinja expression that prints the text exactly, line ends included."""
    return "{{ " + repr(text) + " }}" if text else ""
