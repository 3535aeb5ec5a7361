"""The expressions of a workflow, `${{ … }}`, as far as ours use them. Whatever is not known here is an error.

Contexts are dictionaries. A name that a context lacks is an error too, unless the context is `Open`: GitHub takes it
for nothing there, and so would a typing error be.
"""

import re

TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(\d+)|([A-Za-z_][\w-]*)|(&&|\|\||==|!=|[!().>]))")
FORM = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
LITERALS = {"true": True, "false": False, "null": None}


class UnknownExpression(Exception):
    """An expression that is not known here."""


class Open(dict):
    """A context of which GitHub knows any name; those that are not set are nothing."""

    def __missing__(self, name):
        return None


def evaluate(text, contexts, functions=None):
    """The value of one expression, without its braces."""
    parser = _Parser(text, contexts, functions or {})
    value = parser.either()
    if parser.tokens:
        raise UnknownExpression(f"{text!r}: {parser.tokens[0]!r} is not expected there")
    return value


def fill(text, contexts):
    """A text with its expressions filled in, as GitHub would spell their values."""
    return FORM.sub(lambda found: spelled(evaluate(found[1], contexts)), text)


def spelled(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


class _Parser:
    def __init__(self, text, contexts, functions):
        self.text, self.contexts, self.functions = text, contexts, functions
        self.tokens, place, text = [], 0, text.rstrip()
        while place < len(text):
            found = TOKEN.match(text, place)
            if not found:
                raise UnknownExpression(f"{text!r}: cannot be read from {text[place:]!r} on")
            self.tokens.append(found[0].strip())
            place = found.end()

    def either(self):
        value = self.both()
        while self.take("||"):
            other = self.both()
            value = value or other
        return value

    def both(self):
        value = self.same()
        while self.take("&&"):
            other = self.same()
            value = value and other
        return value

    def same(self):
        value = self.single()
        if self.take("=="):
            return _loose(value) == _loose(self.single())
        if self.take("!="):
            return _loose(value) != _loose(self.single())
        if self.take(">"):
            return value > self.single()
        return value

    def single(self):
        if self.take("!"):
            return not self.single()
        if self.take("("):
            value = self.either()
            self.want(")")
            return value
        token = self.tokens.pop(0) if self.tokens else ""
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token.isdigit():
            return int(token)
        if token in LITERALS:
            return LITERALS[token]
        return self.called(token) if self.take("(") else self.named(token)

    def called(self, name):
        self.want(")")
        if name not in self.functions:
            raise UnknownExpression(f"{self.text!r}: the function {name!r} is not known")
        return self.functions[name]()

    def named(self, name):
        value, path = self.contexts, [name]
        while True:
            if value is None:
                return None
            try:
                value = value[path[-1]]
            except (KeyError, TypeError):
                raise UnknownExpression(f"{self.text!r}: {'.'.join(path)} is not known") from None
            if not self.take("."):
                return value
            path.append(self.tokens.pop(0))

    def take(self, token):
        if self.tokens and self.tokens[0] == token:
            return self.tokens.pop(0)
        return None

    def want(self, token):
        if not self.take(token):
            raise UnknownExpression(f"{self.text!r}: {token!r} is missing")


def _loose(value):
    """Texts are compared without their case, and nothing is an empty text."""
    return "" if value is None else value.lower() if isinstance(value, str) else value
