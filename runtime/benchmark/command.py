"""The command ``graphc bench``: what is asked for, measured, shown, written and compared."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from graphc.atomic import write_atomically
from graphc.errors import ArgumentError
from runtime.benchmark import crown, sheets
from runtime.benchmark.comparing import BOUND, compare, unmeasured
from runtime.benchmark.families import FAMILIES
from runtime.benchmark.introspection import COUNTED_CPU, is_countable
from runtime.benchmark.measuring import Plan, about, count, graphs_of, measure
from runtime.benchmark.page import render
from runtime.benchmark.peers import ADAPTERS
from runtime.benchmark.processes import Limits, can_tell_memory
from runtime.benchmark.report import FORM, Report, check_agreement, read_history, read_report

PEERS = tuple(name for name in ADAPTERS if not name.startswith("graphc"))
COUNTED_SIZES = 100_000  # larger graphs are not counted beside their times: what counts takes time itself
_NO_EDGE = 10_000  # characters: what goes to a file or another program is not cut


def declare_bench(commands: Any) -> None:
    """Adds the command to `commands` of argparse."""
    bench = commands.add_parser(
        "bench",
        help="what compiling costs: stage by stage, cold and warm, as graphs grow, against other libraries",
        epilog=f"families: {', '.join(f'{name} ({each.about})' for name, each in FAMILIES.items())}",
    )
    bench.add_argument("--families", help="only these, comma between")
    which = bench.add_mutually_exclusive_group()
    which.add_argument("--sizes", help="these in place of each family's own, comma between")
    which.add_argument("--quick", action="store_true", help="two small sizes of each family, one round")
    which.add_argument("--crown", action="store_true", help="only what the bars of the project are for")
    which.add_argument("--counters", action="store_true", help="only the counters, at the small sizes")
    bench.add_argument("--vs", help=f"other libraries, comma between: {', '.join(PEERS)}")
    bench.add_argument("--python", action="append", default=[], help="another Python to look for them in")
    bench.add_argument("--rounds", type=int, help="cold processes of each, in turn; the least counts (3)")
    bench.add_argument("--seconds", type=float, default=0.2, help="how long a compiled graph runs")
    bench.add_argument("--threads", type=int, default=2, help="how many may compute")
    bench.add_argument("--limit", type=float, default=120.0, help="seconds that a process may take")
    bench.add_argument("--memory", type=float, default=0.0, help="megabytes that a process may hold; 0: any")
    bench.add_argument("--json", help="a file to write all that was measured to")
    bench.add_argument("--html", help="a file to write a page with charts to")
    bench.add_argument("--history", help="a folder of earlier JSON files, for the page; this one is added")
    bench.add_argument(
        "--compare", help="an earlier JSON file; the exit status is 1 where something is worse"
    )
    bench.add_argument("--bound", type=float, default=BOUND, help="how much larger a ratio of times may be")
    bench.set_defaults(run=run_bench)


def run_bench(given: argparse.Namespace) -> int:
    """Measures, writes, shows, compares; the exit status.

    Raises: ArgumentError, FormatError, OSError before anything is measured where what is given is wrong;
    OSError at the end, where a file or a process could not be made.
    """
    plan = _plan(given)
    baseline = read_report(Path(given.compare)) if given.compare is not None else None
    if not given.counters:
        _refuse_without_rich()
    past = _prepare_files(given)
    report = Report(about(plan))
    interrupted, troubles = False, list[OSError]()
    try:
        with _interruptible():
            if not given.counters:
                with _progress() as tell:
                    measure(plan, report, tell)
                    tell("counters")
            _count(plan, report)
    except KeyboardInterrupt:
        interrupted = True
        sys.stderr.write("interrupted: what was measured so far follows\n")
    except OSError as error:  # such as a full disk
        troubles.append(error)
        sys.stderr.write(f"{error}: what was measured so far follows\n")
    check_agreement(report)
    asked = {family for family, _ in plan.graphs}
    verdicts = crown.judge(report, [bar for bar in crown.BARS if bar.family in asked]) if given.crown else []
    troubles += _write(given, report, verdicts, past)
    _show(given, report, verdicts)
    partly = interrupted or troubles
    status = 0 if partly or baseline is None else _compare(baseline, report, given.bound)
    for trouble in troubles[1:]:
        sys.stderr.write(f"{trouble}\n")
    if troubles:
        raise troubles[0]
    return 130 if interrupted else status


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM, which `timeout` and schedulers send, is as Ctrl-C: what was measured is kept."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _plan(given: argparse.Namespace) -> Plan:
    families = _names(given.families, tuple(FAMILIES), "family")
    if given.counters:
        for option in ("vs", "history", "rounds"):
            if getattr(given, option) is not None:
                raise ArgumentError(f"--{option} is for times, and --counters measures none")
        graphs = tuple((name, FAMILIES[name].small) for name in families or FAMILIES)
    elif given.crown:
        graphs = tuple(graph for graph in crown.GRAPHS if families is None or graph[0] in families)
    else:
        graphs = graphs_of(families, _sizes(given.sizes), given.quick)
    if not graphs:
        raise ArgumentError(f"there is no bar for {' or '.join(families or ())}")
    rounds = given.rounds if given.rounds is not None else 1 if given.quick else 3
    for name, number, least in (
        ("--rounds", rounds, "above 0"),
        ("--threads", given.threads, "above 0"),
        ("--limit", given.limit, "above 0"),
        ("--bound", given.bound, "above 0"),
        ("--seconds", given.seconds, "not below 0"),
        ("--memory", given.memory, "not below 0"),
    ):
        if not (number > 0 or (number == 0 and least == "not below 0")):
            raise ArgumentError(f"{name} is a number {least}, not {number}")
    if given.memory and not can_tell_memory():
        raise ArgumentError("--memory: this system does not tell what a process holds")
    return Plan(
        graphs,
        _names(given.vs, PEERS, "library") or (),
        rounds,
        given.seconds,
        given.threads,
        Limits(given.limit, given.memory),
        tuple(map(_interpreter, given.python)),
    )


def _interpreter(given: str) -> str:
    found = shutil.which(os.path.expanduser(given))
    if found is None:
        raise ArgumentError(f"--python: {given} is no program")
    return os.path.abspath(found)  # our processes run in folders of their own


def _names(text: str | None, known: tuple[str, ...], what: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in found:
        if name not in known:
            raise ArgumentError(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return found


def _sizes(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        found = [int(part) for part in text.replace("_", "").split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise ArgumentError(f"--sizes are numbers above 0 with commas between, not {text!r}")
    return found


def _count(plan: Plan, report: Report) -> None:
    """Adds the counters of the graphs that graphc compiled, or why there are none."""
    if not is_countable():
        sys.stderr.write(f"counters: they are of {COUNTED_CPU}, which this machine does not run\n")
        return
    wanted = []
    for family, size in plan.graphs:
        row = report.row(family, size, "graphc")
        if size <= COUNTED_SIZES and (row is None or row["cold"]):
            wanted.append((family, size))
    for graph, counts in count(wanted, plan.limits).items():
        report.counts[graph] = {} if "error" in counts else counts
        if "error" in counts:
            report.uncounted[graph] = counts["error"]
            sys.stderr.write(f"counters of {graph}: {counts['error']}\n")


def _refuse_without_rich() -> None:
    from importlib.util import find_spec

    if find_spec("rich") is None:
        raise ArgumentError(
            "graphc bench shows its tables with rich, which is not installed: pip install 'graphc[bench]' "
            "(or pip install rich); --counters does without"
        )


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What tells what is measured now, on standard error, so that standard output is the tables alone."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr)  # noqa: T201  as it is, for a file or another program
        return
    with console.status("graphc bench") as status:
        yield lambda text: status.update(Text(text))


def _show(given: argparse.Namespace, report: Report, verdicts: list[crown.Verdict]) -> None:
    if given.counters:
        for graph, found in report.counts.items():
            sys.stdout.write(f"{graph}: {', '.join(f'{name} {n:,}' for name, n in found.items())}\n")
        return
    from rich.console import Console

    from runtime.benchmark.table import print_sheets

    console = Console(width=None if sys.stdout.isatty() else _NO_EDGE, highlight=False)
    bars = [sheets.crown(verdicts)] if verdicts else []
    print_sheets([*sheets.sheets_of(report), *bars], sheets.remarks(report), console)


def _prepare_files(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Sees to it that what is to be written can be; the earlier reports."""
    for path in (given.json, given.html):
        if path is not None:
            folder = Path(path).parent
            folder.mkdir(parents=True, exist_ok=True)
            if Path(path).is_dir() or not os.access(folder, os.W_OK):
                raise ArgumentError(f"{path!r} is no file that can be written")
    if given.json is not None and given.html is not None and _is_same(given.json, given.html):
        raise ArgumentError(f"--json and --html are both {given.json!r}")
    if given.history is None:
        return []
    Path(given.history).mkdir(parents=True, exist_ok=True)
    return read_history(Path(given.history))


