"""Rules of matrix products and Einstein sums. Which terms are added never changes, unless it is fast."""

from __future__ import annotations

from graphc import ops
from graphc.ops.equation import ELLIPSIS, Label, label, measure, split
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, FLOAT16
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import alike, constant_operand, scalar, swapped
from passes.simplification.vocabulary import einsum, expand_dims, reshape


def _matrix_transposed(x: Tensor) -> Tensor | None:
    """What `x` is the transpose of, over its last two axes."""
    return x.inputs[0] if x.op is ops.transpose and swapped(x.attrs["axes"]) else None


def _is_matrix(x: Tensor) -> bool:
    return len(x.result.sizes) >= 2


@rule(ops.matmul, of=(ops.transpose,))
def matmul_of_transposed(match: Match) -> Tensor | None:
    """``matmul(transpose(x), y) -> einsum('ki,kj->ij', x, y)``, and so on the right."""
    x, y = match.inputs
    left, right = _matrix_transposed(x), _matrix_transposed(y)
    if not (_is_matrix(x) and _is_matrix(y)) or (left is None and right is None):
        return None
    lead = ELLIPSIS if len(match.node.result.sizes) > 2 else ""
    first = f"{lead}ij" if left is None else f"{lead}ji"
    second = f"{lead}jk" if right is None else f"{lead}kj"
    a, b = x if left is None else left, y if right is None else right
    return alike(match, einsum(a, b, equation=f"{first},{second}->{lead}ik"))


@rule(ops.transpose, of=(ops.matmul,))
def transpose_of_matmul(match: Match) -> Tensor | None:
    """``transpose(matmul(x, y)) -> einsum('ij,jk->ki', x, y)``."""
    (made,) = match.inputs
    if made.op is not ops.matmul or not swapped(match.attrs["axes"]) or not match.used_once(made):
        return None
    x, y = made.inputs
    if not (_is_matrix(x) and _is_matrix(y)):
        return None
    lead = ELLIPSIS if len(made.result.sizes) > 2 else ""
    return alike(match, einsum(x, y, equation=f"{lead}ij,{lead}jk->{lead}ki"))


@rule(einsum, of=(ops.transpose,))
def einsum_of_transposed(match: Match) -> Tensor | None:
    """``einsum('ij,...', transpose(x), ...) -> einsum('ji,...', x, ...)``."""
    terms, output = split(match.attrs["equation"])
    spelled, operands = [], []
    for term, x in zip(terms, match.inputs, strict=True):
        moved = _respelled(term, x)
        spelled.append(term if moved is None else moved)
        operands.append(x if moved is None else x.inputs[0])
    if spelled == terms:
        return None
    return alike(match, einsum(*operands, equation=f"{','.join(spelled)}->{output}"))


def _respelled(term: str, x: Tensor) -> str | None:
    """The term of what `x` is the transpose of; axes under the ellipsis must stay where they are."""
    if x.op is not ops.transpose:
        return None
    axes, (before, dots, after) = x.attrs["axes"], term.partition(ELLIPSIS)
    middle = len(axes) - len(before) - len(after)
    letters = [*before, *([dots] * middle), *after]
    if any((axes[i] != i) for i, letter in enumerate(letters) if letter == ELLIPSIS):
        return None
    placed = [""] * len(axes)
    for i, axis in enumerate(axes):
        placed[axis] = letters[i]
    text = "".join(letter for letter in placed if letter != ELLIPSIS)
    return text[: len(before)] + dots + text[len(before) :] if dots else text


@rule(ops.transpose, of=(einsum,))
def transpose_of_einsum(match: Match) -> Tensor | None:
    """``transpose(einsum('...->ij', ...)) -> einsum('...->ji', ...)``."""
    (made,) = match.inputs
    if made.op is not einsum or not match.used_once(made):
        return None
    terms, output = split(made.attrs["equation"])
    if ELLIPSIS in output:
        return None
    moved = "".join(output[i] for i in match.attrs["axes"])
    return alike(match, einsum(*made.inputs, equation=f"{','.join(terms)}->{moved}"))


