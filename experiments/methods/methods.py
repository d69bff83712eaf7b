"""The methods that are compared: the published recipes scaled down as mini is, and what is added to them."""

from typing import Any, NamedTuple

from airjax.recipes.mini import MINI, scale_down
from airjax.recipes.published import RECIPES, changed_fields

SGD, MUON, HIVERGE, DEEP, PROXY = "sgd", "muon", "hiverge", "96", "proxy"

# Batches are as large beside mini's as the recipe's are beside those of 94.
BATCHES = {MUON: 100, HIVERGE: 75, DEEP: MINI.batch_size}


class Family(NamedTuple):
    """Methods of one recipe."""

    recipe: str
    changes: dict[str, Any]


class Method(NamedTuple):
    """A recipe, and what is added to it."""

    family: str
    added: tuple[str, ...] = ()  # of ADDED

    @property
    def name(self) -> str:
        """What it is called in tables and figures."""
        return " + ".join((self.family, *self.added))

    def changes(self, epochs: float) -> dict[str, Any]:
        """Return the fields that a plan changes for a training of this length, beside those of the family."""
        changes: dict[str, Any] = {"epochs": epochs}
        for one in self.added:
            changes |= ADDED[one]
        if CURRICULUM in self.added:  # a third of the training for each size
            changes["curriculum_epochs"] = [round(epochs / 3, 4), round(2 * epochs / 3, 4)]
        return changes

    def told_by(self) -> dict[str, Any]:
        """Return the values of the fields that tell it from the others of its family."""
        return {"curriculum": CURRICULUM in self.added, "tail": TAIL in self.added} | {
            "crop_sampling": "low-discrepancy" if CROPS in self.added else "random"
        }


CURRICULUM, TAIL, CROPS = "curriculum", "tail", "low-discrepancy crops"
ADDED: dict[str, dict[str, Any]] = {
    CURRICULUM: {"curriculum": True},
    # 94-curriculum's, a quarter as long: these trainings have about a quarter of its steps.
    TAIL: {"tail": True, "tail_steps": 1, "tail_lead": 2, "tail_every": 1},
    CROPS: {"crop_sampling": "low-discrepancy"},
}


def _scaled(family: str, recipe: str) -> Family:
    changed = changed_fields(recipe, scale_down(RECIPES[recipe], BATCHES[family]))
    return Family(recipe, {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()})


FAMILIES = {
    SGD: Family("mini", {}),
    MUON: _scaled(MUON, "94-muon"),
    HIVERGE: _scaled(HIVERGE, "94-hiverge"),
    DEEP: _scaled(DEEP, "96"),
    PROXY: Family("mini-faster", {}),
}
METHODS = (
    Method(SGD),
    Method(SGD, (CROPS,)),
    Method(SGD, (CURRICULUM,)),
    Method(DEEP),
    Method(PROXY),
    Method(MUON),
    Method(MUON, (CROPS,)),
    Method(MUON, (TAIL,)),
    Method(MUON, (CURRICULUM,)),
    Method(MUON, (CURRICULUM, TAIL)),
    Method(MUON, (CURRICULUM, TAIL, CROPS)),
    Method(HIVERGE),
)


def base_of(method: Method) -> Method | None:
    """Return the method that one is said to save operations over: of its size of network; None for these themselves."""
    base = Method(DEEP if method.family in (DEEP, PROXY) else SGD)
    return None if method == base else base
