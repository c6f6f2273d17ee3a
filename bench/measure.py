"""What the benchmarks share: interleaved runs, compared answers, ratios."""

import math
import os
import pathlib
import statistics
import time


def cache():
    """Where generated data is kept from run to run."""
    home = pathlib.Path.home()
    return pathlib.Path(os.environ.get("BLUESHIFT_BENCH", home / ".cache/blueshift/bench"))


def timed(call):
    """Seconds and result."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def interleaved(systems, queries, runs, compare):
    """Medians in seconds by query and system, turn about, the first turn not counted.

    `systems` maps names to functions from SQL to rows, `queries` labels to SQL. `compare` is given
    each system's name, the SQL, its rows and DuckDB's."""
    medians = {}
    for label, text in queries.items():
        samples = {name: [] for name in systems}
        answers = {}
        for turn in range(runs + 1):
            for name, execute in systems.items():
                seconds, answers[name] = timed(lambda: execute(text))
                if turn:
                    samples[name].append(seconds)
        for name in systems:
            if name != "duckdb":
                compare(name, text, answers[name], answers["duckdb"])
        medians[label] = {name: statistics.median(times) for name, times in samples.items()}
        shown = "  ".join(f"{name} {1000 * value:8.1f}" for name, value in medians[label].items())
        print(f"{label:<4} {shown}", flush=True)
    return medians


def report(medians, peers):
    """Prints ours against each peer: the geometric mean and the five worst."""
    for peer in peers:
        ratios = {label: m["ours"] / m[peer] for label, m in medians.items()}
        worst = sorted(ratios.items(), key=lambda item: -item[1])[:5]
        print(f"ours / {peer}: geometric mean {geometric_mean(ratios.values()):.2f}, worst "
              + ", ".join(f"{label} {ratio:.1f}" for label, ratio in worst))
