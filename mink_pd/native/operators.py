"""The compiled operators where they can be used."""

from typing import Any


def operators() -> Any | None:
    """``torch.ops.mink_pd``, or None where the plain path is to be taken; compiled at the first call if need be."""
    from mink_pd.native.build import library  # at need: "python -m mink_pd.native.build" must find it not imported

    return library()


def multiplies_bf16() -> bool:
    """Whether inference under autocast to bfloat16 multiplies it here: on processors with AVX512_BF16."""
    compiled = operators()
    return compiled is not None and bool(compiled.multiplies_bf16())
