"""Runs generated statements on both servers, and makes small what differs."""

import random

import accepted
from answers import ask, difference
from expressions import Expressions
from queries import Queries
from trees import Node, smallest
import tables

BATCH = 20


class Comparison:
    """Two connections to equal tables, and what was found so far."""

    def __init__(self, ours, theirs, seed):
        self.ours, self.theirs = ours, theirs
        self.dice = random.Random(seed)
        self.cases = 0
        self.errors = 0
        self.accepted = {}
        self.failures = {}

    # Expressions: PostgreSQL is asked one by one, Blueshift many at a time.

    def expressions(self, count):
        generator = Expressions(self.dice)
        while count > 0:
            batch = [generator.any() for _ in range(min(BATCH, count))]
            count -= len(batch)
            self.batch(batch)

    def batch(self, batch):
        self.cases += len(batch)
        valued = []
        for node in batch:
            theirs = ask(self.theirs, over_values(node, 1))
            if theirs.state:
                self.errors += 1
                self.failing(node, theirs)
            else:
                valued.append((node, theirs))
        if not valued:
            return
        columns = ", ".join(node.text() for node, _ in valued)
        whole = ask(self.ours, f"SELECT {columns} FROM v ORDER BY id")
        for place, (node, theirs) in enumerate(valued):
            if whole.state:
                ours = ask(self.ours, over_values(node))
            else:
                ours = type(whole)([whole.families[place]], [(row[place],) for row in whole.rows])
            if difference(ours, theirs, node.exact):
                self.found(node, over_values)

    def failing(self, node, theirs):
        """An expression that fails for some row: the other rows have values."""
        ours = ask(self.ours, over_values(node))
        if difference(ours, theirs):
            self.found(node, over_values)
            return
        if theirs.state[:2] != "22":
            return
        rows = [number for number in range(1, tables.ROWS + 1)
                if not ask(self.theirs, over_values(node, 1, [number])).state]
        if not rows:
            return
        form = lambda part, side=0: over_values(part, side, rows)
        if difference(ask(self.ours, form(node)), ask(self.theirs, form(node, 1)), node.exact):
            self.found(node, form)

    # Queries

    def queries(self, count):
        generator = Queries(self.dice)
        form = lambda node, side=0: node.text(side)
        for _ in range(count):
            node = generator.any()
            self.cases += 1
            theirs = ask(self.theirs, node.text(1))
            self.errors += theirs.state is not None
            if difference(ask(self.ours, node.text()), theirs, ordered=is_ordered(node, theirs)):
                self.found(node, form)

    def changes(self, count):
        generator = Queries(self.dice)
        for _ in range(count):
            table, node = generator.change()
            self.cases += 1
            form = lambda part, side=0: part.text(side)
            ours, theirs = (self.changed(side, table, node) for side in (0, 1))
            self.errors += theirs.state is not None
            if difference(ours, theirs, ordered=False):
                self.found(node, form, changed=table)

    def changed(self, side, table, node):
        """The command's tag, or the table after it."""
        connection = (self.ours, self.theirs)[side]
        connection.execute("BEGIN")
        try:
            connection.execute(f"CREATE TEMP TABLE changed AS SELECT * FROM {table}")
            answer = ask(connection, node.text(side))
            if answer.state:
                return answer
            rows = ask(connection, "SELECT * FROM changed")
            rows.tag = answer.tag
            return rows
        finally:
            connection.execute("ROLLBACK")

    # What differs

    def found(self, node, form, changed=None):
        def both(part):
            if changed:
                return [self.changed(side, changed, part) for side in (0, 1)]
            return ask(self.ours, form(part)), ask(self.theirs, form(part, 1))

        def differs(part):
            ours, theirs = both(part)
            # A statement that PostgreSQL does not take is no smaller one.
            if theirs.state and theirs.state[:2] == "42":
                return False
            return difference(ours, theirs, part.exact, is_ordered(part, theirs)) == why

        ours, theirs = both(node)
        why = difference(ours, theirs, node.exact, is_ordered(node, theirs))
        if why is None:
            self.failures["not the same twice: " + form(node)] = (ours, theirs, why)
            return
        small = node if theirs.state and theirs.state[:2] == "42" else smallest(self.part(node, differs), differs)
        text = form(small)
        ours, theirs = both(small)
        entry = accepted.covering(accepted.ACCEPTED + accepted.GAPS, text, ours, theirs)
        if entry:
            self.accepted[entry.name] = self.accepted.get(entry.name, 0) + 1
        else:
            self.failures[text] = (ours, theirs, why)

    def part(self, node, differs):
        """The smallest expression within an expression that differs by itself."""
        if node.kind in ("query", "change"):
            return node
        below = sorted(node.below(), key=lambda part: len(part.text()))
        return next((part for part in below if len(part.parts) > 1 and differs(part)), node)


def is_ordered(node, answer):
    """Whether the rows have an order: of an expression that of the table, of a query that of its
    ORDER BY, which names every column. Sums of floats depend on the order of their rows in the last
    digit, and so does their place."""
    if node.kind != "query":
        return node.kind != "change"
    ordered = any(part.kind == "order" for part in node.nodes())
    return ordered and "double" not in (answer.families or [])


def over_values(node, side=0, rows=None):
    where = f" WHERE id IN ({', '.join(map(str, rows))})" if rows else ""
    return f"SELECT {node.text(side)} FROM v{where} ORDER BY id"
