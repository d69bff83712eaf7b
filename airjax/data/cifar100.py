"""CIFAR-100 from a folder, an archive, the cache or the network: with its 100 fine labels, or the 20 coarse ones."""

import functools
import warnings
from pathlib import Path

from airjax.data.cifar import Form, Layout, archive_names, find_files, warn_shuffled
from airjax.data.dataset import CUSTOM, Dataset, named_by_content
from airjax.data.download import Remote
from airjax.data.official import Official, load_official

# The classes of each superclass, as the data set's page lists them. Labels count the names in alphabetical order.
SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
COARSE_CLASSES = tuple(SUPERCLASSES)
FINE_CLASSES = tuple(sorted(name for names in SUPERCLASSES.values() for name in names.split()))

VARIABLE = "AIRJAX_CIFAR100"
WHERE = (
    "Put cifar-100-binary.tar.gz or cifar-100-python.tar.gz, or the folder that either unpacks to, somewhere, and name "
    f"the place with --data-dir or {VARIABLE}"
)
LAYOUTS = (
    Layout(
        "cifar-100-binary",
        ("train.bin", "test.bin"),
        binary=True,
        md5=("6172c7755cfe09b2fe270c85cebc1b15", "4499cfba6c016c1be1438163640a0898"),
    ),
    Layout(
        "cifar-100-python",
        ("train", "test"),
        binary=False,
        md5=("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    ),
)
BINARY_MD5, PYTHON_MD5 = "03b5dce01913d631647c71ecec9e9cb8", "eb9058c3a382ffc7106e4002c42a8d85"
FINE = Form(
    "cifar100",
    "CIFAR-100",
    LAYOUTS,
    (50_000, 10_000),
    FINE_CLASSES,
    label_bytes=2,
    label_byte=1,
    label_key=b"fine_labels",
    archives=archive_names("cifar-100"),
    archive_md5=(BINARY_MD5, PYTHON_MD5),
    where=WHERE,
)
COARSE = FINE._replace(name="cifar100-coarse", classes=COARSE_CLASSES, label_byte=0, label_key=b"coarse_labels")
REMOTE = Remote(
    "cifar-100-binary.tar.gz",
    BINARY_MD5,
    168_513_733,
    (
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-100-binary.tar.gz",
    ),
)


def load_cifar100(data_dir: str | Path | None = None, *, coarse: bool = False, download: bool = True) -> Dataset:
    """CIFAR-100: from data_dir, else from AIRJAX_CIFAR100, else from the user's cache, else from the network.

    Args:
        data_dir: the official binary folder, the official python folder, either archive (.tar.gz, .tgz, .tar
            or .zip), or a folder with one of these.
        coarse: label images by their 20 superclasses, under the name "cifar100-coarse".
        download: whether to use the network where nothing else is there.

    Warns where the official images are in another order, and where they are other images: the data set then has the
    name "custom-cifar100".

    Raises:
        DataError: not found, not to be downloaded, or damaged. A place that was named is never passed over.
    """
    return load_official(official(coarse), data_dir, download_files=download)


def official(coarse: bool = False) -> Official:
    """Describe CIFAR-100's files, of which either kind of labels is read."""
    form = COARSE if coarse else FINE
    find = functools.partial(find_files, form)
    return Official(form.name, form.title, VARIABLE, (REMOTE,), WHERE, find, _checked)


def _checked(dataset: Dataset, place: Path) -> Dataset:
    # Warns the caller of load_cifar100 where the content is not the official one.
    if dataset.content == "shuffled":
        warn_shuffled("CIFAR-100", place)
    if dataset.content == "unknown":
        warnings.warn(
            f"{place} has the form of CIFAR-100 but not its content, neither by the md5 sums of its files nor by its "
            f'images: it is taken as data of your own, named "{CUSTOM}-{dataset.name}". If it should be CIFAR-100, '
            "fetch the archive again",
            stacklevel=4,
        )
    return named_by_content(dataset)
