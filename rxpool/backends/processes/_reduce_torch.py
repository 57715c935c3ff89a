"""How tensors are reduced that are numbers in memory and nothing more.

Pickle copies their storage twice, and takes it along whole for a slice.
"""

# What is reduced is of a library that need not be there.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from rxpool.backends.processes._raw_memory import exposed

__all__ = ("reducers",)


def reducers(torch: ModuleType) -> dict[type, Callable[[Any], Any]]:
    """For plain tensors; parameters have one inside."""
    return {torch.Tensor: partial(_reduce, torch.strided)}


def _reduce(strided: Any, tensor: Any) -> Any:
    try:
        if not _is_plain(strided, tensor):
            return tensor.__reduce_ex__(5)
        values = tensor.detach()
        if _extent(values) > values.numel():  # there are gaps
            values = values.clone()
        size = _extent(values) * values.element_size()
        memory = exposed(values.data_ptr(), size, values)
    except RuntimeError:  # it has no memory, or none that can be seen
        return tensor.__reduce_ex__(5)
    shape = tuple(values.size()), values.stride()
    return _tensor, (values.dtype, memory, *shape, tensor.requires_grad)


def _is_plain(strided: Any, tensor: Any) -> bool:
    return (
        tensor.device.type == "cpu"
        and tensor.layout is strided
        and tensor.numel() > 0
        and not tensor.is_quantized
        and not tensor.is_nested
        and not tensor.is_conj()
        and not tensor.is_neg()
        and not tensor.__dict__
        and not getattr(tensor, "_backward_hooks", None)  # of which pickle warns
        and not getattr(tensor, "has_names", bool)()  # some versions have such tensors
    )


def _extent(tensor: Any) -> Any:
    """The number of elements from the first in memory to the last."""
    pairs = zip(tensor.size(), tensor.stride(), strict=True)
    return 1 + sum((size - 1) * stride for size, stride in pairs)


def _tensor(dtype: Any, memory: Any, size: Any, stride: Any, requires_grad: bool) -> Any:
    torch: Any = sys.modules["torch"]  # *dtype* is of it
    storage = torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
    tensor = torch.empty(0, dtype=dtype, device="cpu").set_(storage, 0, size, stride)
    return tensor.requires_grad_() if requires_grad else tensor
