"""Draw the figures of a sweep's report: each shows some settings, in the same colours."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from airjax.report.drawing import COLORS, GREY, make_axes, make_grid
from airjax.report.survey import Survey
from airjax.stats.variance import reliability

WIDTH = 7.4  # inches
BAND = (5, 95)  # percentiles of the networks
BINS = 10  # of the reliability diagram
LETTER, LEGEND_ROW = 0.07, 0.19  # inches: a letter's width, a row's height


def draw_figures(survey: Survey) -> dict[str, Figure]:
    """Draw all figures of a survey, by name; those of a test set carry its name."""
    details = {setting.title: setting.details for setting in survey.settings if setting.details is not None}
    drawn = {"accuracy": draw_accuracies(list(details), [one.accuracies for one in details.values()])}
    curves = {title: one.curves for title, one in details.items() if one.curves is not None}
    if curves:
        drawn["curves"] = draw_curves(list(curves), list(curves.values()))
    for number, test in enumerate(survey.tests):
        titles = [s.title for s in survey.settings if s.test == number and s.details is not None]
        if test.dataset is None or not titles:
            continue
        votes = [details[title].votes for title in titles]
        by_class = [one for title in titles if (one := details[title].class_accuracies) is not None]
        images, labels, classes = test.dataset.test_images, test.dataset.test_labels, test.dataset.classes
        pooled = np.sum(votes, 0)
        drawn |= {
            f"classes-{test.name}": draw_classes(titles, by_class, classes),
            f"confusion-{test.name}": draw_confusion(pooled, labels, classes),
            f"reliability-{test.name}": draw_reliability(titles, votes, labels),
            f"difficulty-{test.name}": draw_difficulty(titles, votes, labels),
            f"hardest-{test.name}": draw_hardest(pooled, images, labels, classes),
        }
    return drawn


def draw_accuracies(titles: list[str], accuracies: list[np.ndarray]) -> Figure:
    """Draw a histogram of the accuracies [R] of each setting, in percent, on one scale, with its mean."""
    figure, grid = make_grid(WIDTH, 0.7 + 1.05 * len(titles), len(titles), 1, sharex=True)
    pooled = np.concatenate(accuracies)
    counts = [len(values) for values in accuracies]
    bins = np.histogram_bin_edges(pooled, bins=max(8, min(40, round(2 * max(counts) ** 0.5))))
    for axes, title, values, color in zip(grid[:, 0], titles, accuracies, COLORS, strict=False):
        axes.hist(values, bins=list(bins), color=color, alpha=0.35)
        axes.axvline(float(values.mean()), color=color, linewidth=1.4, linestyle="--")
        axes.set_title(_short(f"{title}, n={len(values)}", 90))
        axes.yaxis.get_major_locator().set_params(integer=True)
    grid[len(titles) // 2, 0].set_ylabel("networks")
    grid[-1, 0].set_xlabel("test accuracy, %")
    return figure


def draw_curves(titles: list[str], curves: list[np.ndarray]) -> Figure:
    """Draw the mean training loss and training accuracy [R,E,2] after each epoch, and a band of 90% of the networks."""
    figure, grid = make_grid(WIDTH, 2.9, 1, 2)
    for column, name in enumerate(("training loss", "training accuracy, %")):
        axes = grid[0, column]
        for values, color in zip(curves, COLORS, strict=False):
            known = np.flatnonzero(~np.isnan(values[:, :, column]).all(0))
            shown = values[:, known, column]
            low, high = np.nanpercentile(shown, BAND, axis=0)
            axes.fill_between(known + 1, low, high, color=color, alpha=0.2, linewidth=0)
            axes.plot(known + 1, np.nanmean(shown, 0), color=color, marker="o", markersize=3, linewidth=1.4)
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(figure, titles)
    return figure


def draw_classes(titles: list[str], class_accuracies: list[np.ndarray], classes: tuple[str, ...]) -> Figure:
    """Draw the mean accuracy of each class over the networks [R,K], in percent, and the range of 90% of them."""
    figure, axes = make_axes(WIDTH, 3.1)
    places = np.arange(len(classes))
    width = 0.7 / len(titles)
    for number, (values, color) in enumerate(zip(class_accuracies, COLORS, strict=False)):
        at = places + width * (number - (len(titles) - 1) / 2)
        low, high = np.percentile(values, BAND, axis=0)
        axes.vlines(at, low, high, color=color, alpha=0.4, linewidth=min(5.0, 30 * width))
        axes.plot(at, values.mean(0), "o", color=color, markersize=4)
    axes.set_xticks(places, classes, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_ylabel("accuracy, %")
    axes.grid(axis="y", alpha=0.3)
    _legend(figure, titles)
    return figure


def draw_confusion(votes: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> Figure:
    """Draw the percentage that each class gets of the votes [M,K] on the images of a true class."""
    by_class = np.stack([votes[labels == k].sum(0) for k in range(len(classes))]).astype(float)
    fractions = 100 * by_class / np.maximum(1, by_class.sum(1, keepdims=True))
    figure, axes = make_axes(5.6, 4.8)
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(fractions.shape):
        value = fractions[row, column]
        color = "white" if value > 55 else "#1b1f24" if value >= 0.05 else GREY
        text = f"{value:.0f}" if value >= 9.95 or value < 0.05 else f"{value:.1f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("voted for")
    axes.set_ylabel("true class")
    return figure


def draw_difficulty(titles: list[str], votes: list[np.ndarray], labels: np.ndarray) -> Figure:
    """Draw how many test images are classified wrong by what percentage of each setting's networks; votes [M,K]."""
    figure, axes = make_axes(WIDTH, 2.8)
    fewest = min(int(one[0].sum()) for one in votes)
    # Fractions of few networks are few: each in the middle of a bin of its own.
    edges = (np.arange(fewest + 2) - 0.5) / fewest if fewest < 20 else np.linspace(0, 1, 21)
    for one, color in zip(votes, COLORS, strict=False):
        axes.stairs(np.histogram(wrong_fractions(one, labels), edges)[0], 100 * edges, color=color, linewidth=1.4)
    axes.set_xlabel("networks that classify the image wrong, %")
    axes.set_ylabel("test images")
    _legend(figure, titles)
    return figure


