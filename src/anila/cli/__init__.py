"""The command line: one file a command; `app` wires them, `console` is what they share."""


def main() -> None:
    """Entry point of the command `anila`."""
    from anila.cli import app

    app.main()
