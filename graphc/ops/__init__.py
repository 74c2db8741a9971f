"""Every op by name; importing a family registers its ops."""

from graphc.operators import lack_functions as _lack_functions
from graphc.ops.accumulation import cumprod, cumsum, linear_recurrence, prod
from graphc.ops.accumulation import prod as reduce_prod
from graphc.ops.bitwise import bitwise_and, bitwise_not, bitwise_or, bitwise_xor, left_shift, right_shift
from graphc.ops.comparison import (
    equal,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
    where,
)
from graphc.ops.comparison import where as select
from graphc.ops.contraction import einsum
from graphc.ops.division import floor_divide, fmod, remainder
from graphc.ops.division import remainder as mod
from graphc.ops.elementwise import (
    add,
    add_n,
    cast,
    div,
    guarded_multiply,
    identity,
    mul,
    neg,
    reciprocal,
    rsqrt,
    sqrt,
    square,
    sub,
)
from graphc.ops.elementwise import div as divide
from graphc.ops.elementwise import mul as multiply
from graphc.ops.elementwise import neg as negative
from graphc.ops.elementwise import sub as subtract
from graphc.ops.error_function import erf, erfc, normal_cdf
from graphc.ops.exponential import exp, expm1, log, log1p, power, sigmoid, softplus
from graphc.ops.exponential import power as pow
from graphc.ops.extremum import abs, ceil, clip, floor, maximum, minimum, relu, round, sign, trunc
from graphc.ops.filling import filled_like, full, full_like, ones, ones_like, zeros, zeros_like
from graphc.ops.gamma import digamma, lgamma, polygamma
from graphc.ops.gathering import boolean_mask, gather, gather_nd, take, take_along_axis
from graphc.ops.indexing import index
from graphc.ops.joining import concat, roll, split, stack, tile, unstack
from graphc.ops.label import pick_class, put_class
from graphc.ops.linear import matmul, orthogonal_factor, tensordot
from graphc.ops.marker import gradient_request, gradients, stop_gradient
from graphc.ops.movement import (
    broadcast_to,
    ensure_shape,
    expand_dims,
    matrix_transpose,
    reshape,
    squeeze,
    state_rank,
    swap_axes,
    transpose,
)
from graphc.ops.padding import pad
from graphc.ops.ranges import arange, eye, linspace, tril, triu
from graphc.ops.reduction import all, any, argmax, argmin, max, mean, min, sum
from graphc.ops.reduction import all as reduce_all
from graphc.ops.reduction import any as reduce_any
from graphc.ops.reduction import max as reduce_max
from graphc.ops.reduction import mean as reduce_mean
from graphc.ops.reduction import min as reduce_min
from graphc.ops.reduction import sum as reduce_sum
from graphc.ops.region import cond
from graphc.ops.sampling import random_bits, random_normal, random_truncated_normal, random_uniform
from graphc.ops.scattering import one_hot, scatter_add, scatter_along_axis, scatter_nd, scatter_update
from graphc.ops.segment import segment_mean, segment_sum
from graphc.ops.sizing import element_count, rank, shape, size
from graphc.ops.slicing import embed, flip, slice, strided_slice
from graphc.ops.sorting import argsort, nonzero, searchsorted, sort, top_k, unique
from graphc.ops.source import constant, iota, placeholder, placeholder_with_default, run_state
from graphc.ops.state import after, check, extent, group, pick, print
from graphc.ops.statistics import logsumexp, norm, std, var
from graphc.ops.statistics import logsumexp as reduce_logsumexp
from graphc.ops.trigonometry import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cos,
    cosh,
    sin,
    sinh,
    tan,
    tanh,
)
from graphc.ops.window import overlap_add, windows

_lack_functions(globals())
