"""Loops in the CPU's own instructions give the bits of LLVM's, and are written where the CPU has them."""

import re
from dataclasses import replace

import numpy as np
import pytest

import graphc as gc
from graphc.sizes import Symbol, named
from graphc.types import FLOAT32, FLOAT64, INT32
from runtime.llvm_backend.contractions.contraction import Access, Expression, Step
from runtime.llvm_backend.contractions.kernel import emit_contraction
from runtime.llvm_backend.contractions.registers import AVX2, AVX512
from runtime.llvm_backend.engine.llvm import QUICK, THOROUGH
from runtime.llvm_backend.engine.machine import host as this_machine
from runtime.llvm_backend.ir.assembly import Products
from runtime.llvm_backend.ir.operands import Ending, Lines, Place, Row
from runtime.llvm_backend.ir.text import Target, target_of
from tests.runtime.llvm import contracts
from tests.runtime.llvm.contracts import Loaded, make_buffers
from tests.runtime.llvm.frontends import Convolution, convolve, convolve_filter_gradient, matmul
from tests.runtime.llvm.test_gemm import bias_relu_residual


def expression(*reads, steps, dtype=FLOAT32):
    """An epilogue whose reads have these strides, of steps given by their ops and operands."""
    accesses = tuple(Access(f"r{i}", 0, strides, dtype) for i, strides in enumerate(reads))
    return Expression(accesses, tuple(Step(op, tuple(of), dtype) for op, *of in steps))


HAS = pytest.mark.skipif(not target_of(this_machine()).assembly, reason="another kind of CPU")
M, K = named("M"), named("K")
SHAPES = {
    **{f"{n} rows": (matmul(n, 100, 30), {}) for n in (1, 2, 3, 5, 6, 7, 12, 13, 16)},
    **{f"{n} rows of few columns": (matmul(n, 10, 70), {}) for n in (2, 3, 7, 12, 13, 16, 45)},
    **{f"{n} rows at the run": (matmul(M, 70, 40), {Symbol("M"): n}) for n in (0, 1, 4, 5, 11, 13, 24)},
    **{f"{n} steps at the run": (matmul(13, 70, K), {Symbol("K"): n}) for n in (0, 1, 5)},
    "no steps of many": (matmul(12, 512, K), {Symbol("K"): 0}),
    "turned": (matmul(50, 70, 40, transpose_x=True), {}),
    "one row of many columns of float64": (matmul(1, M, 62, dtype=FLOAT64), {Symbol("M"): 70}),
    "both turned": (matmul(50, 70, 40, transpose_x=True, transpose_y=True), {}),
    "float64": (matmul(19, 30, 41, dtype=FLOAT64), {}),
    "blocks of the reduction": (matmul(13, 70, 5000), {}),
    "packed": (matmul(200, 200, 1500), {}),
    "epilogue": (matmul(33, 200, 40, epilogue=bias_relu_residual(200)), {}),
    "even steps of rows half a page apart": (matmul(12, 512, 64), {}),
    "odd ones": (matmul(12, 512, 65), {}),
    **{
        f"{n} rows at the run of {many} {name}": (
            matmul(M, columns, 40, epilogue=expression(*reads, steps=steps)),
            {Symbol("M"): n},
        )
        for n, columns, many in ((9, 70, "many columns,"), (27, 10, "few columns,"))
        for name, reads, steps in (
            ("bias", [{"n": 1}], [("add", 0, 1)]),
            ("bias and relu", [{"n": 1}], [("add", 1, 0), ("relu", 2)]),
            ("normalised", [{"m": 1}, {"m": 1}], [("sub", 0, 1), ("mul", 3, 2)]),
            ("a part of another", [{"m": columns, "n": 1}, {}], [("add", 0, 1), ("div", 3, 2)]),
            ("four that move", [{"m": 1}] * 3, [("add", 0, 1), ("sub", 4, 2), ("mul", 5, 3)]),
            ("twice the sum", [], [("relu", 0), ("add", 0, 1)]),
            ("taken from another", [{"n": 1}], [("sub", 1, 0)]),
        )
    },
    "bias of float64": (
        matmul(
            19, 30, 41, dtype=FLOAT64, epilogue=expression({"n": 1}, steps=[("add", 0, 1)], dtype=FLOAT64)
        ),
        {},
    ),
    "convolution": (convolve(Convolution(2, 10, 12, 5, 40)), {}),
    "short rows": (convolve(Convolution(2, 9, 9, 64, 64)), {}),
    "few sums": (matmul(20, 40, 9000), {}),
    "few rows of few sums": (matmul(3, 700, 3000), {}),
    "filter gradient": (convolve_filter_gradient(Convolution(9, 18, 18, 20, 64)), {}),
    "filter gradient of one line": (
        convolve_filter_gradient(Convolution(4, 1, 6002, 16, 32, kernel=(1, 3))),
        {},
    ),
    **{
        f"filter gradient of {n} images at the run": (
            convolve_filter_gradient(Convolution(M, 18, 18, 20, 64)),
            {Symbol("M"): n},
        )
        for n in (0, 5)
    },
}