@rule(einsum)
def einsum_as_matmul(match: Match) -> Tensor | None:
    """``einsum('ij,jk->ik', x, y) -> matmul(x, y)``."""
    terms, output = split(match.attrs["equation"])
    if len(terms) != 2 or any(len(term) != 2 for term in (*terms, output)):
        return None
    i, j, k = terms[0][0], terms[0][1], terms[1][1]
    if j != terms[1][0] or len({i, j, k}) < 3 or output != i + k or any(_stretched(match.node)):
        return None
    return alike(match, ops.matmul(*match.inputs))


def _stretched(node: Tensor) -> list[set[Label]]:
    """For each operand of an Einstein sum the letters of size 1 that another one makes longer."""
    terms, _ = split(node.attrs["equation"])
    rows = [label(term, x.result) for term, x in zip(terms, node.inputs, strict=True)]
    extents = measure(rows, [x.result for x in node.inputs])
    pairs = [zip(row, x.result.sizes, strict=True) for row, x in zip(rows, node.inputs, strict=True)]
    return [{at for at, size in each if size == 1 != extents[at] and isinstance(at, str)} for each in pairs]


@rule(einsum)
def einsum_of_stretched(match: Match) -> Tensor | None:
    """``einsum('ij,jk->ik', x, y) -> einsum('i,jk->ik', x, y)`` where j is 1 in x and not in y."""
    gone = _stretched(match.node)
    if not any(gone):
        return None
    terms, output = split(match.attrs["equation"])
    spelled, operands = [], []
    for term, letters, x in zip(terms, gone, match.inputs, strict=True):
        row = zip(label(term, x.result), x.result.sizes, strict=True)
        operands.append(reshape(x, shape=tuple(size for at, size in row if at not in letters)))
        spelled.append("".join(letter for letter in term if letter not in letters))
    return alike(match, einsum(*operands, equation=f"{','.join(spelled)}->{output}"))


@rule(einsum)
def einsum_of_one(match: Match) -> Tensor | None:
    """``einsum('ij->ji', x) -> transpose(x)``, and ``einsum('ij->i', x) -> sum(x)``."""
    terms, output = split(match.attrs["equation"])
    if len(terms) != 1 or ELLIPSIS in terms[0] or len(set(terms[0])) < len(terms[0]):
        return None
    (x,), (term,) = match.inputs, terms
    gone = tuple(i for i, letter in enumerate(term) if letter not in output)
    if gone and x.dtype in (FLOAT16, BFLOAT16):
        return None
    kept = [letter for letter in term if letter in output]
    made = ops.sum(x, axis=gone) if gone else x
    return alike(match, ops.transpose(made, axes=tuple(kept.index(letter) for letter in output)))


@rule(einsum)
def einsum_as_product(match: Match) -> Tensor | None:
    """``einsum('i,j->ij', x, y) -> x * y`` with axes of size 1 put in, where nothing is added."""
    terms, output = split(match.attrs["equation"])
    if len(terms) != 2 or ELLIPSIS in output or any(len(set(term)) < len(term) for term in terms):
        return None
    if any(letter not in output for term in terms for letter in term):
        return None
    return alike(
        match, ops.mul(*(_placed(x, term, output) for x, term in zip(match.inputs, terms, strict=True)))
    )


def _placed(x: Tensor, term: str, output: str) -> Tensor:
    """`x` with its axes in the order of `output`, of size 1 where it has none."""
    kept = [letter for letter in output if letter in term]
    x = ops.transpose(x, axes=tuple(term.index(letter) for letter in kept))
    sizes = iter(x.result.sizes)
    return reshape(x, shape=tuple(next(sizes) if letter in term else 1 for letter in output))


