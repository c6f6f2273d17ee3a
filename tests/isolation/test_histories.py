"""Histories of 8 clients, judged by an independent checker: SNAPSHOT is snapshot isolation and no
more (write skew is seen), SERIALIZABLE is serializable, also when the leader is killed."""

import random
import time

import pytest

import history
from conftest import Server, figure, new_seed, scaled
from postgres import Postgres

TRANSACTIONS = 5_000
KILLS = 10
CLIENTS = 8
LEVELS = {
    # A transaction that begins after another committed sees it: the strong form.
    "SNAPSHOT": ["strong-snapshot-isolation"],
    "SERIALIZABLE": ["serializable", "strong-snapshot-isolation"],
}


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "cluster", tmp_path,
                    ["--nodes", "2", "--slices-per-node", "2"]).start()
    yield server
    server.close()


def database(server, level):
    name = f"histories_{level.lower()}"
    server.execute(f"CREATE DATABASE {name} ISOLATION LEVEL {level}")
    return name


def judge(workload, level, directory, seed):
    path = directory / f"{level.lower()}.jsonl"
    workload.write(path)
    for model in LEVELS[level]:
        valid, kinds = history.check(path, model)
        assert valid, f"seed {seed}: {level} is not {model}: {kinds} in {path}"
    return path


@pytest.mark.parametrize("level", LEVELS)
def test_isolation_level(level, server, tmp_path):
    seed = new_seed()
    name = database(server, level)
    transactions = scaled(TRANSACTIONS)
    with server.connect(dbname=name) as connection:
        keys = history.create(connection, transactions)
    started = time.monotonic()
    workload = history.record(lambda: server.connect(dbname=name), transactions, CLIENTS, seed,
                              keys)
    elapsed = time.monotonic() - started
    committed = workload.count("ok")
    assert committed > transactions // 10, f"only {committed} of {transactions} committed"
    path = judge(workload, level, tmp_path, seed)
    serializable, kinds = history.check(path, "serializable")
    if level == "SNAPSHOT":
        assert not serializable and "G2-item" in kinds, f"seed {seed}: no write skew was seen"
    figure(f"T6 {level}", transactions=transactions, committed=committed,
           aborted=workload.count("fail"), seconds=round(elapsed, 1), anomalies=kinds or "none")
    server.stop()


@pytest.mark.parametrize("level", LEVELS)
def test_isolation_level_while_the_leader_is_killed(level, server, tmp_path):
    seed = new_seed()
    dice = random.Random(seed)
    name = database(server, level)
    kills = scaled(KILLS // len(LEVELS))
    with server.connect(dbname=name) as connection:
        keys = history.create(connection, 400 * kills)
    slowest = 0

    def kill(workload):
        nonlocal slowest
        for _ in range(kills):
            time.sleep(dice.uniform(0.3, 1.2))
            server.kill()
            started = time.monotonic()
            server.start()
            slowest = max(slowest, time.monotonic() - started)
        time.sleep(0.3)
        workload.left = 0

    workload = history.record(lambda: server.connect_patiently(dbname=name), 1 << 40, CLIENTS,
                              seed, keys, beside=kill)
    # What is there at the end is read once more, so that every acknowledged append is looked for.
    process = workload.process()
    used = sorted(workload.appended)
    reads = [["r", key, None] for key in used]
    workload.end("invoke", process, reads)
    with server.connect(dbname=name) as connection:
        workload.end("ok", process, history.run_one(connection, reads))
        connection.execute("COMMIT")
    assert slowest < 10, f"seed {seed}: a restart took {slowest:.1f} s"
    judge(workload, level, tmp_path, seed)
    figure(f"T7 {level}", kills=kills, committed=workload.count("ok"),
           in_doubt=workload.count("info"), slowest_restart_s=round(slowest, 2))
    server.stop()


def test_the_workload_finds_what_a_weaker_level_does(tmp_path):
    """PostgreSQL at three levels: the same clients and checker tell them apart."""
    postgres = Postgres()
    try:
        postgres.start()
        verdicts = {}
        for level in ("read committed", "repeatable read", "serializable"):
            option = "-c default_transaction_isolation=" + level.replace(" ", "\\ ")
            with postgres.connect() as connection:
                keys = history.create(connection, 2_000)
            workload = history.record(lambda: postgres.connect(options=option), 2_000, CLIENTS, 1,
                                      keys)
            workload.write(tmp_path / "history.jsonl")
            verdicts[level] = tuple(history.check(tmp_path / "history.jsonl", model)[0]
                                    for model in ("strong-snapshot-isolation", "serializable"))
        assert verdicts == {"read committed": (False, False), "repeatable read": (True, False),
                            "serializable": (True, True)}
    finally:
        postgres.close()
