"""The destinations that this project adds to dlt's own."""
