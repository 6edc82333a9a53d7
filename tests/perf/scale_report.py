"""What scale.py found, as SCALE.md and scale.svg."""

import datetime
import json

SESSIONS = [
    ("bytes", "memory of a session, bytes", "{:,.0f}"),
    ("login_us", "CPU of a login, µs", "{:,.0f}"),
    ("idle_percent", "all but 200 idle, a keepalive a minute: share of one core, %", "{:.2f}"),
    ("message_us", "CPU of a message between 100 pairs beside them, µs", "{:.1f}"),
    ("per_second", "messages per second", "{:,.0f}"),
    ("p50_us", "delivery p50, µs", "{:,.0f}"),
    ("p99_us", "delivery p99, µs", "{:,.0f}"),
]
ARCHIVES = [
    ("message_us", "CPU of a message, µs", "{:.1f}"),
    ("per_second", "messages per second", "{:,.0f}"),
    ("p99_us", "delivery p99, µs", "{:,.0f}"),
    ("page_us", "CPU of a page of 50, µs", "{:,.0f}"),
    ("page_p50_us", "page of 50, 100 clients at once, p50, µs", "{:,.0f}"),
]
MIB = 1 << 20


def grid(head, columns, rows, figures):
    """A table with a column for each size."""
    lines = [f"| {head} | " + " | ".join(f"{column:,}" for column in columns) + " |"]
    lines.append("|---|" + "---|" * len(columns))
    for key, name, form in rows:
        lines.append(f"| {name} | " + " | ".join(form.format(one[key]) for one in figures) + " |")
    return [*lines, ""]


def ms(us):
    """As text."""
    return "–" if us is None else f"{us / 1000:,.1f} ms"


def overload_lines(found):
    """The knee and beyond."""
    beyond = found["overload"] or {}
    if not found["found"] or not beyond:
        return [f"The knee was not found: {json.dumps(found)}", ""]
    knee, over = found["knee_admitted_p99_us"], beyond["admitted_p99_us"]
    return [
        f"| | at the knee, {found['knee_per_second']:,.0f}/s "
        f"| at twice the knee, {beyond['offered_per_second']:,.0f}/s |",
        "|---|---|---|",
        f"| p99 from when the server read a message until it was written to its recipient | {ms(knee)} "
        f"| {ms(over)} ({over / max(knee, 1):.1f}×) |",
        f"| p99 from when its client sent it | {ms(found['knee_service_p99_us'])} "
        f"| {ms(beyond['service_p99_us'])} |",
        f"| p99 from when it was due | {ms(found['knee_p99_us'])} | {ms(beyond['delivery_p99_us'])} |",
        f"| delivered per second | {found['knee_per_second']:,.0f} | {beyond['delivered_per_second']:,.0f} |",
        "",
        f"Lost {found['lost']}, duplicated {found['duplicated']}, out of order {found['out_of_order']}; "
        f"memory {beyond['rss_max'] / MIB:,.0f} MiB at most; afterwards, at half the knee, "
        f"{'as before' if beyond.get('recovered') else 'NOT as before'}, "
        f"p99 {ms(beyond.get('recovery_p99_us'))}. Full at the first step that broke: "
        f"{'; '.join(found['saturated'])}.",
        "",
    ]


def write(out, found):
    """SCALE.md and scale.svg in the directory `out`."""
    day = datetime.date.today().isoformat()
    text = ["# How Godwit's costs grow, and what happens beyond what it can do", ""]
    text += [
        f"Written by `make scale` on {day}; {found['version']}; {found['machine']}; the load generator on"
    ]
    text += ["the same cores; each figure of one run. How: `scale.py`.", ""]
    if "sessions" in found:
        text += ["## Sessions", ""]
        text += grid("sessions", found["sessions"], SESSIONS, found["sessions"].values())
    if "archives" in found:
        text += ["## Rows in the archive", ""]
        text += grid("rows", [one["rows"] for one in found["archives"]], ARCHIVES, found["archives"])
    if "logins" in found:
        text += ["## Logins", "", "| kind | CPU of the server, µs |", "|---|---|"]
        text += [f"| {kind} | {figure:,.0f} |" for kind, figure in found["logins"].items()] + [""]
    if "burst" in found:
        text += ["## Memory before and after a burst", "", "100 pairs, 1,000 messages each, window 16.", ""]
        text += ["| | before | at most | 60 s after |", "|---|---|---|---|"]
        for number, one in enumerate(found["burst"], 1):
            cells = (f"{one[key] / MIB:,.1f} MiB" for key in ("before", "most", "after"))
            text.append(f"| burst {number} | " + " | ".join(cells) + " |")
        text.append("")
    if "overload" in found:
        text += ["## Twice the knee", "", *overload_lines(found["overload"])]
    if "storm" in found:
        one = found["storm"]
        text += ["## Reconnect storm", ""]
        text += [
            f"`kill -9` under {one['sessions']:,} sessions, which come back at once: {one['back']:,} are "
            f"back, half of them after {one['p50_us'] / 1e6:.1f} s, all after {one['max_us'] / 1e6:.1f} s "
            f"({one['resumed']:,} resumed, {one['retried']:,} tried again, {one['failed']:,} failed).",
            "",
        ]
    (out / "SCALE.md").write_text("\n".join(text).rstrip() + "\n")
    (out / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
    if "sessions" in found and "archives" in found:
        plot(out / "scale.svg", found)
    print(f"scale: {out / 'SCALE.md'}")


def plot(path, found):
    """A panel for each figure."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "godwit", "font.size": 9})
    from matplotlib import pyplot

    sessions = list(found["sessions"].items())
    archives = [(one["rows"], one) for one in found["archives"]]
    panels = [(key, name, sessions, "sessions") for key, name, _ in SESSIONS if key not in ("p50_us",)]
    panels += [
        (key, name, archives, "rows in the archive") for key, name, _ in ARCHIVES if key != "page_p50_us"
    ]
    figure, axes = pyplot.subplots(2, 5, figsize=(17, 6))
    for axis, (key, name, points, size) in zip(axes.flat, panels, strict=True):
        axis.plot([at for at, _ in points], [one[key] for _, one in points], marker="o", color="#1b6ca8")
        axis.set_title(name.split(":")[-1].strip().replace(" between", "\nbetween"), fontsize=8)
        axis.set_xlabel(size)
        axis.set_ylim(bottom=0)
        axis.set_xscale("log" if size.startswith("rows") else "linear")
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
