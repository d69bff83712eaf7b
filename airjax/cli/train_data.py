"""What a command trains on: a data set in memory, or a tree of images that is read meanwhile, as the recipe needs."""

from airjax.cli.train_options import Options, UsageError
from airjax.data import Dataset, load_data
from airjax.data.class_folders import is_class_folders
from airjax.data.dataset import describe_resized
from airjax.data.place import expand_readable, named_in_errors
from airjax.recipes.recipe import Recipe
from airjax.stream.batches import require_packages
from airjax.stream.tree import IMAGENET, VARIABLE, Tree, find_tree, is_prepared
from airjax.training.arrays import fit_recipe
from airjax.training.processes import sharing_cores, usable_cores
from airjax.training.stream_data import fit_tree


def load_for(options: Options[Recipe], name: str) -> tuple[Dataset | Tree, str]:
    """Load what the options name, for a recipe of that name, and say what was done to pictures of one's own, if so.

    Raises UsageError for options that do not go with the recipe, and DataError for data that cannot be read.
    """
    if options.method.cropping is not None:
        return _open_tree(options, name), ""
    for flag, value in (("workers", options.workers), ("corrupt", options.corrupt)):
        if value is not None:
            raise UsageError(f"{flag} is {value}, but recipe {name} reads no images while it trains; leave it out")
    if options.group is not None and options.strategy == "sequential":
        raise UsageError(
            f"group is {options.group}, but with strategy sequential, and with --devices, one network after another is "
            "trained; leave it out"
        )
    if options.data == IMAGENET:
        raise UsageError(
            f"data is {IMAGENET}, but recipe {name} learns from a data set in memory; choose a recipe with crops, such "
            "as --recipe imagenet-resnet18-16"
        )
    dataset = load_data(
        options.data,
        options.data_dir,
        image_size=options.image_size,
        labels=options.labels,
        labels_dir=options.labels_dir,
    )
    # Of all pictures, those of no validation split, too.
    resized = describe_resized(dataset) if dataset.resized else ""
    return dataset.with_validation(options.validation) if options.validation else dataset, resized


def fit_to_data(recipe: Recipe, data: Dataset | Tree) -> Recipe:
    """Return the recipe for the data. Raises ValueError where it cannot learn from it."""
    return fit_tree(recipe, data) if isinstance(data, Tree) else fit_recipe(recipe, data)


def default_workers() -> int:
    """Return how many processes decode images: one for each core of this process but one.

    Processes of one training that run on the same cores have an equal part of them. Each of several has to call this.
    """
    return max(0, len(usable_cores()) // sharing_cores() - 1)


def _open_tree(options: Options[Recipe], name: str) -> Tree:
    unused = ("labels", "labels_dir", "validation", "image_size")
    for flag in (flag for flag in unused if getattr(options, flag) is not None):
        raise UsageError(
            f"{flag.replace('_', '-')} is {getattr(options, flag)}, but recipe {name} learns from a tree of images, "
            "for which there is no such choice; leave it out"
        )
    if options.strategy not in ("auto", "sequential"):
        raise UsageError(
            f"strategy is {options.strategy}, but networks that learn from a tree of images are trained one after "
            "another, or --group of them on the same batches; leave it out"
        )
    place = expand_readable(options.data)
    with named_in_errors(place):
        known = options.data == IMAGENET or is_class_folders(place) or is_prepared(place)
    if not known:
        raise UsageError(
            f"data is {options.data}, but recipe {name} learns from a tree of images: name its folder, or the one that "
            f"airjax data prepare made of it, with --data {IMAGENET} --data-dir TREE or {VARIABLE}, or with --data TREE"
        )
    require_packages()  # before several processes agree on what they train
    return find_tree(options.data, options.data_dir, options.corrupt or "fail")
