"""The dashboard's panels, drawn with matplotlib from what a real Prometheus answers."""

import json
import re

import check
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLUMNS = 3
POINTS_MAX = 300
SERIES_MAX = 8
WINDOW = "10s"


def expression(panel_text, instances):
    """A panel's query without Grafana's variables."""
    return panel_text.replace("$__rate_interval", WINDOW).replace("$instance", instances)


def legend(form, labels):
    """Grafana's notation: {{label}}."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], "").rsplit("/", 1)[-1], form)


def draw(prometheus, start, end, path, instances=".+"):
    """One picture of all panels."""
    panels = json.loads(check.DASHBOARD.read_text())["panels"]
    rows = -(-len(panels) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(15, 2.3 * rows), squeeze=False)
    step = max(1, int((end - start) / POINTS_MAX))
    for panel, axis in zip(panels, axes.flat, strict=False):
        drawn = 0
        for target in panel["targets"]:
            for labels, points in prometheus.range(expression(target["expr"], instances), start, end, step):
                if drawn < SERIES_MAX:
                    times = [at - start for at, _ in points]
                    name = legend(target["legendFormat"], labels)
                    axis.plot(times, [value for _, value in points], linewidth=1.1, label=name)
                    drawn += 1
        unit = panel["fieldConfig"]["defaults"]["unit"]
        axis.set_title(f"{panel['title']} [{unit}]", fontsize=9, loc="left")
        axis.set_xlim(0, end - start)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=7)
        if "min" in panel["fieldConfig"]["defaults"]:
            axis.set_ylim(bottom=0)
        if drawn:
            axis.legend(fontsize=5, loc="best", framealpha=0.4, ncols=1 + drawn // 5)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=70)
