"""What the tests check of airjax's annotations: the shapes and dtypes of arrays, by jaxtyping and beartype.

Other annotations are pyright's: at run time the library's own messages answer for them, which tests look at.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

# Functions that say themselves which arrays they do not take, as the constructors of data classes do.
OWN_MESSAGES = {
    *("infer", "make_members", "run_many", "seed_keys"),
    *("calibration_error", "compare_examples", "disagreement", "fit_datamodels", "half_votes", "run_variance"),
}
CONF = BeartypeConf(is_pep484_tower=True)


def check_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the annotations of a function that are about arrays, whenever it is called."""
    hints = {name: hint for name, hint in function.__annotations__.items() if mentions_arrays(hint)}
    if not hints or function.__name__ in {"__init__", *OWN_MESSAGES}:
        return function
    function.__annotations__ = hints
    return beartype(function, conf=CONF)


def mentions_arrays(hint: Any) -> bool:
    """Whether an annotation has jaxtyping's types in it."""
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return True
    return any(mentions_arrays(part) for part in get_args(hint))