@rule(ops.matmul, einsum, of=(ops.neg,))
def product_of_negatives(match: Match) -> Tensor | None:
    """``matmul(-x, -y) -> matmul(x, y)``, and so for an Einstein sum of two."""
    if len(match.inputs) != 2 or any(x.op is not ops.neg for x in match.inputs):
        return None
    return match.node.op(*(x.inputs[0] for x in match.inputs), **match.attrs)


def _identity_size(x: Tensor) -> object:
    """The size of the identity matrix that `x` is, or None."""
    test = x.inputs[0] if x.op is ops.cast else x
    if test.op is not ops.equal:
        return None
    for row, column in (test.inputs, test.inputs[::-1]):
        if row.op in (expand_dims, reshape) and row.result.sizes[1:] == (1,) and column.op is ops.iota:
            counter = row.inputs[0]
            if counter.op is ops.iota and counter.result == column.result and not counter.inputs:
                return counter.result.sizes[0]
    return None


def _by_identity(match: Match) -> Tensor | None:
    x, y = match.inputs
    for kept, other in ((x, y), (y, x)):
        if kept.type == match.node.type and _identity_size(other) is not None and match.is_droppable(other):
            return kept
    return None


@rule(ops.matmul, of=(ops.cast, ops.equal), integers=True)
def multiply_by_identity_matrix(match: Match) -> Tensor | None:
    """``matmul(x, eye(n)) -> x``, and so on the left, of integers."""
    return None if match.node.dtype.is_floating else _by_identity(match)


@rule(ops.matmul, of=(ops.cast, ops.equal))
def multiply_by_identity_matrix_fast(match: Match) -> Tensor | None:
    """``matmul(x, eye(n)) -> x`` and so on the left, which differs for -0.0, infinity and NaN."""
    return _by_identity(match)


@rule(ops.matmul, of=(ops.mul,))
def scales_of_matmul_fast(match: Match) -> Tensor | None:
    """``matmul(x * a, y * b) -> matmul(x, y) * (a * b)``."""
    x, y = match.inputs
    if any(each.op is not ops.mul or not match.used_once(each) for each in (x, y)):
        return None
    a, b = constant_operand(x), constant_operand(y)
    if a is None or b is None or not x.dtype.is_floating:
        return None
    return alike(match, ops.mul(ops.matmul(x.inputs[0], y.inputs[0]), scalar(a * b, x.dtype)))


@rule(ops.sum, of=(ops.mul,))
def sum_of_product_fast(match: Match) -> Tensor | None:
    """``sum(x * y) -> einsum('ik,kj->ij', x, y)`` where both are smaller than their product."""
    (made,) = match.inputs
    if made.op is not ops.mul or not made.dtype.is_floating or match.attrs["keepdims"]:
        return None
    whole = made.result.sizes
    if len(whole) > 26 or not match.used_once(made) or any(x.result.sizes == whole for x in made.inputs):
        return None
    letters = "abcdefghijklmnopqrstuvwxyz"[: len(whole)]
    terms, operands = [], []
    for x in made.inputs:
        own = x.result.sizes
        lead = len(whole) - len(own)
        kept = [i for i, size in enumerate(own) if size == whole[i + lead]]
        if any(size != 1 for i, size in enumerate(own) if i not in kept) or not kept:
            return None
        terms.append("".join(letters[i + lead] for i in kept))
        operands.append(reshape(x, shape=tuple(own[i] for i in kept)))
    output = "".join(letters[i] for i in range(len(whole)) if i not in match.attrs["axis"])
    if {*"".join(terms)} != {*letters}:
        return None
    return alike(match, einsum(*operands, equation=f"{','.join(terms)}->{output}"))


RULES: tuple[Rule, ...] = (
    *(matmul_of_transposed, transpose_of_matmul, einsum_of_transposed, transpose_of_einsum),
    *(einsum_of_stretched, einsum_as_matmul, einsum_of_one, einsum_as_product, product_of_negatives),
    *(multiply_by_identity_matrix,),
)
FAST_RULES: tuple[Rule, ...] = (
    *(multiply_by_identity_matrix_fast, scales_of_matmul_fast, sum_of_product_fast),
)
