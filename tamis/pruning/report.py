"""A certificate for people: a Markdown report, and the curve that it shows, drawn as SVG. Both are deterministic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from tamis.eval.tables import Cell, Table, format_p
from tamis.pruning.certificate import Certificate, Claim

_CORRECTIONS = {
    "holm": "Holm's correction over all levels, pipelines and measures",
    "bonferroni": "Bonferroni's correction over all levels, pipelines and measures",
    "sequence": "fixed-sequence testing, mildest level first, every pipeline and measure at each",
}
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e5ea2", "#b8860b", "#4d4d4d")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 340, 56, 16, 16, 44


def percent(value: float) -> str:
    """Return a share as per cent."""
    return f"{100 * value:g} %"


def write_report(certificate: Certificate, curve: str | None = None) -> str:
    """Return the Markdown report.

    Args:
        certificate: what was shown.
        curve: file name of the drawing to show, if there is one.
    """
    rules, inputs = certificate.rules, certificate.inputs
    measures = ", ".join(measure.name for measure in rules.measures)
    choice, confirmation = map(len, certificate.halves)
    lines = [
        "# Pruning certificate",
        "",
        f"**{_verdict(certificate)}**",
        "",
        (
            f"Quality model `{inputs['quality']['address']}` ({inputs['quality']['fingerprint'][:16]}), index {inputs['index']}, "
            f"generation {inputs['generation']}, {inputs['rows']:,} rows."
        ),
        "",
        (
            f"Equivalent means: the paired equivalence test (TOST) on {measures} shows the mean to lie within ±{rules.bound}"
            f"{' of the unpruned mean' if rules.bound.relative else ''}, at alpha {rules.alpha:g}, with "
            f"{_CORRECTIONS[rules.correction]}. {choice} topics chose the level, {confirmation} others confirmed it (seed "
            f"{rules.seed}). A level counts only with all milder ones. Judgements are the original ones: a pruned relevant "
            "document is a missed one."
        ),
        "",
    ]
    if curve is not None:
        lines += [f"![Effectiveness by share of the rows dropped]({curve})", ""]
    lines += [_levels(certificate).render("markdown")]
    for measure in rules.measures:
        lines += ["", f"## {measure.name}", "", _claims(certificate, measure.name).render("markdown")]
    lines += ["", "## Cost", "", _costs(certificate).render("markdown"), ""]
    lines += [
        (
            "Times were measured on the machine that made this certificate, topics run as one batch. Energy is an estimate: "
            f"time × {rules.watts:g} W, an assumption about the machine. The time that the quality model took is not in it."
        )
    ]
    return "\n".join(lines).rstrip() + "\n"


def _verdict(certificate: Certificate) -> str:
    if certificate.certified:
        if certificate.certified == certificate.chosen:
            return f"{percent(certificate.certified)} of the rows can go."
        return (
            f"{percent(certificate.certified)} of the rows can go. (The first half of the topics allowed "
            f"{percent(certificate.chosen)}, the second confirms no more than this.)"
        )
    if certificate.chosen:
        return f"Nothing is certified: {percent(certificate.chosen)} was chosen, and not confirmed on the other topics."
    return "Nothing is certified: not even the first level was shown to be equivalent on the topics that choose."


def _levels(certificate: Certificate) -> Table:
    whole = certificate.rungs[0].bytes["total"]
    rows = []
    for number, rung in enumerate(certificate.rungs):
        confirmed = certificate.confirmation_p[number - 1] if 0 < number <= len(certificate.confirmation_p) else None
        chose = certificate.choice_p[number - 1] if number else None
        mark = "certified" if number and rung.level <= certificate.certified else ""
        rows.append(
            (
                Cell(rung.level, text=percent(rung.level)),
                Cell(rung.kept, text=f"{rung.kept:,}"),
                Cell(rung.bytes["total"] / whole, text=percent(round(rung.bytes["total"] / whole, 3))),
                Cell(chose, text=format_p(chose)),
                Cell(confirmed, text=format_p(confirmed)),
                Cell(mark or None, text=mark or " "),
            )
        )
    return Table(("dropped", "rows left", "size", "p, choice", "p, confirmation", ""), tuple(rows))


def _claims(certificate: Certificate, measure: str) -> Table:
    """Means of all topics, and the differences with their intervals in each half."""
    found = {(claim.level, claim.pipeline): claim for claim in certificate.claims if claim.measure == measure}
    rows = []
    identical = False
    for rung in certificate.rungs:
        for pipeline in certificate.pipelines:
            mean = float(rung.values(pipeline, measure).mean())
            claim = found.get((rung.level, pipeline))
            choice, confirmation = _differences(claim)
            identical |= "=" in (choice, confirmation)
            cells = (
                Cell(rung.level, text=percent(rung.level)),
                Cell(pipeline),
                Cell(mean),
                Cell(choice),
                Cell(confirmation),
            )
            rows.append((*cells, Cell(rung.trials[pipeline].judged)))
    notes = ("= : no topic changed.",) if identical else ()
    header = ("dropped", "pipeline", "mean", "difference, choice", "difference, confirmation", "Judged@10")
    return Table(header, tuple(rows), notes)


def _differences(claim: Claim | None) -> tuple[str, str]:
    if claim is None:
        return "-", "-"
    shown = []
    for half in (claim.choice, claim.confirmation):
        if half is None:
            shown.append("-")
        elif half.identical:
            shown.append("=")
        else:
            shown.append(f"{half.difference:+.4f} [{half.low:+.4f}, {half.high:+.4f}], ±{half.bound:.4f}")
    return shown[0], shown[1]


def _costs(certificate: Certificate) -> Table:
    rows = []
    for level in certificate.to_json()["levels"]:
        for pipeline, cost in level["pipelines"].items():
            rows.append(
                (
                    Cell(level["level"], text=percent(level["level"])),
                    Cell(pipeline),
                    Cell(level["bytes"]["total"], text=f"{level['bytes']['total']:,}"),
                    Cell(level["cut"]["seconds"], text=f"{level['cut']['seconds']:.2f}"),
                    Cell(cost["seconds_per_query"], text=f"{1000 * cost['seconds_per_query']:.3f}"),
                    Cell(cost["watt_hours_per_1000_queries"]),
                )
            )
    header = ("dropped", "pipeline", "bytes", "cut, s", "ms a query", "Wh a 1000 queries")
    return Table(header, tuple(rows))


def draw_curve(certificate: Certificate, measure: str | None = None) -> str:
    """Return an SVG drawing: mean of each pipeline by share dropped, relative to the unpruned one, and the bound.

    Args:
        certificate: what was shown.
        measure: canonical name; the first if not given.
    """
    chosen = measure or certificate.rules.measures[0].name
    lines: dict[str, list[tuple[float, float]]] = {}
    for pipeline in certificate.pipelines:
        whole = float(certificate.rungs[0].values(pipeline, chosen).mean())
        lines[pipeline] = [(r.level, float(r.values(pipeline, chosen).mean()) / whole) for r in certificate.rungs]
    right = certificate.rungs[-1].level
    top = max(1.1, *(y for points in lines.values() for _, y in points))

    def place(x: float, y: float) -> str:
        across = _LEFT + x / right * (_WIDTH - _LEFT - _RIGHT)
        return f"{across:.1f},{_TOP + (1 - y / top) * (_HEIGHT - _TOP - _BOTTOM):.1f}"

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(chosen)} of the pruned index, relative to the whole one</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    bound = certificate.rules.bound
    if bound.relative:
        low, high = place(0, 1 - bound.value).split(",")[1], place(0, 1 + bound.value).split(",")[1]
        drawn.append(
            f'<rect x="{_LEFT}" y="{high}" width="{_WIDTH - _LEFT - _RIGHT}" height="{float(low) - float(high):.1f}" '
            'fill="#e8e4da"/>'
        )
    drawn += _axes(place, right, top, chosen)
    if certificate.certified:
        x, left = place(certificate.certified, 0).split(",")[0], certificate.certified < right / 2
        drawn.append(
            f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{_HEIGHT - _BOTTOM}" stroke="#444" stroke-dasharray="4 3"/>'
            f'<text x="{float(x) + (4 if left else -4):.1f}" y="{_HEIGHT - _BOTTOM - 6}" '
            f'text-anchor="{"start" if left else "end"}">certified: {percent(certificate.certified)}</text>'
        )
    for number, (pipeline, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(place(x, y) for x, y in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(
            f'<text x="{_LEFT + 10}" y="{_HEIGHT - _BOTTOM - 24 - 16 * (len(lines) - 1 - number)}" fill="{colour}">'
            f"{escape(pipeline)}</text>"
        )
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _axes(place: Callable[[float, float], str], right: float, top: float, measure: str) -> Sequence[str]:
    bottom = _HEIGHT - _BOTTOM
    drawn = [f'<path d="M{_LEFT},{_TOP}V{bottom}H{_WIDTH - _RIGHT}" fill="none" stroke="#444"/>']
    for tick in range(int(top * 5) + 1):
        y = place(0, tick / 5).split(",")[1]
        drawn.append(f'<text x="{_LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{tick * 20} %</text>')
    for step in range(6):
        x = place(right * step / 5, 0).split(",")[0]
        label = percent(round(right * step / 5, 3))
        drawn.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{label}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    drawn.append(
        f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">rows dropped; {escape(measure)}, 100 % is the whole '
        "index</text>"
    )
    return drawn
