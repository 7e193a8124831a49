"""``python -m demo [STORY] [--keep]``: play a story; 0 when all of it was true, else 1.

interventions  a probation service moves from Interventions Manager to Manage and Deliver
casework       what syncd does in small: deletes, conflicts, refused rows, one after the other
"""

import argparse
import signal
import sys
import time
from contextlib import suppress
from typing import Final

from rich.console import Console
from rich.text import Text

from demo.casework import story as casework
from demo.interventions import story as interventions
from demo.stage import Stage, StoryError, open_stage
from syncd.errors import SyncdError

STORIES: Final = {"interventions": interventions, "casework": casework}


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("story", nargs="?", default="interventions", choices=[*STORIES])
    parser.add_argument(
        "--keep", action="store_true", help="go on running until Ctrl-C, and say how to join"
    )
    asked = parser.parse_args()
    story = STORIES[asked.story]
    console = Console(highlight=False)
    started_s = time.monotonic()
    try:
        with open_stage(console, story.SCENE) as stage:
            story.tell(stage)
            if asked.keep:
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
    scene = stage.scene
    old, new = scene.variables
    stage.title("Still running")
    stage.console.print(
        "\n".join(
            (
                f"configuration: {stage.folder / 'pipeline.yaml'}",
                f"the old system: {stage.dsn(scene.old)}",
                f"the new system: {stage.dsn(scene.new)}",
                "",
                "In another terminal:",
                f"  cd {stage.folder}",
                f"  export {old}={stage.dsn(scene.old)}",
                f"  export {new}={stage.dsn(scene.new)}",
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
