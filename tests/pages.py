"""The documentation as its tests read it: pages, their blocks, and the commands in them."""

import re
from typing import NamedTuple

from tests.installed import PROJECT, ours

PAGES = {name: (PROJECT / name).read_text() for name in ours() if name.endswith(".md")}
"""Every page by its path from the project's folder."""

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block; `kind` is the word behind the fence, `line` the line of its fence, from 1."""

    page: str
    line: int
    kind: str
    text: str


class Command(NamedTuple):
    """What a reader types: one line of a `console` block with what continues it, or a whole `sh` or `sql` block."""

    page: str
    line: int
    text: str

    @property
    def place(self):
        return f"{self.page}:{self.line}"


def blocks(page, *kinds):
    """The fenced blocks of a page in their order, without the indent of a list around them."""
    found = []
    for match in _BLOCK.finditer(PAGES[page]):
        line = PAGES[page].count("\n", 0, match.start()) + 1
        text = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M)
        if match["kind"] in kinds or not kinds:
            found.append(Block(page, line, match["kind"], text))
    return found


def commands(page):
    """The commands of a page in their order."""
    found = []
    for block in blocks(page, "console", "sh", "sql"):
        if block.kind == "sql":
            found.append(Command(page, block.line, f"ask_the_warehouse <<'SQL'\n{block.text}SQL"))
        elif block.kind == "sh":
            found.append(Command(page, block.line, block.text.rstrip()))
        else:
            found += _typed(block)
    return found


def _typed(block):
    """In a `console` block `$ ` begins a command and `> ` goes on with it; all else is what it printed."""
    found = []
    for number, line in enumerate(block.text.splitlines(), start=block.line + 1):
        if line.startswith("$ "):
            found.append(Command(block.page, number, line[2:]))
        elif line.startswith("> ") and found:
            found[-1] = found[-1]._replace(text=f"{found[-1].text}\n{line[2:]}")
    return found


def mentioned(page):
    """Every `claribi-export …` of a page, in its blocks and in its text, as lists of words.

    In text it is what stands between backticks; a pipe, a `;` and the like end it.
    """
    code = [command.text for command in commands(page)] + re.findall(r"`([^`\n]+)`", PAGES[page])
    return [
        [re.sub(r"[)'\"]+$", "", word) for word in words.split()]
        for text in code
        for words in re.findall(r"\bclaribi-export +([^|;&#\n]*)", text)
    ]


def anchors(page):
    """The names that headings of a page can be linked by."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
