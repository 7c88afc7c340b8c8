"""The command line: one file a command; `app` wires them, `console` is what they share."""

import os


def main() -> None:
    """Entry point of the command `anila`."""
    # GNU's OpenMP lets threads spin for milliseconds before they sleep, and they hold the core that the others need:
    # with one busy process beside, drawing took ten times as long. A shorter spin costs hardly anything without one.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from anila.runs.training.machine import keep_freed_memory

    keep_freed_memory()
    from anila.cli import app

    app.main()
