"""The checker itself: each anomaly of Adya's that we rely on it to find, in the smallest history
that has it, and a valid history with one thing changed."""

import json

import pytest

import history

APPEND, READ = "append", "r"


def write(path, transactions):
    """`transactions`: (outcome, invoked at, ended at, operations); times order the events."""
    events = []
    for process, (outcome, begin, end, operations) in enumerate(transactions):
        asked = [[kind, key, None if kind == READ else value] for kind, key, value in operations]
        events.append((begin, "invoke", process, asked))
        events.append((end, outcome, process, operations if outcome == "ok" else asked))
    events.sort(key=lambda event: event[0])
    path.write_text("".join(
        json.dumps({"index": index, "type": kind, "process": process, "time": time,
                    "f": "txn", "value": value}) + "\n"
        for index, (time, kind, process, value) in enumerate(events)))


CASES = {
    # name: (history, breaks snapshot isolation, breaks serializability)
    "serial": ([("ok", 0, 1, [(APPEND, 1, 1)]), ("ok", 2, 3, [(READ, 1, [1]), (APPEND, 1, 2)]),
                ("ok", 4, 5, [(READ, 1, [1, 2])])], False, False),
    "write skew (G2-item)": (
        [("ok", 0, 3, [(READ, 1, []), (READ, 2, []), (APPEND, 1, 1)]),
         ("ok", 1, 4, [(READ, 1, []), (READ, 2, []), (APPEND, 2, 2)]),
         ("ok", 5, 6, [(READ, 1, [1]), (READ, 2, [2])])], False, True),
    "lost update": (
        [("ok", 0, 3, [(READ, 1, []), (APPEND, 1, 1)]),
         ("ok", 1, 4, [(READ, 1, []), (APPEND, 1, 2)]),
         ("ok", 5, 6, [(READ, 1, [1, 2])])], True, True),
    "read skew (G-single)": (
        [("ok", 0, 1, [(APPEND, 1, 1), (APPEND, 2, 2)]),
         ("ok", 2, 4, [(APPEND, 1, 3), (APPEND, 2, 4)]),
         ("ok", 3, 5, [(READ, 1, [1]), (READ, 2, [2, 4])]),
         ("ok", 6, 7, [(READ, 1, [1, 3]), (READ, 2, [2, 4])])], True, True),
    "aborted read (G1a)": (
        [("fail", 0, 1, [(APPEND, 1, 1)]), ("ok", 2, 3, [(READ, 1, [1])])], True, True),
    "intermediate read (G1b)": (
        [("ok", 0, 3, [(APPEND, 1, 1), (APPEND, 1, 2)]), ("ok", 1, 2, [(READ, 1, [1])]),
         ("ok", 4, 5, [(READ, 1, [1, 2])])], True, True),
    "circular information flow (G1c)": (
        [("ok", 0, 2, [(APPEND, 1, 1), (READ, 2, [2])]),
         ("ok", 1, 3, [(APPEND, 2, 2), (READ, 1, [1])])], True, True),
    "write cycle (G0)": (
        [("ok", 0, 2, [(APPEND, 1, 1), (APPEND, 2, 2)]),
         ("ok", 1, 3, [(APPEND, 1, 3), (APPEND, 2, 4)]),
         ("ok", 4, 5, [(READ, 1, [1, 3]), (READ, 2, [4, 2])])], True, True),
    "an acknowledged append is lost": (
        [("ok", 0, 1, [(APPEND, 1, 1)]), ("ok", 2, 3, [(READ, 1, [])]),
         ("ok", 4, 5, [(APPEND, 1, 2)]), ("ok", 6, 7, [(READ, 1, [2])]),
         ("ok", 8, 9, [(READ, 1, [1])])], True, True),
    "own write not seen": (
        [("ok", 0, 1, [(APPEND, 1, 1), (READ, 1, [])])], True, True),
    "an element twice": (
        [("ok", 0, 1, [(APPEND, 1, 1)]), ("ok", 2, 3, [(READ, 1, [1, 1])])], True, True),
    "in doubt and applied": (
        [("info", 0, 1, [(APPEND, 1, 1)]), ("ok", 2, 3, [(READ, 1, [1])])], False, False),
    "in doubt and not applied": (
        [("info", 0, 1, [(APPEND, 1, 1)]), ("ok", 2, 3, [(READ, 1, [])]),
         ("ok", 4, 5, [(APPEND, 1, 2)]), ("ok", 6, 7, [(READ, 1, [2])])], False, False),
    "stale snapshot in real time": (
        [("ok", 0, 1, [(APPEND, 1, 1)]), ("ok", 2, 3, [(READ, 1, [])]),
         ("ok", 4, 5, [(READ, 1, [1])])], True, False),
}


@pytest.mark.parametrize("case", CASES)
def test_the_checker_sees(case, tmp_path):
    transactions, breaks_snapshot, breaks_serializable = CASES[case]
    path = tmp_path / "history.jsonl"
    write(path, transactions)
    assert history.check(path, "strong-snapshot-isolation")[0] == (not breaks_snapshot)
    assert history.check(path, "serializable")[0] == (not breaks_serializable)
