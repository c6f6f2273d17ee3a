"""Random expressions over the columns of table `v`, or over the columns of a query's tables."""

import re

import grammar
from trees import Node

TOKEN = re.compile(r"\{([^{}]*(?:\{\d+\}[^{}]*)*)\}")
KIND = re.compile(r"^([a-z]+)(=?)$")
NUMBER = re.compile(r"^(-?\d+)\.\.(-?\d+)$")


class Form:
    """A form of the grammar, read once."""

    def __init__(self, line):
        self.exact = not line.startswith("~")
        line = line.removeprefix("~")
        self.parts = []
        spelled = re.match(r"^(.*)‹(.*)‖(.*)›(.*)$", line)
        self.spelled = spelled is not None
        # The slots of both spellings are filled alike, in order.
        if spelled:
            before, ours, theirs, after = spelled.groups()
            self.sides = [self.read(before + ours + after), self.read(before + theirs + after)]
        else:
            self.sides = [self.read(line)]
        self.kinds = {part[0] for part in self.sides[0] if isinstance(part, tuple)
                      and part[0] in grammar.COLUMNS}

    @staticmethod
    def read(line):
        parts, at = [], 0
        for token in TOKEN.finditer(line):
            parts.append(line[at:token.start()])
            inner = token.group(1)
            if number := NUMBER.match(inner):
                parts.append(("number", int(number.group(1)), int(number.group(2))))
            elif (kind := KIND.match(inner)) and kind.group(1) in grammar.COLUMNS:
                parts.append((kind.group(1), kind.group(2) == "="))
            else:
                parts.append(("word", inner.split("¦" if "¦" in inner else "|")))
            at = token.end()
        parts.append(line[at:])
        return [part for part in parts if part != ""]


FORMS = {kind: [Form(line) for line in text.strip().splitlines() if line]
         for kind, text in grammar.FORMS.items()}
ALONE = {kind: [Form(line) for line in lines] for kind, lines in grammar.ALONE.items()}


class Expressions:
    """Makes expressions. `columns` are the names of columns by type."""

    def __init__(self, dice, columns=grammar.COLUMNS, literals=0.2):
        self.dice = dice
        self.columns = columns
        self.literals = literals

    def any(self, depth=3):
        kinds = list(grammar.WEIGHTS)
        kind = self.dice.choices(kinds, [grammar.WEIGHTS[kind] for kind in kinds])[0]
        if kind in ALONE and self.dice.random() < 0.15:
            return self.filled(kind, self.dice.choice(ALONE[kind]), depth) or self.leaf(kind)
        return self.of(kind, depth, inner=False)

    def of(self, kind, depth, inner=True):
        # The deeper, the rarer a function: a statement stays one that a person can read.
        if kind not in FORMS or depth <= 0 or (inner and self.dice.random() < 0.45):
            return self.leaf(kind)
        while True:
            form = self.dice.choice(FORMS[kind])
            if made := self.filled(kind, form, depth):
                return made

    def leaf(self, kind):
        columns = self.columns.get(kind, [])
        # Extremes only from columns: a constant that fails does so before any row is read.
        literals = 0 if kind.startswith("x") else self.literals
        if not columns or self.dice.random() < literals:
            text = self.dice.choice(grammar.LITERALS[kind])
        else:
            text = self.dice.choice(columns)
        column = text.rsplit(".", 1)[-1] if text[0].isalpha() else text
        return Node(kind, [text], digits=grammar.DIGITS.get(column, (19, 0)))

    def filled(self, kind, form, depth):
        filler = [self.fill(part, depth) for part in form.sides[0]]
        if not form.spelled:
            parts = filler
        else:
            parts = spelled_twice(form, filler)
        made = Node(kind, parts, exact=form.exact)
        if kind == "text" and not made.exact:
            return None
        if kind in ("dec", "xdec"):
            made.digits = digits_of(form, made)
            if sum(made.digits) > 38:
                return None
        return made

    def fill(self, part, depth):
        if isinstance(part, str):
            return part
        name = part[0]
        if name == "number":
            return str(self.dice.randint(part[1], part[2]))
        if name == "word":
            return self.dice.choice(part[1])
        return self.leaf(name) if part[1] else self.of(name, depth - 1)


def spelled_twice(form, filler):
    """The parts of a form with two spellings: what fills the slots is the same in both."""
    ours, theirs = form.sides
    slots = iter(value for part, value in zip(ours, filler) if isinstance(part, tuple))
    first = [part for part in ours if isinstance(part, str)]
    second = [part for part in theirs if isinstance(part, str)]
    parts, slot_count = [], sum(isinstance(part, tuple) for part in ours)
    assert slot_count == sum(isinstance(part, tuple) for part in theirs), form.sides
    for part in range(max(len(first), len(second))):
        parts.append((first[part] if part < len(first) else "",
                      second[part] if part < len(second) else ""))
        if part < slot_count:
            parts.append(next(slots))
    return parts


def digits_of(form, node):
    """Digits before and behind the point of a decimal's value, at most."""
    text = node.text()
    cast = re.search(r"decimal\((\d+),(\d+)\)\)?$", text)
    if cast and not text.startswith(("(", "~")):
        return int(cast.group(1)) - int(cast.group(2)), int(cast.group(2))
    within = [part.digits or (19, 0) for part in node.nodes() if part.kind in
              ("dec", "xdec", "int")]
    if not within:
        return 10, 4
    before, behind = max(b for b, _ in within), max(s for _, s in within)
    if any(isinstance(part, str) and " * " in part for part in node.parts):
        return sum(b for b, _ in within) + 1, sum(s for _, s in within)
    return before + 1, behind
