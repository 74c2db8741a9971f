"""The update rules, as PyTorch publishes them. `p` is the variable, `g` its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.conversion import as_tensor
from graphc.errors import ArgumentError
from graphc.explanation import explains
from graphc.ops import cast, maximum, power, sqrt, square
from graphc.tensor import Tensor
from graphc.train.minimization import COUNT, Optimizer, check_rate
from graphc.types import FLOAT64, DType

Slots = Mapping[str, Tensor]


class SGD(Optimizer):
    """Gradient descent: ``p <- p - lr g``."""

    @explains
    def __init__(self, lr: Any, name: str | None = None) -> None:
        super().__init__(lr, name)

    def update(self, p: Tensor, g: Tensor, slots: Slots) -> tuple[Tensor, Slots]:
        """One step."""
        return p - self.rate(p.dtype) * g, {}


class Momentum(Optimizer):
    """Gradient descent with a heavy ball.

    ``buf <- momentum buf + g``; ``p <- p - lr buf``, or with `nesterov` ``p <- p - lr (g + momentum buf)``.

    Source: `torch.optim.SGD` with a momentum and no dampening; Sutskever et al., 2013.
    """

    @explains
    def __init__(
        self, lr: Any, momentum: float = 0.9, nesterov: bool = False, name: str | None = None
    ) -> None:
        super().__init__(lr, name)
        self.momentum = check_rate("momentum", momentum)
        self.nesterov = bool(nesterov)

    def slots(self) -> Mapping[str, float]:
        """The ball's velocity."""
        return {"buf": 0.0}

    def update(self, p: Tensor, g: Tensor, slots: Slots) -> tuple[Tensor, Slots]:
        """One step."""
        buf = slots["buf"] * self.momentum + g
        direction = g + buf * self.momentum if self.nesterov else buf
        return p - self.rate(p.dtype) * direction, {"buf": buf}


class Adam(Optimizer):
    """Steps of about `lr`, whatever the scale of the gradient.

    ``m <- b1 m + (1 - b1) g``; ``v <- b2 v + (1 - b2) g**2``; with ``t`` the number of the update::

        p <- p - lr / (1 - b1**t) * m / (sqrt(v) / sqrt(1 - b2**t) + eps)

    `eps` stands outside of the bias-corrected root. The factors that depend on ``t`` are computed in
    float64 and then rounded to the variable's dtype: ``1 - 0.999**t`` in float32 would lose half of its
    digits in the first steps.

    Source: `torch.optim.Adam`; Kingma and Ba, 2015, Algorithm 1.
    """

    @explains
    def __init__(
        self,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, name)
        if not isinstance(betas, list | tuple) or len(betas) != 2:
            raise ArgumentError(f"betas are two numbers, not {betas!r}")
        self.beta1 = check_rate("the first of betas", betas[0], below=1)
        self.beta2 = check_rate("the second of betas", betas[1], below=1)
        self.eps = check_rate("eps", eps)

    def slots(self) -> Mapping[str, float]:
        """The two moments and the number of updates."""
        return {"m": 0.0, "v": 0.0, COUNT: 0}

    def update(self, p: Tensor, g: Tensor, slots: Slots) -> tuple[Tensor, Slots]:
        """One step."""
        m = slots["m"] * self.beta1 + g * (1 - self.beta1)
        v = slots["v"] * self.beta2 + square(g) * (1 - self.beta2)
        step_size, correction = slots["step_size"], slots["correction"]
        return p - step_size * (m / (sqrt(v) / correction + self.eps)), {"m": m, "v": v}

    def factors(self, count: Tensor, dtype: DType) -> Slots:
        """What corrects the bias of the moments."""
        t, rate = cast(count, FLOAT64), self.rate(FLOAT64)
        return {
            "step_size": as_tensor(rate / (1 - power(self.beta1, t)), dtype),
            "correction": as_tensor(sqrt(1 - power(self.beta2, t)), dtype),
        }


class AdamW(Adam):
    """Adam whose weights decay by themselves, apart from the gradient.

    ``p <- p (1 - lr weight_decay)``, then a step of Adam.

    Source: `torch.optim.AdamW`; Loshchilov and Hutter, 2019.
    """

    @explains
    def __init__(
        self,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, betas, eps, name)
        self.weight_decay = check_rate("weight_decay", weight_decay)

    def update(self, p: Tensor, g: Tensor, slots: Slots) -> tuple[Tensor, Slots]:
        """One step."""
        return super().update(p * slots["kept"], g, slots)

    def factors(self, count: Tensor, dtype: DType) -> Slots:
        """What corrects the bias of the moments, and the part of a weight that stays."""
        kept = as_tensor(1 - self.rate(FLOAT64) * self.weight_decay, dtype)
        return {**super().factors(count, dtype), "kept": kept}


