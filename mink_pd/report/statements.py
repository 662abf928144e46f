"""Sentences that sum up the figures. Readers can check each against the tables."""

from collections.abc import Sequence

from mink_pd.evaluate.scorers import headline
from mink_pd.experiments.finished_runs import Row
from mink_pd.experiments.groups import Group
from mink_pd.experiments.statistics import Estimate, gain

NAMES = {
    "pointdistiller": "PointDistiller",
    "fitnets": "FitNets",
    "attention_transfer": "attention transfer",
    "similarity": "similarity-preserving",
    "overhaul": "overhaul",
    "fine_grained": "fine-grained imitation",
    "attention_guided": "attention-guided and non-local",
    "localisation": "localisation distillation",
    "logits": "logits",
    "relational": "relational",
    "sparsekd": "SparseKD",
}
CONTROLS = {
    "random": "random teacher",
    "shuffled": "teacher's rows shuffled",
    "averaged": "teacher averaged towards random",
}


def finding(group: Group) -> str:
    """The gain of the group's main row with its interval, and whether its controls gain as much."""
    row = group.main
    if row is None:
        return "Nothing was distilled, so there is no gain to report."
    metrics = main_figures(row)
    gains = {title: gain(row, group.student, metric) for metric, title in metrics.items()}
    known = {title: value for title, value in gains.items() if value is not None}
    if not known:
        return f"{name_of(row)}: the student trained alone with the same settings and seed is not among the runs."
    seeds = next(iter(known.values())).n
    text = " and ".join(f"{value.text(sign=True)} {metric}" for metric, value in known.items())
    over = f"over the same student trained alone ({seeds} seed{'s' * (seeds > 1)})"
    sentences = [f"{name_of(row)} gains {text} {over}.", _sure(known), _controls(group, row)]
    if row.first.inherits:
        sentences.insert(1, "A student that inherits weights also profits from the teacher's training.")
    return " ".join(sentences)


def main_figures(row: Row) -> dict[str, str]:
    """The main figures that a row has: metric -> title."""
    titles = headline(row.first.config)
    return {metric: title for metric, title in titles.items() if metric in row.first.figures}


def name_of(row: Row) -> str:
    """What the row's students have from their teacher, in prose: methods, then weights; without these, labels."""
    parts = [NAMES.get(name, name) for name in row.first.config.distill.methods]
    if row.first.inherits:
        parts.append("inherited weights")
    text = " + ".join(parts) or "the teacher's labels"
    return text[:1].upper() + text[1:]


def _sure(known: dict[str, Estimate]) -> str:
    if max(value.n for value in known.values()) == 1:
        return "One seed gives no interval, so this proves little."
    clear = [metric for metric, value in known.items() if value.clear]
    worse = [metric for metric in clear if known[metric].mean < 0]
    if worse:
        return f"It makes the student worse in {' and '.join(worse)}."
    if len(clear) == len(known):
        return "The intervals exclude zero."
    if clear:
        return f"Only the interval of {clear[0]} excludes zero."
    return "The intervals include zero: the gain may be noise between seeds."


def _controls(group: Group, row: Row) -> str:
    controls = group.controls(row)
    if not controls:
        return "No control was run: any second loss might give part of this gain."
    alike: dict[str, list[tuple[str, str, str]]] = {}  # by verdict: what it is, its gain, the method's lead over it
    for control in controls:
        verdict, figures = _control(group, row, control)
        alike.setdefault(verdict, []).append(figures)
    title = list(main_figures(row).values())[-1]
    return " ".join(_sentence(verdict, found, title) for verdict, found in alike.items())


def _control(group: Group, row: Row, control: Row) -> tuple[str, tuple[str, str, str]]:
    """The verdict on one control, as a template of ``title``, ``own``, ``lead``, ``them`` and verbs, and what the
    template is filled with: the control's title, its gain, and the method's lead over it."""
    what, metric = CONTROLS[control.control or "random"], list(main_figures(row))[-1]
    own, above = gain(control, group.student, metric), gain(row, control, metric)
    if own is None or above is None:
        return "{has} no seed in common with the method", (what, "", "")
    whole = gain(row, group.student, metric)
    if above.n == 1:
        verdict = "with this one seed, the method is {lead} above {them}"
    elif not (above.clear and above.mean > 0):
        verdict = (
            "{gains} {own} {title}; the interval of the method's lead, {lead}, includes zero, so the gain may not come"
            " from the teacher"
        )
    elif whole is None or not whole.clear or whole.mean < 0:
        verdict = "the method is {lead} above {them}"
    else:
        verdict = "the method is {lead} above {them}, so it transfers knowledge of the teacher"
    return "{gains} {own} {title}; " + verdict, (what, own.text(sign=True), above.text(sign=True))


def _sentence(verdict: str, controls: list[tuple[str, str, str]], title: str) -> str:
    what, own, lead = (_listed(texts) for texts in zip(*controls, strict=True))
    several = len(controls) > 1
    words = (
        {"has": "have", "gains": "gain", "them": "them"} if several else {"has": "has", "gains": "gains", "them": "it"}
    )
    end = verdict.format(own=own, lead=lead, title=title, **words)
    return f"Its control{'s' * several} ({what}) {end}."


def _listed(texts: Sequence[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]
