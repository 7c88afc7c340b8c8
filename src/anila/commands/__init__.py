"""Commands that have a file of their own; `anila.cli` enrols them."""
