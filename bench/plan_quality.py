"""Join orders: the chosen order of each TPC-H query against orders that chance draws
(`join_order_seed`). Orders whose plans are alike run once; the fastest drawn one then runs turn by
turn with the chosen one. Their processor time is compared, and the median time beside it, which
other work on the machine disturbs. Answers have to be equal.

    cargo xtask bench plans --scale 1 --orders 20
"""

import argparse
import pathlib
import re
import shutil
import statistics
import sys
import tempfile

import tpch
from measure import cache, geometric_mean, processor_s, timed
from tpch import TABLES, Server, assert_same, query

import psycopg  # noqa: E402

# A drawn order is given up after so many times the chosen one's time.
PATIENCE = 5


def plan_of(connection, text):
    """The operators with their conditions, without numbers that say nothing of the order."""
    rows = connection.execute("EXPLAIN " + text.strip().removesuffix(";")).fetchall()
    return re.sub(r"\(cost=[^)]*\)", "", "\n".join(row[0] for row in rows))


def attempt(connection, text, limit_s):
    """Seconds and rows, or nothing when the order takes longer than the limit."""
    connection.execute(f"SET statement_timeout TO {max(500, int(1000 * limit_s))}")
    try:
        return timed(lambda: connection.execute(text).fetchall())
    except psycopg.errors.QueryCanceled:
        return None
    finally:
        connection.execute("RESET statement_timeout")


def drawn_orders(connection, text, count, chosen_s, answer):
    """The least seconds of each distinct drawn order, by seed; infinite for those given up."""
    seen, times = {}, {}
    for seed in range(1, count + 1):
        connection.execute(f"SET join_order_seed TO {seed}")
        plan = plan_of(connection, text)
        if plan in seen:
            continue
        seen[plan] = seed
        times[seed] = float("inf")
        for _ in range(2):
            done = attempt(connection, text, PATIENCE * chosen_s)
            if done is None:
                break
            assert_same(done[1], answer)
            times[seed] = min(times[seed], done[0])
    connection.execute("SET join_order_seed TO 0")
    return times


def compare(server, connection, text, seed, runs):
    """Medians and processor seconds of the chosen and of one drawn order, run in turns."""
    samples, used = {0: [], seed: []}, {0: 0.0, seed: 0.0}
    for turn in range(runs + 1):
        for which, times in samples.items():
            connection.execute(f"SET join_order_seed TO {which}")
            before = processor_s(server.process.pid)
            seconds, _ = timed(lambda: connection.execute(text).fetchall())
            if turn:
                times.append(seconds)
                used[which] += processor_s(server.process.pid) - before
    connection.execute("SET join_order_seed TO 0")
    medians = {which: statistics.median(times) for which, times in samples.items()}
    return medians[0], medians[seed], max(used[0], 0.01) / max(used[seed], 0.01)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--factor-max", type=float, default=1.3)
    parser.add_argument("--queries", type=lambda text: list(map(int, text.split(","))),
                        default=list(range(1, 23)))
    options = parser.parse_args()
    directory = cache() / f"sf{options.scale:g}"
    tpch.make_data(directory, options.scale)
    work = pathlib.Path(tempfile.mkdtemp(prefix="blueshift-plans-"))
    server = Server(work / "cluster", directory, [])
    factors = {}
    try:
        server.start()
        for table in TABLES:
            server.execute(tpch.schema(table))
            server.execute(
                f"COPY {table} FROM '{directory}/{table}/part-' FORMAT AS CSV IGNOREHEADER 1")
            server.execute(f"ANALYZE {table}")
        with server.connect() as connection:
            for number in options.queries:
                text = query(number)
                connection.execute(text).fetchall()
                chosen, answer = timed(lambda: connection.execute(text).fetchall())
                times = drawn_orders(connection, text, options.orders, chosen, answer)
                if len(times) < 2:
                    print(f"Q{number:<3} chosen {1000 * chosen:8.1f}  one order", flush=True)
                    continue
                best = min(times, key=times.get)
                drawn = times[best]
                factors[number] = 0.0
                if drawn < float("inf"):
                    chosen, drawn, factors[number] = compare(
                        server, connection, text, best, options.runs)
                given_up = sum(time == float("inf") for time in times.values())
                print(f"Q{number:<3} chosen {1000 * chosen:8.1f}  best of {len(times):2} drawn "
                      f"{1000 * drawn:8.1f} (seed {best})  processor {factors[number]:.2f}  "
                      f"given up {given_up}", flush=True)
        server.stop()
    finally:
        server.close()
        shutil.rmtree(work, ignore_errors=True)
    positive = [factor for factor in factors.values() if factor > 0]
    print(f"chosen / best drawn: geometric mean {geometric_mean(positive):.2f}")
    late = {number: factor for number, factor in factors.items() if factor > options.factor_max}
    if late:
        sys.exit(f"slower than {options.factor_max} times a drawn order: "
                 + ", ".join(f"Q{number} {factor:.2f}" for number, factor in late.items()))


if __name__ == "__main__":
    main()
