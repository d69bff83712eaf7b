import re

import pytest

from airjax import environment


def test_the_kind_of_a_processor_follows_from_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch("[0-9a-f]{8}", environment.cpu_kind())
    assert environment.cpu_kind() == environment.cpu_kind()

    def kind(flags: str | None) -> str:
        monkeypatch.setattr(environment, "_cpu_fact", {"model name": "a processor", "flags": flags}.get)
        return environment.cpu_kind()

    assert kind("fma avx2") == kind("fma avx2") != kind("fma avx2 avx512f")
    assert re.fullmatch("[0-9a-f]{8}", kind(None))  # a system that does not say


def test_a_processor_s_name_comes_with_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_cpu_fact", lambda _: None)
    assert re.fullmatch(r".+, \d+ cores", environment.cpu_name())
