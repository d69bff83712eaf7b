"""Experiments need the packages of a report."""

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install '.[report]')")
pytest.importorskip("statsmodels", reason="statsmodels is not installed (pip install '.[report]')")
