"""Neural networks: functions of ops, under the names that users type after ``gc.nn``."""

from graphc.nn.activation import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu6,
    selu,
    silu,
    softmax,
    softsign,
)
from graphc.nn.activation import silu as swish
from graphc.nn.attention import dot_product_attention, embedding
from graphc.nn.convolution import conv2d, conv2d_transpose, depthwise_conv2d
from graphc.nn.normalization import batch_norm, dropout, layer_norm, moments
from graphc.nn.pooling import avg_pool, max_pool, max_pool_with_argmax
from graphc.nn.recurrent import gru, lstm, rnn
from graphc.nn.resampling import max_unpool, resize_nearest
from graphc.ops.exponential import sigmoid, softplus
from graphc.ops.extremum import relu
from graphc.ops.trigonometry import tanh

__all__ = [
    "avg_pool",
    "batch_norm",
    "conv2d",
    "conv2d_transpose",
    "depthwise_conv2d",
    "dot_product_attention",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "gru",
    "layer_norm",
    "leaky_relu",
    "log_softmax",
    "lstm",
    "max_pool",
    "max_pool_with_argmax",
    "max_unpool",
    "moments",
    "relu",
    "relu6",
    "resize_nearest",
    "rnn",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]