def _is_same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _write(
    given: argparse.Namespace, report: Report, verdicts: list[crown.Verdict], past: list[dict[str, Any]]
) -> list[OSError]:
    """Writes all files that it can: what was measured is not lost with one of them. Why not the others."""
    # A file of counters alone is kept with the code: it says nothing of the day or the machine.
    kept = {"form": FORM, "counts": report.counts} if given.counters else report.as_dict()
    data = json.dumps(kept, indent=1) + "\n"
    files: list[tuple[Path, str]] = []
    if given.json is not None:
        files.append((Path(given.json), data))
    if given.history is not None:
        stamp = report.about["when"].replace(":", "").replace("+0000", "Z")
        files.append((Path(given.history) / f"{stamp}.json", data))
    if given.html is not None:
        files.append((Path(given.html), render(report, verdicts, past)))
    troubles = []
    for path, text in files:
        try:
            _put(path, text)
        except OSError as error:
            troubles.append(error)
    return troubles


def _put(path: Path, text: str) -> None:
    def write(file: BinaryIO) -> None:
        file.write(text.encode())

    write_atomically(path, write)


def _compare(baseline: dict[str, Any], report: Report, bound: float) -> int:
    found, compared = compare(baseline, report.as_dict(), bound)
    for each in found:
        sys.stdout.write(f"{'worse' if each.is_worse else 'other'}: {each}\n")
    if not compared and not report.rows and not is_countable():
        return 0  # and standard error has it
    if not compared:
        sys.stdout.write("nothing of the baseline was measured: no comparison\n")
        return 1
    missing = unmeasured(baseline, report.as_dict())
    if missing:
        sys.stdout.write(f"not measured, so not compared: {', '.join(missing)}\n")
    worse = sum(each.is_worse for each in found)
    sys.stdout.write(f"compared {compared} numbers with the baseline: {worse} worse\n")
    return 1 if worse else 0
