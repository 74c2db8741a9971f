"""The ops under the public functions of the same names, which take more than rules have to give."""

from graphc.ops.contraction import _einsum as einsum
from graphc.ops.extremum import _clip as clip
from graphc.ops.gathering import _gather as gather
from graphc.ops.gathering import _gather_nd as gather_nd
from graphc.ops.joining import _concat as concat
from graphc.ops.joining import _stack as stack
from graphc.ops.movement import _broadcast_to as broadcast_to
from graphc.ops.movement import _ensure_shape as ensure_shape
from graphc.ops.movement import _expand_dims as expand_dims
from graphc.ops.movement import _reshape as reshape
from graphc.ops.movement import _squeeze as squeeze
from graphc.ops.scattering import _scatter_add as scatter_add
from graphc.ops.scattering import _scatter_update as scatter_update
from graphc.ops.sorting import _sort as sort
from graphc.ops.source import _constant as constant

__all__ = [
    "broadcast_to",
    "clip",
    "concat",
    "constant",
    "einsum",
    "ensure_shape",
    "expand_dims",
    "gather",
    "gather_nd",
    "reshape",
    "scatter_add",
    "scatter_update",
    "sort",
    "squeeze",
    "stack",
]
