"""The pipeline: clariBI's API on one side, tables on the other."""
