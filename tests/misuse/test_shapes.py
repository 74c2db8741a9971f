"""Wrong shapes, axes and sizes, all refused where they are defined."""

import pytest

import graphc as gc

# Title, error, phrases of its text, misuse.
# A table, each misuse on one line, which the text of the error must name:
# fmt: off
HERE = [
    # Shapes and axes.
    ("matmul inner sizes", gc.ShapeError, (
         "matmul: inner sizes differ: f32[batch,3] @ f32[4,5]", "x is placeholder 'x'",
         "y is the result of broadcast_to"),
     lambda g: g.x @ gc.zeros((4, 5))),
    ("matmul of a scalar", gc.ShapeError, (
         "matmul: an operand has no axes, use * for it: f32[] @ f32[batch,3]",
         "s is placeholder 's'", "x is placeholder 'x'"),
     lambda g: g.s @ g.x),
    ("broadcast", gc.ShapeError, (
         "add: shapes do not broadcast: f32[batch,3], f32[2,4]", "x is placeholder 'x'",
         "y is the result of broadcast_to"),
     lambda g: g.x + gc.zeros((2, 4))),
    ("concat ranks", gc.ShapeError, (
         "concat: ranks differ: f32[batch,3] and f32[batch]", "operand 0 is placeholder 'x'",
         "operand 1 is placeholder 'y'"),
     lambda g: gc.concat([g.x, g.y], axis=0)),
    ("concat nothing", gc.ArgumentError, (
         "concat: an empty list has nothing to join",),
     lambda g: gc.concat([], axis=0)),
    ("stack sizes", gc.ShapeError, (
         "stack: shapes differ: f32[batch,3] and f32[batch]", "operand 0 is placeholder 'x'",
         "operand 1 is placeholder 'y'"),
     lambda g: gc.stack([g.x, g.y])),
    ("more elements than can be counted", gc.ShapeError, (
         "size: the shape [1099511627776, 1099511627776] holds more elements than can be counted: 2**63",
         "x is the result of add"),
     lambda g: gc.size(gc.zeros((2**40, 1)) + gc.zeros((1, 2**40)))),
    ("a shape of too many elements", gc.ShapeError, (
         "broadcast_to: the shape [1099511627776, 1099511627776] holds more elements",),
     lambda g: gc.broadcast_to(1.0, (2**40, 2**40))),
    ("a negative size", gc.ShapeError, ("zeros: broadcast_to: a size is not negative: -1, which keeps",),
     lambda g: gc.zeros((2, -1))),
    ("a size that no machine counts", gc.ShapeError, (
         "placeholder: the shape [18446744073709551616] holds more elements than can be counted",),
     lambda g: gc.placeholder("float32", (2**64,))),
    ("axis out of range", gc.ShapeError, (
         "sum: axis 2 is out of range for f32[batch,3] with 2 axes", "x is placeholder 'x'"),
     lambda g: gc.sum(g.x, axis=2)),
    ("axis negative", gc.ShapeError, (
         "softmax: max: axis -3 is out of range for f32[batch,3] with 2 axes",
         "x is placeholder 'x'"),
     lambda g: gc.nn.softmax(g.x, axis=-3)),
    ("axis twice", gc.ArgumentError, (
         "sum: an axis is named twice in (1, -1)", "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.sum(g.x, axis=(1, -1))),
    ("axis float", gc.ArgumentError, (
         "sum: an axis is an int, not 1.0", "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.sum(g.x, axis=1.0)),
    ("axis string", gc.ArgumentError, (
         "sum: an axis is an int, not 'batch'", "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.sum(g.x, axis="batch")),
    ("argmax axis", gc.ShapeError, (
         "argmax: axis 5 is out of range for f32[batch,3] with 2 axes",
         "x is placeholder 'x'"),
     lambda g: gc.argmax(g.x, axis=5)),
    ("cumsum axis", gc.ShapeError, (
         "cumsum: axis 1 is out of range for f32[batch] with 1 axes", "y is placeholder 'y'"),
     lambda g: gc.cumsum(g.y, axis=1)),
    ("reshape count", gc.ShapeError, (
         "reshape: i32[4] does not have the elements of i32[3,2]", "n is placeholder 'n'"),
     lambda g: gc.reshape(g.n, (3, 2))),
    ("reshape unknowns", gc.ArgumentError, (
         "reshape: only one size may be -1, not 2", "n is placeholder 'n': i32[4]"),
     lambda g: gc.reshape(g.n, (-1, -1))),
    ("reshape indivisible", gc.ShapeError, (
         "reshape: i32[4] does not have the elements of i32[3,1]", "n is placeholder 'n'"),
     lambda g: gc.reshape(g.n, (3, -1))),
    ("reshape negative", gc.ShapeError, (
         "reshape: a size is not negative: -2", "n is placeholder 'n': i32[4]"),
     lambda g: gc.reshape(g.n, (-2, 2))),
    ("reshape float", gc.ArgumentError, (
         "reshape: a size is an int, a name or None, not 2.0", "n is placeholder 'n': i32[4]"),
     lambda g: gc.reshape(g.n, (2.0, 2))),
    ("transpose", gc.ShapeError, (
         "transpose: (0, 0) does not name each axis of f32[batch,3] once",
         "x is placeholder 'x'"),
     lambda g: gc.transpose(g.x, (0, 0))),
    ("transpose short", gc.ShapeError, (
         "transpose: (0,) does not name each axis of f32[batch,3] once",
         "x is placeholder 'x'"),
     lambda g: gc.transpose(g.x, (0,))),
    ("expand_dims", gc.ShapeError, (
         "expand_dims: axis 4 is out of range for a result with 3 axes",
         "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.expand_dims(g.x, axis=4)),
    ("squeeze", gc.ShapeError, (
         "squeeze: axis 1 of f32[batch,3] is not of size 1", "x is placeholder 'x'"),
     lambda g: gc.squeeze(g.x, axis=1)),
    ("broadcast_to", gc.ShapeError, (
         "broadcast_to: i32[4] does not broadcast to i32[3]", "n is placeholder 'n'"),
     lambda g: gc.broadcast_to(g.n, (3,))),
    ("split", gc.ShapeError, (
         "split: 3 parts do not divide axis 0 of i32[4]", "n is placeholder 'n'"),
     lambda g: gc.split(g.n, 3, axis=0)),
    ("split sizes", gc.ShapeError, (
         "split: parts of [1, 2] do not make up axis 0 of i32[4]", "n is placeholder 'n'"),
     lambda g: gc.split(g.n, [1, 2], axis=0)),
    ("split by a float", gc.ArgumentError, (
         "split: a number of parts or a list of sizes is wanted, not 2.0", "n is placeholder 'n': i32[4]"),
     lambda g: gc.split(g.n, 2.0)),
    ("unstack of too few", gc.ShapeError, (
         "unstack: num is 3, and axis 0 of i32[4] has not as many parts", "n is placeholder 'n'"),
     lambda g: gc.unstack(g.n, num=3)),
    ("reshape to loose sizes", gc.ArgumentError, (
         "reshape: the sizes are one argument, as in reshape(x, (2, 2))", "n is placeholder 'n': i32[4]"),
     lambda g: gc.reshape(g.n, 2, 2)),
    ("concat with its arguments swapped", gc.ArgumentError, (
         "concat: the list comes first, then the axis: concat([...], 0)",
         "axis[0] is placeholder 'x': f32[batch,3]"),
     lambda g: gc.concat(0, [g.x, g.x])),
    ("concat of loose tensors", gc.ArgumentError, (
         "concat: the list comes first, then the axis: concat([...], 0)",
         "xs is placeholder 'x': f32[batch,3]", "axis is placeholder 'x': f32[batch,3]"),
     lambda g: gc.concat(g.x, g.x)),
    ("stack of loose tensors", gc.ArgumentError, (
         "stack: the list comes first, then the axis: stack([...], 0)",
         "xs is placeholder 'x': f32[batch,3]", "axis is placeholder 'x': f32[batch,3]"),
     lambda g: gc.stack(g.x, g.x)),
    ("layer_norm scale", gc.ShapeError, (
         "layer_norm: mul: shapes do not broadcast: f32[batch,3], f32[4]",
         "y is the result of broadcast_to"),
     lambda g: gc.nn.layer_norm(g.x, scale=gc.ones((4,)))),
    ("an error in a body is that of its own line", gc.ShapeError, (
         "layer_norm: mul: shapes do not broadcast: f32[batch,3], f32[4]",),
     lambda g: gc.cond(g.s > 0, lambda: gc.nn.layer_norm(g.x, scale=gc.ones((4,))), lambda: g.x)),
    ("unstack unknown", gc.ShapeError, (
         "unstack: the size of axis 0 of f32[batch,3] is known only at the run: give num",
         "x is placeholder 'x'"),
     lambda g: gc.unstack(g.x, axis=0)),
    ("pad mode", gc.ArgumentError, (
         "pad: a mode is one of constant, reflect, symmetric, not 'wrap'", "n is placeholder 'n': i32[4]"),
     lambda g: gc.pad(g.n, [(1, 1)], mode="wrap")),
    ("slice", gc.ShapeError, (
         "strided_slice: the slice reaches index 4 of axis 0 of i32[4]", "n is placeholder 'n'"),
     lambda g: gc.slice(g.n, [2], [3])),
    ("einsum sizes", gc.ShapeError, (
         "einsum: letter 'j' is 3 and 4: f32[batch,3], f32[4,5]",
         "operand 0 is placeholder 'x'", "operand 1 is the result of broadcast_to"),
     lambda g: gc.einsum("ij,jk->ik", g.x, gc.zeros((4, 5)))),
    ("einsum equation", gc.ArgumentError, (
         "einsum: letter 'z' of the output is in no operand of 'ij,jk->iz'",
         "xs[0] is placeholder 'x': f32[batch,3]", "xs[1] is variable 'w': f32[3,2]"),
     lambda g: gc.einsum("ij,jk->iz", g.x, g.w)),
    ("einsum operands", gc.ArgumentError, (
         "einsum: 'ij,jk' is about 2 operands, and 1 are given", "xs[0] is placeholder 'x': f32[batch,3]"),
     lambda g: gc.einsum("ij,jk", g.x)),
    ("tensordot", gc.ShapeError, (
         "tensordot: 3 axes cannot meet of operands with 2 and 2 axes",
         "x is placeholder 'x': f32[batch,3]", "w is variable 'w': f32[3,2]"),
     lambda g: gc.tensordot(g.x, g.w, axes=3)),
    ("conv channels", gc.ShapeError, (
         "conv2d: the channels differ: f32[1,8,8,3] and filters f32[3,3,4,8]",
         "images is placeholder 'images'", "filters is the result of broadcast_to"),
     lambda g: gc.nn.conv2d(g.images, gc.zeros((3, 3, 4, 8)))),
    ("conv rank", gc.ShapeError, (
         "conv2d: x has the axes n, h, w and c, and f32[batch,3] has not",
         "x is placeholder 'x': f32[batch,3]", "filters is the result of broadcast_to: f32[3,3,3,8]"),
     lambda g: gc.nn.conv2d(g.x, gc.zeros((3, 3, 3, 8)))),
    ("conv padding", gc.ArgumentError, (
         "conv2d: padding is \"SAME\", \"VALID\" or ((top, bottom), (left, right)) in whole numbers from 0",
         "up, not 'FULL'", "images is placeholder 'images': f32[1,8,8,3]",
         "filters is the result of broadcast_to: f32[3,3,3,8]"),
     lambda g: gc.nn.conv2d(g.images, gc.zeros((3, 3, 3, 8)), padding="FULL")),
    ("conv stride", gc.ArgumentError, (
         "conv2d: strides is a whole number from 1 up, or two of them, not 0",
         "images is placeholder 'images': f32[1,8,8,3]",
         "filters is the result of broadcast_to: f32[3,3,3,8]"),
     lambda g: gc.nn.conv2d(g.images, gc.zeros((3, 3, 3, 8)), strides=0)),
    ("conv groups", gc.ShapeError, (
         "conv2d: the channels differ in 2 groups: f32[1,8,8,3] and filters f32[3,3,3,8]",
         "images is placeholder 'images'", "filters is the result of broadcast_to"),
     lambda g: gc.nn.conv2d(g.images, gc.zeros((3, 3, 3, 8)), groups=2)),
    ("conv too large filter", gc.ShapeError, (
         "conv2d: a filter of 9 x 9 cells does not fit f32[1,8,8,3]",
         "images is placeholder 'images': f32[1,8,8,3]",
         "filters is the result of broadcast_to: f32[9,9,3,8]"),
     lambda g: gc.nn.conv2d(g.images, gc.zeros((9, 9, 3, 8)), padding="VALID")),
    ("conv data_format", gc.ArgumentError, (
         "conv2d: data_format is \"NHWC\" or \"NCHW\", not 'NWHC'",
         "images is placeholder 'images': f32[1,8,8,3]",
         "filters is the result of broadcast_to: f32[3,3,3,8]"),
     lambda g: gc.nn.conv2d(g.images, gc.zeros((3, 3, 3, 8)), data_format="NWHC")),
    ("pool size", gc.ArgumentError, (
         "max_pool: size is a whole number from 1 up, or two of them, not 0",
         "images is placeholder 'images': f32[1,8,8,3]"),
     lambda g: gc.nn.max_pool(g.images, 0)),
    ("max of nothing", gc.ShapeError, (
         "max: of no elements there is none to choose: f32[0,3] over axes [0]",
         "x is the result of broadcast_to"),
     lambda g: gc.max(gc.zeros((0, 3)), axis=0)),
    ("a number for the max of nothing", gc.DTypeError, (
         "max: 0.5 is float, and int32 holds whole numbers: cast it",
         "x is the result of broadcast_to"),
     lambda g: gc.max(gc.zeros((0, 3), "int32"), axis=0, empty=0.5)),
    ("a text for the max of nothing", gc.ArgumentError, ("max: a number is wanted, not 'least'",),
     lambda g: gc.max(gc.zeros((0, 3)), axis=0, empty="least")),
    ("argmax of nothing", gc.ShapeError, (
         "argmax: of no elements there is none to choose: f32[0,3] over axes [0]",
         "x is the result of broadcast_to"),
     lambda g: gc.argmax(gc.zeros((0, 3)), axis=0)),
    ("labels", gc.ShapeError, (
         "softmax_cross_entropy: labels f32[2,4] do not fit logits f32[batch,3]",
         "labels is the result of broadcast_to", "logits is placeholder 'x'"),
     lambda g: gc.losses.softmax_cross_entropy(labels=gc.zeros((2, 4)), logits=g.x)),
    ("sparse labels rank", gc.ShapeError, (
         "pick_class: labels i32[2,3] are not one for each row of f32[batch,3]",
         "x is the result of sub", "labels is the result of broadcast_to"),
     lambda g: gc.losses.sparse_softmax_cross_entropy(labels=gc.zeros((2, 3), "int32"), logits=g.x)),
    ("sparse labels float", gc.DTypeError, (
         "pick_class: labels are integers, not f32[batch]", "x is the result of sub: f32[batch,3]",
         "labels is placeholder 'y': f32[batch]"),
     lambda g: gc.losses.sparse_softmax_cross_entropy(labels=g.y, logits=g.x)),
    ("size negative", gc.ShapeError, (
         "placeholder: a size is not negative: -1",),
     lambda g: gc.placeholder("float32", (-1,))),
    ("size float", gc.ArgumentError, (
         "broadcast_to: a size is an int, a name or None, not 2.5", "x is the result of constant: f32[]"),
     lambda g: gc.zeros((2.5,))),
    ("top_k too many", gc.ShapeError, (
         "top_k: the 5 largest of only 4 elements", "n is placeholder 'n': i32[4]"),
     lambda g: gc.top_k(g.n, 5)),
    ("one_hot depth", gc.ShapeError, (
         "one_hot: the depth is not negative: -1", "indices is placeholder 'n': i32[4]"),
     lambda g: gc.one_hot(g.n, -1)),
    ("diag eye", gc.ShapeError, (
         "iota: a size is not negative: -1",),
     lambda g: gc.eye(-1)),
    ("linspace", gc.ShapeError, (
         "linspace: the number of samples is not negative: -2",),
     lambda g: gc.linspace(0.0, 1.0, -2)),
    ("arange zero step", gc.ArgumentError, (
         "arange: the step is not 0",),
     lambda g: gc.arange(0, 4, 0)),
    ("index out of range", gc.IndexOutOfRangeError, (
         "index: index 4 is out of range for axis 0 of size 4", "n is placeholder 'n': i32[4]"),
     lambda g: g.n[4]),
    ("too many indices", gc.ShapeError, (
         "index: too many indices: 2 for the 1 axes of i32[4]", "n is placeholder 'n'"),
     lambda g: g.n[0, 0]),
    ("zero step", gc.ArgumentError, (
         "index: the step of a slice is not 0", "n is placeholder 'n': i32[4]"),
     lambda g: g.n[::0]),
    ("float index", gc.DTypeError, (
         "index: an index is an integer, a slice, None, ... or bool, not 1.0",
         "n is placeholder 'n': i32[4]"),
     lambda g: g.n[1.0]),
    ("string index", gc.ArgumentError, (
         "index: an index is an int, a slice, None, ... or integers, not 'a'",
         "n is placeholder 'n': i32[4]"),
     lambda g: g.n["a"]),
    ("two ellipses", gc.ArgumentError, (
         "index: an index may have only one ellipsis (...)", "n is placeholder 'n': i32[4]"),
     lambda g: g.n[..., ...]),
    ("gather constant index", gc.IndexOutOfRangeError, (
         "gather: index 4 is out of range for axis 0 of size 4", "n is placeholder 'n': i32[4]"),
     lambda g: gc.gather(g.n, 4)),
    ("gather float", gc.DTypeError, (
         "gather: indices are integers, not float32", "n is placeholder 'n': i32[4]",
         "indices is the result of constant: f32[]"),
     lambda g: gc.gather(g.n, 1.0)),
    ("scatter shape", gc.ShapeError, (
         "scatter_add: updates must be f32[2,2], not f32[2,5]", "w is variable 'w': f32[3,2]",
         "indices is the result of constant: i32[2]", "updates is the result of broadcast_to: f32[2,5]"),
     lambda g: gc.scatter_add(g.w, [0, 1], gc.zeros((2, 5)))),
    ("take_along_axis", gc.ShapeError, (
         "take_along_axis: indices need as many axes as f32[batch,3], and are i32[2]",
         "x is placeholder 'x'", "indices is the result of broadcast_to"),
     lambda g: gc.take_along_axis(g.x, gc.zeros((2,), "int32"), axis=1)),
    ("mask shape", gc.ShapeError, (
         "boolean_mask: the mask must be bool[4], not bool[3]", "n is placeholder 'n': i32[4]",
         "mask is the result of broadcast_to: bool[3]"),
     lambda g: gc.boolean_mask(g.n, gc.zeros((3,), "bool"))),
]
# fmt: on


@pytest.mark.parametrize(("error", "phrases", "misuse"), [pytest.param(*c[1:], id=c[0]) for c in HERE])
def test_the_text_names_the_users_line_and_operands(refused, error, phrases, misuse):
    refused(error, misuse, phrases, its_line=True)
