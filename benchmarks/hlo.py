"""A GPU program as XLA writes it down: its computations, of which one is a training step."""

import re
from typing import NamedTuple

COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*?)\)")
ARRAY = re.compile(r"\b([a-z]+)(\d*)\[([\d,]*)\]")  # letters and bits of the type, sizes
CONVOLUTION = 'custom_call_target="__cudnn$conv'


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    shape: str  # of what it makes: an array, or a tuple of them
    operation: str
    operands: tuple[str, ...]
    line: str  # with all its attributes


def step_of(text: str) -> list[Instruction]:
    """Return the instructions of one step, the body of a compiled scan."""
    found = ((line, INSTRUCTION.match(line)) for line in body_of(text))
    return [
        Instruction(match[1], match[2], match[3], tuple(re.findall(r"[\w.-]+", match[4])), line)
        for line, match in found
        if match
    ]


def computations(text: str) -> dict[str, list[str]]:
    """Return the lines of every computation of a program, by its name."""
    found: dict[str, list[str]] = {"": []}
    lines = found[""]
    for line in text.splitlines():
        begun = COMPUTATION.match(line)
        if begun:
            lines = found[begun[1]] = []
        else:
            lines.append(line)
    return found


def body_of(text: str) -> list[str]:
    """Return the lines of the body of a compiled scan.

    What is around the loop over the steps has no convolutions, but for several networks many small kernels.
    """
    found = computations(text).values()
    return max(found, key=lambda lines: (count_of(CONVOLUTION, lines), count_of(" fusion(", lines)))


def count_of(part: str, lines: list[str]) -> int:
    """Count the lines that have something in them."""
    return sum(part in line for line in lines)
