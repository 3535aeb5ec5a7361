"""The page and the mail that a person reads."""
