"""The sub-commands of ``lmms-causal``, a file each: ``add_parser(commands)`` and what it runs."""
