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


def without_keys(schema):
    """CREATE TABLE with the columns alone: DuckDB would build an index for each key, and does not
    know where rows are placed."""
    columns, _ = schema.split("\n) DIST")
    kept = []
    for line in columns.replace("\n        REFERENCES", " REFERENCES").splitlines():
        if not line.strip().startswith(("PRIMARY KEY", "FOREIGN KEY")):
            line = line.split(" PRIMARY KEY")[0].split(" REFERENCES")[0]
            kept.append(line.rstrip(","))
    return kept[0] + ",".join(kept[1:]) + ")"


def processor_s(pid):
    """Seconds that a process has run so far on all processors, threads that have ended included.
    How its clock is numbered: clock_getcpuclockid(3), a process's scheduler clock."""
    return time.clock_gettime((~pid << 3) | 2)


def turns(systems, text, runs, compare, clocks):
    """One query's medians, see `interleaved`."""
    samples = {name: [] for name in systems}
    used = {f"{name} cpu": [] for name in clocks}
    answers = {}
    for turn in range(runs + 1):
        for name, execute in systems.items():
            before = clocks[name]() if name in clocks else 0
            seconds, answers[name] = timed(lambda: execute(text))
            if turn:
                samples[name].append(seconds)
                if name in clocks:
                    used[f"{name} cpu"].append(clocks[name]() - before)
    for name in systems:
        if name != "duckdb":
            compare(name, text, answers[name], answers["duckdb"])
    return {name: statistics.median(times) for name, times in {**samples, **used}.items()}


def interleaved(systems, queries, runs, compare, clocks=None, problems=None):
    """Medians in seconds by query and system, turn about, the first turn not counted.

    `systems` maps names to functions from SQL to rows, `queries` labels to SQL. `compare` is given
    each system's name, the SQL, its rows and DuckDB's. `clocks` maps systems to the processor
    seconds that they have used so far: their medians are under the name and "cpu". A query that
    fails, or whose answers differ, raises; given `problems`, it is noted there by its label, and
    has no medians."""
    medians = {}
    for label, text in queries.items():
        try:
            medians[label] = turns(systems, text, runs, compare, clocks or {})
        except Exception as problem:
            if problems is None:
                raise
            problems[label] = problem
            print(f"{label:<4} {type(problem).__name__}", flush=True)
            continue
        shown = "  ".join(f"{name} {1000 * value:8.1f}" for name, value in medians[label].items())
        print(f"{label:<4} {shown}", flush=True)
    return medians


def report(medians, peers, mine="ours"):
    """Prints ours against each peer: the geometric mean, the total and the five worst."""
    for peer in peers:
        ratios = {label: m[mine] / m[peer] for label, m in medians.items()}
        total = sum(m[mine] for m in medians.values()) / sum(m[peer] for m in medians.values())
        worst = sorted(ratios.items(), key=lambda item: -item[1])[:5]
        print(f"{mine} / {peer}: geometric mean {geometric_mean(ratios.values()):.2f}, "
              f"total {total:.2f}, worst "
              + ", ".join(f"{label} {ratio:.1f}" for label, ratio in worst))
