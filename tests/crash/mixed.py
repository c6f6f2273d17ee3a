"""A mixed load whose every acknowledged transaction can be accounted for.

Each client owns the rows with its number in `owner`, in three tables, and tables of its own, so
that it knows exactly what must be there: the state after its last acknowledged transaction, or,
if the answer to a COMMIT was lost, that state or the one after it, over all tables at once. What
it was told goes to a journal on disk before the next statement.
"""

import copy
import json
import os
import threading

import psycopg

TABLES = ("first", "second", "third")
ROWS_MAX = 2_000
# Keys from here on are copies of rows with lower keys.
COPIED_FROM = 1_000_000_000
ABORTS = {"40001", "40P01", "55P03"}
# The server itself could not find out whether a COMMIT took place.
IN_DOUBT = "40003"
# What a lost compute node may give besides.
LOST_NODE = {"08006", "57P02", "58000", "58030"}


def create(connection):
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    connection.execute("CREATE TABLE first (k BIGINT, owner INTEGER, v BIGINT)")
    connection.execute("CREATE TABLE second (k BIGINT, owner INTEGER, v BIGINT)")
    connection.execute("CREATE TABLE third (k BIGINT, owner INTEGER, v BIGINT)")


class Journal:
    """Lines that are on disk when `write` returns."""

    def __init__(self, path):
        self.file = open(path, "a")
        self.lock = threading.Lock()

    def write(self, **entry):
        with self.lock:
            self.file.write(json.dumps(entry) + "\n")
            self.file.flush()
            os.fdatasync(self.file.fileno())


