"""The features of the ladder, the methods that it compares, and what the paper reports of them."""

from typing import Any

# What leaves a feature out; TOML has no None. Lookahead comes with its rate, schedule and BatchNorm momentum.
OFF: dict[str, dict[str, Any]] = {
    "whitening": {"whiten": False, "whiten_bias_epochs": "none"},
    "dirac": {"dirac": False},
    "scaled biases": {"bias_scale": 1.0},
    "lookahead": {
        "lookahead": False,
        "learning_rate": 10.0,
        "batchnorm_momentum": 0.9,
        "schedule_peak": 0.2,
        "schedule_end": 0.0,
    },
    "multi-crop TTA": {"tta_level": 1},
    "alternating flip": {"flip": "random"},
}
FEATURES = tuple(OFF)
ALL, WHITENED = frozenset(FEATURES), frozenset(FEATURES[:1])
TOLD_BY = ("whiten", "dirac", "bias_scale", "lookahead", "tta_level", "flip")  # fields that tell the methods apart
ON: dict[str, Any] = {
    "whiten": True, "dirac": True, "bias_scale": 64.0, "lookahead": True, "tta_level": 2, "flip": "alternating"
}  # fmt: skip

# Epochs to 94%, of the ladder's steps in order.
LADDER = {
    "baseline": 45.0,
    "whitening": 21.0,
    "dirac": 18.0,
    "scaled biases": 13.5,
    "lookahead": 12.0,
    "multi-crop TTA": 10.8,
    "alternating flip": 9.9,
}
# Of the whole method without one feature, and of the whitened baseline with one more (Figure 4).
REMOVED = {
    "whitening": 22.0,
    "dirac": 12.7,
    "scaled biases": 14.2,
    "lookahead": 10.7,
    "multi-crop TTA": 11.2,
    "alternating flip": 10.8,
}
ADDED = {
    "dirac": 18.0,
    "scaled biases": 16.5,
    "lookahead": 20.2,
    "multi-crop TTA": 18.1,
    "alternating flip": 20.0,
}

Method = frozenset[str]  # the features that it has


def rung(step: int) -> Method:
    """Return the ladder's method with its first features, so many of them."""
    return frozenset(FEATURES[:step])


def methods() -> list[Method]:
    """List the different methods of ladder and Figure 4, each once."""
    found = [rung(step) for step in range(len(FEATURES) + 1)]
    found += [ALL - {feature} for feature in REMOVED]
    found += [WHITENED | {feature} for feature in ADDED]
    return list(dict.fromkeys(found))


def changes_of(method: Method) -> dict[str, Any]:
    """Return the fields of the recipe that a method changes, for a plan."""
    return {name: value for feature in FEATURES if feature not in method for name, value in OFF[feature].items()}


def fields_of(method: Method) -> dict[str, Any]:
    """Return the values of the fields that tell a method from the others."""
    changes = ON | changes_of(method)
    return {name: changes[name] for name in TOLD_BY}
