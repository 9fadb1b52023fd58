"""``python -m benchmarks.growth``: measures how cost grows, appends to growth.csv, and writes the tables and plots."""

import argparse
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.growth_curves import CURVES, Curve, Point, choose_curves
from benchmarks.growth_figures import NothingMeasured, Run, append_rows, read_latest
from benchmarks.growth_fleet import CostsUnknown, fleet_block, read_costs
from benchmarks.growth_measure import HERE, Figures, Ground, measure_round
from benchmarks.growth_render import describe_others, limits_table, page_blocks, slopes_table, write_page
from benchmarks.pages import MarksMissing
from benchmarks.probe import Probe
from benchmarks.processes import ChildFailed
from benchmarks.run import commit, cpu_model, open_broker

DOCS = HERE.parent / "docs"
PAGE, SCALING = DOCS / "growth.rst", DOCS / "scaling.rst"
COSTS = HERE / "results.csv"
_LIBRARIES = ("rpcservice", "kombu", "amqp", "eventlet", "greenlet")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, or only render; gives the exit code: 0, 1 when a limit is missed or a measurement failed, or 2."""
    options = parse(argv)
    try:
        curves = choose_curves(options.curves)
    except ValueError as exc:
        print(f"benchmarks.growth: {exc}", file=sys.stderr)
        return 2
    rows: list[dict[str, str]] = []
    try:
        if options.render:
            render(read_latest(options.results))
            return 0
        return report(options, rows, measure_all(options, curves, rows))
    except KeyboardInterrupt:
        return report(options, rows, "stopped by Ctrl-C")
    except (NothingMeasured, CostsUnknown, MarksMissing) as exc:
        print(f"benchmarks.growth: {exc}", file=sys.stderr)
        return 1


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description="Measure how throughput, p99 and CPU a call grow; check the limits; write tables and plots.",
        epilog="Example: python -m benchmarks.growth --curves services --points 1,100 --rounds 3 --no-save",
    )
    names = ", ".join(curve.name for curve in CURVES)
    parser.add_argument("--curves", type=_words, default=[], help=f"some of: {names}", metavar="NAMES")
    parser.add_argument("--points", type=_numbers, default=[], help="only these points of each curve", metavar="VALUES")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all curves (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="0.4 s a measurement, 2 rounds; not saved")
    parser.add_argument("--amqp-uri", help="a RabbitMQ to use; without it a private node is started", metavar="URI")
    parser.add_argument("--results", type=Path, default=HERE / "growth.csv", help="CSV file (default %(default)s)")
    parser.add_argument("--no-save", action="store_true", help="save nothing; so it is with some of the points only")
    parser.add_argument("--render", action="store_true", help="measure nothing; write tables and plots of the last run")
    options = parser.parse_args(argv)
    if options.quick:
        options.seconds, options.rounds = 0.4, 2
    # The page on growth shows one whole run.
    options.no_save = options.no_save or options.quick or bool(options.curves or options.points)
    if options.seconds <= 0 or options.rounds < 1:
        parser.error("--seconds must be above 0 and --rounds at least 1")
    return options


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


def measure_all(options: argparse.Namespace, curves: Sequence[Curve], rows: list[dict[str, str]]) -> str:
    """Measure round after round over all curves, into ``rows``; gives what failed, or nothing."""
    with tempfile.TemporaryDirectory(prefix="rpcservice-growth-") as folder, open_broker(options.amqp_uri) as broker:
        uri, pid = broker
        ground = Ground(uri, Path(folder), options.seconds, min(0.3, options.seconds), pid)
        with Probe(uri) as probe:
            facts = describe(probe.broker, options.seconds)
        for number in range(options.rounds):
            for curve in curves:
                points = curve.choose(options.points)
                add = partial(_add, rows, {**facts, "curve": curve.name, "round": str(number + 1)})
                try:
                    measure_round(ground, curve, points, number % 2 == 1, add)
                except (ChildFailed, OSError) as exc:
                    return f"{curve.name}: {exc}"
    return ""


def _add(rows: list[dict[str, str]], where: dict[str, str], point: Point, figures: Figures) -> None:
    rows.append({**where, "point": str(point.value), **{name: f"{value:.6g}" for name, value in figures.items()}})
    shown = (
        f"{figures['calls']:,.0f} calls/s, p99 {figures['p99'] * 1e3:.1f} ms, CPU {figures['service_cpu'] * 1e6:.1f} + "
        f"{figures['client_cpu'] * 1e6:.1f} us, broker {figures.get('broker_cpu', 0) * 1e6:.0f} us; "
        f"others {figures.get('others', 0):.2f} cores"
    )
    print(f"[{where['round']}] {where['curve']} {point.value:,}: {shown}", file=sys.stderr, flush=True)


def describe(broker: str, seconds: float) -> dict[str, str]:
    """Give the CSV fields that say when, where and with what is measured."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
        "commit": commit(),
        "machine": cpu_model(),
        "cores": str(os.cpu_count()),
        "broker": f"RabbitMQ {broker}",
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES),
        "seconds": f"{seconds:g}",
    }


def report(options: argparse.Namespace, rows: list[dict[str, str]], failure: str) -> int:
    """Print slopes and limits, save a whole run; gives the exit code."""
    if rows:
        run = Run(rows)
        print(f"{slopes_table(run)}\n\n{limits_table(run)}".replace("**missed**", "MISSED"))
        print(describe_others(run))
        if not (options.no_save or failure):
            append_rows(options.results, rows)
            print(f"appended to {options.results}")
            render(run)
    if failure:
        print(f"! {failure}", file=sys.stderr)
    missed = [curve for curve in CURVES for limit in curve.limits if rows and run.verdict(curve, limit) is False]
    return 1 if failure or missed else 0


def render(run: Run) -> None:
    """Write the tables and the plots of a run into the documentation."""
    write_page(PAGE, page_blocks(run))
    write_page(SCALING, {"fleet": fleet_block(read_costs(COSTS))})
    try:
        from benchmarks.growth_plots import draw_all
    except ModuleNotFoundError as exc:
        raise SystemExit(f'{exc}: the plots need matplotlib; pip install "rpcservice[bench]"') from exc
    for path in draw_all(run, DOCS):
        print(f"drew {path}")


if __name__ == "__main__":
    sys.exit(main())
