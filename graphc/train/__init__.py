"""Training: optimizers, learning-rate schedules, clipping. Functions of ops, not ops."""

from graphc.train.clipping import clip_by_global_norm, clip_by_norm, clip_by_value, global_norm
from graphc.train.minimization import Optimizer, get_or_create_global_step
from graphc.train.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, Momentum, RMSProp
from graphc.train.schedules import (
    cosine_decay,
    exponential_decay,
    inverse_time_decay,
    piecewise_constant,
    polynomial_decay,
)

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Momentum",
    "Optimizer",
    "RMSProp",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "cosine_decay",
    "exponential_decay",
    "get_or_create_global_step",
    "global_norm",
    "inverse_time_decay",
    "piecewise_constant",
    "polynomial_decay",
]
