"""The benchmark's figures as RESULTS.md and results.svg."""

import datetime

ROWS = [
    # name, phase's run and name, how to get it out of the phase, unit, whether less is better
    ("memory of an idle session", "idle", "idle.settled", ("server", "rss_per_session"), "bytes", True),
    ("CPU of a login", "idle", "idle.login", ("server", "cpu_us_per_unit"), "µs", True),
    ("CPU of a message, window 1", "chat", "chat", ("server", "cpu_us_per_unit"), "µs", True),
    ("messages per second, window 1", "chat", "chat", ("per_second",), "/s", False),
    ("delivery p50, window 1", "chat", "chat", ("latency_us", "delivery", "p50"), "µs", True),
    ("delivery p99, window 1", "chat", "chat", ("latency_us", "delivery", "p99"), "µs", True),
    ("context switches of a message, window 1", "chat", "chat", ("server", "switches_per_unit"), "", True),
    ("CPU of a message, window 16", "chat16", "chat", ("server", "cpu_us_per_unit"), "µs", True),
    ("messages per second, window 16", "chat16", "chat", ("per_second",), "/s", False),
    ("delivery p99, window 16", "chat16", "chat", ("latency_us", "delivery", "p99"), "µs", True),
    ("offline: messages stored per second", "offline", "offline.store", ("per_second",), "/s", False),
    (
        "offline: CPU of a stored message",
        "offline",
        "offline.store",
        ("server", "cpu_us_per_unit"),
        "µs",
        True,
    ),
    ("accepts again after kill -9", "restart", "restart", ("seconds",), "s", True),
]
PLOTTED = [0, 1, 2, 3, 5, 10]


def value(phase, path):
    """What stands at the path, or None."""
    for key in path:
        phase = phase.get(key) if isinstance(phase, dict) else None
    return phase


def table(figures, median):
    """{row's number: {server: (median, rounds)}}; a server without the figure is left out."""
    rows = {}
    for number, (_, run, phase, path, _, _) in enumerate(ROWS):
        rows[number] = {}
        for server, rounds in figures.items():
            found = [
                value(one, path)
                for phases in rounds
                for one in phases
                if one["run"] == run and one["phase"] == phase and value(one, path) is not None
            ]
            if found:
                rows[number][server] = (median(found), found)
    return rows


def number_text(figure, unit):
    """With as many digits as mean something."""
    text = f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
    return f"{text}{unit if unit == '/s' else (' ' + unit if unit else '')}"


def wrong(figures):
    """What a server lost, doubled or refused, by server."""
    bad = {}
    for server, rounds in figures.items():
        for phases in rounds:
            for one in phases:
                for name, count in (one.get("counts") or {}).items():
                    if (
                        name in ("lost", "duplicated", "out_of_order", "errors", "failed", "dropped")
                        and count
                    ):
                        key = f"{one['phase']} ({one['run']}): {name.replace('_', ' ')}"
                        bad.setdefault(server, {}).setdefault(key, 0)
                        bad[server][key] += count
    return bad


def write(out, figures, versions, machine, median):
    """RESULTS.md and results.svg in the directory `out`."""
    rows, servers = table(figures, median), list(figures)
    base = servers[0]
    day = datetime.date.today().isoformat()
    most = max((len(rounds) for rounds in figures.values()), default=0)
    text = [
        "# The benchmark's results",
        "",
        f"Written by `make bench` on {day}; medians of {most} rounds; {machine};",
        "the load generator on the same cores.",
        f"In parentheses: how many times {base}'s figure, or, of what should be high, which part of it.",
        "How: `bench.py`; what is switched on in each server: `peers.py`, `ejabberd.py`.",
        "",
        "| figure | " + " | ".join(versions[server] for server in servers) + " |",
        "|---|" + "---|" * len(servers),
    ]
    for number, (name, _, _, _, unit, less) in enumerate(ROWS):
        cells = []
        for server in servers:
            if server not in rows[number]:
                cells.append("–")
                continue
            figure = rows[number][server][0]
            cell = number_text(figure, unit)
            first = rows[number].get(base)
            if server != base and first and first[0] and figure:
                ratio = figure / first[0] if less else first[0] / figure
                cell += f" ({ratio:.3g}×)" if less else f" (1/{ratio:.3g})"
            cells.append(cell)
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    text += ["", "## What went wrong in the runs", ""]
    bad = wrong(figures)
    text += [
        f"- {server}: " + "; ".join(f"{what} {count:,}" for what, count in bad[server].items())
        if server in bad
        else f"- {server}: nothing"
        for server in servers
    ]
    text += ["", "## Each round", "", "| figure | server | rounds |", "|---|---|---|"]
    for number, (name, _, _, _, unit, _) in enumerate(ROWS):
        for server in servers:
            if server in rows[number]:
                each = "; ".join(number_text(one, unit) for one in rows[number][server][1])
                text.append(f"| {name} | {server} | {each} |")
    (out / "RESULTS.md").write_text("\n".join(text) + "\n")
    plot(out / "results.svg", rows, servers)
    print(f"bench: {out / 'RESULTS.md'}, {out / 'results.svg'}")


def plot(path, rows, servers):
    """A panel for each of PLOTTED, bars on a logarithmic axis."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and the file is the same each time.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "godwit", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(10, 5))
    colours = ["#1b6ca8", "#8a8a8a", "#b5b5b5", "#5f5f5f"]
    for axis, number in zip(axes.flat, PLOTTED, strict=True):
        name, _, _, _, unit, less = ROWS[number]
        present = [server for server in servers if server in rows[number]]
        values = [rows[number][server][0] for server in present]
        bars = axis.barh(present, values, color=[colours[servers.index(server) % 4] for server in present])
        axis.bar_label(bars, [number_text(one, unit) for one in values], padding=3)
        axis.set_title(f"{name}\n({'less' if less else 'more'} is better)", fontsize=9)
        axis.set_xscale("log")
        if values:
            axis.set_xlim(min(values) / 3, max(values) * 12)
        axis.invert_yaxis()
        axis.tick_params(labelbottom=False, bottom=False, which="both")
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