@HAS
@pytest.mark.parametrize("machine", [None, AVX512, AVX2], ids=["host", "AVX512", "AVX2"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_bits_are_those_of_llvms_loop(name, machine, monkeypatch):
    contract, values = SHAPES[name]
    own = target_of(this_machine())
    buffers = make_buffers(contract, values)
    written = Loaded(contract, machine)
    assert machine is not None or not own.masks or "asm sideeffect" in written.kernel.text
    written(buffers, values)
    bits = buffers["out"].copy()
    monkeypatch.setattr(contracts, "target_of", lambda _: replace(own, assembly=False))
    plain = Loaded(contract, machine)
    assert "asm" not in plain.kernel.text
    assert plain.kernel.effort == THOROUGH
    buffers = make_buffers(contract, values)
    plain(buffers, values)
    np.testing.assert_array_equal(bits, buffers["out"])


ALL = Target(512, True, True, True, True)
NARROW = Target(256, True, True, False, True)


def emitted(contract, machine=AVX512, target=ALL):
    return emit_contraction(contract, machine, target=target)


def loops_of(kernel):
    """The instructions of each loop, and what LLVM is told of them."""
    return re.findall(r'asm sideeffect "(.*?)", "(.*?)"\(', kernel.text)


@pytest.mark.parametrize("name", SHAPES)
def test_llvm_is_told_all_that_a_loop_writes(name):
    for loop, constraints in loops_of(emitted(SHAPES[name][0])):
        if not constraints:  # a naked function
            continue
        told, results = set(re.findall(r"~{(\w+)}", constraints)), constraints.count("=&")
        assert told == {"memory", "flags", *re.findall(r"%(r1\d)", loop)}
        for line in loop.split("\\0A"):
            written = re.search(r"[, ]\$(\d+)(?: {\S+)?$", line)
            if written and not line.startswith(("testq", "cmpq")):
                assert int(written[1]) < results
            if (
                line.startswith("vmovup") and "{$" in line
            ):  # of lanes that do not count none is stored, and 0 read
                assert written is None or "{z}" in line


@pytest.mark.parametrize("machine", [AVX512, AVX2], ids=["AVX512", "AVX2"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_tile_that_is_one_assembly_leaves_the_registers_of_its_caller(name, machine):
    text = emitted(SHAPES[name][0], machine, ALL if machine is AVX512 else NARROW).text
    naked = re.findall(r"\) naked .*\n.*\n.*asm sideeffect \"(.*)\", \"\"\(\)\n  unreachable", text)
    assert len(naked) == text.count("naked") == text.count("x86_64_sysvcc void @kernel.tile") / 2
    for lines in (x.split("\\0A") for x in naked):
        saved = [line.split()[1] for line in lines if line.startswith("pushq")]
        assert lines[: len(saved)] == [f"pushq {x}" for x in saved]
        assert lines[-2 - len(saved) :] == [*(f"popq {x}" for x in saved[::-1]), "vzeroupper", "retq"]
        assert not any("$" in line.replace("$$", "") for line in lines)
        written = {line.split()[-1] for line in lines if not line.startswith(("pushq", "cmpq", "testq", "j"))}
        general = {x for x in written if re.fullmatch(r"%(e|r)\w+", x)}
        free = {"%rax", "%rcx", "%rdx", "%rsi", "%rdi", *(f"%r{i}" for i in range(8, 12))}
        assert {x for x in general if not re.fullmatch(r"%e\w+|%r\d+d", x)} - free == set(saved)


@pytest.mark.parametrize("name", SHAPES)
def test_avx2_has_the_instructions(name):
    loops = loops_of(emitted(SHAPES[name][0], AVX2, NARROW))
    assert loops or "few columns" in name  # no lane of a vector of B may be left out there
    for loop, _ in loops:
        assert set(re.findall(r"\b(?!r1)[a-z]\w+", re.sub(r"%\w+", "", loop.replace("\\0A", " ")))) <= {
            *("vxorps", "vpxor", "vmovups", "vmovupd", "vbroadcastss", "vbroadcastsd"),
            *("vfmadd231ps", "vfmadd231pd", "prefetcht0", "prefetcht1"),
            *("vaddps", "vaddpd", "vsubps", "vmulps", "vdivps", "vmaxps"),
            *("movq", "addq", "subq", "testq", "cmpq", "jle", "jg", "p2align"),
            *("imulq", "leaq", "cmovgq", "pushq", "popq", "vzeroupper", "retq"),
        }
        assert "{" not in loop


@pytest.mark.parametrize(
    ("contract", "asks"),
    [
        (matmul(M, 512, 64), True),
        (matmul(128, 512, 784), True),
        (matmul(M, 512, 65), False),  # steps are written one by one
        (matmul(M, 512, 64, transpose_x=True), False),  # those of A lie apart
        (matmul(M, 512, 64, dtype=FLOAT64), False),  # two take more than a line
    ],
)
def test_a_tile_asks_for_the_rows_of_the_next(contract, asks):
    loops = [loop for loop, _ in loops_of(emitted(contract))]
    asking = [loop for loop in loops if "prefetcht0 (%r10)" in loop]
    assert bool(asking) == asks
    for loop in asking:
        rows = loop.count("vbroadcastss") // 2
        assert f"addq $${8 * rows}, %r10" in loop


@pytest.mark.parametrize("name", [name for name in SHAPES if "rows at the run of" in name])
def test_what_ends_a_tile_is_in_its_assembly(name):
    text = emitted(SHAPES[name][0]).text
    apart = any(x in name for x in ("four", "twice", "taken"))
    assert ("extractvalue" in text) == apart


def test_what_is_light_is_made_quickly():
    assert emitted(matmul(64, 64, 64)).effort == QUICK
    assert emitted(matmul(M, 512, 784, epilogue=bias_relu_residual(512))).effort == QUICK
    long = expression({"n": 1}, steps=[("relu", 0), ("add", 2, 0), ("add", 3, 1)])
    assert emitted(matmul(M, 512, 784, epilogue=long)).effort == THOROUGH
    assert emitted(matmul(64, 64, 64), target=replace(ALL, assembly=False)).effort == THOROUGH
    assert emitted(matmul(64, 64, 64, dtype=INT32)).effort == THOROUGH
    assert emitted(matmul(64, 64, 64, transpose_y=True)).effort == THOROUGH  # a panel is transposed
    assert emitted(matmul(64, 64, 64, batch=[(8, True, True)])).effort == THOROUGH
    assert emitted(matmul(64, 64, 256, batch=[(8, True, True)])).effort == QUICK  # where tiles take long
    assert emitted(convolve(Convolution(8, 34, 34, 32, 64))).effort == QUICK
    assert emitted(convolve(Convolution(8, 34, 34, 8, 64))).effort == THOROUGH  # of 72 steps


def test_only_what_has_the_instructions_is_written_so():
    made = Products(FLOAT32, 8, [Row(0)] * 6, 4, 4, [None] * 2, "%n")
    assert made.fits(ALL)
    assert made.fits(NARROW)
    assert not made.fits(replace(ALL, assembly=False))
    assert not made.fits(Target(128, True, True, False, True))  # vectors are wider
    assert not replace(made, dtype=INT32).fits(ALL)
    assert not replace(made, width=32).fits(ALL)
    assert not replace(made, width=4).fits(ALL)
    assert not replace(made, rows=[Row(0)] * 7).fits(NARROW)  # 14 sums, 2 vectors of B, one of A
    assert replace(made, rows=[Row(0)] * 7).fits(ALL)
    assert not replace(made, masks=[None, "%m"]).fits(NARROW)
    assert replace(made, masks=[None, "%m"]).fits(ALL)
    alone = replace(made, rows=[Row(0)])
    assert replace(alone, masks=[f"%m{i}" for i in range(7)]).fits(ALL)
    assert not replace(alone, masks=[f"%m{i}" for i in range(8)]).fits(ALL)  # there are seven registers
    assert replace(alone, masks=["%m"] * 8).fits(ALL)
    assert replace(alone, masks=[None] * 31).fits(ALL)  # B is multiplied where it lies
    assert not replace(alone, masks=[None] * 32).fits(ALL)
    assert replace(made, a=-(1 << 31)).fits(ALL)
    assert not replace(made, a=1 << 31).fits(ALL)
    assert not replace(made, rows=[Row(0), Row(1 << 31)]).fits(ALL)
    apart = [Row(f"%r{i}") for i in range(10)]
    assert replace(made, rows=apart, a="%r0").fits(ALL)
    assert not replace(made, rows=apart, a="%a").fits(ALL)
    assert not replace(made, rows=apart, around=("%m", 4, 4)).fits(ALL)  # a count, and what is left of it
    assert not replace(made, rows=apart[:9], around=("%m", 4, 4)).fits(ALL)
    assert replace(made, rows=apart[:8], around=("%m", 4, 4)).fits(ALL)
    assert not replace(made, around=("%m", 1 << 31, 4)).fits(ALL)
    ended = replace(made, ending=Ending([], [], Place("%o", "%s"), [None] * 2))
    assert ended.fits(NARROW)
    assert replace(ended, rows=apart).fits(ALL)  # where the output lies, and how far its rows are apart
    assert not replace(ended, rows=apart, b="%b").fits(ALL)
    masked = Ending([], [], Place("%o", "%s"), [None, "%m"])
    assert replace(made, ending=masked).fits(ALL)
    assert not replace(made, ending=masked).fits(NARROW)
    for moving in (2, 3):
        reads = [Place(f"%p{i}", 4) for i in range(moving)]
        assert replace(made, ending=Ending([], reads, Place("%o", 4), [None] * 2)).fits(ALL) == (moving < 3)
    asking = replace(made, rows=apart[:8], around=("%m", 4, 4), soon=Lines("%p", 2, 128))
    assert not asking.fits(ALL)  # where the lines lie is given, and gone on from
    assert not replace(asking, rows=apart[:7]).fits(ALL)
    assert replace(asking, rows=apart[:6]).fits(ALL)


def test_tiles_of_few_sums_ask_for_lines_of_the_next_block():
    gradient = emitted(convolve_filter_gradient(Convolution(64, 30, 30, 32, 64))).text
    (loop,) = re.findall(r"asm sideeffect .*~{flags}", gradient)
    assert re.search(r"^.*movq \$\d+, %r10.*3:\\0Aprefetcht1 0\(%r10\)", loop)
    # Once for each row of an image; 784 steps of 4 lines, and 900 of 2, for 48 tiles of 28 rows each.
    assert re.findall(r"prefetcht1 (\d+)", loop) == ["0", "64", "128", "192"]
    assert "addq $$256, %r10" in loop
    wide = emitted(convolve_filter_gradient(Convolution(4, 1, 6002, 16, 32, kernel=(1, 3)))).text
    for loop in re.findall(r"asm sideeffect .*~{flags}", wide):  # blocks are of one loop: in each step of it
        assert re.search(
            r"movq \$\d+, %r10\\0Atestq.*1:.*prefetcht1 0\(%r10\)\\0Aaddq \$\$\d+, %r10.*jg 1b", loop
        )
    assert "prefetcht1" not in emitted(matmul(64, 128, 12_544)).text


@HAS
def test_what_llvm_makes_quickly_has_nothing_that_it_selects_for_whole_blocks():
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("float32", [None, 784])
        h = x @ np.ones((784, 512), np.float32)
        y = h + gc.nn.relu(h)  # no step after the other: LLVM makes them
        with gc.Session(graph=graph, backend="llvm", threads=2) as session:
            texts = [kernel.text for kernel in session.compile(y, [x]).native.kernels]
    (text,) = (text for text in texts if "asm" in text)
    assert ".max.ps." in text
    assert not re.search(r"select <|@llvm\.s(max|min)\.i64", text)


FAR = replace(AVX512, l2=1 << 20, far_l3=True)


@pytest.mark.parametrize(
    ("contract", "near", "rows", "packing"),
    [
        (matmul(512, 1024, 2048), True, True, True),
        (matmul(512, 768, 3000), True, False, True),
        (matmul(512, 256, 2048), True, True, False),  # L2 holds B
        (matmul(512, 32, 2048), False, False, False),  # the panel is all of B, where it lies
        (matmul(512, 4096, 256), False, False, True),  # a panel of 64 KB
        (matmul(512, 1024, 2048, transpose_y=True), True, True, False),  # lanes of B lie apart
        (matmul(512, 1024, 2048, transpose_x=True), False, False, True),  # steps of A do: a block has few
        (matmul(512, 1024, 3000), True, False, True),  # a block is no whole row of A
    ],
)
def test_where_l3_is_far_products_ask_for_what_they_read_next(contract, near, rows, packing):
    text = emitted(contract, FAR, ALL).text
    loops = [x for x in re.findall(r'asm sideeffect "[^"]*"', text) if "vfmadd" in x]
    assert loops
    for loop in loops:
        asked = re.findall(r"prefetcht0 (\d+)\([%$]\w+\)", loop)
        assert asked == (["1024", "1088", "1152", "1216"] if near else [])
        assert ("prefetcht1 (%r10)" in loop) == rows
    assert text.count("call void @llvm.prefetch.p0") == 4 * packing
    assert "prefetch" not in re.sub(r"prefetcht0 \(%r10\)", "", emitted(contract, AVX512, ALL).text)


def test_where_l3_is_far_products_ask_for_steps_of_a_that_lie_each_in_another_line():
    """By the last row of a tile: where it is in another line than the first, no tile before has read that."""
    for contract, apart in (
        (matmul(512, 128, 300, transpose_x=True), True),
        (matmul(512, 128, 300), False),  # a line has many steps
        (matmul(8, 128, 300, transpose_x=True), False),  # a line has two
        (matmul(M, 128, 300, transpose_x=True), False),  # how far they are apart only the run knows
    ):
        loops = [x for x, _ in loops_of(emitted(contract, FAR, ALL)) if "vfmadd" in x]
        assert loops
        for loop in loops:
            last = 4 * (loop.count("vbroadcastss") - 1)
            asked = re.findall(r"prefetcht0 (\d+)\([%$]\w+, [%$]\w+, 8\)", loop)
            assert asked == ([str(last)] if apart else [])
    assert "prefetch" not in emitted(matmul(512, 128, 300, transpose_x=True), AVX512, ALL).text


def test_a_narrow_tile_asks_for_more_steps_ahead_and_one_of_unknown_rows_by_the_steps_of_b():
    narrow = emitted(matmul(512, 32, 2048, transpose_y=True), FAR, ALL).text
    assert set(re.findall(r"prefetcht0 ([^%]*)%", narrow)) == {"1024(", "1088("}  # eight of 128 bytes
    unknown = [x for x, _ in loops_of(emitted(matmul(M, 1024, 2048), FAR, ALL)) if "vfmadd" in x]
    assert unknown
    for loop in unknown:  # whether B is packed, the run decides
        assert re.findall(r"prefetcht0 (\d+)\([%$]\w+, [%$]\w+, 4\)", loop) == ["0", "64", "128", "192"]


@pytest.mark.parametrize(
    ("contract", "asks"),
    [
        (matmul(8, 512, 784), True),
        (matmul(12, 512, 300), True),
        (matmul(8, 128, 300), False),  # L2 holds B
        (matmul(8, 16384, 12), False),  # a step that lies so far on is hardly ever one
        (convolve(Convolution(1, 8, 8, 256, 64, kernel=(4, 4))), True),  # blocks of it are of 256 KB
    ],
)
def test_where_l3_is_far_few_rows_ask_for_steps_of_a_large_b_where_it_lies(contract, asks):
    loops = [x for x, _ in loops_of(emitted(contract, FAR, ALL)) if "vfmadd" in x]
    assert loops
    for loop in loops:
        read = len(set(re.findall(r"vmovups (\d+)\([%$]\w+\), ", loop)))
        asked = re.findall(r"prefetcht0 (\d+)\([%$]\w+, [%$]\w+, 8\)", loop)
        assert asked == ([str(64 * i) for i in range(read)] if asks else [])
    assert not re.search(r"prefetcht0 \d", emitted(contract, AVX512, ALL).text)


def test_a_row_alone_asks_for_nothing_and_goes_by_pairs_where_l3_is_far_too():
    loops = [x for x, _ in loops_of(emitted(matmul(1, 4096, 784), FAR, ALL)) if "vfmadd" in x]
    assert loops
    for loop in loops:
        assert "prefetch" not in loop
        assert "subq $$2," in loop


def test_packed_panels_of_a_b_that_is_far_or_not_are_multiplied_by_one_text():
    little, far = (emitted(matmul(128, 512, steps), FAR, ALL) for steps in (200, 300))
    assert little.schedules[0].pack
    assert little.text is far.text


@pytest.mark.parametrize(
    ("contract", "asks"),
    [
        (matmul(2048, 1000, 32), True),
        (matmul(2048, 1024, 32), True),
        (matmul(512, 1000, 32, batch=[(4, True, True)]), True),
        (matmul(1000, 1000, 16, dtype=FLOAT64), True),
        (matmul(1000, 1000, 32), False),  # 4 MB
        (matmul(1536, 1024, 33), True),  # 6 MB
        (matmul(1535, 1024, 33), False),
        (matmul(2048, 1000, 512), False),  # stores have time
        (matmul(M, 1000, 32), False),
    ],
)
def test_where_l3_is_far_short_tiles_of_a_large_result_ask_for_the_lines_that_they_store(contract, asks):
    for machine in (FAR, AVX512):
        text = emitted(contract, machine, ALL).text
        tiles = [x for x in re.findall(r'asm sideeffect "[^"]*"', text) if "vfmadd" in x]
        assert tiles
        for tile in tiles:
            before, after = (x.split("\\0A") for x in tile.split("1:"))
            register = re.search(r"vmovup[sd] %zmm\d+, \d+\((%\w+)\)", tile)[1]
            stored = path(after[after.index("2:") :], register)
            assert len(set(stored)) > 4
            asked = path(before, "%r10") if asks and machine is FAR else []
            assert asked[: len(stored)] == (stored if asks and machine is FAR else [])
            assert tile.count("prefetchw") == sum(x.isdigit() for x in asked)


@pytest.mark.parametrize(
    ("contract", "rows"),
    [
        (matmul(1, 1600, 100), 1),
        (matmul(8, 512, 300, epilogue=bias_relu_residual(512)), 8),  # B is asked for where it lies
        (matmul(9, 300, 300, dtype=FLOAT64), 9),
        (matmul(18, 512, 300), 18),  # packed
        *((matmul(M, 512, 300), rows) for rows in (0, 1, 5, 20, 40)),  # as the run decides
        (matmul(100, 2048, 6), 100),
        (matmul(1201, 1321, 20, epilogue=bias_relu_residual(1321)), 1201),  # lines are asked for to store
        (matmul(310, 1000, 20, batch=[(3, True, True)], dtype=FLOAT64), 310),
    ],
)
def test_the_bits_are_the_same_where_l3_is_far(contract, rows):
    values, found = {Symbol("M"): rows}, []
    for far in (False, True):
        loaded = contracts.check(contract, values=values, machine=replace(this_machine(), far_l3=far))
        for order in (list, lambda chunks: chunks[::-1]):
            buffers = make_buffers(contract, values)
            loaded(buffers, values, order)
            found.append(buffers["out"].tobytes())
    assert found == found[:1] * 4


def path(lines, register):
    """What is written to a register, and which bytes behind it are asked for, read or written, in turn."""
    found = (re.search(rf"(\d+)\({register}\)|(.*), {register}$", line) for line in lines)
    return [x[1] or x[2] for x in found if x]


def test_a_tile_that_has_no_register_to_ask_with_is_one_assembly_nevertheless():
    for rows, asks in ((100_000, False), (50_000, False), (100_000, True)):
        steps = [("add", 0, 1), *([] if asks else [("div", 3, 2)])]
        reads = [{"m": 18, "n": 1}, {}][: len(steps)]
        text = emitted(matmul(rows, 18, 16, epilogue=expression(*reads, steps=steps)), FAR, ALL).text
        assert text.count("naked") == 2
        assert ("prefetchw" in text) == asks


def test_where_l3_is_far_the_run_packs_a_large_b_for_fewer_tiles():
    def tiles(steps):
        kernel = emitted(matmul(M, 512, steps), FAR, ALL)
        rows = [loop.count("vbroadcastss") for loop, _ in loops_of(kernel) if "vfmadd" in loop]
        return [int(x) / max(rows) for x in re.findall(r"icmp sge i64 %[\w.]+, (\d+)", kernel.text)]

    assert 3 in tiles(784)
    assert 8 in tiles(200)
    assert 3 not in tiles(200)
