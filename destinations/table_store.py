"""The dlt part of a store that commits a whole load at once: rows, pipeline state, schema and load row together.

Load jobs do nothing. `complete_load` folds all files of the load into the stored tables and hands the result to the
backend in one step, so a reader sees the tables of one load or of the next, never a mixture. A backend is three verbs:
`read`, `commit`, `lock`.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Annotated, Any, Protocol, TypeVar, cast

import duckdb
import pyarrow as pa
from dlt.common.configuration import NotResolved, configspec
from dlt.common.destination import Destination, DestinationCapabilitiesContext, PreparedTableSchema
from dlt.common.destination.client import (
    DestinationClientDwhConfiguration,
    JobClientBase,
    LoadJob,
    RunnableLoadJob,
    StateInfo,
    StorageSchemaInfo,
    WithStateSync,
)
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.destination.utils import resolve_merge_strategy
from dlt.common.json import json
from dlt.common.schema import Schema
from dlt.common.schema.typing import MERGE_STRATEGY_OPTIONS, TTableSchema
from dlt.common.schema.utils import (
    get_columns_names_with_prop,
    get_dedup_sort_tuple,
    get_first_column_name_with_prop,
)
from dlt.common.storages.load_package import ParsedLoadJobFileName
from dlt.destinations.impl.duckdb.factory import DuckDbTypeMapper
from dlt.destinations.utils import verify_schema_merge_disposition, verify_unsupported_merge_options

from destinations.errors import ColumnTypeChanged, NestedTable, OutOfDate, TooLittleMemory
from destinations.fold import MEMORY, MISFIT, Plan, Table, Way, fold, quoted, type_of, workbench
from destinations.package import Package
from destinations.selection import Selection
from destinations.system_tables import SystemTables

COMMIT_TRIES = 5


class Backend(Protocol):
    """A place that keeps typed tables and replaces any number of them in one step."""

    facts: dict[str, int]
    """What the last commit did, counted by name, for the run report: `{"cells_guarded": 3}`. Empty before it."""

    def lock(self) -> AbstractContextManager[None]:
        """Keep other runs out; every `read` and `commit` happens inside. It may be entered again while held.

        Entering first brings an interrupted commit to its end. Raises `StoreBusy` after a bounded wait. A backend that
        needs no lock, because its commit refuses a stale plan, returns `nullcontext()`.
        """
        ...

    def read(self, connection: duckdb.DuckDBPyConnection, names: Collection[str]) -> dict[str, Table]:
        """Make a relation for each of these tables that the store has, and return them by name; skip the others.

        What comes back is what was committed: the same columns in the same order and types, and the same rows. Names
        that begin with `_dlt_` are the technical tables; keep those out of people's sight. `Table.key` and
        `Table.sort` need not be set. Called once on a connection, with all names that the work needs.
        """
        ...

    def commit(self, connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table | None], load_id: str) -> None:
        """Put these tables in the place of what was stored under their names; None drops a table. All, or none.

        `tables` hold every row that the table is to have, stored ones included; their relations read, through views,
        the ones that `read` made on the same connection. Tables that are not named stay as they are. `load_id` is the
        mark of this step: the load's own row in `_dlt_loads` is among the tables and says that it is in, so a backend
        that cannot see whether its last request landed can look for it. It is empty when the storage is dropped.

        Raises `OutOfDate` when someone wrote since `read`: the caller then reads and folds again.
        """
        ...


@configspec
class TableStoreConfiguration(DestinationClientDwhConfiguration):
    """Settings that every table store shares, under `[destination.<name>]`."""

    dataset_name: Annotated[str | None, NotResolved()] = dataclasses.field(  # type: ignore[assignment]  # makes it optional
        default=None, init=False, repr=False, compare=False
    )
    """Not used: a folder or a spreadsheet is one dataset. dlt hands it over, so it is accepted."""
    tables: list[str] | None = None
    """Which tables to write; all when it is not set. State is always saved."""
    columns: Any | None = None
    """Per table, which columns to write and in which order; its keys are always written.

    A dict, or the text of one in JSON; see `by_table` for why dlt is not told so.
    """
    sort: dict[str, list[str]] | None = None
    """Per table, columns to sort by, such as `created_at` or `created_at desc`; else rows keep their place."""
    memory: str = MEMORY
    """What DuckDB may take while it folds a load."""


def by_table(columns: Any) -> dict[str, list[str]]:
    """Read the setting `columns`; a bare number is none.

    dlt looks for a setting under shorter and shorter names, at last in COLUMNS: where a shell exports that, it is the
    width of the terminal.
    """
    if isinstance(columns, str):
        columns = None if columns.isdigit() else json.loads(columns)
    return dict(columns or {})


TConfiguration = TypeVar("TConfiguration", bound=TableStoreConfiguration)


class TableStore(Destination[TConfiguration, "TableStoreClient"]):
    """A destination over a `Backend`; a subclass says how to make one."""

    def __init__(self, **settings: Any) -> None:
        self._backends: dict[str | None, Backend] = {}
        super().__init__(**settings)

    @abstractmethod
    def backend(self, config: TConfiguration) -> Backend:
        """Make the backend for a resolved configuration."""

    @property
    def client_class(self) -> type["TableStoreClient"]:
        """Dlt's job client, the same for every table store."""
        return TableStoreClient

    def client(self, schema: Schema, initial_config: TConfiguration | None = None) -> "TableStoreClient":
        """A job client; all clients of one destination share a backend, so that it may remember what it has read."""
        client = super().client(schema, cast("TConfiguration", initial_config))
        place = client.config.data_location()
        if place not in self._backends:
            self._backends[place] = self.backend(cast("TConfiguration", client.config))
        client.backend = self._backends[place]
        return client

    def _raw_capabilities(self) -> DestinationCapabilitiesContext:
        caps = DestinationCapabilitiesContext.generic_capabilities("parquet")
        caps.supported_loader_file_formats = ["parquet"]
        caps.supported_merge_strategies = ["delete-insert", "upsert", "insert-only"]
        caps.supported_replace_strategies = ["truncate-and-insert"]
        caps.type_mapper = DuckDbTypeMapper
        caps.has_case_sensitive_identifiers = False
        caps.wei_precision = (38, 0)
        caps.max_table_nesting = 0
        return caps