def draw_hardest(
    votes: np.ndarray, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], count: int = 10
) -> Figure:
    """Draw the test images [M,32,32,3] that most networks classify wrong, by the votes [M,K] of all."""
    fractions, runs = wrong_fractions(votes, labels), votes[0].sum()
    # Of equally hard images, first the one whose wrong class has most votes.
    hardest = np.lexsort((-votes.max(1), -fractions))[:count]
    columns = 5
    figure, grid = make_grid(WIDTH, 2.05 * -(-len(hardest) // columns), -(-len(hardest) // columns), columns)
    for axes in grid.ravel():
        axes.axis("off")
    for axes, index in zip(grid.ravel(), hardest, strict=False):
        voted = int(votes[index].argmax())
        axes.imshow(images[index], interpolation="nearest")
        axes.set_title(
            f"{classes[labels[index]]}: {100 * (1 - fractions[index]):.0f}%\n"
            f"{classes[voted]}: {100 * votes[index, voted] / runs:.0f}%\nimage {index}",
            fontsize=8,
        )
    return figure


def draw_reliability(titles: list[str], votes: list[np.ndarray], labels: np.ndarray) -> Figure:
    """Draw how often a class is right, against the fraction of the networks that vote for it; votes [M,K]."""
    figure, axes = make_axes(4.6, 4.1)
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1)
    for one, color in zip(votes, COLORS, strict=False):
        found = reliability(one, labels, BINS)
        filled = found.pairs > 0
        pairs = found.pairs[filled]
        axes.plot(100 * found.votes[filled] / pairs, 100 * found.right[filled] / pairs, "o-", color=color, markersize=4)
    axes.set_xlabel("networks that vote for the class, %")
    axes.set_ylabel("images that are of the class, %")
    axes.set_aspect("equal")
    _legend(figure, titles)
    return figure


def wrong_fractions(votes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the fraction of the networks that classify each image wrong: votes [M,K], labels [M] -> [M]."""
    return 1 - votes[np.arange(len(labels)), labels] / votes[0].sum()


def _legend(figure: Figure, titles: list[str]) -> None:
    from matplotlib.lines import Line2D

    if len(titles) == 1:
        return
    texts = [_short(title, int(figure.get_figwidth() / LETTER) - 8) for title in titles]
    # The legend's rows come on top of the height that the axes were given.
    columns = max(1, int(figure.get_figwidth() / (LETTER * (max(map(len, texts)) + 8))))
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * -(-len(texts) // columns))
    handles = [Line2D([], [], color=color, marker="o", markersize=4) for color, _ in zip(COLORS, titles, strict=False)]
    figure.legend(handles, texts, loc="outside lower left", ncols=columns, frameon=False)


def _short(title: str, length: int) -> str:
    return textwrap.shorten(title, length, placeholder=" …")
