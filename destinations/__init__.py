"""The destinations that this project adds to dlt's own; dlt finds them here by name."""

from destinations.csv_files import csv_files

__all__ = ["csv_files"]
