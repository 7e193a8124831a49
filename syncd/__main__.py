"""``python -m syncd``, and the program ``syncd``."""

import gc
import signal
import sys


def main() -> None:
    """Start the command line, without looking for garbage where there is none.

    Importing makes a hundred thousand objects that stay until the end, and the collector would go
    through them again and again, and once more when the interpreter ends: 30 ms of a run in which
    nothing changed. ``cli.main`` lets it work again when a verb has its application.
    """
    gc.disable()
    if "serve" in sys.argv:
        # A daemon that is told to read its configuration again while it starts is about to.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from syncd.cli.main import main as program  # noqa: PLC0415 - only now is the collector off

    try:
        program()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
