"""`kill -9` of the leader, and of compute nodes, under COPY, INSERT, UPDATE, DELETE and DDL over
three tables: nothing acknowledged is lost, no transaction is torn, restarts are quick."""

import os
import random
import signal
import threading
import time

import psycopg

import mixed
from conftest import MODES, Server, figure, new_seed, scaled, wait_until

LEADER_KILLS = 50
NODE_KILLS = 20
CLIENTS = 4
RESTART_S_MAX = 10


def load(clients, stop):
    threads = [threading.Thread(target=client.run, args=(stop,), daemon=True)
               for client in clients]
    for thread in threads:
        thread.start()
    return threads


def join(threads, clients, faults, seed):
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), f"seed {seed}: a client hangs"
    for fault in [*faults, *(client.fault for client in clients if client.fault)]:
        raise AssertionError(f"seed {seed}: {fault}") from fault


def verify(clients, server, seed):
    with server.connect() as connection:
        wrong = [message for client in clients if (message := client.verify(connection))]
    assert not wrong, f"seed {seed}: " + "\n".join(wrong)


def vacuum(server, stop, faults):
    """VACUUM of one table after the other; a lost connection or a conflict is all it may meet. Other
    errors go to `faults`."""
    while not stop.is_set():
        try:
            with server.connect() as connection:
                for table in mixed.TABLES:
                    connection.execute(f"VACUUM {table}")
                    stop.wait(0.2)
        except psycopg.OperationalError:
            stop.wait(0.1)
        except psycopg.Error as error:
            if error.sqlstate not in mixed.ABORTS | mixed.LOST_NODE:
                faults.append(error)
                return


def sweeper(server, stop, faults):
    thread = threading.Thread(target=vacuum, args=(server, stop, faults), daemon=True)
    thread.start()
    return thread


def make_clients(server, directory, dice, count=CLIENTS, allowed=frozenset(mixed.ABORTS)):
    files = directory / "files"
    files.mkdir(exist_ok=True)
    journal = mixed.Journal(directory / "journal.jsonl")
    return [mixed.Client(number, server.connect_patiently, files, journal,
                         random.Random(dice.random()), allowed) for number in range(count)]


def kill_loop(server, directory, kills, seed, restart):
    """Kills `server` again and again; gives the clients and the slowest restart."""
    dice = random.Random(seed)
    clients = make_clients(server, directory, dice)
    with server.connect() as connection:
        mixed.create(connection)
    slowest, faults = 0, []
    for _ in range(kills):
        stop = threading.Event()
        threads = load(clients, stop)
        threads.append(sweeper(server, stop, faults))
        time.sleep(dice.uniform(0.02, 0.8))
        server.kill()
        stop.set()
        join(threads, clients, faults, seed)
        started = time.monotonic()
        restart()
        slowest = max(slowest, time.monotonic() - started)
        verify(clients, server, seed)
    return clients, slowest


def test_the_leader_is_killed(tmp_path):
    seed = new_seed()
    kills = scaled(LEADER_KILLS)
    server = Server(tmp_path / "cluster", tmp_path / "files",
                    ["--nodes", "2", "--slices-per-node", "2"])
    (tmp_path / "files").mkdir()
    server.start()
    try:
        clients, slowest = kill_loop(server, tmp_path, kills, seed, server.start)
        acknowledged = sum(client.acknowledged for client in clients)
        assert slowest < RESTART_S_MAX, f"seed {seed}: a restart took {slowest:.1f} s"
        assert acknowledged > kills, f"seed {seed}: only {acknowledged} transactions"
        figure("T3", kills=kills, acknowledged=acknowledged,
               aborted=sum(client.aborted for client in clients),
               in_doubt=sum(client.in_doubt for client in clients),
               lost=0, torn=0, slowest_restart_s=round(slowest, 2))
        server.stop()
    finally:
        server.close()


def test_a_compute_node_is_killed(tmp_path):
    """The statement that needed it is retried or fails clearly; nothing partial is ever seen."""
    seed = new_seed()
    dice = random.Random(seed)
    kills = scaled(NODE_KILLS)
    (tmp_path / "files").mkdir()
    server = Server(tmp_path / "cluster", tmp_path / "files", MODES["processes-3x2"]).start()
    try:
        clients = make_clients(server, tmp_path, dice, 3,
                               frozenset(mixed.ABORTS | mixed.LOST_NODE))
        with server.connect() as connection:
            mixed.create(connection)
        faults = []
        for _ in range(kills):
            stop = threading.Event()
            threads = load(clients, stop)
            threads.append(sweeper(server, stop, faults))
            time.sleep(dice.uniform(0.1, 0.6))
            os.kill(dice.choice(server.children()), signal.SIGKILL)
            time.sleep(dice.uniform(0.1, 0.5))
            stop.set()
            join(threads, clients, faults, seed)
            wait_until(lambda: len(server.children()) == 3, what="all nodes")
            verify(clients, server, seed)
        acknowledged = sum(client.acknowledged for client in clients)
        assert acknowledged > kills, f"seed {seed}: only {acknowledged} transactions"
        figure("T5", kills=kills, acknowledged=acknowledged,
               aborted=sum(client.aborted for client in clients), partial=0)
        server.stop()
    finally:
        server.close()


class Liar:
    """A client's connection that acknowledges every tenth COMMIT without doing it."""

    def __init__(self, connection):
        self.connection, self.commits = connection, 0

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def execute(self, text):
        if text == "COMMIT":
            self.commits += 1
            if self.commits % 10 == 0:
                text = "ROLLBACK"
        return self.connection.execute(text)


def test_a_lost_transaction_is_found(tmp_path):
    """The accounting itself: PostgreSQL behind a connection that drops transactions."""
    from postgres import Postgres
    postgres = Postgres()
    try:
        postgres.start()
        clients = make_clients(postgres, postgres.home, random.Random(1), 1)
        client = clients[0]
        with postgres.connect() as connection:
            mixed.create(connection)
            client.connection = connection
            for _ in range(9):
                client.transaction()
            assert client.verify(connection) is None
            client.connection = Liar(connection)
            for _ in range(10):
                try:
                    client.transaction()
                except AssertionError:
                    break
            assert "client 0" in client.verify(connection)
    finally:
        postgres.close()
