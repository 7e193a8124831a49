"""The machine that was measured on, as far as it matters to others; never its name."""

import os
import platform
import subprocess
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent


def describe(postgres_version: str) -> dict[str, str | int | float]:
    """Model of the processor, cores that we may use, memory, kernel, versions, and the load."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / 1024**3, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": postgres_version,
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """The commit that was measured; "-dirty" behind it when files differ from it."""
    found = _git("rev-parse", "--short=12", "HEAD")
    return f"{found}-dirty" if _git("status", "--porcelain", "--", "syncd") else found


def _git(*words: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", *words],  # noqa: S607 - whichever git there is
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
