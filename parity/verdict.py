"""What a distribution study shows: every statistic, and one sentence that is no stronger than they are."""

from typing import Any, Literal

import numpy as np

from airjax.stats.agreement import compare_examples
from airjax.stats.equivalence import compare_distributions, compare_means, holm, sd_interval
from airjax.stats.intervals import mean_interval
from parity.study import FRAMEWORKS, Study

StudyVerdict = Literal["equivalent", "different", "open", "incomplete", "diverged"]

SIGNIFICANCE = 0.05
SECONDARY = {
    "kolmogorov-smirnov": "the shape of the distributions (Kolmogorov-Smirnov)",
    "mann-whitney": "which framework's networks are better (Mann-Whitney)",
    "brown-forsythe": "the spread (Brown-Forsythe)",
    "examples": "which test images are classified right",
}


def analyse(study: Study) -> dict[str, Any]:
    """Return every statistic of a study as plain values; accuracies and their differences in percentage points.

    A study that is not finished is described, but nothing is tested: testing as the runs come in, and stopping when the
    result pleases, is wrong more often than the p-values say.
    """
    plan = study.plan
    result: dict[str, Any] = {
        **{name: plan[name] for name in ("recipe", "changed", "reference", "data", "margin", "device", "environment")},
        **{name: plan[name] for name in ("content",) if name in plan},  # of a data set that has an order
        "framework": {"torch": torch_name(plan), "airjax": "airjax"},
        "planned": plan["runs"],
        "runs": {framework: sum(name == framework for name, _ in study.runs) for framework in FRAMEWORKS},
        "diverged": {framework: study.diverged(framework) for framework in FRAMEWORKS},
    }
    accuracies = {framework: study.accuracies(framework) for framework in FRAMEWORKS}
    result["networks"] = {framework: _describe(study, framework, accuracies[framework]) for framework in FRAMEWORKS}
    if study.missing():
        return result | {"verdict": "incomplete", "sentence": _incomplete(result)}
    if sum(result["diverged"].values()):
        return result | {"verdict": "diverged", "sentence": _diverged(result)}
    means = compare_means(accuracies["torch"], accuracies["airjax"], plan["margin"], whole=100.0)
    shapes = compare_distributions(accuracies["torch"], accuracies["airjax"])
    examples = compare_examples(study.correct("torch"), study.correct("airjax"))
    p_values = {
        "kolmogorov-smirnov": shapes.kolmogorov_smirnov_p,
        "mann-whitney": shapes.mann_whitney_p,
        "brown-forsythe": shapes.brown_forsythe_p,
        "examples": examples.p,
    }
    result |= {
        "means": means._asdict(),
        "distributions": shapes._asdict(),
        "examples": examples._asdict(),
        "p_adjusted": holm(p_values),
        "verdict": means.verdict,
    }
    return result | {"sentence": _sentence(result)}


def torch_name(plan: dict[str, Any]) -> str:
    """Return what the PyTorch implementation is called."""
    return f"airbench {plan['environment']['versions']['airbench']}" if plan["reference"] == "upstream" else "PyTorch"


def _describe(study: Study, framework: Any, accuracies: np.ndarray) -> dict[str, Any]:
    runs = [run for (name, _), run in sorted(study.runs.items()) if name == framework]
    parts = {part for run in runs for part in run["seconds"]}
    description: dict[str, Any] = {
        "n": len(accuracies),
        "seconds": {p: float(np.median([r["seconds"][p] for r in runs if p in r["seconds"]])) for p in sorted(parts)},
    }
    if len(accuracies) > 1:
        description |= {
            "mean": float(accuracies.mean()),
            "mean_interval": mean_interval(accuracies, whole=100.0),
            "sd": float(accuracies.std(ddof=1)),
            "sd_interval": sd_interval(accuracies),
            "min": float(accuracies.min()),
            "max": float(accuracies.max()),
        }
    return description


def _incomplete(result: dict[str, Any]) -> str:
    runs = " and ".join(
        f"{result['runs'][framework]} of {result['planned']} {result['framework'][framework]}"
        for framework in FRAMEWORKS
    )
    return (
        f"The study is not finished ({runs} networks), so nothing is concluded yet; rerunning the same command "
        "resumes it."
    )


def _diverged(result: dict[str, Any]) -> str:
    runs = " and ".join(
        f"{result['diverged'][framework]} of {result['runs'][framework]} {result['framework'][framework]}"
        for framework in FRAMEWORKS
    )
    return f"Trainings diverged ({runs} networks), so their accuracies are not compared; find out why first."


def _sentence(result: dict[str, Any]) -> str:
    means, other, margin = result["means"], result["framework"]["torch"], f"±{result['margin']:g} points"
    ours, theirs = result["networks"]["airjax"], result["networks"]["torch"]
    counts = f"{ours['n']} networks of each"
    reached = f"{ours['mean']:.2f}% with airjax and {theirs['mean']:.2f}% with {other}, over {counts}"
    (low, high), (low95, high95) = means["interval90"], means["interval95"]
    if result["verdict"] == "equivalent":
        text = (
            f"airjax and {other} reach the same mean accuracy on {result['recipe']}, to within the {margin} fixed in "
            f"advance: {reached}, and with 90% confidence the difference is between {low:+.2f} and {high:+.2f} points."
        )
        if means["difference_p"] < SIGNIFICANCE:
            text += " A difference smaller than the margin is there, beyond what chance explains."
    elif result["verdict"] == "different":
        text = (
            f"airjax and {other} do not reach the same mean accuracy on {result['recipe']}: {reached}, a difference of "
            f"{means['difference']:+.2f} points (95%: {low95:+.2f} to {high95:+.2f}), more than chance explains."
        )
    else:
        text = (
            f"These runs do not decide whether airjax and {other} reach the same mean accuracy on {result['recipe']}, "
            f"to within {margin}: {reached}, and the difference may be anything from {low:+.2f} to {high:+.2f} points. "
            f"No difference is shown either. If there is none, {means['runs_needed']:,} networks of each would show "
            "that with 90% probability."
        )
    found = [SECONDARY[name] for name, p in result["p_adjusted"].items() if p < SIGNIFICANCE]
    if found:
        return f"{text} The two do differ in {' and in '.join(found)}."
    return f"{text} In spread, shape and in which test images are classified right, no difference was found."
