"""clariBI's JSON objects into typed frames. Pure: the same items give the same frames, byte for byte."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from pipelines.claribi.schema import Kind, Table


@dataclass(frozen=True)
class Frames:
    """What one batch of items became."""

    main: pd.DataFrame
    """One row an item, in their order."""
    children: dict[str, pd.DataFrame]
    """Child tables by name, always all of them, perhaps without rows."""
    unknown: dict[str, dict[str, Kind]]
    """By table: the columns `schema` does not name, those known before and those new in this batch."""
    notes: list[str]
    """Sentences for the run report; the same finding gives the same sentence in every batch."""


def normalise(
    items: Sequence[Mapping[str, Any]],
    table: Table,
    captured_at: datetime,
    known: Mapping[str, Mapping[str, str]] | None = None,
) -> Frames:
    """Turn a batch of items of one table into its frame and its children's frames.

    `known` tells, by table, the columns the destination has already and their kinds (dlt's data types); give
    the `unknown` of one batch to the next, so that both decide alike.
    """
    raise NotImplementedError


def to_arrow(frame: pd.DataFrame, table: Table) -> pa.Table:
    """The frame as Arrow for dlt; key fields say that they are never null."""
    raise NotImplementedError


def with_detail(item: Mapping[str, Any], detail: Mapping[str, Any]) -> dict[str, Any]:
    """The list's item with its detail laid over it; a null in the detail does not erase what the list said."""
    return {**item, **{name: value for name, value in detail.items() if value is not None or name not in item}}
