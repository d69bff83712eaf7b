"""The earlier name of `airjax.training.loop`."""

from airjax.training.loop import *  # noqa: F403 whatever is public there
