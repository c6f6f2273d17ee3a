"""Each transaction script against PostgreSQL 15 and this server: the same outcomes, step by step.

PostgreSQL's REPEATABLE READ is held against SNAPSHOT, its SERIALIZABLE against SERIALIZABLE.
differences.md says where the two documents disagree; a difference that is not seen any more
fails as well.
"""

import concurrent.futures
import pathlib
import re

import pytest

import script as scripts
from conftest import Server
from postgres import Postgres

HERE = pathlib.Path(__file__).parent
SCRIPTS = [scripts.parse(path) for path in sorted((HERE / "scripts").glob("*.txt"))]
CASES = {
    f"{script.name}-{level}-{number}": (script, level, permutation)
    for script in SCRIPTS for level in script.levels
    for number, permutation in enumerate(script.permutations)
}
POSTGRES_LEVELS = {"snapshot": "repeatable read", "serializable": "serializable"}
# Most of the time goes into waiting for locks.
AT_ONCE = 6


def opener(connect):
    def open_in(schema):
        connection = connect()
        if schema:
            connection.execute(f"SET search_path TO {schema}")
        return connection
    return open_in


def play_all(openers, cases=CASES):
    """The outcomes of every case by name, or what went wrong."""
    outcomes = {}
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {}
        for number, (name, (script, level, permutation)) in enumerate(cases.items()):
            futures[name] = pool.submit(scripts.play, openers[level], script, permutation,
                                        f"case_{number}")
        for name, future in futures.items():
            try:
                outcomes[name] = future.result()
            except Exception as error:  # Shown by the case that it belongs to.
                outcomes[name] = error
    return outcomes


def postgres_openers(postgres, levels=POSTGRES_LEVELS):
    options = {level: "-c default_transaction_isolation=" + name.replace(" ", "\\ ")
               for level, name in levels.items()}
    return {level: opener(lambda level=level: postgres.connect(options=options[level]))
            for level in levels}


@pytest.fixture(scope="module")
def by_postgres():
    postgres = Postgres()
    try:
        postgres.start()
        yield play_all(postgres_openers(postgres))
    finally:
        postgres.close()


@pytest.fixture(scope="module")
def by_blueshift(tmp_path_factory):
    directory = tmp_path_factory.mktemp("scripts")
    # One slice, so that rows inserted by one statement share a segment in every run.
    server = Server(directory / "cluster", directory,
                    ["--nodes", "1", "--slices-per-node", "1"]).start()
    try:
        server.execute("CREATE DATABASE scripts_snapshot ISOLATION LEVEL SNAPSHOT")
        server.execute("CREATE DATABASE scripts_serializable ISOLATION LEVEL SERIALIZABLE")
        yield play_all({level: opener(lambda level=level: server.connect(
            dbname=f"scripts_{level}")) for level in scripts.LEVELS})
    finally:
        server.close()


@pytest.mark.parametrize("case", CASES)
def test_script(case, by_postgres, by_blueshift):
    script, level, permutation = CASES[case]
    theirs, ours = by_postgres[case], by_blueshift[case]
    for outcome in (theirs, ours):
        if isinstance(outcome, Exception):
            raise outcome
    variants = scripts.expected(theirs, permutation, level)
    for difference in permutation.differences:
        if level in difference.levels and not difference.optional:
            assert not scripts.same(variants[0], theirs, permutation), (
                f"PostgreSQL does not differ: {difference.name}")
    assert any(scripts.same(ours, variant, permutation) for variant in variants), (
        f"{script.name}.txt:{permutation.line} {level}: {permutation}\n"
        + "\n".join(f"  {step:8} expected {variants[0].get(step)!s:40} was {ours.get(step)}"
                    for step in {**variants[0], **ours}))


def test_a_server_one_level_too_weak_is_found(by_postgres):
    """PostgreSQL at READ COMMITTED for SNAPSHOT and at REPEATABLE READ for SERIALIZABLE."""
    found = {"snapshot": {"lost_update", "phantom", "read_skew", "write_predicate"},
             "serializable": {"write_skew", "phantom_skew", "read_only_anomaly",
                              "circular_information_flow"}}
    cases = {name: case for name, case in CASES.items() if case[0].name in found[case[1]]}
    postgres = Postgres()
    try:
        postgres.start()
        weak = play_all(postgres_openers(postgres, {"snapshot": "read committed",
                                                    "serializable": "repeatable read"}), cases)
    finally:
        postgres.close()
    for level, names in found.items():
        failed = {script.name for name, (script, case_level, permutation) in cases.items()
                  if case_level == level and not any(
                      scripts.same(weak[name], variant, permutation) for variant in
                      scripts.expected(by_postgres[name], permutation, level))}
        assert failed == names, f"{level}: {names - failed} saw nothing"


def test_every_difference_is_described_and_used():
    described = set(re.findall(r"^## (\S+)", (HERE / "differences.md").read_text(), re.M))
    used = {difference.name for script in SCRIPTS for permutation in script.permutations
            for difference in permutation.differences}
    assert used <= described, used - described
    unused = described - used
    text = (HERE / "differences.md").read_text()
    for name in unused:
        section = text.split(f"## {name}\n")[1].split("\n## ")[0]
        assert "No script" in " ".join(section.split()), f"{name} is used by no script and does not say why"


def test_outcomes_that_are_not_the_same_are_found():
    """The comparison itself: a lost update, a row too many, another SQLSTATE, a missing wait."""
    lost = next(s for s in SCRIPTS if s.name == "lost_update")
    permutation = lost.permutations[1]
    right = {"s1.b": "BEGIN", "s2.b": "BEGIN", "s1.r": "[(0,)]", "s2.r": "[(0,)]",
             "s1.u": "UPDATE 1", "s2.u": "40001", "s1.c": "COMMIT", "s2.c": "ROLLBACK",
             "check": "[(1, 10), (2, 0)]"}
    assert scripts.same(right, {**right, "s2.u": "UPDATE 1", "s2.c": "40001"}, permutation)
    for wrong in ({"s2.u": "UPDATE 1", "s2.c": "COMMIT"}, {"check": "[(1, 110), (2, 0)]"},
                  {"s2.u": "40P01"}, {"s1.u": "waits"}, {"s1.c": "40001"}, {"s2.r": "[(1,)]"}):
        assert not scripts.same(right, {**right, **wrong}, permutation), wrong