class RMSProp(Optimizer):
    """Gradient descent over a moving root mean square.

    ``avg <- alpha avg + (1 - alpha) g**2``; ``step = g / (sqrt(avg) + eps)``. `centered` takes
    ``avg - mean**2`` under the root, with ``mean <- alpha mean + (1 - alpha) g`` (not below 0, where
    rounding could lead). Then ``p <- p - lr step``, or with a `momentum`
    ``buf <- momentum buf + step``; ``p <- p - lr buf``.

    Source: `torch.optim.RMSprop`; Hinton, 2012; Graves, 2013 (centered).
    """

    @explains
    def __init__(
        self,
        lr: Any,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, name)
        self.alpha = check_rate("alpha", alpha, below=1)
        self.eps = check_rate("eps", eps)
        self.momentum = check_rate("momentum", momentum)
        self.centered = bool(centered)

    def slots(self) -> Mapping[str, float]:
        """The mean square, and what the options add."""
        return {
            "avg": 0.0,
            **({"mean": 0.0} if self.centered else {}),
            **({"buf": 0.0} if self.momentum else {}),
        }

    def update(self, p: Tensor, g: Tensor, slots: Slots) -> tuple[Tensor, Slots]:
        """One step."""
        new = {"avg": slots["avg"] * self.alpha + square(g) * (1 - self.alpha)}
        spread = new["avg"]
        if self.centered:
            new["mean"] = slots["mean"] * self.alpha + g * (1 - self.alpha)
            spread = maximum(spread - square(new["mean"]), 0.0)
        step = g / (sqrt(spread) + self.eps)
        if self.momentum:
            step = new["buf"] = slots["buf"] * self.momentum + step
        return p - self.rate(p.dtype) * step, new


class Adagrad(Optimizer):
    """Gradient descent over the root of all squares so far.

    ``sum <- sum + g**2``; ``p <- p - lr g / (sqrt(sum) + eps)``.

    Source: `torch.optim.Adagrad`; Duchi et al., 2011.
    """

    @explains
    def __init__(
        self, lr: Any, initial_accumulator_value: float = 0.0, eps: float = 1e-10, name: str | None = None
    ) -> None:
        super().__init__(lr, name)
        self.initial = check_rate("initial_accumulator_value", initial_accumulator_value)
        self.eps = check_rate("eps", eps)

    def slots(self) -> Mapping[str, float]:
        """The sum of squares."""
        return {"sum": self.initial}

    def update(self, p: Tensor, g: Tensor, slots: Slots) -> tuple[Tensor, Slots]:
        """One step."""
        total = slots["sum"] + square(g)
        return p - self.rate(p.dtype) * (g / (sqrt(total) + self.eps)), {"sum": total}


class Adadelta(Optimizer):
    """Steps in the units of the variable, from the steps before.

    ``avg <- rho avg + (1 - rho) g**2``; ``delta = g sqrt(acc + eps) / sqrt(avg + eps)``;
    ``acc <- rho acc + (1 - rho) delta**2``; ``p <- p - lr delta``.

    Source: `torch.optim.Adadelta`; Zeiler, 2012.
    """

    @explains
    def __init__(self, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6, name: str | None = None) -> None:
        super().__init__(lr, name)
        self.rho = check_rate("rho", rho, below=1)
        self.eps = check_rate("eps", eps)

    def slots(self) -> Mapping[str, float]:
        """The mean squares of gradients and of steps."""
        return {"avg": 0.0, "acc": 0.0}

    def update(self, p: Tensor, g: Tensor, slots: Slots) -> tuple[Tensor, Slots]:
        """One step."""
        avg = slots["avg"] * self.rho + square(g) * (1 - self.rho)
        delta = g * (sqrt(slots["acc"] + self.eps) / sqrt(avg + self.eps))
        acc = slots["acc"] * self.rho + square(delta) * (1 - self.rho)
        return p - self.rate(p.dtype) * delta, {"avg": avg, "acc": acc}