class TableStoreClient(JobClientBase, WithStateSync):
    """What dlt asks of a destination, answered over a `Backend`."""

    backend: Backend
    config: TableStoreConfiguration

    def __init__(
        self, schema: Schema, config: TableStoreConfiguration, capabilities: DestinationCapabilitiesContext
    ) -> None:
        super().__init__(schema, config, capabilities)
        self.selection = Selection(config.tables, by_table(config.columns), config.sort or {})
        self.system = SystemTables(schema)

    def __enter__(self) -> "TableStoreClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def read_table(self, name: str) -> pa.RecordBatchReader | None:
        """All rows of a stored table, in pieces and in no certain order; None when there is no such table.

        They are typed by the stored columns, JSON as text.

        The store stays locked for other runs until the reader is used up or dropped.
        """
        pieces = self._pieces(name)
        schema = next(pieces, None)
        return None if schema is None else pa.RecordBatchReader.from_batches(schema, pieces)

    def takes(self, table: str) -> frozenset[str] | None:
        """The columns that the user wants of a table; None: all of them; an empty set: the table not at all."""
        if not self.selection.takes(table):
            return frozenset()
        wanted = self.selection.columns.get(table)
        return None if wanted is None else frozenset(wanted)

    def facts(self) -> dict[str, int]:
        """What the last commit did, counted by name, for the run report."""
        return dict(self.backend.facts)

    def initialize_storage(self, truncate_tables: Iterable[str] | None = None) -> None:
        """Nothing yet: what a refresh empties is emptied in `complete_load`, together with what replaces it."""

    def drop_tables(self, *tables: str, delete_schema: bool = True) -> None:
        """Nothing yet: what a refresh drops goes in `complete_load`, together with what replaces it."""

    def should_truncate_table_before_load(self, table_name: str) -> bool:  # noqa: ARG002 - dlt's signature
        """Never: a reader must not meet an empty table."""
        return False

    def is_storage_initialized(self) -> bool:
        """Whether a load was ever committed."""
        with self._opened([self.system.loads]) as (_, stored):
            return bool(stored)

    def drop_storage(self) -> None:
        """Remove every table that the stored schemas know."""
        names = [*self.system.names, *self._known_tables()]
        with self._opened(names) as (connection, stored):
            self.backend.commit(connection, dict.fromkeys(stored), "")

    def verify_schema(
        self,
        only_tables: Iterable[str] | None = None,
        new_jobs: Iterable[ParsedLoadJobFileName] | None = None,
    ) -> list[PreparedTableSchema]:
        """Refuse what cannot be kept as asked, before anything is written."""
        tables = super().verify_schema(only_tables, new_jobs)  # type: ignore[arg-type]  # dlt's own default is None
        problems = verify_schema_merge_disposition(self.schema, tables, self.capabilities)
        problems += verify_unsupported_merge_options(
            self.schema, tables, self.capabilities, self.config.destination_type, list(MERGE_STRATEGY_OPTIONS)
        )
        if problems:
            raise problems[0]
        for table in tables:
            if parent := table.get("parent"):
                raise NestedTable(str(table["name"]), parent)
        names = self.schema.data_table_names(include_incomplete=True)
        self.selection.check({name: self.schema.tables[name]["columns"] for name in names})
        return tables

    def create_load_job(
        self,
        table: PreparedTableSchema,  # noqa: ARG002 - dlt's signature
        file_path: str,
        load_id: str,  # noqa: ARG002 - dlt's signature
        restore: bool = False,  # noqa: ARG002 - dlt's signature
    ) -> LoadJob:
        """A job with nothing to do: its file waits in the package for `complete_load`."""
        return Waiting(file_path)

    def complete_load(self, load_id: str) -> None:
        """Fold the load into the store and commit it in one step; nothing, when this load is in already."""
        package = Package.current(load_id)
        for tries_left in reversed(range(COMMIT_TRIES)):
            try:
                self._commit(package)
            except OutOfDate:
                if not tries_left:
                    raise
            except duckdb.InvalidInputException as error:
                table, _, reason = str(error).partition(f"{MISFIT}: ")[2].partition(".")
                if not reason:
                    raise
                raise ColumnTypeChanged(table, reason) from error
            except duckdb.OutOfMemoryException as error:
                reason = str(error).splitlines()[0]
                raise TooLittleMemory(str(self.config), self.config.memory, f"{reason}.") from error
            else:
                return

    def get_stored_schema(self, schema_name: str | None = None) -> StorageSchemaInfo | None:
        """The stored version of a schema, or of the one stored last."""
        schemas = [info for info in self._stored_schemas() if schema_name in (None, info.schema_name)]
        return max(schemas, key=lambda info: info.inserted_at, default=None)

    def get_stored_schema_by_hash(self, version_hash: str) -> StorageSchemaInfo | None:  # type: ignore[override]  # as dlt documents
        """The schema of this hash, if it is the stored version."""
        return next((info for info in self._stored_schemas() if info.version_hash == version_hash), None)

    def get_stored_state(self, pipeline_name: str) -> StateInfo | None:
        """The newest committed state of a pipeline; None when it has none yet."""
        with self._opened(self.system.names) as (connection, stored):
            if not {self.system.states, self.system.loads} <= set(stored):
                raise DestinationUndefinedEntity(f"{self.config} holds no pipeline state yet")
            return self.system.newest_state(connection, stored, pipeline_name)

    def _stored_schemas(self) -> list[StorageSchemaInfo]:
        with self._opened([self.system.versions]) as (connection, stored):
            return self.system.stored_schemas(connection, stored)

    def _known_tables(self) -> set[str]:
        return {name for info in self._stored_schemas() for name in json.loads(info.schema)["tables"]}

    def _pieces(self, name: str) -> Iterator[Any]:
        """First the Arrow schema, then the record batches; nothing when there is no such table."""
        with self._opened([name]) as (connection, stored):
            if name in stored:
                columns = ", ".join(map(quoted, stored[name].columns))
                reader = connection.sql(f"SELECT {columns} FROM {stored[name].relation}").to_arrow_reader(50_000)
                yield reader.schema
                yield from reader

    @contextmanager
    def _opened(self, names: Collection[str]) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[str, Table]]]:
        """Lock the store and read these tables."""
        with self.backend.lock(), workbench(self.config.memory) as connection:
            yield connection, self.backend.read(connection, names)

    def _commit(self, package: Package) -> None:
        wanted = {name for name in package.files if self.selection.takes(name)}
        names = {*self.system.names, *wanted, *package.dropped, *package.emptied}
        with self._opened(names) as (connection, stored):
            if package.load_id not in self.system.load_ids(connection, stored):
                changes = self._changes(connection, stored, package)
                self.backend.commit(connection, changes, package.load_id)

    def _changes(
        self, connection: duckdb.DuckDBPyConnection, stored: dict[str, Table], package: Package
    ) -> dict[str, Table | None]:
        """Every table that the load changes, as it is to be."""
        changes: dict[str, Table | None] = dict.fromkeys(package.dropped & set(stored))
        for name in package.emptied & set(stored):
            changes[name] = stored[name] = _emptied(connection, name, stored[name])
        for name, files in package.files.items():
            if self.selection.takes(name) or name in self.system.names:
                before = None if name in package.dropped else stored.get(name)
                changes[name] = fold(connection, name, before, files, self._plan(name, before))
        return changes | self.system.changes(connection, stored, changes, package.load_id)

    def _plan(self, name: str, stored: Table | None) -> Plan:
        """What dlt's hints and the user's selection mean for one table."""
        table = cast("TTableSchema", self.prepare_load_table(name))
        given = {name: type_of(hints) for name, hints in table["columns"].items()}
        held = stored.columns if stored else {}
        columns = held | {column: hints for column, hints in given.items() if column not in held}
        key = tuple(get_columns_names_with_prop(table, "primary_key"))
        merge_key = tuple(get_columns_names_with_prop(table, "merge_key"))
        merge = resolve_merge_strategy(self.schema.tables, table, self.capabilities)
        return Plan(
            columns=self.selection.kept(name, columns, (*key, *merge_key)),
            way=cast("Way", merge or table["write_disposition"]),
            incoming={column: columns[column] for column in given},
            key=key,
            merge_key=merge_key,
            hard_delete=get_first_column_name_with_prop(table, "hard_delete"),
            dedup_sort=get_dedup_sort_tuple(table),
            sort=self.selection.order(name),
        )


class Waiting(RunnableLoadJob):
    """A job that is done at once. dlt has a class for that, but nothing wakes dlt for it: it would sleep a second."""

    def run(self) -> None:
        """Nothing."""


def _emptied(connection: duckdb.DuckDBPyConnection, name: str, stored: Table) -> Table:
    view = quoted(f"emptied {name}")
    connection.execute(f"CREATE VIEW {view} AS SELECT * FROM {stored.relation} WHERE false")
    return dataclasses.replace(stored, relation=view)
