"""Draw a timeline as a picture, with matplotlib: the extra ``timeline``."""

from __future__ import annotations

import io
import shlex
import sys
import warnings
from datetime import datetime, timezone
from typing import Any

from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.reports import timeline
from certbot_pinkeep.reports.timeline import Timeline

_COLOURS = {"staged": "#b8c4d6", "service": "#1f4e8c", "served": "#c9731d", "held": "#f2cfa4"}


def svg(line: Timeline) -> bytes:
    """Draw the timeline as SVG. The same timeline gives the same bytes.

    :raises PinkeepError: if matplotlib is not installed
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PinkeepError(
            "pinkeep cannot draw the picture: matplotlib is not installed.",
            "Without -o this command prints the timeline as text.",
            run=f"{shlex.quote(sys.executable)} -m pip install 'matplotlib>=3.6'",
        ) from error
    rows = (*line.keys, *line.holdings)
    # Text stays text, and ids do not change from run to run.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "certbot-pinkeep"}):
        figure = Figure(figsize=(10, 1.6 + 0.26 * len(rows)), layout="constrained")
        axes: Any = figure.add_subplot()
        axes.xaxis_date()  # matplotlib 3.6 does not see it in the bars
        for place, row in enumerate(rows):
            for bar in row.bars:
                start, width = _naive(bar.start), bar.end - bar.start
                axes.barh(place, width, left=start, height=0.7, color=_COLOURS[bar.kind])
        axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(_naive(line.start), _naive(line.end))
        axes.axhline(len(line.keys) - 0.5, color="#888888", linewidth=0.8)
        axes.axvline(_naive(line.now), color="#333333", linewidth=1, label="now")
        if line.safe is not None and line.safe > line.now:
            axes.axvline(
                _naive(line.safe), color="#2a8a3e", linestyle="--", label="rollover safe from"
            )
        axes.set_title(f"Keyring {line.name}: {timeline.verdict(line)}", fontsize=10)
        _legend(axes)
        drawn = io.BytesIO()
        with warnings.catch_warnings():
            # Of letters that its own fonts lack: as text, they are drawn by who shows the picture.
            warnings.simplefilter("ignore")
            figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def _legend(axes: Any) -> None:
    from matplotlib.patches import Patch

    marks, _ = axes.get_legend_handles_labels()
    patches = [
        Patch(color=_COLOURS[kind], label=label) for kind, label in timeline.MEANINGS.items()
    ]
    # Below the axes, as matplotlib 3.6 knows it, too: Debian 12 has that one.
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 3}
    axes.legend(handles=[*patches, *marks], ncols=6, fontsize=8, frameon=False, **place)


def _naive(time: datetime) -> datetime:
    return time.astimezone(timezone.utc).replace(tzinfo=None)
