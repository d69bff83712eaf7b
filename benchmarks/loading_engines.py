"""Engines that decode, crop and resize images on a host: airjax's, and others that the field uses, where installed.

All of them decode JPEGs, take a random box of 8 to 100% of the area in ten tries, resize it, and hand over batches.
They differ in how a box is resized, which is each engine's usual way or, where there is one, by areas.
"""

import functools
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from airjax.augment.crop_boxes import AREA, ASPECT, TRIES, heavy_boxes
from airjax.stream.batches import open_batches
from airjax.stream.decode import EXTRA, PURPOSE
from airjax.stream.images import Source, open_images
from airjax.stream.index import map_index
from airjax.stream.views import TrainView
from airjax.utils.extras import import_extra

# The modules of each engine; the first is what it is imported as.
ENGINES = {
    "torchvision": ("torchvision", "torch"),
    "tf.data": ("tensorflow",),
    "SPDL": ("spdl",),
    "DALI": ("nvidia.dali",),
}
OURS = ("grain", "simplejpeg", "cv2", "numpy", "PIL")  # modules of airjax's own
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels
LONGEST = 340  # pixels of prepared images: a shorter side of 256 at a shape of 4 to 3


class Loader(NamedTuple):
    """One way to the same batches: a function from the size in pixels to as many batches as are asked for."""

    name: str
    start: Callable[[int], Iterator[Any]]


class Amount(NamedTuple):
    """How much is loaded, and by whom."""

    workers: int  # processes, of SPDL, tf.data and DALI threads; 0: this thread, as far as an engine allows
    batch_size: int
    batches: int


def installed_engines() -> list[str]:
    """Return the names of the engines that are installed beside airjax's."""
    return [name for name, modules in ENGINES.items() if _is_installed(modules[0])]


def require_engines(names: list[str]) -> None:
    """Raise ValueError where one of these engines is not installed."""
    for name in names:
        if not _is_installed(ENGINES[name][0]):
            raise ValueError(
                f"--against has {name}, but its module {ENGINES[name][0]} is not installed; install it, or leave "
                f"{name} out"
            )


def versions_of(engines: list[str]) -> dict[str, str | None]:
    """Return the versions of what airjax and these engines are made of, by the names of the installed distributions.

    A module that is of no distribution has its own name, and None.
    """
    owners, found = packages_distributions(), {}
    for module in dict.fromkeys((*OURS, *(module for engine in engines for module in ENGINES[engine]))):
        top, _, rest = module.partition(".")
        # Many distributions share a namespace such as nvidia.
        names = [name for name in dict.fromkeys(owners.get(top, ())) if rest in name]
        found |= {name: version(name) for name in names} or {module: None}
    return found


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def make_loaders(
    sources: dict[str, Source], engines: list[str], workers: int, batch_size: int, batches: int
) -> list[Loader]:
    """Return the loaders of airjax, for each form of the images, and of other engines, from the files.

    Args:
        sources: the training split as "tree", and prepared as "jpeg" and "raw".
        engines: names of ENGINES.
        workers: processes, or an engine's threads; 0: this one.
        batch_size: images.
        batches: how many are asked for.
    """
    import_extra("cv2", EXTRA, PURPOSE).setNumThreads(0)
    amount = Amount(workers, batch_size, batches)
    found = [Loader(f"airjax-{name}", functools.partial(_airjax, amount, source)) for name, source in sources.items()]
    found.append(Loader("airjax-whole", functools.partial(_airjax, amount, sources["raw"], canvas=LONGEST)))
    tree = sources["tree"]
    if "torchvision" in engines:
        kinds = ("float32", "uint8")
        found += [Loader(f"torchvision-{kind}", functools.partial(_torchvision, amount, tree, kind)) for kind in kinds]
    others = {"tf.data": _tf_data, "SPDL": _spdl, "DALI": _dali}
    return found + [Loader(name, functools.partial(others[name], amount, tree)) for name in others if name in engines]


