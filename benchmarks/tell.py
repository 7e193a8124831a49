"""Results for people: a Markdown page, and its cases on the terminal as they come."""

from collections.abc import Iterator

from benchmarks.measure import Sample, median_wall_s
from benchmarks.results import Case, Results

_METHOD = """\
Seconds are the wall time of the whole process, start-up and connecting included, and the middle
of three where there are three; `docs/benchmarks.md` says how and why. Ratios hold within this run
only. The CPU ratio counts client and server together and is the steadier one beside other load."""


def line(case: Case) -> str:
    """One line for the terminal."""
    return (
        f"{case.title}: {median_wall_s(case.job):.2f} s, {case.base_title} "
        f"{median_wall_s(case.base):.2f} s, ratio {case.ratio:.2f} "
        f"(CPU {case.cpu_ratio:.2f}), peak {case.rss_mib:.0f} MiB"
    )


def page(results: Results) -> str:
    """The Markdown page."""
    return "\n".join(
        [
            f"# Benchmark of {results.started_at[:10]}, commit {results.commit}",
            "",
            *_machine(results),
            "",
            _METHOD,
            "",
            *_cases(results),
            "",
            *_limits(results),
            *_rates(results),
            *_sees(results),
            *_seconds(results),
        ]
    )


def _machine(results: Results) -> Iterator[str]:
    machine = results.machine
    heap, text = results.row_bytes.get("heap", 0), results.row_bytes.get("copy_text", 0)
    yield (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, "
        f"{machine['kernel']}, Python {machine['python']}, PostgreSQL {machine['postgresql']}; "
        f"load {machine['load_before']} before and {machine['load_after']} after. "
        f"{results.rows:,} rows of {heap:.0f} bytes in the heap, {text:.0f} as COPY text. "
        + ", ".join(f"{name} {value}" for name, value in results.settings.items())
        + "."
    )


def _cases(results: Results) -> Iterator[str]:
    yield "| job | s | yardstick | s | ratio | limit | CPU ratio | peak MiB |"
    yield "|---|---:|---|---:|---:|---:|---:|---:|"
    for case in results.cases:
        if "rows_per_s" in case.facts:
            continue
        limit = next((x for x in case.limits if x.what.endswith(": ratio")), None)
        told = "" if limit is None else f"{limit.most:g}{'' if limit.holds else ' **missed**'}"
        yield (
            f"| {case.title} | {median_wall_s(case.job):.2f} | {_cell(case.base_title)} "
            f"| {median_wall_s(case.base):.2f} | {case.ratio:.2f} | {told} "
            f"| {case.cpu_ratio:.2f} | {case.rss_mib:.0f} |"
        )


def _limits(results: Results) -> Iterator[str]:
    limits = results.limits()
    missed = [limit for limit in limits if not limit.holds]
    yield f"{len(limits) - len(missed)} of {len(limits)} limits are kept."
    if missed:
        yield ""
        yield from (f"* {limit.line()}" for limit in missed)
    if not results.gated:
        yield ""
        yield "The limits are meant for a million rows and for an idle machine; nothing was gated."
    yield ""


def _rates(results: Results) -> Iterator[str]:
    rates = [case for case in results.cases if "rows_per_s" in case.facts]
    if rates:
        yield "| flat apply | rows/s | bare loop, rows/s | part |"
        yield "|---|---:|---:|---:|"
    for case in rates:
        rate, bare = case.facts["rows_per_s"], case.facts["bare_rows_per_s"]
        yield f"| {case.title} | {rate:,} | {bare:,} | {rate / bare:.2f} |"
    if rates:
        yield ""


def _sees(results: Results) -> Iterator[str]:
    if results.sees:
        yield "What reaches the target of one night, and what is left of 100 edits by staff:"
        yield ""
        yield "| | s | inserted | updated | deleted | staff edits kept |"
        yield "|---|---:|---:|---:|---:|---:|"
    for one in results.sees:
        case = results.find("night" if one.name == "syncd" else f"night_{one.name}")
        told = f"{median_wall_s(case.job):.2f}" if case else ""
        parts = (
            f"{getattr(one, what)} of {one.changed[what]}"
            for what in ("inserted", "updated", "deleted")
        )
        yield f"| {one.name} | {told} | {' | '.join(parts)} | {one.edits_kept} of {one.edits} |"
    if results.sees or results.skipped:
        yield ""
        yield from (f"* not run: {reason}" for reason in results.skipped)
        yield ""


def _seconds(results: Results) -> Iterator[str]:
    yield "Raw seconds: wall (client CPU + server CPU), and what the program itself reported."
    yield ""
    for case in results.cases:
        yield f"* {case.name}: job {_samples(case.job)}; yardstick {_samples(case.base)}"
        for name, samples in case.parts.items():
            yield f"  * {name}: {_samples(samples)}"
        if case.facts:
            yield "  * " + ", ".join(f"{name} {value:,}" for name, value in case.facts.items())
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _samples(samples: list[Sample]) -> str:
    return ", ".join(
        f"{s.wall_s:.2f} ({s.client_cpu_s:.2f} + {s.server_cpu_s:.2f})"
        + ("" if s.reported_s is None else f" says {s.reported_s:.2f}")
        for s in samples
    )
