"""Random statements against PostgreSQL 15 as the reference: the same rows, counts and errors."""

import random

import psycopg

import statements
from conftest import Server, figure, new_seed, scaled
from postgres import Postgres

OPERATIONS = 10_000
# Statements after which whole tables are compared too.
COMPARE_EVERY = 25


def outcome(connection, text):
    """Rows without order, a command's tag, or an SQLSTATE."""
    try:
        cursor = connection.execute(text)
    except psycopg.Error as error:
        assert error.sqlstate, f"the connection was lost by {text}: {error}"
        return error.sqlstate
    if cursor.description:
        return sorted(map(repr, cursor.fetchall()))
    words = cursor.statusmessage.split()
    # The tag of CREATE TABLE AS has a number of rows in PostgreSQL only.
    return "SELECT" if words[0] == "SELECT" else cursor.statusmessage


def compare(ours, theirs, operations, seed):
    """Runs the same statements on both; gives how many failed alike."""
    generator = statements.Generator(random.Random(seed))
    history, failed = [], 0
    for number in range(operations):
        text, succeeded = generator.next()
        history.append(text)
        expected, found = outcome(theirs, text), outcome(ours, text)
        assert found == expected, report(seed, number, history, text, expected, found)
        if isinstance(expected, str) and len(expected) == 5 and expected[0].isdigit():
            failed += 1
            recover(generator, ours, theirs, history)
        elif succeeded:
            succeeded()
        if number % COMPARE_EVERY == 0:
            for table in generator.tables:
                whole = f"SELECT * FROM {table}"
                expected, found = outcome(theirs, whole), outcome(ours, whole)
                assert found == expected, report(seed, number, history, whole, expected, found)
                generator.rows[table] = len(expected)
    return failed


def recover(generator, ours, theirs, history):
    """After an error in a transaction: back to a savepoint when there is one, or to its start."""
    if generator.saved is None:
        return
    if generator.savepoints and generator.dice.random() < 0.5:
        name = generator.savepoints[-1][0]
        text = f"ROLLBACK TO SAVEPOINT {name}"
        generator._back_to(name)
    else:
        text = "ROLLBACK"
        generator.rolled_back()
    history.append(text)
    for connection in (theirs, ours):
        connection.execute(text)


def report(seed, number, history, text, expected, found):
    return (f"BLUESHIFT_SEED={seed}, statement {number}: {text}\n  PostgreSQL: {str(expected)[:600]}"
            f"\n  this server: {str(found)[:600]}\n  before it:\n    " + "\n    ".join(history[-40:]))


def test_random_statements(tmp_path):
    seed = new_seed()
    operations = scaled(OPERATIONS)
    postgres = Postgres()
    server = Server(tmp_path / "cluster", tmp_path,
                    ["--nodes", "2", "--slices-per-node", "2"]).start()
    try:
        postgres.start()
        with server.connect() as ours, postgres.connect(
                options="-c default_transaction_isolation=repeatable\\ read") as theirs:
            failed = compare(ours, theirs, operations, seed)
        figure("T9", statements=operations, errors_alike=failed, differences=0)
        server.stop()
    finally:
        server.close()
        postgres.close()


class Forgetful:
    """A connection that now and then says that it deleted rows and does not."""

    def __init__(self, connection):
        self.connection = connection
        self.deletes = 0

    def execute(self, text):
        outside = self.connection.info.transaction_status == 0
        if not text.startswith("DELETE") or not outside or self.deletes == 5:
            return self.connection.execute(text)
        self.connection.execute("BEGIN")
        cursor = self.connection.execute(text)
        self.deletes += cursor.rowcount > 0
        self.connection.execute("ROLLBACK" if self.deletes == 5 else "COMMIT")
        return cursor


def test_the_comparison_sees_one_wrong_statement():
    left, right = Postgres(), Postgres()
    try:
        left.start()
        right.start()
        with left.connect() as one, right.connect() as other:
            assert compare(one, other, 1_500, 3) > 20
        with left.connect() as one, right.connect() as other:
            for connection in (one, other):
                connection.execute("DROP SCHEMA public CASCADE")
                connection.execute("CREATE SCHEMA public")
            try:
                compare(Forgetful(one), other, 1_500, 3)
            except AssertionError as error:
                assert "this server" in str(error)
            else:
                raise AssertionError("nothing was seen")
    finally:
        left.close()
        right.close()
