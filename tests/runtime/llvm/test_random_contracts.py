"""Random contracts agree with the reference; in a process of their own, which bad LLVM text would end."""

import random
import subprocess
import sys

from graphc.sizes import Symbol, named
from graphc.types import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, INT32
from runtime.llvm_backend.contractions.contraction import Access, Contract, Dim, Expression, Step
from runtime.llvm_backend.contractions.registers import AVX2, AVX512, SSE
from tests.runtime.llvm.contracts import check

FUZZ = """
import sys
from tests.runtime.llvm.test_random_contracts import run_random_contracts
run_random_contracts(int(sys.argv[1]), int(sys.argv[2]))
"""


def random_contract(random):
    """One or two operands over up to five dims with strides of every kind: overlapping, 0, negative."""
    names = "abcde"[: random.randint(1, 5)]
    sizes = {name: random.choice((1, 1, 2, 3, 4, 5, 8, 13, 16, 17, 33, 40)) for name in names}
    kept = [name for name in names if random.random() < 0.6]
    random.shuffle(kept)
    strides, step = {}, 1
    for name in kept:
        strides[name] = step
        step *= sizes[name] + random.choice((0, 0, 1, 3))
    accesses = []
    dtype = random.choice((FLOAT32, FLOAT32, FLOAT64, INT32, FLOAT16, BFLOAT16))
    operands = random.choice((1, 2, 2, 2))
    for operand in range(operands):
        own = {name: random.choice((0, 1, 1, 2, 3, sizes[names[0]], 40, -1, -7)) for name in names}
        low = sum(min((sizes[name] - 1) * stride, 0) for name, stride in own.items())
        accesses.append(Access("xy"[operand], -low, {name: s for name, s in own.items() if s}, dtype))
    combine = "multiply_add" if operands == 2 else random.choice(("add", "max", "min"))
    epilogue = Expression()
    if random.random() < 0.4:
        total = FLOAT32 if dtype in (FLOAT16, BFLOAT16) else dtype
        read = Access("r", 0, {name: random.choice((0, 1, 5)) for name in kept}, total)
        first = Step(random.choice(("add", "mul")), (0, 1), total)
        rest = [
            Step(random.choice(("add", "maximum")), (2 + i, 1), total)
            for i in range(random.choice((0, 0, 9)))
        ]
        epilogue = Expression((read,), (first, *rest))
    prologue = ()
    if operands == 2 and dtype is not BFLOAT16 and random.random() < 0.5:
        prologue = tuple(random_prologue(random, access, f"p{i}") for i, access in enumerate(accesses))
    known = {name for name in names if random.random() < 0.8}
    dims = tuple(Dim(name, size if name in known else named(name)) for name, size in sizes.items())
    also = tuple(
        (
            random.randrange(2, 2 + len(epilogue.steps)),
            Access(f"also{i}", 0, dict(strides), epilogue.steps[0].dtype),
        )
        for i in range(random.choice((0, 1, 2)) if epilogue.steps else 0)
    )
    out = Access("out", 0, strides, dtype)
    contract = Contract(dims, tuple(accesses), out, combine, prologue, epilogue, also)
    return contract, {Symbol(name): size for name, size in sizes.items() if name not in known}


def random_prologue(random, access, name):
    """Nothing, or a scale along some of the dims that the operand moves along, with or without a bound."""
    if random.random() < 0.3:
        return Expression()
    moving = {dim: random.choice((0, 1, 7)) for dim in access.strides}
    read = Access(name, 0, {dim: stride for dim, stride in moving.items() if stride}, access.dtype)
    steps = (Step(random.choice(("mul", "sub")), (0, 1), access.dtype), Step("relu", (2,), access.dtype))
    return Expression((read,), steps[: random.choice((1, 2))])


def run_random_contracts(seed, many):
    chooser = random.Random(seed)
    for count in range(many):
        contract, sizes = random_contract(chooser)
        print(count, contract, sizes, flush=True)  # noqa: T201 - the last one is to blame where the process dies
        machine = chooser.choice((AVX512, AVX2, SSE))
        check(contract, values=sizes, machine=machine, seed=count)


def test_random_contracts_in_a_process_of_their_own():
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, "7", "40"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:] + done.stderr.splitlines()[-12:]
