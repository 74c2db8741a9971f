"""GFLOP/s of generated contractions against `numpy.matmul`, one thread, rounds interleaved.

Run as ``python -m benchmarks.contractions [threads]``; pin it to one core, and keep BLAS to one thread
(OPENBLAS_NUM_THREADS=1) for a fair ratio. Each row is the median of the rounds, and the best.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from graphc.sizes import Symbol, named
from runtime.llvm_backend.contractions.contraction import Contract
from tests.runtime.llvm.contracts import Loaded, make_buffers, number
from tests.runtime.llvm.frontends import Convolution, convolve, convolve_filter_gradient, matmul

ROUNDS = 9
SECONDS = 0.03  # of work in a round


def prepare(
    contract: Contract, values: dict[Symbol, int] | None = None
) -> tuple[Callable[[int], None], float]:
    """A function that runs the kernel some times, and the operations of one run."""
    loaded = Loaded(contract)
    buffers = make_buffers(contract, values)
    aligned = {name: _align(x) for name, x in buffers.items()}
    block, shared, scratch = loaded.block(aligned, values)
    address = block.ctypes.data
    plan = list(zip(loaded.run, loaded.kernel.chunks(values or {}), strict=True))
    many = 2.0
    for dim in contract.dims:
        many *= number(dim.size, values)

    def run(times: int, _held: object = (aligned, block, shared, scratch)) -> None:
        for _ in range(times):
            for phase, chunks in plan:
                for chunk in range(chunks):
                    phase(address, chunk)

    return run, many


def _align(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]  # of any dtype
    room = np.zeros(x.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    found = room[start : start + x.nbytes].view(x.dtype)
    found[...] = x
    return found


def numpy_matmul(m: int, n: int, k: int) -> Callable[[int], None]:
    """`numpy.matmul` into a given output."""
    random = np.random.default_rng(0)
    x, y = random.standard_normal((m, k), np.float32), random.standard_normal((k, n), np.float32)
    out = np.empty((m, n), np.float32)

    def run(times: int) -> None:
        for _ in range(times):
            np.matmul(x, y, out=out)

    return run


def measure(contenders: dict[str, Callable[[int], None]], operations: float) -> dict[str, list[float]]:
    """GFLOP/s of each contender in each round."""
    times = max(1, round(SECONDS / (operations / 1e11 + 1e-6)))
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run(max(1, times // 8))
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            begun = time.process_time()
            run(times)
            found[name].append(operations * times / (time.process_time() - begun) / 1e9)
    return found


def main() -> None:
    """Prints a row for each case."""
    print(
        f"{'case':34s} {'tile':9s} {'graphc':>8s} {'best':>6s} {'numpy':>8s} {'ratio':>6s} {'any size':>9s}"
    )
    squares = [(n, n, n) for n in (64, 256, 512, 1024, 2048)]
    for m, n, k in [*squares, (128, 512, 784), (8, 512, 512), (1024, 128, 128)]:
        run, operations = prepare(matmul(m, n, k))
        symbols = [named(name) for name in ("m", "n", "k")]
        values = dict(zip((Symbol(name) for name in ("m", "n", "k")), (m, n, k), strict=True))
        contenders = {"graphc": run, "numpy": numpy_matmul(m, n, k)}
        contenders["rows"] = prepare(matmul(symbols[0], n, k), values)[0]
        contenders["any"] = prepare(matmul(*symbols), values)[0]
        row(f"matmul {m} x {n} x {k}", matmul(m, n, k), measure(contenders, operations))
    for flags in ({"transpose_x": True}, {"transpose_y": True}, {"transpose_x": True, "transpose_y": True}):
        contract = matmul(1024, 1024, 1024, **flags)
        run, operations = prepare(contract)
        row(f"matmul 1024 {'+'.join(flags)}", contract, measure({"graphc": run}, operations))
    layers = {
        "64x28x28x1->32": Convolution(64, 28, 28, 1, 32),
        "64x26x26x32->64": Convolution(64, 26, 26, 32, 64),
        "8x58x58x64->64": Convolution(8, 58, 58, 64, 64),
        "8x16x16x256->256": Convolution(8, 16, 16, 256, 256),
        "8x58x58x64->128 stride 2": Convolution(8, 58, 58, 64, 128, stride=(2, 2)),
        "8x56x56x64->256 1x1": Convolution(8, 56, 56, 64, 256, kernel=(1, 1)),
    }
    for name, conv in layers.items():
        for kind, contract in (("", convolve(conv)), (" filter grad", convolve_filter_gradient(conv))):
            run, operations = prepare(contract)
            row(name + kind, contract, measure({"graphc": run}, operations))


def row(name: str, contract: Contract, found: dict[str, list[float]]) -> None:
    """Prints one row."""
    schedule = Loaded(contract).kernel.schedules[0]
    tile = f"{schedule.pair * schedule.height}x{schedule.vectors}{'p' * schedule.pack}{'c' * schedule.copy}"
    median = {key: statistics.median(values) for key, values in found.items()}
    text = f"{name:34s} {tile:9s} {median['graphc']:8.1f} {max(found['graphc']):6.0f}"
    if "numpy" in median:
        text += f" {median['numpy']:8.1f} {median['graphc'] / median['numpy']:6.2f}"
        text += f" {median['rows']:9.1f} {median['any']:9.1f}"
    print(text, flush=True)


if __name__ == "__main__":
    main()
