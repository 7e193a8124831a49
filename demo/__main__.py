"""``python -m demo [--keep]``: play the story; 0 when all of it was true, else 1."""

import argparse
import signal
import sys
import time
from contextlib import suppress

from rich.console import Console
from rich.text import Text

from demo.stage import CASEWORK, LEGACY, Stage, StoryError, open_stage
from demo.story import tell
from syncd.errors import SyncdError


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="go on running until Ctrl-C, and say how to join"
    )
    keep = parser.parse_args().keep
    console = Console(highlight=False)
    started_s = time.monotonic()
    try:
        with open_stage(console) as stage:
            tell(stage)
            if keep:
                _stay(stage)
    except (StoryError, SyncdError) as error:
        console.print(Text(f"\nthe story is not true: {error}", style="bold red"))
        return 1
    except KeyboardInterrupt:
        console.print(Text("\nstopped; nothing is left running, nothing is left on disk"))
        return 128 + signal.SIGINT
    seconds = time.monotonic() - started_s
    console.print()
    console.print(
        Text(
            f"All of it was true: {stage.checked} facts checked in {seconds:.0f} s. "
            "Nothing is left running, nothing is left on disk.",
            style="bold green",
        )
    )
    console.print(Text("To look around yourself: .venv/bin/python -m demo --keep", style="dim"))
    return 0


def _stay(stage: Stage) -> None:
    """Say how to join from another terminal, and wait for Ctrl-C."""
    stage.title("Still running")
    stage.console.print(
        "\n".join(
            (
                f"configuration: {stage.folder / 'pipeline.yaml'}",
                f"Casebook (old): {stage.dsn(LEGACY)}",
                f"Casework (new): {stage.dsn(CASEWORK)}",
                "",
                "In another terminal:",
                f"  cd {stage.folder}",
                f"  export LEGACY_DSN={stage.dsn(LEGACY)}",
                f"  export CASEWORK_DSN={stage.dsn(CASEWORK)}",
                f"  alias syncd='{sys.executable} -m syncd'",
                "  syncd status",
                "",
                "Ctrl-C ends it and removes everything.",
            )
        ),
        soft_wrap=True,
        markup=False,
    )
    with suppress(KeyboardInterrupt):
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
