"""Mathematics on tensors: no parameters, no modules. Each file has the definition and the fast form."""

from caselli.ops.nearest_code import nearest_code

__all__ = ["nearest_code"]
