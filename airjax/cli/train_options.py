"""The flags of the command train: every field of a recipe, and what is done with it."""

import argparse
import contextlib
import dataclasses
import io
import itertools
import re
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

import tyro

from airjax.cli.trackers import PROJECT, TrackerName
from airjax.data.labels import LabelName
from airjax.recipes.places import fields_of, kinds_with
from airjax.recipes.published import RECIPES, get_recipe
from airjax.recipes.recipe import Recipe, describe_unknown, has_part
from airjax.recipes.texts import describe_fields
from airjax.training.members import Strategy
from airjax.training.processes import Meeting, check_meeting
from airjax.utils.platform import DeviceError
from airjax.utils.seeds import check_seed

Target = Literal["94", "95", "96"]

# What Python and tyro say of a value that cannot be read, and the same without the names of types and functions.
PLAIN = (
    (r"invalid literal for int\(\) with base 10: (.+)$", r"\1 is not a whole number"),
    (r"could not convert string to float: (.+)$", r"\1 is not a number"),
    (r"no type matching \{None\}\|INT could be instantiated from \[(.+)\]", r"\1 is neither None nor a whole number"),
    (r"no type matching \{None\}\|INT\|\{all\} could be instantiated from \[(.+)\]", r"\1 is no whole number, nor all"),
    (r"no type matching \{None\}\|FLOAT could be instantiated from \[(.+)\]", r"\1 is neither None nor a number"),
    (r"Could not parse arguments \[(.+)\] into tuple type typing\.Tuple\[int.*\]", r"\1 are not all whole numbers"),
)
LARGEST_WORKERS = 1024  # processes
LARGEST_SEEDS = 1_000_000  # networks of one command, whose accuracies are one record


class UsageError(Exception):
    """A wrong argument or input; the message names it and the remedy."""


Method = TypeVar("Method")


@dataclasses.dataclass(frozen=True)
class Options(Generic[Method]):
    """Train networks on CIFAR-10 to a target accuracy, on other data sets, or on images of your own."""

    method: Method
    """The recipe's own fields."""
    target: Target | None = None
    """Test accuracy to reach, in percent; also chooses the recipe unless --recipe does."""
    recipe: str | None = None
    """Recipe to train: 94, 95, 96, mini, resnet18, ... (airjax recipes lists them). Default: the target's, or 94."""
    seeds: int = 1
    """Number of networks to train."""
    seed: int = 0
    """Seed of the first network; the others follow it."""
    strategy: Literal["auto", Strategy] = "auto"
    """How several networks are trained (docs/seeds.md). auto: the way that was measured to be the fastest here."""
    group: int | None = None
    """Networks in memory at once, for strategies other than sequential. Default: what was measured, or all of them.
    Of a tree of images: networks that share every batch, so that each image is decoded once for all of them. Default:
    one."""
    devices: int | Literal["all"] | None = None
    """Devices that share every batch of one network, those of all processes together (docs/scale.md). Default: one,
    and all with --coordinator."""
    coordinator: str | None = None
    """Train one network in several processes: host:port of process 0; auto: as SLURM and the like say."""
    processes: int | None = None
    """Number of these processes."""
    process_id: int | None = None
    """Which of them this is, from 0. Process 0 writes the results."""
    data: Annotated[str, tyro.conf.arg(metavar="NAME|PATH")] = "auto"
    """cifar10, cifar100, cifar100-coarse, svhn, svhn-extra, cinic10, cinic10-valid, synthetic (made on the spot), auto
    (cifar10 if it is available), or your own: a path (docs/data.md). airjax data lists them. imagenet: a tree of images
    of any size (docs/imagenet.md), for recipes with crops."""
    labels: LabelName | None = None
    """Other labels of CIFAR-10's images, given by people: CIFAR-10N's of the training images, CIFAR-10H's of the test
    images (docs/data.md). No target is judged by them."""
    labels_dir: Path | None = None
    """Where the file of those labels is. Default: AIRJAX_LABELS, then --data-dir."""
    validation: int | None = None
    """Test on so many of the training examples, drawn once from every class, instead of the test split: to tune."""
    image_size: int | None = None
    """Pixels to which images of your own are scaled. Default: 32 for a folder; an .npz keeps its own."""
    data_dir: Path | None = None
    """Where the data set's files are: an official archive, the folder that it unpacks to, or a folder with either.
    Default: what AIRJAX_DATA names for CIFAR-10, and AIRJAX_CIFAR100, AIRJAX_SVHN, AIRJAX_CINIC10 and AIRJAX_IMAGENET
    for others."""
    workers: int | None = None
    """Processes that decode the images of a tree. Default: one for each core but one; processes of one
    training that share cores have an equal part of them. 0 decodes between steps."""
    corrupt: Literal["fail", "skip"] | None = None
    """Images of a tree that cannot be decoded: end the training with their name (fail, the default), or look for them
    first, in every file, and leave them out by name (skip)."""
    out: Path | None = None
    """Folder for the networks and their records; rerunning the same command resumes (docs/seeds.md)."""
    checkpoint_every: int | None = None
    """Epochs between two snapshots of what is in training, in --out. SIGTERM and Ctrl-C write one, too."""
    mixed: bool = False
    """Resume a folder whose networks were trained in another environment: other versions, device or settings."""
    track: TrackerName | None = None
    """Log the training to this tracker, too, a run for each network or group (docs/tracking.md). TensorBoard's files go
    to a folder tensorboard, in --out or here."""
    track_project: str = PROJECT
    """Project under which trackio and wandb file the runs."""
    json: bool = False
    """End standard output with one line of JSON, in which accuracies are fractions."""
    quiet: bool = False
    """Print only the result."""
    validate_epochs: bool = True
    """Evaluate without test-time augmentation after every epoch, outside the clock (not with --quiet)."""
    require_target: bool = False
    """Exit with code 3 if the mean accuracy is below the target, or the target does not apply."""


