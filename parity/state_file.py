"""Files that torch.save wrote, as a dictionary of dense arrays of numbers. Nothing in them is executed."""

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# What DataParallel and DistributedDataParallel, and torch.compile, put into the names of the network inside.
WRAPPERS = {"module", "_orig_mod"}
SAVE_STATE = "torch.save(network.state_dict(), file)"


class ConvertError(ValueError):
    """A network that cannot be converted; the message names the tensors, and what to do."""


def read_state(file: Path) -> dict[str, Tensor]:
    """Read the state_dict in a file.

    Raises ConvertError for any other content, and OSError where the file cannot be read.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever unpickling a foreign file raises
        raise ConvertError(_foreign(file, str(error))) from error
    if isinstance(content, Tensor) or not isinstance(content, dict):
        raise ConvertError(f"{file} is not a state_dict, but a {type(content).__name__}; write it by {SAVE_STATE}")
    nested = [key for key, value in content.items() if isinstance(value, dict)]
    if nested:
        inner = next((key for key in nested if any(isinstance(value, Tensor) for value in content[key].values())), None)
        hint = f"; write its part {inner!r} alone: torch.save(checkpoint[{inner!r}], file)" if inner else ""
        raise ConvertError(f"{file} is not a state_dict, but a dictionary with others in it{hint}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ConvertError(f"{file} is not a state_dict: its {key!r} is a {type(value).__name__}, not a tensor")
    return content


def unwrap(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors without "module." and "_orig_mod." in their keys.

    Raises ConvertError where two become one.
    """
    unwrapped: dict[str, Tensor] = {}
    for key, value in state.items():
        name = ".".join(part for part in key.split(".") if part not in WRAPPERS)
        if name in unwrapped:
            raise ConvertError(f"{name} is there twice, also as {key}")
        unwrapped[name] = value
    return unwrapped


def dense(key: str, tensor: Tensor) -> np.ndarray:
    """Return a tensor's floating-point numbers, unchanged; types that numpy lacks become float32, which holds them
    exactly.

    Raises ConvertError for a tensor without values, of another layout than dense, quantized, or not of real numbers.
    """
    if tensor.is_meta:
        raise ConvertError(f"{key} is on the meta device, without values; load the weights before saving them")
    if tensor.is_nested:
        raise ConvertError(f"{key} is a nested tensor; save a dense one")
    if tensor.layout != torch.strided:
        layout = str(tensor.layout).removeprefix("torch.")
        raise ConvertError(f"{key} has layout {layout}; save a dense tensor: state[{key!r}].to_dense()")
    if tensor.is_quantized:
        raise ConvertError(f"{key} is quantized ({tensor.dtype}); save floating point: state[{key!r}].dequantize()")
    if not tensor.is_floating_point():
        raise ConvertError(f"{key} has type {tensor.dtype}, but weights are floating point")
    if tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.to(torch.float32)
    return tensor.detach().cpu().numpy()


def _foreign(file: Path, error: str) -> str:
    if "TorchScript" in error:
        return f"{file} is a TorchScript archive, not a state_dict; write one by {SAVE_STATE}"
    pickled = re.search(r"Unsupported global: GLOBAL (\S+)", error)
    if pickled:
        return (
            f"{file} holds a pickled {pickled[1]}, not only tensors, and loading it would execute code; "
            f"where the network's code is at hand, write its state_dict: {SAVE_STATE}"
        )
    reason = re.search(r"WeightsUnpickler error: (.*)", error) or re.search(r"(.*)", error)
    return f"{file} is not a file that torch.save wrote, or is damaged: {reason[1] if reason else ''}"
