"""The destinations that this project adds to dlt's own; dlt finds them here by name."""

from destinations.csv_files import csv_files
from destinations.google_sheets import google_sheets

__all__ = ["csv_files", "google_sheets"]
