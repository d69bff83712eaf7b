"""Show a data set on a page: its classes, some images of each, and what a recipe's augmentation makes of them."""

from typing import Any

import numpy as np

from airjax.data import Dataset
from airjax.recipes.recipe import Recipe
from airjax.report.augmented import augmented_strip
from airjax.report.charts import Row, Spec, axis, color, make_chart, tips
from airjax.report.page import Page, fill_page
from airjax.report.pictures import Cell, Strip, StripRow, encode_image

PER_CLASS = 8  # images
SPLITS = ("training", "test")


def render_preview(dataset: Dataset, name: str, recipe: Recipe, seed: int, notes: list[str]) -> Page:
    """Render the page of a data set, with the augmentation of a recipe that fits it, as a seed draws it."""
    charts = {"counts": draw_counts(dataset)}
    values: dict[str, Any] = {
        "title": f"The data set {dataset.name}",
        "verdict": "open" if notes or dataset.content == "unknown" else "complete",
        "headline": (
            f"{len(dataset.train_images):,} training and {len(dataset.test_images):,} test images of "
            f"{len(dataset.classes)} classes"
        ),
        "sentence": " ".join([f"Its content is {dataset.content}.", *notes]),
        "facts": _facts(dataset),
        "examples": class_strip(dataset),
        "strip": augmented_strip(recipe, dataset, seed),
        "recipe": name,
        "seed": seed,
        "augmentation": _describe(recipe),
    }
    return fill_page("preview.html", values, charts)


def draw_counts(dataset: Dataset) -> Spec:
    """Draw how many images of each class the splits have."""
    rows: list[Row] = []
    for split, labels in zip(SPLITS, (dataset.train_labels, dataset.test_labels), strict=True):
        counts = np.bincount(labels, minlength=len(dataset.classes))
        rows += [
            {"class": name, "setting": split, "images": int(count)}
            for name, count in zip(dataset.classes, counts, strict=True)
        ]
    encoding = {
        "y": {"field": "class", "type": "nominal", "sort": None, "title": None},
        "yOffset": {"field": "setting", "type": "nominal", "scale": {"domain": list(SPLITS)}},
        "x": axis("images", "images", zero=True),
        "color": color(list(SPLITS)),
        "tooltip": tips(**{"class": "class", "setting": "split", "images": "images"}),
    }
    return make_chart([{"mark": "bar", "encoding": encoding}], rows, 24 * len(dataset.classes), "Images per class")


def class_strip(dataset: Dataset) -> Strip:
    """Show the first training images of each class."""
    rows = []
    for k, name in enumerate(dataset.classes):
        indices = np.flatnonzero(dataset.train_labels == k)[:PER_CLASS]
        cells = [Cell(encode_image(dataset.train_images[i]), f"{name}, training image {i}") for i in indices]
        rows.append(StripRow(name, cells))
    return Strip([""], rows)


def _facts(dataset: Dataset) -> list[tuple[str, str]]:
    info = dataset.info
    mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (info.mean, info.std))
    return [
        ("images", f"{info.image_size} x {info.image_size}, {'grey' if info.channels == 1 else 'colours'}"),
        ("mean of each channel", mean),
        ("standard deviation", std),
        ("labels", dataset.labels or "its own"),
        ("tested on", f"the {dataset.split} split"),
        ("fingerprint", dataset.fingerprint[:12]),
    ]


def _describe(recipe: Recipe) -> str:
    part = recipe.augmentation
    texts = [f"{part.flip} flip"]
    texts += [f"translation by up to {part.translate} pixels"] if part.translate else []
    texts += [f"cutout of {part.cutout} pixels"] if part.cutout else []
    return ", ".join(texts)
