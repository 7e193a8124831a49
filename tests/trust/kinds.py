"""The ways to run a round: simulation, canaries, fuzzing, the sweep, planted faults, pytest."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from tests.trust import seed
from tests.trust.campaign import TOLD_MAX, Ask, Call, Failure, Gained, Said, broken_down, decoded

PROFILE: Final = {"SYNCD_HYPOTHESIS_PROFILE": "trust"}
CANARY_SCHEDULES: Final = 20_000
# "**nothing**", or "nothing" and a reason; a test may have the word in its name.
_BY_NOTHING: Final = re.compile(r"(\*\*)?nothing(\*\*|\s|$)")
_ENDED: Final = (0, 1)  # well, and with something found


def shared_out(names: Sequence[str], workers: int) -> list[Sequence[str]]:
    """The names for each worker, none for no worker."""
    return [names[at::workers] for at in range(min(workers, len(names)))]


class Schedules(Struct, frozen=True):
    """Schedules of one driver of ``tests.sim``; the seeds of all rounds follow each other."""

    driver: str

    def calls(self, ask: Ask) -> list[Call]:
        option = "--schedules" if self.driver == "quick" else "--full"
        share, found = -(-ask.count // ask.workers), list[Call]()
        for at in range(0, ask.count, share):
            count, first = min(share, ask.count - at), ask.seed + ask.before + at
            report = ask.folder / f"{at}.json"
            words = ("-m", "tests.sim", option, f"{count}", "--seed", f"{first}")
            found.append(Call((*words, "--report", str(report)), report))
        return found

    def gained(self, call: Call, said: Said) -> Gained:
        report: Any = decoded(call)
        if said.code not in _ENDED or report is None:
            return broken_down(call, said)
        (series,) = report["series"]
        again = "python -m tests.sim --again"
        failures = [
            Failure(one["told"][:TOLD_MAX], f'{again} "{self.driver} {one["seed"]}"')
            for one in series["broken"]
        ]
        return Gained({"schedules": series["schedules"] - len(failures)}, failures)


class Canaries(Struct, frozen=True):
    """Every planted fault of ``tests.sim``, each within so many schedules."""

    def calls(self, ask: Ask) -> list[Call]:
        from tests.sim.canaries import CANARIES  # noqa: PLC0415 - only where it is needed

        first, found = ask.seed + CANARY_SCHEDULES * ask.number, list[Call]()
        for at, names in enumerate(shared_out(list(CANARIES), ask.workers)):
            report = ask.folder / f"{at}.json"
            only = [word for name in names for word in ("--only", name)]
            words = ("-m", "tests.sim", "--seed", f"{first}", "--report", str(report), *only)
            found.append(Call(words, report))
        return found

    def gained(self, call: Call, said: Said) -> Gained:
        report: Any = decoded(call)
        if said.code not in _ENDED or report is None:
            return broken_down(call, said)
        first = report["seed"]
        failures = [
            Failure(f"{name}: missed", f"python -m tests.sim --only {name} --seed {first}")
            for name in report["missed"]
        ]
        found = [one["schedules"] for one in report["canaries"] if one["schedules"]]
        return Gained({"canaries": len(found), "schedules": sum(found)}, failures)


class Orders(Struct, frozen=True):
    """All orders of so many plots of ``tests.sim.interleavings``; each round has the next ones."""

    def calls(self, ask: Ask) -> list[Call]:
        share, found = -(-ask.count // ask.workers), list[Call]()
        for at in range(0, ask.count, share):
            report, count = ask.folder / f"{at}.json", min(share, ask.count - at)
            words = ("--plots", f"{count}", "--first-plot", f"{ask.before + at}")
            found.append(Call(("-m", "tests.sim", *words, "--report", str(report)), report))
        return found

    def gained(self, call: Call, said: Said) -> Gained:
        report: Any = decoded(call)
        if said.code not in _ENDED or report is None:
            return broken_down(call, said)
        explored = report["explored"]
        failures = [
            Failure(one["told"][:TOLD_MAX], f"python -m tests.sim --again '{_order(one)}'")
            for one in explored["broken"]
        ]
        plots = explored["plots"] - len({failure.repeat for failure in failures})
        return Gained({"plots": plots, "orders": explored["orders"]}, failures)


def _order(broken: dict[str, Any]) -> str:
    """What ``--again`` plays."""
    return f"order {msgspec.json.encode(broken).decode()}"


class Fuzzed(Struct, frozen=True):
    """Cases of decoders, shared out by their weight. ``configuration`` chooses which of them."""

    configuration: bool

    def calls(self, ask: Ask) -> list[Call]:
        from tests.fuzz.catalogue import decoders  # noqa: PLC0415 - only where it is needed

        names = [n for n in decoders() if n.startswith("config_") == self.configuration]
        found = []
        for at, own in enumerate(shared_out(names, ask.workers)):
            report = ask.folder / f"{at}.json"
            total = max(1, ask.count * len(own) // len(names))
            words = ("-m", "tests.fuzz", "--total", f"{total}", "--seed", f"{ask.own_seed}")
            only = [word for name in own for word in ("--decoder", name)]
            found.append(Call((*words, "--report", str(report), *only), report))
        return found

    def gained(self, call: Call, said: Said) -> Gained:
        report: Any = decoded(call)
        if said.code not in _ENDED or report is None:
            return broken_down(call, said)
        failures = [
            Failure(
                f"{one['decoder']}: {one['error']}"[:TOLD_MAX],
                f"python -m tests.fuzz --decoder {one['decoder']} --seed {one['seed']} "
                f"--first {one['case']} --cases 1",
            )
            for decoder in report["decoders"]
            for one in decoder["failures"]
        ]
        counts = {"cases": report["cases"] - len(failures), "decoders": len(report["decoders"])}
        return Gained(counts, failures)


class Cells(Struct, frozen=True):
    """The sweep of all failpoints."""

    def calls(self, ask: Ask) -> list[Call]:
        from syncd.failpoints import POINTS  # noqa: PLC0415 - only where it is needed

        found = []
        for at, names in enumerate(shared_out(list(POINTS), ask.workers)):
            report = ask.folder / f"{at}.json"
            words = ("-m", "tests.failpoints", "--report", str(report))
            found.append(Call((*words, "--seed", f"{ask.own_seed}", *names), report))
        return found

    def gained(self, call: Call, said: Said) -> Gained:
        report: Any = decoded(call)
        if said.code not in _ENDED or report is None:
            return broken_down(call, said)
        failures = [
            Failure(
                f"{one['point']}={one['action']}: {one['wrong']}"[:TOLD_MAX],
                f"python -m tests.failpoints --report sweep.json --seed {report['seed']} "
                f"{one['point']}",
            )
            for one in report["results"]
            if one["wrong"]
        ]
        counts = {"cells": report["cells"] - len(failures), "kills": report["kills"]}
        return Gained(counts, failures)


class Planted(Struct, frozen=True):
    """Faults planted in the code, one at a time: each is to be found by the tests it names.

    ``module`` tells each in a line, which ``line`` takes apart: its name and what found it.
    """

    module: str
    line: str
    names: tuple[str, ...] = ()

    def calls(self, ask: Ask) -> list[Call]:
        parts = shared_out(self.names, ask.workers) if self.names else [()]
        return [Call(("-m", self.module, *own)) for own in parts]

    def gained(self, call: Call, said: Said) -> Gained:
        told = re.findall(self.line, said.words, re.MULTILINE)
        if said.code not in _ENDED or not told:
            return broken_down(call, said)
        failures = [
            Failure(_survived(name, said.words), f"python -m {self.module} {name}")
            for name, by in told
            if _BY_NOTHING.match(by)
        ]
        return Gained({"faults": len(told) - len(failures)}, failures)


def _survived(name: str, words: str) -> str:
    """What the module says of a fault that nothing found: the end of what its tests said."""
    said = words.rpartition(f"{name} survived:")[2].partition(" survived:")[0] or words
    return f"{name}: survived; {said.strip()[-TOLD_MAX // 2 :]}"


class Suite(Struct, frozen=True):
    """Tests, with the profile ``trust`` and a seed of their own; what they record is added up.

    ``marked`` is pytest's expression of markers, ``but`` are paths that are left out.
    """

    paths: tuple[str, ...]
    marked: str = ""
    but: tuple[str, ...] = ()
    timeout_s: int = 1800
    is_seeded: bool = True

    def calls(self, ask: Ask) -> list[Call]:
        report = ask.folder / "junit.xml"
        words = ["-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
        words += [f"--timeout={self.timeout_s}", "-o", "junit_family=xunit1"]
        words += [f"--junitxml={report}", "-n", f"{ask.workers if ask.workers > 1 else 0}"]
        words += [f"--hypothesis-seed={ask.own_seed}"] if self.is_seeded else []
        words += ["-m", self.marked] if self.marked else []
        words += [f"--ignore={path}" for path in self.but]
        environment = PROFILE | {seed.VARIABLE: f"{ask.own_seed}"}
        return [Call((*words, *self.paths), report, environment)]

    def gained(self, call: Call, said: Said) -> Gained:
        if said.code not in _ENDED or call.report is None or not call.report.exists():
            return broken_down(call, said)
        # Our own pytest wrote it, a moment ago.
        cases = list(ET.parse(call.report).getroot().iter("testcase"))  # noqa: S314
        gained = Gained({"tests": 0})
        for case in cases:
            gained.add(_of_case(case, call))
        return gained


def _of_case(case: ET.Element, call: Call) -> Gained:
    """One test: passed with what it recorded, skipped with the reason, or failed."""
    node = _node(case)
    for child in case:
        if child.tag in ("failure", "error"):
            environment = " ".join(f"{k}={v}" for k, v in sorted(call.environment.items()))
            told = f"{node}: {child.get('message', '')}"[:TOLD_MAX]
            return Gained(failures=[Failure(told, f"{environment} pytest -m '' '{node}'")])
        if child.tag == "skipped":
            return Gained(notes=[f"skipped: {child.get('message', '')}"[:TOLD_MAX]])
    counts = {"tests": 1}
    for recorded in case.iter("property"):
        value = recorded.get("value", "")
        if value.isdigit():
            name = recorded.get("name", "")
            counts[name] = counts.get(name, 0) + int(value)
    return Gained(counts)


def _node(case: ET.Element) -> str:
    """The name by which pytest runs a test alone."""
    path, name = case.get("file", ""), case.get("name", "")
    module = path.removesuffix(".py").replace("/", ".")
    inner = case.get("classname", "").removeprefix(module).strip(".")
    return "::".join([path, *([inner] if inner else []), name])