class Client:
    """One client: its model of its rows, and what it was told."""

    def __init__(self, number, connect, files, journal, dice, allowed=frozenset(ABORTS)):
        self.number, self.connect, self.files, self.journal = number, connect, files, journal
        self.dice, self.allowed = dice, allowed
        self.state = {table: {} for table in TABLES}
        self.state["made"] = {}
        self.unknown = None
        self.next_key = self.moves = 0
        self.acknowledged = self.aborted = self.in_doubt = 0
        self.connection = None
        self.fault = None

    def run(self, stop):
        """Transactions until `stop` is set or the connection is lost."""
        try:
            self.connection = self.connect()
            while not stop.is_set():
                self.transaction()
        except psycopg.Error as error:
            known = not self.connection or self.connection.closed or error.sqlstate == IN_DOUBT
            self.fault = None if known else error
        except BaseException as error:
            self.fault = error
        finally:
            if self.connection:
                self.connection.close()

    def transaction(self):
        after = copy.deepcopy(self.state)
        statements = [self._statement(after) for _ in range(self.dice.randint(1, 4))]
        self.journal.write(client=self.number, begin=[text for text, _ in statements])
        at_commit = False
        try:
            self.connection.execute("BEGIN")
            for text, count in statements:
                cursor = self.connection.execute(text)
                if count is not None:
                    assert cursor.rowcount == count, (
                        f"client {self.number}: {text} changed {cursor.rowcount} rows, not {count}")
            at_commit = True
            self.connection.execute("COMMIT")
        except psycopg.Error as error:
            if at_commit and (self.connection.closed or error.sqlstate == IN_DOUBT):
                self.unknown = after
                self.in_doubt += 1
            if self.connection.closed or error.sqlstate == IN_DOUBT:
                raise
            if error.sqlstate not in self.allowed:
                raise AssertionError(f"client {self.number}: {error.sqlstate} {error}") from error
            self.journal.write(client=self.number, aborted=error.sqlstate)
            self.aborted += 1
            self.connection.rollback()
            return
        self.state = after
        self.acknowledged += 1
        self.journal.write(client=self.number, committed=True)

    def _statement(self, after):
        """A statement, the rows that it changes, and its effect on the model."""
        table = self.dice.choice(TABLES)
        rows = after[table]
        if len(rows) > ROWS_MAX:
            return self._delete(after, table, 2)
        kinds = [self._insert, self._insert, self._copy, self._update, self._update, self._delete,
                 self._move, self._definition]
        return self.dice.choice(kinds)(after, table)

    def _keys(self, count):
        self.next_key += count
        return range(self.next_key - count, self.next_key)

    def _insert(self, after, table):
        new = {key: self.dice.randrange(1_000) for key in self._keys(self.dice.randint(1, 20))}
        after[table].update(new)
        values = ", ".join(f"({key}, {self.number}, {v})" for key, v in new.items())
        return f"INSERT INTO {table} VALUES {values}", len(new)

    def _copy(self, after, table):
        new = {key: key % 1_000 for key in self._keys(self.dice.randint(50, 400))}
        path = self.files / f"client-{self.number}-{self.next_key}.csv"
        path.write_text("".join(f"{key},{self.number},{v}\n" for key, v in new.items()))
        path.chmod(0o644)
        after[table].update(new)
        return f"COPY {table} FROM '{path}' CSV", None

    def _some(self, rows, modulus=None):
        modulus = modulus or self.dice.choice((2, 3, 7, 50))
        rest = self.dice.randrange(modulus)
        return (f"owner = {self.number} AND k % {modulus} = {rest}",
                [key for key in rows if key % modulus == rest])

    def _update(self, after, table):
        condition, keys = self._some(after[table])
        for key in keys:
            after[table][key] += 7
        return f"UPDATE {table} SET v = v + 7 WHERE {condition}", len(keys)

    def _delete(self, after, table, modulus=None):
        condition, keys = self._some(after[table], modulus)
        for key in keys:
            del after[table][key]
        return f"DELETE FROM {table} WHERE {condition}", len(keys)

    def _move(self, after, table):
        """Copies rows to the next table under new keys."""
        to = TABLES[(TABLES.index(table) + 1) % len(TABLES)]
        condition, keys = self._some(after[table], 50)
        keys = [key for key in keys if key < COPIED_FROM]
        self.moves += 1
        offset = self.moves * COPIED_FROM
        after[to].update({key + offset: after[table][key] for key in keys})
        return (f"INSERT INTO {to} SELECT k + {offset}, owner, v FROM {table} "
                f"WHERE {condition} AND k < {COPIED_FROM}", len(keys))

    def _definition(self, after, table):
        made = after["made"]
        if len(made) >= 3:
            name = self.dice.choice(sorted(made))
            del made[name]
            return f"DROP TABLE {name}", None
        name = f"made_{self.number}_{self.next_key}"
        self.next_key += 1
        made[name] = len(after[table])
        return (f"CREATE TABLE {name} AS SELECT k, v FROM {table} WHERE owner = {self.number}",
                None)

    def verify(self, connection):
        """Compares what is there with what must be; gives what is wrong, or None."""
        rows = {table: connection.execute(
            f"SELECT k, v FROM {table} WHERE owner = {self.number}").fetchall()
            for table in TABLES}
        found = {table: dict(rows[table]) for table in TABLES}
        doubled = {table: len(rows[table]) - len(found[table]) for table in TABLES}
        names = [name for name, in connection.execute(
            "SELECT tablename FROM pg_tables "
            f"WHERE strpos(tablename, 'made_{self.number}_') = 1").fetchall()]
        found["made"] = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                         for name in names}
        if self.unknown is not None and found == self.unknown:
            self.state = self.unknown
        wrong = None if found == self.state else difference(self.state, self.unknown, found)
        self.unknown = None
        if any(doubled.values()):
            wrong = f"rows more than once {doubled}; {wrong}"
        return wrong and f"client {self.number}: {wrong}"


def difference(state, unknown, found):
    """Says for each table how what was found differs."""
    parts = []
    for table, rows in found.items():
        for label, model in (("", state), (" after the unknown transaction", unknown)):
            if model is not None and model[table] != rows:
                lost = sorted(set(model[table]) - set(rows))
                extra = sorted(set(rows) - set(model[table]))
                changed = [key for key in rows if key in model[table]
                           and rows[key] != model[table][key]]
                parts.append(f"{table}{label}: {len(lost)} rows lost {lost[:5]}, {len(extra)} from "
                             f"nowhere {extra[:5]}, {len(changed)} wrong {changed[:5]}")
    return "; ".join(parts) or "the tables are of different transactions"
