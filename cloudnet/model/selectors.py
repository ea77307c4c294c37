"""Calico's selector language: which labels an expression such as ``app == "web" && has(tier)`` selects.

    expression  = term { "||" term }                          "!" binds closer than "&&", and that than "||"
    term        = factor { "&&" factor }
    factor      = { "!" } ( "(" expression ")" | function | comparison )
    function    = "all(" ")" | "global(" ")" | "has(" label ")"        no blank before the parenthesis
    comparison  = label ( "==" | "!=" | "contains" | "starts" "with" | "ends" "with" ) string
                | label ( "in" | "not" "in" ) "{" [ string { "," string } [ "," ] ] "}"
    label       = 1 to 512 of letters, digits, "_", ".", "/" and "-"
    string      = "'" anything but "'" "'" | '"' anything but '"' '"'  there are no escapes

Blanks and tabs may stand between tokens, and between the two words of an operator need not. An empty text means
``all()``. Calico ``libcalico-go/lib/selector``. A text may be long and deep: it is read from left to right, once,
without recursion. What a selector says as a tree is in ``expressions.py``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Final

from cloudnet.errors import BadInput
from cloudnet.model import expressions
from cloudnet.model.expressions import Always, And, Comparison, Has, Node, Operator, Or, Restrictions

LABEL_LENGTH: Final = 512  # Calico tokenizer.go LabelKeyMatcher
EXCERPT: Final = 30  # characters of the text that an error shows on each side

_MORE: Final = "'&&', '||' or the end"

_BLANKS = re.compile(r"[ \t]*")
_LABEL = re.compile(r"[A-Za-z0-9_./-]+")
_FUNCTION = re.compile(r"(all|global|has)\(")
_OPERATORS: Final = (
    (re.compile(r"=="), Operator.EQUAL),
    (re.compile(r"!="), Operator.NOT_EQUAL),
    (re.compile(r"in"), Operator.IN),
    (re.compile(r"not[ \t]*in"), Operator.NOT_IN),
    (re.compile(r"contains"), Operator.CONTAINS),
    (re.compile(r"starts[ \t]*with"), Operator.STARTS_WITH),
    (re.compile(r"ends[ \t]*with"), Operator.ENDS_WITH),
)


class BadSelector(BadInput):
    """A selector cannot be read. ``position`` counts characters from 0; ``pointer`` shows where, on two lines."""

    def __init__(self, expected: str, text: str, position: int, *, path: str) -> None:
        before, after = text[max(0, position - EXCERPT) : position], text[position : position + EXCERPT]
        found = repr(after) if after else "the end"
        where = f" after {before!r}" if before else ""
        super().__init__(f"character {position + 1}: expected {expected}, found {found}{where}", path=path)
        self.position = position
        # What cannot be printed would move the caret; it becomes one mark each.
        line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in before + after)
        self.pointer = f"{line}\n{' ' * len(before)}^"


class Selector:
    """A selector that was read; two are equal if their canonical texts are."""

    __slots__ = ("_canonical", "_root", "_uid", "first_step")

    def __init__(self, root: Node) -> None:
        self._root = root
        self.first_step: Final = expressions.steps(root)  # for who asks very often: see expressions.holds
        self._canonical = ""
        self._uid = ""

    def matches(self, labels: Mapping[str, str]) -> bool:
        return expressions.holds(self.first_step, labels)

    def canonical(self) -> str:
        """Return the text that all ways of writing this selector share; reading it gives an equal one."""
        if not self._canonical:
            self._canonical = expressions.canonical(self._root)
        return self._canonical

    def uid(self) -> str:
        """Return Calico's name for it, e.g. of an address set: a hash of the canonical text.

        ``libcalico-go/lib/hash`` MakeUniqueID: ``s:`` and SHA-224 in 38 characters.
        """
        if not self._uid:
            digest = hashlib.sha224(b"s:" + self.canonical().encode()).digest()
            self._uid = "s:" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return self._uid

    def restrictions(self) -> Restrictions:
        """Return which labels, with which values, everything that it selects must have."""
        return expressions.restrictions(self._root)

    def labels(self) -> frozenset[str]:
        """Return the names of all labels that it asks for: others cannot change its answer."""
        return expressions.labels(self._root)

    def prefixed(self, prefix: str) -> Selector:
        """Return the same selector of labels whose names begin with ``prefix``."""
        return Selector(expressions.prefixed(self._root, prefix))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and self.canonical() == other.canonical()

    def __hash__(self) -> int:
        return hash(self.canonical())

    def __repr__(self) -> str:
        return f"parse({self.canonical()!r})"


class Matches:
    """Tells whether a selector, given as text, selects labels. Remembers the selectors it has read."""

    __slots__ = ("_limit", "_read")

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._read: dict[str, Selector] = {}

    def __call__(self, selector: str, labels: Mapping[str, str]) -> bool:
        """Answer for one selector.

        Raises:
            BadSelector: the text cannot be read.
        """
        read = self._read.get(selector)
        if read is None:
            if len(self._read) >= self._limit:  # seldom, as there are few: forgetting all is as good as the oldest
                self._read.clear()
            read = self._read[selector] = parse(selector)
        return read.matches(labels)


def parse(text: str, *, path: str = "selector") -> Selector:
    """Read a selector; ``path`` names the field it stands in, for the error.

    Raises:
        BadSelector: the text is no selector; it says where and what was expected.
    """
    return Selector(_Reader(text, path).read())


class _Group:
    """An expression that is being read: what stands between two parentheses, or everything."""

    __slots__ = ("at", "factors", "negative", "terms")

    def __init__(self, at: int, *, negative: bool) -> None:
        self.at = at
        self.negative = negative  # a ``!`` stands before it
        self.terms: list[Node] = []
        self.factors: list[Node] = []

    def end_term(self) -> None:
        factors = self.factors
        self.terms.append(factors[0] if len(factors) == 1 else And(tuple(factors)))
        self.factors = []

    def node(self) -> Node:
        self.end_term()
        node = self.terms[0] if len(self.terms) == 1 else Or(tuple(self.terms))
        return expressions.negated(node) if self.negative else node


class _Reader:
    """Reads one text from left to right; ``_at`` is where it stands."""

    __slots__ = ("_at", "_path", "_text")

    def __init__(self, text: str, path: str) -> None:
        self._text, self._path, self._at = text, path, 0
        if not text.isascii():
            self._check_encoding()

    def read(self) -> Node:
        self._skip_blanks()
        if self._at == len(self._text):
            return Always("all")
        groups = [_Group(0, negative=False)]
        while True:
            negative = self._negations()
            if self._text.startswith("(", self._at):
                groups.append(_Group(self._at, negative=negative))
                self._at += 1
                continue
            node = self._factor()
            groups[-1].factors.append(expressions.negated(node) if negative else node)
            if self._ends(groups):
                return groups[0].node()

    def _ends(self, groups: list[_Group]) -> bool:
        """Read what follows a factor, up to the next one. Tell whether it is the end of the text."""
        text = self._text
        while True:
            self._skip_blanks()
            if text.startswith("&&", self._at):
                self._at += 2
                return False
            if text.startswith("||", self._at):
                self._at += 2
                groups[-1].end_term()
                return False
            if self._at == len(text):
                if len(groups) > 1:
                    raise self._wrong(f"')' for the '(' of character {groups[-1].at + 1}")
                return True
            if not text.startswith(")", self._at):
                raise self._wrong("'&&', '||' or ')'" if len(groups) > 1 else _MORE)
            if len(groups) == 1:
                raise self._wrong("'&&', '||' or the end, as no '(' is open")
            node = groups.pop().node()
            groups[-1].factors.append(node)
            self._at += 1

    def _negations(self) -> bool:
        """Read any number of ``!``; tell whether it is odd."""
        negative = False
        self._skip_blanks()
        while self._text.startswith("!", self._at):
            negative = not negative
            self._at += 1
            self._skip_blanks()
        return negative

    def _factor(self) -> Node:
        function = _FUNCTION.match(self._text, self._at)
        if function is None:
            return self._comparison()
        self._at = function.end()
        self._skip_blanks()
        node = Has(self._label("a label's name")) if function[1] == "has" else Always(function[1])
        self._skip_blanks()
        if not self._text.startswith(")", self._at):
            raise self._wrong(f"')' to end '{function[0]}'")
        self._at += 1
        return node

    def _comparison(self) -> Comparison:
        label = self._label("a label, 'has(', 'all()', 'global()', '!' or '('")
        self._skip_blanks()
        operator = self._operator(label)
        self._skip_blanks()
        if operator in expressions.SETS:
            return Comparison(label, operator, self._values())
        return Comparison(label, operator, (self._string("a quoted value"),))

    def _label(self, expected: str) -> str:
        found = _LABEL.match(self._text, self._at)
        if found is None:
            raise self._wrong(expected)
        if len(found[0]) > LABEL_LENGTH:
            raise self._wrong(f"at most {LABEL_LENGTH} characters in a label's name")
        self._at = found.end()
        return found[0]

    def _operator(self, label: str) -> Operator:
        for pattern, operator in _OPERATORS:
            if found := pattern.match(self._text, self._at):
                self._at = found.end()
                return operator
        names = ", ".join(f"'{operator.value}'" for operator in Operator)
        raise self._wrong(f"one of {names} after label {label!r}")

    def _values(self) -> tuple[str, ...]:
        if not self._text.startswith("{", self._at):
            raise self._wrong("'{' and quoted values")
        self._at += 1
        values: set[str] = set()
        self._skip_blanks()
        while not self._text.startswith("}", self._at):
            values.add(self._string("a quoted value or '}'"))
            self._skip_blanks()
            if self._text.startswith(",", self._at):
                self._at += 1
                self._skip_blanks()
            elif not self._text.startswith("}", self._at):
                raise self._wrong("',' or '}'")
        self._at += 1
        return tuple(sorted(values))

    def _string(self, expected: str) -> str:
        quote = self._text[self._at : self._at + 1]
        if quote not in {"'", '"'}:
            raise self._wrong(expected)
        end = self._text.find(quote, self._at + 1)
        if end < 0:
            opened, self._at = self._at, len(self._text)
            raise self._wrong(f"a closing {quote} for the one of character {opened + 1}")
        value = self._text[self._at + 1 : end]
        self._at = end + 1
        return value

    def _skip_blanks(self) -> None:
        at, text = self._at, self._text
        if text[at : at + 1] in {" ", "\t"}:
            self._at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too

    def _check_encoding(self) -> None:
        try:
            self._text.encode()
        except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can smuggle in
            self._at = error.start
            raise self._wrong("text that can be encoded in UTF-8") from error

    def _wrong(self, expected: str) -> BadSelector:
        return BadSelector(expected, self._text, self._at, path=self._path)
