"""Commands that have a file of their own; `anila.cli.app` enrols them."""
