"""Transfers with a ledger, audited by readers, while VACUUM rewrites the tables: the books balance
in every snapshot."""

import random
import threading
import time

import psycopg

from conftest import Server, figure, new_seed, scaled

SECONDS = 60
ACCOUNTS = 40
BALANCE = 1_000
WRITERS, AUDITORS = 4, 2
ABORTS = {"40001", "40P01", "55P03"}

UNBALANCED = """
    SELECT count(*) FROM accounts LEFT JOIN
        (SELECT account, sum(delta) AS delta FROM ledger GROUP BY account) l ON id = account
    WHERE balance <> {start} + COALESCE(delta, 0)"""


class Bank:
    """The threads that work on one server, and what they saw."""

    def __init__(self, connect, seconds, seed):
        self.connect = connect
        self.deadline = time.monotonic() + seconds
        self.seed = seed
        self.transfers, self.aborts, self.audits, self.vacuums = 0, 0, 0, 0
        self.lock = threading.Lock()
        self.faults = []

    def running(self):
        return time.monotonic() < self.deadline and not self.faults

    def count(self, name):
        with self.lock:
            setattr(self, name, getattr(self, name) + 1)

    def guarded(self, work, number):
        try:
            with self.connect() as connection:
                work(connection, random.Random(self.seed * 100 + number))
        except BaseException as error:
            self.faults.append(error)

    def transfer(self, connection, dice):
        while self.running():
            giver, taker = dice.sample(range(ACCOUNTS), 2)
            amount = dice.randint(1, 50)
            try:
                connection.execute("BEGIN")
                balance = connection.execute(
                    f"SELECT balance FROM accounts WHERE id = {giver}").fetchone()[0]
                if balance >= amount:
                    for account, delta in ((giver, -amount), (taker, amount)):
                        done = connection.execute(f"UPDATE accounts SET balance = balance + {delta} "
                                                  f"WHERE id = {account}")
                        assert done.rowcount == 1, f"account {account}: {done.rowcount} rows"
                    connection.execute(f"INSERT INTO ledger VALUES ({giver}, {-amount}), "
                                       f"({taker}, {amount})")
                connection.execute("COMMIT")
                self.count("transfers")
            except psycopg.Error as error:
                if error.sqlstate not in ABORTS:
                    raise
                connection.rollback()
                self.count("aborts")

    def audit(self, connection, dice):
        while self.running():
            connection.execute("BEGIN")
            total, rows, low = connection.execute(
                "SELECT sum(balance), count(*), min(balance) FROM accounts").fetchone()
            unbalanced = connection.execute(UNBALANCED.format(start=BALANCE)).fetchone()[0]
            again = connection.execute("SELECT sum(balance) FROM accounts").fetchone()[0]
            ledger = connection.execute("SELECT sum(delta) FROM ledger").fetchone()[0] or 0
            connection.execute("COMMIT")
            seen = (int(total), rows, unbalanced, int(again), int(ledger), low >= 0)
            expected = (ACCOUNTS * BALANCE, ACCOUNTS, 0, ACCOUNTS * BALANCE, 0, True)
            assert seen == expected, f"the books do not balance: {seen}, not {expected}"
            self.count("audits")

    def vacuum(self, connection, dice):
        while self.running():
            try:
                connection.execute(f"VACUUM {dice.choice(('accounts', 'ledger'))}")
                self.count("vacuums")
            except psycopg.Error as error:
                if error.sqlstate not in ABORTS:
                    raise
            time.sleep(0.3)


def run(connect, seconds, seed, writer=Bank.transfer):
    with connect() as connection:
        connection.execute("CREATE TABLE accounts (id INTEGER, balance BIGINT)")
        connection.execute("CREATE TABLE ledger (account INTEGER, delta BIGINT)")
        rows = ", ".join(f"({account}, {BALANCE})" for account in range(ACCOUNTS))
        connection.execute(f"INSERT INTO accounts VALUES {rows}")
    bank = Bank(connect, seconds, seed)
    jobs = ([lambda *a: writer(bank, *a)] * WRITERS + [bank.audit] * AUDITORS + [bank.vacuum])
    threads = [threading.Thread(target=bank.guarded, args=(job, number), daemon=True)
               for number, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=seconds + 60)
        assert not thread.is_alive(), f"seed {seed}: a session hangs"
    if bank.faults:
        raise AssertionError(f"seed {seed}: {bank.faults[0]}") from bank.faults[0]
    return bank


def test_the_books_balance_in_every_snapshot(tmp_path):
    seed = new_seed()
    server = Server(tmp_path / "cluster", tmp_path,
                    ["--nodes", "2", "--slices-per-node", "2"]).start()
    try:
        bank = run(server.connect, scaled(SECONDS), seed)
        assert bank.transfers > 20 and bank.audits > 20 and bank.vacuums > 1
        figure("T8", transfers=bank.transfers, aborted=bank.aborts, audits=bank.audits,
               vacuums=bank.vacuums, violations=0)
        server.stop()
    finally:
        server.close()


def test_a_bank_without_transactions_is_found_out():
    """The audit itself: transfers of separate statements on PostgreSQL."""
    from postgres import Postgres

    def careless(bank, connection, dice):
        while bank.running():
            for account, delta in ((dice.randrange(ACCOUNTS), -1), (dice.randrange(ACCOUNTS), 1)):
                connection.execute(f"UPDATE accounts SET balance = balance + {delta} "
                                   f"WHERE id = {account}")
                connection.execute(f"INSERT INTO ledger VALUES ({account}, {delta})")

    postgres = Postgres()
    try:
        postgres.start()
        option = "-c default_transaction_isolation=repeatable\\ read"
        good = run(lambda: postgres.connect(options=option), 2, 1)
        assert good.transfers > 20 and good.audits > 20
        postgres.execute("DROP TABLE accounts")
        postgres.execute("DROP TABLE ledger")
        try:
            run(postgres.connect, 2, 1, careless)
        except AssertionError as error:
            assert "do not balance" in str(error)
        else:
            raise AssertionError("the audit saw nothing")
    finally:
        postgres.close()
