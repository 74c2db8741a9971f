"""Row notes: what the CPU itself notes of a chunk, so that few of its values are looked at.

Arithmetic raises a flag where it makes an infinity or a NaN of finite numbers (IEEE 754, 7): overflow,
division by zero, invalid operation. Flags stay until they are cleared. So a kernel clears them, walks its
chunk, and reads them: no vector costs anything, and what is hidden later on is known as well.

Ops whose code raises a flag wherever it makes what is not finite *tell*; logarithms, which choose a NaN, are
looked at. No op may be in such a kernel that raises one for nothing. Some do of numbers beyond 1e10, as the
``tanh`` of a double: that costs a walk. Nor may an infinity be there rightly, for ``-inf - -inf`` is invalid.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.function import Function
from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64, TensorType
from passes.fusion import PICK, PUT, REDUCTIONS
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.notes import DECLARATIONS, noting_text
from runtime.llvm_backend.ir.text import Module, target_of
from runtime.llvm_backend.rows.infinities import Kinds
from runtime.llvm_backend.rows.row_plan import VIEWS

TELLING = frozenset(("add", "sub", "mul", "div", "square", "sqrt", "rsqrt", "reciprocal", "guarded_multiply"))
TELLING |= frozenset(("exp", "expm1", "sinh", "cosh", "asin", "acos", "cast", "sum", "mean", "prod"))
# Of what else may be beside them.
SILENT = frozenset(("neg", "abs", "identity", "maximum", "minimum", "clip", "relu", "where", "sign"))
SILENT |= frozenset(
    ("floor", "ceil", "round", "trunc", "equal", "not_equal", "less", "less_equal", "greater")
)
SILENT |= frozenset(("greater_equal", "logical_and", "logical_or", "logical_xor", "logical_not", "isnan"))
SILENT |= frozenset(("isinf", "isfinite", "sigmoid", "tanh", "erf", "normal_cdf", "softplus", "sin", "cos"))
SILENT |= frozenset(("log", "log1p"))
_IN_CELLS = (TELLING | SILENT) - {"log", "log1p"}  # nothing is looked at besides
# What may be asked of an infinity.
_ASKING = frozenset(("equal", "not_equal", "isnan", "isinf", "isfinite", "where"))
_BESIDE = SILENT | VIEWS | {PICK.name, PUT.name, "logsumexp"} | {op.name for op in REDUCTIONS}
# What raises no flag of a NaN, which comparing by size does.
_UNTOUCHED = frozenset(("add", "sub", "mul", "div", "square", "sqrt", "rsqrt", "reciprocal", "neg", "abs"))
_UNTOUCHED |= frozenset(("identity", "where", "cast", "sum", "mean", "equal", "not_equal"))


def may_tell(body: Function, kinds: Mapping[Tensor, Kinds]) -> bool:
    """Whether the CPU's notes say all that is wrong with what ops of a fused `body` tell."""
    given = set(body.inputs)

    def is_right(node: Tensor) -> bool:
        if not isinstance(node.type, TensorType):
            return False
        if node.dtype.is_floating and node.dtype not in (FLOAT32, FLOAT64):
            return False
        if node in given:
            return True
        if kinds[node] or (node.op.name not in _ASKING and any(kinds[x] for x in node.inputs)):
            return False
        return node.op.name in TELLING or node.op.name in _BESIDE

    return target_of(host()).notes and all(map(is_right, body.nodes()))


def is_noted_in_cells(node: Tensor) -> bool:
    """Whether the CPU notes what is wrong with an elementwise `node` in a kernel of cells."""
    dtypes = [x.dtype for x in (node, *node.inputs)]
    real = all(dtype in (FLOAT32, FLOAT64) for dtype in dtypes if dtype.is_floating)
    return real and node.op.name in _IN_CELLS


def is_untouched(node: Tensor) -> bool:
    """Whether the code of `node` raises no flag of a NaN."""
    if node.op.name == "exp":
        return node.dtype is FLOAT32 and target_of(host()).masks  # elsewhere it limits its operand
    return node.op.name in _UNTOUCHED


def find_unchosen(body: Function) -> frozenset[Tensor]:
    """What is one of two of which one is chosen: LLVM may skip the division that makes the other one."""
    return frozenset(x for node in body.nodes() if node.op.name == "where" for x in node.inputs[1:])


def define_noted(module: Module, name: str, parameters: str, body: str, flag: int, kind: int) -> None:
    """Adds the function `name` of that `body`, which tells `kind` by word number `flag` of its block."""
    inside = f"{name}.inside"
    module.declare("notes", DECLARATIONS)
    module.define(
        inside, lambda: f"define internal void @{inside}({parameters}) noinline {{\nentry:\n{body}\n}}"
    )
    module.define(name, lambda: noting_text(name, inside, parameters, flag, kind))
