"""The command line: sets everything up, measures the peers in turn, prints the table, appends to the CSV file."""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.catalogue import SCENARIOS, Scenario, choose_scenarios
from benchmarks.environments import EnvironmentMissing, prepare, versions
from benchmarks.measure import Bench, ToolMissing, measure
from benchmarks.peers import OURS, PEERS, ROOT, Peer, choose_peers
from benchmarks.probe import Probe
from benchmarks.processes import ChildFailed
from benchmarks.report import CSV_FIELDS, Results, append_csv, csv_rows, render_table, render_targets
from benchmarks.summary import PAGE, RESULTS, ROUNDS, write_summary


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; gives the exit code: 0, or 1 when something could not be measured."""
    options = parse(argv)
    try:
        peers = choose_peers(options.peers)
        scenarios = choose_scenarios(options.scenarios)
    except ValueError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    results = Results()
    # One for all rows of the run, and before it: somebody may commit meanwhile.
    stamp = {"date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%MZ"), "commit": commit()}
    peers = [peer for peer in peers if any(peer.takes_part_in(scenario) for scenario in scenarios)]
    peers = [peer for peer in peers if is_ready(peer, results)]
    with tempfile.TemporaryDirectory(prefix="rpcservice-bench-") as folder, open_broker(options.amqp_uri) as broker:
        uri, pid = broker
        bench = Bench(uri, options.seconds, Path(folder), pid)
        try:
            measure_all(bench, scenarios, peers, options.repetitions, results)
        except KeyboardInterrupt:
            results.note("stopped by Ctrl-C: medians are of fewer repetitions")
        finally:
            bench.close()
        with Probe(uri) as probe:
            facts = {peer.name: describe(peer, stamp, probe.broker, options.seconds) for peer in peers}
    names = [peer.name for peer in peers]
    print(render_table(results, scenarios, names))
    if OURS in names:
        print(f"\n{render_targets(results.medians(), scenarios)}")
    print_facts(facts)
    if not options.no_save:
        save(options.results, csv_rows(results, scenarios, names, facts))
    return 1 if results.notes else 0


def save(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Append rows to a results file; where it is the kept one, renew the table in the documentation."""
    append_csv(path, rows)
    print(f"appended to {path}")
    if path == RESULTS:
        write_summary()
        print(f"renewed {PAGE}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure rpcservice and its peers on the same RabbitMQ, in turn; medians and ratios.",
        epilog="Example: python -m benchmarks --peers rpcservice,nameko --scenarios rpc-50,http --seconds 1",
    )

    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    peers = ", ".join(peer.name for peer in PEERS)
    scenarios = ", ".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--peers", type=names, default=[], help=f"some of: {peers}", metavar="NAMES")
    parser.add_argument("--scenarios", type=names, default=[], help=f"some of: {scenarios}", metavar="NAMES")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one measurement (default %(default)s)")
    parser.add_argument("--repetitions", type=int, default=ROUNDS, help="rounds over the peers (default %(default)s)")
    parser.add_argument("--amqp-uri", help="a RabbitMQ to use; without it a private node is started", metavar="URI")
    parser.add_argument("--results", type=Path, default=RESULTS, help="CSV file (default %(default)s)")
    parser.add_argument("--no-save", action="store_true", help="do not append to the CSV file")
    quick = "the same as --repetitions 1 --seconds 0.5 --no-save: shows that all works, not how fast it is"
    parser.add_argument("--quick", action="store_true", help=quick)
    options = parser.parse_args(argv)
    if options.quick:
        options.repetitions, options.seconds, options.no_save = 1, 0.5, True
    if options.seconds <= 0 or options.repetitions < 1:
        parser.error("--seconds must be above 0 and --repetitions at least 1")
    return options


@contextmanager
def open_broker(uri: str | None) -> Iterator[tuple[str, int | None]]:
    """Give a broker's URI, and its process where it is a private node of ours."""
    if uri:
        yield uri, None
        return
    from rpcservice.testing.rabbitmq import RabbitMQNode

    with RabbitMQNode() as node:
        yield node.uri, int((node.folder / "pid").read_text())


def is_ready(peer: Peer, results: Results) -> bool:
    """Make a peer's environment; a peer that cannot have one is left out with a note."""
    try:
        prepare(peer)
    except EnvironmentMissing as exc:
        results.note(f"{peer.name} is left out: {exc}")
        return False
    return True


def measure_all(
    bench: Bench, scenarios: Sequence[Scenario], peers: Sequence[Peer], repetitions: int, results: Results
) -> None:
    """Measure each scenario with the peers that take part in it, in turn: A B C, A B C ..."""
    for scenario in scenarios:
        concerned = [peer for peer in peers if peer.takes_part_in(scenario)]
        for repetition in range(repetitions):
            for peer in list(concerned):
                begun = time.monotonic()
                try:
                    figures = measure(bench, scenario, peer)
                except ToolMissing as exc:
                    results.note(str(exc))
                    concerned = []
                    break
                except (ChildFailed, OSError) as exc:
                    results.note(f"{scenario.name}: {peer.name} failed: {exc}")
                    # A peer that failed once would only cost its time limit again.
                    concerned.remove(peer)
                    continue
                results.add(scenario.name, peer.name, figures)
                shown = ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())
                taken = time.monotonic() - begun
                line = f"[{repetition + 1}/{repetitions}] {scenario.name} {peer.name}: {shown} ({taken:.1f} s)"
                print(line, file=sys.stderr, flush=True)


def describe(peer: Peer, stamp: Mapping[str, str], broker: str, seconds: float) -> dict[str, str]:
    """Give the CSV fields that say when, where and with what a peer was measured."""
    found = versions(peer)
    python = found.pop("python")
    values = {
        **stamp,
        "machine": cpu_model(),
        "cores": str(os.cpu_count()),
        "broker": f"RabbitMQ {broker}",
        "python": python,
        "versions": "; ".join(f"{name} {version}" for name, version in found.items()),
        "seconds": f"{seconds:g}",
    }
    return {name: values[name] for name in CSV_FIELDS if name in values}


def cpu_model() -> str:
    """Give the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def commit() -> str:
    """Give the commit that is checked out, with a plus sign where files differ from it; "" outside of git."""
    described = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(described, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def print_facts(facts: dict[str, dict[str, str]]) -> None:
    """Print what was measured on what."""
    print()
    for peer, values in facts.items():
        print(f"{peer}: Python {values['python']}; {values['versions']}")
    for values in list(facts.values())[:1]:
        print(f"{values['machine']}, {values['cores']} cores; {values['broker']}; {values['seconds']} s a measurement")


if __name__ == "__main__":
    sys.exit(main())
