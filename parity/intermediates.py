"""Which of PyTorch's modules and which of airjax's intermediates hold the same numbers."""

from typing import NamedTuple

from airjax.recipes.network import AirbenchNet
from airjax.recipes.network_imagenet import ImageNetResNet18
from airjax.recipes.network_resnet import ResNet18
from airjax.recipes.recipe import Recipe

OUTPUT = "__call__"  # of a submodule, as Flax captures it


class Intermediate(NamedTuple):
    """One array under both of its names."""

    module: str  # whose output it is in torch; "" is the whole network
    path: tuple[str, ...]  # in what airjax's network sows


def intermediates(recipe: Recipe) -> list[Intermediate]:
    """Return every array within the network that is compared, the logits last."""
    network = recipe.network
    found = _airbench(network) if isinstance(network, AirbenchNet) else _resnet(network, recipe)
    return [*found, Intermediate("", (OUTPUT,))]


def _airbench(network: AirbenchNet) -> list[Intermediate]:
    found = [Intermediate("0", ("whiten_conv",)), Intermediate("6", ("features",))]
    for number in (1, 2, 3):
        found.append(Intermediate(f"{number + 1}", (f"block{number}", "output")))
        for norm in range(1, network.convs_per_block + 1):
            found.append(Intermediate(f"{number + 1}.norm{norm}", (f"block{number}", f"norm{norm}", OUTPUT)))
    return found


def _resnet(network: ResNet18 | ImageNetResNet18, recipe: Recipe) -> list[Intermediate]:
    found = [Intermediate("bn1", ("norm", OUTPUT))]
    for block in network.blocks(recipe.inputs):
        theirs, ours = f"layer{block.stage}.{block.number - 1}", f"stage{block.stage}_block{block.number}"
        norms = {"bn1": "norm1", "bn2": "norm2"} | ({"downsample.1": "norm_shortcut"} if block.projects else {})
        found += [Intermediate(f"{theirs}.{bn}", (ours, norm, OUTPUT)) for bn, norm in norms.items()]
        found.append(Intermediate(theirs, (ours, "output")))
    return found