def parse(arguments: list[str], prog: str = "python -m airjax.train") -> tuple[Options[Recipe], str]:
    """Options and the recipe's name. The recipe is looked up first, so that --help shows its numbers as defaults.

    Raises UsageError, and SystemExit after --help.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--recipe")
    first.add_argument("--target", choices=get_args(Target))
    try:
        chosen, _ = first.parse_known_args(arguments)
        # An empty name, as of a variable that is not set, is no recipe.
        name = next(one for one in (chosen.recipe, chosen.target, "94") if one is not None)
        options = _parse_flags(arguments, get_recipe(name), prog)
    except (argparse.ArgumentError, ValueError) as error:
        raise UsageError(error) from error
    if not 1 <= options.seeds <= LARGEST_SEEDS:
        raise UsageError(f"seeds is {options.seeds}, but it must be a number of networks from 1 to {LARGEST_SEEDS}")
    try:
        check_seed(options.seed)
        check_seed(options.seed + options.seeds - 1)
    except ValueError as error:
        raise UsageError(error) from error
    if options.validation is not None and options.validation < 1:
        raise UsageError(f"validation is {options.validation}, but it must be a number of training examples from 1")
    if options.checkpoint_every is not None and options.checkpoint_every < 1:
        raise UsageError(f"checkpoint-every is {options.checkpoint_every}, but it must be a number of epochs from 1")
    if options.checkpoint_every is not None and options.out is None:
        raise UsageError("checkpoint-every needs --out DIR, where snapshots are kept")
    if options.mixed and options.out is None:
        raise UsageError("mixed needs --out DIR, whose networks of other environments it pools")
    if options.track_project != PROJECT and options.track in (None, "tensorboard"):
        raise UsageError("track-project is of trackio and wandb; name one with --track, or leave it out")
    if options.workers is not None and not 0 <= options.workers <= LARGEST_WORKERS:
        raise UsageError(f"workers is {options.workers}, but it must be a number from 0 to {LARGEST_WORKERS}")
    if options.group is not None and options.group < 1:
        raise UsageError(f"group is {options.group}, but at least 1 network must be trained at once")
    return _check_devices(options), name


def _check_devices(options: Options[Recipe]) -> Options[Recipe]:
    # The options with the devices that follow from others. Raises UsageError.
    if options.coordinator is None:
        for name in ("processes", "process_id"):
            if getattr(options, name) is not None:
                raise UsageError(f"{name.replace('_', '-')} needs --coordinator HOST:PORT, where the processes meet")
    else:
        try:
            check_meeting(Meeting(options.coordinator, options.processes, options.process_id))
        except DeviceError as error:
            raise UsageError(error) from error
        options = dataclasses.replace(options, devices=options.devices or "all")
    if options.devices is None:
        return options
    if isinstance(options.devices, int) and options.devices < 1:
        raise UsageError(f"devices is {options.devices}, but it must be a number of devices from 1, or all")
    if options.strategy not in ("auto", "sequential"):
        raise UsageError(
            f"strategy is {options.strategy}, but devices share the batches of one network after another; leave out "
            "--strategy, or --devices (strategy sharded spreads networks over all local devices)"
        )
    return dataclasses.replace(options, strategy="sequential")


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the flags as argparse has them, or rather tyro's copy of it: what completion scripts are made from."""
    flags, defaults = _flags(get_recipe("94"), *RECIPES.values())
    return tyro.extras.get_parser(flags, default=defaults, prog=prog)  # pyright: ignore[reportReturnType]


