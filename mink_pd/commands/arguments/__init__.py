"""The arguments of the commands: one file each, with DESCRIPTION and ``add_arguments(parser)``.

They import neither torch nor what imports it, so that ``--help`` and a mistyped option are answered at once.
"""
