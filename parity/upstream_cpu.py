"""Imports the released package `airbench`, and runs its unchanged code on a CPU.

As shipped it needs CUDA and torchvision. While one of its functions runs here, the few names of torch that tie it to
half precision and CUDA mean something else. Of torchvision it uses one transform, which is supplied where that is
missing.
"""

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from parity.torch_images import CIFAR_MEAN, CIFAR_STD

INSTALL = "pip install --no-deps airbench==0.1.8"


class MissingError(ValueError):
    """The package is not installed; the message says how to install it."""


def load_package() -> Any:
    """Load the package's module, imported with the one transform of torchvision. Raises MissingError."""
    if importlib.util.find_spec("airbench") is None:
        raise MissingError(f"the package airbench is not installed: {INSTALL}")
    if "airbench" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return importlib.import_module("airbench")
    torchvision, transforms = types.ModuleType("torchvision"), types.ModuleType("torchvision.transforms")
    transforms.Normalize = _Normalize  # pyright: ignore[reportAttributeAccessIssue]
    torchvision.transforms = transforms  # pyright: ignore[reportAttributeAccessIssue]
    stubs = {"torchvision": torchvision, "torchvision.transforms": transforms}
    with mock.patch.dict(sys.modules):
        sys.modules.update(stubs)
        package = importlib.import_module("airbench")
        loaded = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "airbench"}
    sys.modules.update(loaded)
    return package


@contextlib.contextmanager
def on_cpu(dtype: torch.dtype) -> Iterator[Any]:
    """Return the package's `utils`, on a CPU with dtype in the place of half precision, for as long as the context
    lasts.
    """
    utils = importlib.import_module(f"{load_package().__name__}.utils")

    def cast(thing: Any) -> Any:
        return thing.to(dtype)

    defaults, before = utils.CifarLoader.__init__.__defaults__, torch.get_default_dtype()
    patches = [
        *(mock.patch.object(torch.Tensor, name, cast) for name in ("half", "float")),
        *(mock.patch.object(nn.Module, name, cast) for name in ("half", "float")),
        mock.patch.object(nn.Module, "cuda", lambda module: module),
        # The last argument of its loader is the number of a GPU.
        mock.patch.object(utils.CifarLoader.__init__, "__defaults__", (*defaults[:-1], "cpu")),
        mock.patch.object(utils, "torch", _Torch(dtype)),
        mock.patch.object(utils, "CIFAR_MEAN", torch.tensor(CIFAR_MEAN, dtype=dtype)),
        mock.patch.object(utils, "CIFAR_STD", torch.tensor(CIFAR_STD, dtype=dtype)),
    ]
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        stack.callback(torch.set_default_dtype, before)
        torch.set_default_dtype(dtype)
        yield utils


class _Torch(types.ModuleType):
    # torch as the package's `utils` sees it: its idea of single precision, and of CUDA's clock, is ours.
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__("torch")
        self.float = dtype
        self.cuda = types.SimpleNamespace(Event=_Event, synchronize=lambda: None)
        self.rand, self.randint = torch.rand, torch.randint

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


class _Event:
    # A CUDA event that measures nothing.
    def __init__(self, enable_timing: bool = False) -> None:
        self.enable_timing = enable_timing

    def record(self) -> None:
        pass

    def elapsed_time(self, _: "_Event") -> float:
        return 0.0


class _Normalize:
    # torchvision.transforms.Normalize on batches.
    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std

    def __call__(self, images: Tensor) -> Tensor:
        mean, std = (constant.to(images).view(-1, 1, 1) for constant in (self.mean, self.std))
        return (images - mean) / std
