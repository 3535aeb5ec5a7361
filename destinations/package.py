"""What dlt's load package asks of a store: files per table, and the tables that a refresh drops or empties."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dlt.common.configuration.container import Container
from dlt.common.schema.typing import TTableSchema
from dlt.common.storages.load_package import LoadPackageStateInjectableContext, PackageStorage


@dataclass(frozen=True)
class Package:
    """One load, complete on disk."""

    load_id: str
    files: dict[str, list[Path]]
    """Parquet files by table, in the order in which they were written."""
    dropped: frozenset[str]
    emptied: frozenset[str]

    @classmethod
    def current(cls, load_id: str) -> "Package":
        """The package that dlt is loading in this moment."""
        context = Container()[LoadPackageStateInjectableContext]
        files: dict[str, list[Path]] = {}
        for job in context.storage.get_load_package_jobs(load_id)[PackageStorage.COMPLETED_JOBS_FOLDER]:
            path = context.storage.get_job_file_path(load_id, PackageStorage.COMPLETED_JOBS_FOLDER, job.file_name())
            files.setdefault(job.table_name, []).append(Path(context.storage.storage.make_full_path(path)))
        for paths in files.values():
            # File names are random; a rename keeps the time of the last write, and that is the order of arrival.
            paths.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
        return cls(
            load_id,
            files,
            _names(context.state.get("dropped_tables", [])),
            _names(context.state.get("truncated_tables", [])),
        )


def _names(tables: Iterable[TTableSchema]) -> frozenset[str]:
    return frozenset(table["name"] for table in tables if table["name"])