def _parse_flags(arguments: list[str], recipe: Recipe, prog: str) -> Options[Recipe]:
    # Raises UsageError with tyro's message in one line, and ValueError for values that a recipe cannot have.
    flags = (argument[2:].split("=")[0] for argument in arguments if argument.startswith("--"))
    for name in (flag.removeprefix("no-").replace("-", "_") for flag in flags):
        if name not in fields_of(recipe) and kinds_with(Recipe, name):
            raise UsageError(describe_unknown(recipe, name))
    given = _parse_with_tyro(arguments, recipe, prog)
    before = _shown(recipe)
    changes = {name: value for name, value in vars(given.method).items() if value != before[name]}
    return dataclasses.replace(given, method=recipe.override(**changes))


def _recipe_flags(recipe: Recipe, others: tuple[Recipe, ...]) -> Any:
    # A dataclass with a field for every field of the recipe's parts, and the recipe's values as defaults; and one for
    # every field that only others have.
    flags: dict[str, Any] = {}
    for one in (recipe, *others):
        values, texts = _shown(one), describe_fields(one)
        for name, place in fields_of(one).items():
            flags.setdefault(name, (name, Annotated[place.type, tyro.conf.arg(help=texts[name])], values[name]))
    return dataclasses.make_dataclass("method", flags.values(), frozen=True)()


def _shown(recipe: Recipe) -> dict[str, Any]:
    # The value of every field; of a part that is left out, what it would have if it were put in.
    places = fields_of(recipe).items()
    return {name: recipe.value_of(name) if has_part(recipe, name) else place.default for name, place in places}


def _flags(recipe: Recipe, *others: Recipe) -> tuple[Any, Options[Any]]:
    # What tyro makes flags from, and their defaults.
    method = _recipe_flags(recipe, others)
    return tyro.conf.OmitArgPrefixes[Annotated[Options[type(method)], tyro.conf.arg(name="")]], Options(method)


def _parse_with_tyro(arguments: list[str], recipe: Recipe, prog: str) -> Options[Any]:
    flags, defaults = _flags(recipe)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(flags, args=arguments, default=defaults, prog=prog)
    except SystemExit as end:
        if not said.getvalue():  # help, or a reader of the output that has left
            raise
        raise UsageError(_in_one_line(said.getvalue())) from end


def _in_one_line(box: str) -> str:
    # The message in a box of tyro's, without its title, frame and explanations, and with the flag that it suggests.
    # Where standard output is ASCII there is no frame, and the title stands above a rule of hyphens.
    lines = [line.strip(" │") for line in box.splitlines()]
    texts = ["" if line.startswith(("╭", "╰")) or set(line) <= {"─", "-"} else line for line in lines]
    sections = [list(section) for filled, section in itertools.groupby(texts, key=bool) if filled]
    message = " ".join(sections[0 if "╭" in box else 1])
    text = message.removeprefix("Error parsing ").removeprefix("method: ").rstrip(".")
    for pattern, words in PLAIN:
        text = re.sub(pattern, words, text)
    for section in sections:
        if section[0] == "Perhaps you meant:":
            text += f"; perhaps you meant {section[1].split()[0]}"
    return f"{text} (--help explains every flag)"