def _airjax(amount: Amount, source: Source, size: int, canvas: int | None = None) -> Iterator[Any]:
    count = len(open_images(source).labels)
    epochs = -(-amount.batches // (count // amount.batch_size))
    view = TrainView(amount.batch_size, (size,) * epochs)
    with open_batches(source, view, workers=amount.workers, canvas=canvas) as batches:
        yield from batches


def _torchvision(amount: Amount, source: Source, kind: str, size: int) -> Iterator[Any]:
    # float32 is the usual recipe; uint8 leaves what a device can do to the device, as airjax does.
    import torch

    datasets, transforms = (import_module(f"torchvision.{part}") for part in ("datasets", "transforms"))
    torch.set_num_threads(1)
    usual = (transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(MEAN, STD))
    rest = usual if kind == "float32" else (transforms.PILToTensor(),)
    transform = transforms.Compose([transforms.RandomResizedCrop(size), *rest])
    dataset = datasets.ImageFolder(map_index(source.file).place / "train", transform)
    count = amount.batch_size * amount.batches
    sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=count)
    return iter(torch.utils.data.DataLoader(dataset, amount.batch_size, sampler=sampler, num_workers=amount.workers))


def _files(source: Source) -> list[str]:
    index = map_index(source.file)
    return [str(index.place / index.train.name(example)) for example in range(len(index.train.labels))]


def _tf_data(amount: Amount, source: Source, size: int) -> Iterator[Any]:
    # Decodes no more of a JPEG than the box needs.
    tf: Any = import_module("tensorflow")
    files, threads = _files(source), max(1, amount.workers)

    def load(file: Any) -> Any:
        content = tf.io.read_file(file)
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(content),
            tf.zeros((1, 0, 4)),
            area_range=AREA,
            aspect_ratio_range=ASPECT,
            max_attempts=TRIES,
            use_image_if_no_bounding_boxes=True,
        )
        box = tf.concat([begin[:2], extent[:2]], axis=0)
        pixels = tf.image.decode_and_crop_jpeg(content, box, channels=3)
        return tf.cast(tf.image.resize(pixels, (size, size), "area"), tf.uint8)

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    options.autotune.enabled = False  # it would make batches before they are asked for, which no clock sees
    images = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files)).repeat()
    batches = images.map(load, num_parallel_calls=threads).batch(amount.batch_size)
    return batches.take(amount.batches).with_options(options).as_numpy_iterator()


def _spdl(amount: Amount, source: Source, size: int) -> Iterator[Any]:
    # FFmpeg's decoder and filters; SPDL's own threads where there are workers.
    spdl: Any = import_module("spdl.io")
    files, generator = _files(source), np.random.default_rng(0)

    def load(task: tuple[str, np.ndarray]) -> np.ndarray:
        packets = spdl.demux_image(task[0])
        sizes = np.array([[packets.height, packets.width]])
        top, left, height, width = heavy_boxes(sizes, task[1][None])[0]
        filters = f"crop={width}:{height}:{left}:{top},scale={size}:{size}:flags=area,format=pix_fmts=rgb24"
        return spdl.to_numpy(spdl.convert_frames(spdl.decode_packets(packets, filter_desc=filters)))

    def tasks() -> Iterator[tuple[str, np.ndarray]]:
        while True:
            for example in generator.permutation(len(files)):
                yield files[example], generator.random((TRIES, 4))

    if amount.workers:
        builder = import_module("spdl.pipeline").PipelineBuilder().add_source(tasks())
        pipeline = (
            builder.pipe(load, concurrency=amount.workers)
            .add_sink(2 * amount.batch_size)
            .build(num_threads=amount.workers)
        )
        with pipeline.auto_stop():
            images = iter(pipeline)
            for _ in range(amount.batches):
                yield np.stack([next(images) for _ in range(amount.batch_size)])
        return
    source_of_tasks = tasks()
    for _ in range(amount.batches):
        yield np.stack([load(next(source_of_tasks)) for _ in range(amount.batch_size)])


def _dali(amount: Amount, source: Source, size: int) -> Iterator[Any]:
    # On the CPU, as airjax's host does; on a GPU it decodes there.
    dali: Any = import_module("nvidia.dali")
    fn, files = import_module("nvidia.dali.fn"), _files(source)

    ahead = amount.workers > 0  # else each batch is made when it is asked for
    how = {"prefetch_queue_depth": 2 if ahead else 1, "exec_async": ahead, "exec_pipelined": ahead}

    @dali.pipeline_def(batch_size=amount.batch_size, num_threads=max(1, amount.workers), device_id=None, **how)
    def load() -> Any:
        content, _ = fn.readers.file(files=files, random_shuffle=True)
        pixels = fn.decoders.image_random_crop(
            content, random_area=AREA, random_aspect_ratio=ASPECT, num_attempts=TRIES, device="cpu"
        )
        return fn.resize(pixels, size=[size, size], interp_type=dali.types.INTERP_TRIANGULAR, device="cpu")

    pipeline = load()
    pipeline.build()
    for _ in range(amount.batches):
        (images,) = pipeline.run()
        yield images.as_array()
