"""The command line: one file a command; `app` wires them, `console` is what they share."""

import os


def main() -> None:
    """Entry point of the command `anila`."""
    # Threads that spin while they wait hold a core that the others need: beside one busy process drawing stood still.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from anila.cli import app

    app.main()
