"""Which objects are gone. Missing from a list is not enough: a list may be filtered, cut or simply wrong."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from pipelines.claribi.changes import Comparison, Span
from pipelines.claribi.errors import NotFound, Paused, Shrunk, WalkUnproven
from pipelines.claribi.run import Run

ASKED = 50
"""How many missing objects are asked for one by one; beyond that, those missed by two sweeps in a row are gone."""
ASKED_LATER = 1_000
"""How many of a part of a list are remembered, to be asked for by the next runs."""

SHRINK_SHARE, SHRINK_ROWS = 0.2, 5
"""More than this share of a table, and more than these rows, may not vanish at once."""


LISTED_IN_PART = {"data_sources"}
"""Lists that may hold a part of what there is: under `/api/v1/` only active sources are promised."""


@dataclass
class Missing:
    """What became of the objects that a proven walk did not meet."""

    gone: list[str] = field(default_factory=list)
    """Ids of those that no longer exist."""
    alive: list[dict[str, Any]] = field(default_factory=list)
    """Details of those that do: the list left them out, as the one that lists active data sources only."""
    unasked: list[str] = field(default_factory=list)
    """Ids of those that there were no calls left for."""


def look_for_missing(run: Run, name: str, beside: Comparison, span: Span = (None, None)) -> Missing:
    """Ask for what the walk did not meet; raise `Shrunk` when too much of the table would go at once.

    `span` is how far the walk has read a list in the order of creation; what was created outside of it may be there.
    """
    missing, seen_before = beside.missing(span), set(run.state.get("missed", {}).get(name, []))
    whole = span == (None, None)
    if whole:
        _remember(run, name, [])
    if not missing:
        return Missing()
    if run.switched and not beside.nothing_found:
        return Missing(gone=missing)  # ids of the dialect before: to ask for them would be to ask for something else
    allowed = float("inf") if run.allow_shrink else may_vanish(beside.alive)
    if len(missing) > max(allowed, ASKED):
        raise Shrunk(name, beside.alive, len(missing))
    found, rest = ask(run, name, missing[:ASKED]), missing[ASKED:]
    if not whole:
        found.unasked, rest = [*found.unasked, *rest][:ASKED_LATER], []
    found.gone += [one for one in rest if run.allow_shrink or _short(one) in seen_before]
    if whole:
        _remember(run, name, [_short(one) for one in rest if one not in found.gone])
    if len(found.gone) > allowed or (beside.nothing_found and found.gone and not run.allow_shrink):
        raise Shrunk(name, beside.alive, len(found.gone))
    if beside.nothing_found and found.alive and name not in LISTED_IN_PART:
        run.problems.append(WalkUnproven(name, f"it came empty, while {len(found.alive)} of them still answer."))
    return found


def may_vanish(alive: int) -> float:
    """How many of so many living objects may go at once without a question."""
    return max(SHRINK_ROWS, SHRINK_SHARE * alive)


def ask(run: Run, name: str, ids: list[str]) -> Missing:
    """Read objects by their own addresses, one by one, as far as the rate limit allows."""
    found = Missing()
    for at, one in enumerate(ids):
        try:
            found.alive.append(run.client.get(one, resource=name).body)
        except NotFound:
            found.gone.append(one)
        except Paused as problem:
            found.unasked = ids[at:]
            run.problems += [] if run.stopped else [problem]
            break
    return found


def _remember(run: Run, name: str, missed: list[str]) -> None:
    """Keep the state small: an empty list is no entry."""
    everything = run.state.setdefault("missed", {})
    everything.pop(name, None)
    if missed:
        everything[name] = missed


def _short(one: str) -> str:
    """Eight characters instead of an id of any length: a mix-up would need two objects that are both missing."""
    return blake2b(one.encode(), digest_size=4).hexdigest()
