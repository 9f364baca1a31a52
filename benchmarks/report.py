"""`python -m benchmarks.report ROWS.json`: docs/benchmarks.md and its pictures, from one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.peers.adapter import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
PICTURES = ROOT / "docs" / "benchmarks"
OURS, THEIRS = "#1f6feb", "#b8c0cc"
HEADLINES = {
    "S1": "Drain, one process: tasks per second",
    "S7": "Pickup from commit to start, p50: milliseconds",
    "S9": "Bulk enqueue from Python: tasks per second",
    "S10": "Enqueue, 100 concurrent callers: calls per second",
}
HEAD = """# Benchmarks

Made by `python -m benchmarks.report` from one run of `python -m benchmarks all`: every row, misses
and losses included. Half of the rows are beside peers: those ran on the same machine in the same
run, interleaved, at their fastest documented settings, on a PostgreSQL with `fsync` and
`synchronous_commit` on; the others hold our own numbers against a bound. What is to be reached was
set before the engine was built. A value is the median of at least three runs, or of the ratios of
runs beside each other. Machines differ and this one is shared: look at the ratios, at how far the
runs of a row lie apart, and at how much of the CPU its host gave to others meanwhile.

It needs Node and npm for Graphile Worker.

```sh
uv run --group bench python -m benchmarks all --json --report rows.json
uv run --group bench python -m benchmarks.report rows.json
```

"""


def main() -> None:
    """Write the page and the pictures of these rows."""
    rows = json.loads(Path(sys.argv[1]).read_text())
    mpl.rcParams |= {"svg.hashsalt": "perdure", "font.size": 9}
    PICTURES.mkdir(exist_ok=True)
    by_row = {row["row"]: row for row in rows}
    pictures = []
    for name, title in HEADLINES.items():
        if name in by_row and by_row[name]["peers"]:
            pictures.append(_bars(by_row[name], title))
    if "S4" in by_row:
        pictures.append(_lines(by_row["S4"]))
    # What was learned by hand stands below this line and is kept.
    kept = PAGE.read_text().partition(NOTES)[2] if PAGE.exists() else "\n"
    made = HEAD + _machine(rows) + _table(rows) + _shown(pictures) + _told(rows)
    PAGE.write_text(made + NOTES + kept)


NOTES = "## What the numbers mean\n"


def _machine(rows: Sequence[Mapping[str, Any]]) -> str:
    machine = rows[0]["machine"]
    versions: dict[str, str] = {}
    for row in rows:
        versions |= row["versions"]
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = (machine["system"], f"{machine['cores']} cores", f"{machine['memory_gib']} GiB")
    return f"{', '.join(parts)}, {machine['date']}. {told}.\n\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| row | runs | what | value | to reach | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        for number, check in enumerate(row["checks"]):
            bound = next(key for key in ("at least", "at most") if key in check)
            lines.append(
                f"| {row['row'] + ' ' + row['benchmark'] if not number else ''} "
                f"| {_spread(row['runs']) if not number else ''} | {check['what']} "
                f"| {_number(check['value'])} | {bound} {_number(check[bound])} "
                f"| {'yes' if check['met'] else '**no**'} |"
            )
    return "\n".join(lines) + "\n\n"


def _spread(runs: Sequence[float]) -> str:
    """The least and the most of the runs."""
    return f"{_number(min(runs))} to {_number(max(runs))}"


def _shown(pictures: Sequence[tuple[str, str]]) -> str:
    return "".join(f"![{title}](benchmarks/{file})\n\n" for file, title in pictures)


def _told(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = ["## Every row\n"]
    for row in rows:
        runs = ", ".join(_number(run) for run in row["runs"])
        peers = ", ".join(f"{name} {_number(value)}" for name, value in row["peers"].items())
        parts.append(f"### {row['row']} {row['benchmark']}\n")
        parts.append(f"{_number(row['value'])} {row['unit']}; runs: {runs}.")
        if peers:
            parts.append(f"Peers: {peers}.")
        for key, value in row.items():
            if key in KNOWN or key == "series":
                continue
            parts.append(f"- {key.replace('_', ' ')}: `{json.dumps(value)}`")
        settings = {key: value for key, value in row["settings"].items() if key != "server"}
        parts.append(f"- settings: `{json.dumps(settings)}`\n")
    return "\n".join(parts) + "\n"


KNOWN = frozenset(
    (
        *("row", "benchmark", "value", "unit", "peers", "ratio", "target", "met", "checks"),
        *("runs", "machine", "versions", "settings"),
    )
)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def _bars(row: Mapping[str, Any], title: str) -> tuple[str, str]:
    """Ours against the peers, the longest first."""
    values = {"perdure": row["value"], **row["peers"]}
    names = sorted(values, key=lambda name: values[name])
    figure, axes = plt.subplots(figsize=(6.4, 0.45 * len(names) + 0.8))
    colors = [OURS if name == "perdure" else THEIRS for name in names]
    bars = axes.barh(names, [values[name] for name in names], color=colors)
    axes.bar_label(bars, [_number(values[name]) for name in names], padding=4)
    axes.set_title(title, loc="left")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.xaxis.set_visible(False)
    axes.margins(x=0.15)
    return _saved(figure, row["benchmark"]), title


def _lines(row: Mapping[str, Any]) -> tuple[str, str]:
    """Throughput over time, with and without an old snapshot."""
    title = "Throughput over a drain: tasks per second; dashed: an old snapshot is held"
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    colors: dict[str, str] = {}
    for name, points in row["series"].items():
        system, _, held = name.partition(", ")
        rates = [
            (b[0], (b[1] - a[1]) / (b[0] - a[0]))
            for a, b in pairwise(points) if b[0] > a[0]
        ]  # fmt: skip
        if not rates:
            continue
        (line,) = axes.plot(
            [at for at, _ in rates], [rate for _, rate in rates],
            linestyle="--" if held else "-", color=colors.get(system), label=name,
        )  # fmt: skip
        colors[system] = line.get_color()
    axes.set_title(title, loc="left")
    axes.set_xlabel("seconds")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
    return _saved(figure, row["benchmark"]), title


def _saved(figure: Any, name: str) -> str:
    file = f"{name}.svg"
    figure.savefig(PICTURES / file, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return file


if __name__ == "__main__":
    main()
