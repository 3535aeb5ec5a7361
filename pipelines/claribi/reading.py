"""Reads all lists of one run, what matters most first: a small budget of calls ends the reading anywhere."""

from collections.abc import Iterator
from contextlib import ExitStack

from pipelines.claribi.errors import ScopeMissing
from pipelines.claribi.objects import Objects
from pipelines.claribi.run import Run
from pipelines.claribi.schema import TABLES
from pipelines.claribi.shelf import Batch

LISTS = ("data_sources", "dashboards", "reports")
"""In the order of importance."""

PHASES = (Objects.read_list, Objects.read_details, Objects.refresh, Objects.sweep)
"""Every list has its turn in one phase before any has it in the next."""


def objects(run: Run, name: str) -> Iterator[Batch]:
    """All objects of one kind; batches by table name, in which each object stands once.

    The first list that is asked for reads all of the run's lists.
    """
    if run.lists is None:
        run.lists = read_lists(run)
    if name in run.lists:
        yield from run.lists[name].batches()


def read_lists(run: Run) -> dict[str, Objects]:
    """Make all calls for the lists that the run wants; whatever a list is refused by or stopped at is in `problems`."""
    if run.stopped:
        return {}
    shelves = run.closing.enter_context(ExitStack())
    read = {name: Objects(run, TABLES[name], shelves) for name in LISTS if run.wants(name)}
    refused: set[str] = set()
    for phase in PHASES:
        for name in [one for one in read if one not in refused]:
            try:
                if not run.stopped:
                    phase(read[name])
            except ScopeMissing as problem:
                run.problems.append(problem)
                refused.add(name)
    return read
