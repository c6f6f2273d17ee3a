"""Generated SQL as a tree, so that what differs can be made small."""


class Node:
    """Part of a statement. `parts` are texts, nodes, and pairs of texts: Blueshift's spelling and
    PostgreSQL's where the two do not share one. `kind` says which nodes can stand for each other;
    an `optional` node can be left out."""

    def __init__(self, kind, parts, optional=False, exact=True, digits=None):
        self.kind = kind
        self.parts = parts
        self.optional = optional
        # Whether the scale of the decimals here is the same in both dialects.
        self.exact = exact and all(part.exact for part in self.nodes())
        # Digits before and behind the point that a decimal may have.
        self.digits = digits

    def nodes(self):
        return [part for part in self.parts if isinstance(part, Node)]

    def text(self, side=0):
        """The SQL for Blueshift (0) or for PostgreSQL (1)."""
        return "".join(part if isinstance(part, str) else
                       part[side] if isinstance(part, tuple) else part.text(side)
                       for part in self.parts)

    def below(self):
        """Every node but this one, from the outside in."""
        for part in self.nodes():
            yield part
            yield from part.below()

    def replaced(self, old, new):
        """This tree with `new` in the place of one node; with None it is left out."""
        if self is old:
            return new
        parts = []
        for part in self.parts:
            if isinstance(part, Node):
                part = part.replaced(old, new)
                if part is None:
                    continue
            parts.append(part)
        return Node(self.kind, parts, self.optional, self.exact, self.digits)


def smallest(tree, differs, attempts=150):
    """A smaller tree that still differs."""
    found = True
    while found and attempts > 0:
        found = False
        for smaller in reductions(tree):
            attempts -= 1
            if attempts <= 0:
                break
            if differs(smaller):
                tree, found = smaller, True
                break
    return tree


def reductions(tree):
    size = len(tree.text())
    seen = set()
    candidates = [tree.replaced(node, None) for node in tree.below() if node.optional]
    for node in [tree, *tree.below()]:
        candidates += [tree.replaced(node, part) for part in node.below() if part.kind == node.kind]
    for candidate in sorted(candidates, key=lambda made: len(made.text())):
        text = candidate.text()
        if len(text) < size and text not in seen:
            seen.add(text)
            yield candidate
