"""The page: all pictures with what they show, opened without a server."""

import html
import re
from collections.abc import Sequence

from tools.model.dashboard import Dashboard, Panel

NOTICE = "Preview, drawn from the dashboard's JSON and Prometheus' answers; not Grafana."

_STYLE = """
:root { color-scheme: dark; }
body { background: #111217; color: #ccccdc; font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1640px;
  padding: 0 16px 48px; }
.notice { background: #3d2b00; border-left: 4px solid #ff9830; padding: 8px 14px; }
.panels { display: grid; gap: 12px; grid-template-columns: repeat(24, minmax(0, 1fr)); }
h2 { margin: 40px 0 4px; } h3 { font-size: 15px; margin: 8px 0 2px; } h2 + p { margin-top: 0; }
.row { font-size: 18px; grid-column: 1 / -1; margin: 20px 0 0; }
figure { margin: 0; } figure img { display: block; height: auto; max-width: 100%; }
figcaption p { color: #a0a0ad; font-size: 13px; margin: 2px 0 8px; overflow-wrap: anywhere; }
@media (max-width: 1100px) { .panels { grid-template-columns: minmax(0, 1fr); }
  .panels > * { grid-row: auto !important; } figure { grid-column: auto !important; } }
"""


def page(dashboards: Sequence[Dashboard], source: str, when: str) -> str:
    """The HTML; pictures lie beside it, `<uid>/<id>.png`.

    Args:
        dashboards: in order.
        source: where the values come from, for people.
        when: from when until when, for people.
    """
    parts = "\n".join(_dashboard(one) for one in dashboards)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Preview of the dashboards</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Preview of the dashboards</h1>
<p class="notice">{NOTICE}</p>
<p>From {html.escape(source)}; {html.escape(when)}. Dashed horizontal lines are thresholds, shaded times are what the
dashboard annotates (red: a critical alert fired; orange: a warning), pink diamonds are requests whose trace can be
opened.</p>
{parts}
</body>
</html>
"""


def _dashboard(dashboard: Dashboard) -> str:
    lines = sorted({panel.place[1] for panel in dashboard.opened})
    panels = "\n".join(_panel(dashboard, panel, lines.index(panel.place[1]) + 1) for panel in dashboard.opened)
    return f"""<h2 id="{html.escape(dashboard.uid)}">{html.escape(dashboard.title)}</h2>
<p>{html.escape(str(dashboard.data.get("description", "")))}
<a href="{html.escape(dashboard.uid)}.png">All of it as one picture</a></p>
<section class="panels">
{panels}
</section>"""


def _linked(text: str) -> str:
    return re.sub(r"\[(\w+)\]\((https?://[^)]+)\)", r'<a href="\2">\1</a>', html.escape(text))


def _panel(dashboard: Dashboard, panel: Panel, line: int) -> str:
    title = html.escape(panel.title)
    if panel.type == "row":
        return f'<h3 class="row" style="grid-row: {line}">{title}</h3>'
    column, _, width, _ = panel.place
    described = "".join(f"<p>{_linked(part)}</p>" for part in re.split(r"\n\n+", panel.description) if part)
    return f"""<figure style="grid-area: {line} / {column + 1} / auto / span {width}">
<img src="{html.escape(dashboard.uid)}/{panel.data["id"]}.png" alt="{title}">
<figcaption><h3>{title}</h3>{described}</figcaption>
</figure>"""
