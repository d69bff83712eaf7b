"""The earlier name of `airjax.sweep.store`."""

from airjax.sweep.store import *  # noqa: F403 whatever is public there
