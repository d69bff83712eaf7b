"""Train a network to 94% on CIFAR-10: the whole method of airbench94 in one file, with JAX, Flax and optax.

    pip install 'jax>=0.10.1,!=0.10.2,!=0.11.0' 'flax>=0.12' 'optax>=0.2.6'
    python airbench94_single_file.py FOLDER

FOLDER is CIFAR-10 as published: cifar-10-batches-bin or cifar-10-batches-py. The method is that of Keller Jordan,
"94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498 (2024). The sections follow a training from its
beginning to its end. Every number is a field of `Config` and a flag. A seed trains the same network as in airjax, up to
rounding.

Shapes: N training images, M test images, B images in a batch, E epochs, C channels, H and W pixels.
"""

import argparse
import functools
import math
import pickle
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

# On CPUs, XLA's default library for fused operations slows convolutions down.
OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""} if jax.default_backend() == "cpu" else None
jit = functools.partial(jax.jit, compiler_options=OPTIONS)


# 1. The settings: every number of the method.
@dataclass(frozen=True)
class Config:
    """A training; the defaults reach 94%."""

    train_examples: int = 50_000  # the first so many of the training images
    test_examples: int = 10_000
    epochs: float = 9.9  # passes over the training images; the last one may be incomplete
    batch_size: int = 1024  # images per step
    widths: tuple[int, ...] = (64, 256, 256)  # channels of the three blocks
    batchnorm_momentum: float = 0.6  # fraction of the old running statistics that each step keeps
    whiten_examples: int = 5000  # images that the first convolution is computed from
    whiten_epsilon: float = 5e-4  # added to eigenvalues, so that what is only noise is not amplified
    whiten_bias_epochs: int = 3  # epochs for which the first convolution's bias trains
    learning_rate: float = 11.5  # per 1024 images, whatever the batch size and the momentum; see `make_optimizer`
    weight_decay: float = 0.0153  # in the same unit
    momentum: float = 0.85
    bias_scale: float = 64.0  # learning rate of BatchNorm's biases, relative to that of all other parameters
    schedule_start: float = 0.2  # factor on the learning rate at the first step
    schedule_peak: float = 0.23  # fraction of the steps after which the factor has risen to 1
    schedule_end: float = 0.07  # factor after the last step
    label_smoothing: float = 0.2  # probability that is spread over all ten classes instead of the label alone
    translate: int = 2  # pixels by which an image is shifted at most
    lookahead_every: int = 5  # steps between two averages
    lookahead_decay: float = 0.95**5  # fraction of the old average that the last new one keeps
    compute: str = "float32"  # of images, activations and convolutions; parameters are float32 always

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; an epoch leaves out the images that remain, different ones each time."""
        return self.train_examples // self.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the whole training: 476 by default."""
        return math.ceil(self.steps_per_epoch * self.epochs)


# 2. The data: 60,000 small images, 184 MB in all, which stay on the device as bytes.
class Data(NamedTuple):
    """Arrays of NumPy or of JAX."""

    train_images: Any  # [N,32,32,3] uint8
    train_labels: Any  # [N] int32: the class, from 0 to 9
    test_images: Any  # [M,32,32,3] uint8
    test_labels: Any  # [M] int32


def load_cifar10(folder: Path) -> Data:
    """Read the official folder, binary or python."""
    images, labels = [], []
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        if (folder / f"{name}.bin").exists():
            records = np.fromfile(folder / f"{name}.bin", np.uint8).reshape(-1, 1 + 3 * 32 * 32)
            batch = {b"labels": records[:, 0], b"data": records[:, 1:]}
        elif (folder / name).exists():
            batch = pickle.loads((folder / name).read_bytes(), encoding="bytes")  # can run code: trust the file first
        else:
            raise SystemExit(f"{folder} holds neither {name}.bin nor {name}, so it is not a folder of CIFAR-10")
        images.append(batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))  # stored as planes: red, green, blue
        labels.append(np.asarray(batch[b"labels"], np.int32))
    return Data(np.concatenate(images[:5]), np.concatenate(labels[:5]), images[5], labels[5])


# 3. The random choices: all of them are made before the first step, so that the rest is a function of arrays.
class Draws(NamedTuple):
    """The random choices about the images of all epochs."""

    flips: Array  # [N] bool: whether an image is mirrored in even epochs; if not, it is in odd ones
    shifts: Array  # [E,N,2]: top and left of the crop in the padded image, from 0 to 2 translate
    order: Array  # [E,N]: a permutation of the images


@functools.partial(jit, static_argnames="config")
def sample_draws(config: Config, key: Array) -> Draws:
    """Draw for all epochs at once."""
    # airjax needs five keys for all variants of the method; splitting alike makes the same choices.
    flip_key, _, shift_key, _, order_key = jax.random.split(key, 5)
    epochs, examples = math.ceil(config.epochs), config.train_examples
    return Draws(
        flips=jax.random.bernoulli(flip_key, 0.5, (examples,)),
        shifts=jax.random.randint(shift_key, (epochs, examples, 2), 0, 2 * config.translate + 1, jnp.int8),
        order=jax.vmap(lambda k: jax.random.permutation(k, examples))(jax.random.split(order_key, epochs)),
    )


# 4. The augmentation: every image is moved by up to two pixels, and mirrored in every second epoch. So any two epochs
# in a row show all 2N inputs; if a coin were tossed in each epoch, two epochs would show only 1.5N different ones.
def make_batch(config: Config, data: Data, draws: Draws, step: int) -> tuple[Array, Array]:
    """Gather and augment what a step sees: images [B,32,32,3], normalised, and labels [B]."""
    epoch, position = step // config.steps_per_epoch, step % config.steps_per_epoch
    chosen = lax.dynamic_slice(draws.order[epoch], (position * config.batch_size,), (config.batch_size,))
    images, corners = data.train_images[chosen], draws.shifts[epoch, chosen].astype(jnp.int32)
    images = jnp.where(draws.flips[chosen, None, None, None], mirror(images), images)
    images = jax.vmap(crop)(reflect_pad(images, config.translate), corners)
    images = jnp.where(epoch % 2 == 1, mirror(images), images)
    return normalize(images, config.compute), data.train_labels[chosen]


def crop(image: Array, corner: Array) -> Array:
    """Cut 32x32 pixels out of one image, from its corner [2] (top, left)."""
    return lax.dynamic_slice(image, (corner[0], corner[1], 0), (32, 32, 3))


def mirror(images: Array) -> Array:
    """Swap left and right."""
    return images[:, :, ::-1]


def reflect_pad(images: Array, pixels: int) -> Array:
    """Pad height and width by reflection, the edge not repeated."""
    return jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")


def normalize(images: Array, dtype: str) -> Array:
    """Turn bytes into numbers with mean 0 and variance 1 in every channel of the training set."""
    mean, deviation = (np.array(v, dtype) for v in ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)))
    return (images.astype(dtype) / 255 - mean) / deviation


# 5. The whitening: the first convolution is computed from the images, not trained. Neighbouring pixels are so similar
# that nearly all variance is in brightness. After this convolution all channels are uncorrelated and their variances
# near 1; without it the paper's baseline needs twice as many epochs.
@functools.partial(jit, static_argnames="config")
def whitening_filters(config: Config, images: Array) -> Array:
    """Compute filters [2,2,3,24] from images uint8: the eigenvectors of their 2x2 patches, scaled to variance 1."""
    images = normalize(images, "float32")
    patches = jnp.concatenate([images[:, r : r + 31, c : c + 31] for r in (0, 1) for c in (0, 1)], axis=-1)
    # The second moment, not centred; in full precision, because the smallest eigenvalues are of the size of epsilon.
    moments = jnp.einsum("nhwi,nhwj->nij", patches, patches, precision="highest").mean(0) / 31**2
    values, vectors = jnp.linalg.eigh(moments)
    # An eigenvector's sign is arbitrary; this rule makes it the same on every machine.
    signs = jnp.where(1.7 ** jnp.arange(12) @ vectors < 0, -1, 1)
    filters = (signs * vectors / jnp.sqrt(values + config.whiten_epsilon))[:, ::-1]  # largest eigenvalue first
    # Each filter's negative as well, because the activation function suppresses negative outputs.
    return jnp.concatenate([filters, -filters], axis=1).reshape(2, 2, 3, 24)


# 6. The network: seven convolutions, 2 million parameters. Flax derives the key of a random weight from the name of its
# module and the order of parameters there; both are as in airjax.
class Network(nn.Module):
    """Images [B,32,32,3], normalised -> logits [B,10]."""

    config: Config

    @nn.compact
    def __call__(self, images: Array, filters: Array, train: bool = False, train_bias: bool = False) -> Array:
        head = self.param("head", uniform, (self.config.widths[-1], 10))
        bias = self.param("whiten_bias", nn.initializers.zeros, (24,))
        if not train_bias:  # then nothing before the first block needs a gradient, and none is computed
            bias = lax.stop_gradient(bias)
        x = gelu(conv(images, filters, "VALID") + bias.astype(images.dtype))  # 31x31 pixels
        for number, width in enumerate(self.config.widths, start=1):
            x = Block(width, self.config.batchnorm_momentum, name=f"block{number}")(x, train)  # 15x15, 7x7, 3x3
        x = max_pool(x, 3).reshape(x.shape[0], -1)
        logits = jnp.matmul(x, head.astype(x.dtype), precision="highest", preferred_element_type=jnp.float32)
        return logits / 9  # so that the first predictions are not overconfident


class Block(nn.Module):
    """Convolution, pool, BatchNorm, GELU; then convolution, BatchNorm, GELU."""

    width: int
    batchnorm_momentum: float

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        # Images have an odd side here, and the pool drops the last row and column. Padding only at the top and on the
        # left means that they are not computed in the first place.
        x = conv(x, self.param("conv1", dirac, (3, 3, x.shape[-1], self.width)), ((1, 0), (1, 0)))
        x = gelu(BatchNorm(self.batchnorm_momentum, name="norm1")(max_pool(x, 2), train))
        x = conv(x, self.param("conv2", dirac, (3, 3, self.width, self.width)), "SAME")
        return gelu(BatchNorm(self.batchnorm_momentum, name="norm2")(x, train))


class BatchNorm(nn.Module):
    """BatchNorm with a trained bias and no scale; its running variance is the unbiased one, as in PyTorch."""

    momentum: float

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        count, channels = x.size // x.shape[-1], x.shape[-1:]
        bias = self.param("bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        mean, var, wide = running_mean.value, running_var.value, x.astype(jnp.float32)
        if train:
            mean, var = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
            running_mean.value += (1 - self.momentum) * (mean - running_mean.value)
            running_var.value += (1 - self.momentum) * (var * count / (count - 1) - running_var.value)
        return ((wide - mean) * lax.rsqrt(var + 1e-12) + bias).astype(x.dtype)


def conv(x: Array, kernel: Array, padding: Any) -> Array:
    """Convolve x [B,H,W,C] with kernel [h,w,C,O] in x's precision; GPUs would round float32 unless told not to."""
    precision, layout = "highest" if x.dtype == "float32" else None, ("NHWC", "HWIO", "NHWC")
    kernel = kernel.astype(x.dtype)
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=layout, precision=precision)


def max_pool(x: Array, size: int) -> Array:
    """Take the largest of size x size pixels; the same as `nn.max_pool`, whose gradient is slow."""
    pixels = [x[:, row::size, column::size] for row in range(size) for column in range(size)]
    return functools.reduce(lambda best, other: jnp.where(best >= other, best, other), pixels)


def gelu(x: Array) -> Array:
    """Multiply x by the normal distribution function of x, not by the tanh approximation that is JAX's default."""
    wide = x.astype(jnp.float32)
    return (wide * (0.5 + 0.5 * lax.erf(wide * 0.5**0.5))).astype(x.dtype)


def uniform(key: Array, shape: tuple[int, ...]) -> Array:
    """Draw weights between -b and b, b = 1/sqrt(fan_in), as PyTorch does."""
    return jax.random.uniform(key, shape, jnp.float32, -1, 1) * math.prod(shape[:-1]) ** -0.5


def dirac(key: Array, shape: tuple[int, ...]) -> Array:
    """Draw weights [3,3,C,O]; the first C outputs pass one input on each, so that a layer starts as the identity."""
    passed = jnp.arange(min(shape[2:]))
    return uniform(key, shape).at[..., passed].set(0).at[1, 1, passed, passed].set(1)


# 7. The optimisation: SGD with Nesterov momentum on the sum of a batch's losses. The learning rate rises and falls in
# straight lines.
def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Make the optimizer; BatchNorm's biases have a learning rate of their own."""
    # With momentum m a gradient moves the parameters 1 + m + m^2 + ... times in all, and once more with Nesterov.
    # Divided by that, and by the unit of 1024 images, learning rate and decay do not depend on momentum and batch size.
    unit = 1024 * (1 + 1 / (1 - config.momentum))
    rate, decay = config.learning_rate / unit, config.weight_decay * config.batch_size / unit
    peak = int(config.total_steps * config.schedule_peak)
    rise = optax.linear_schedule(config.schedule_start, 1, peak)
    fall = optax.linear_schedule(1, config.schedule_end, config.total_steps - peak)
    triangle = optax.join_schedules([rise, fall], [peak])

    def sgd(rate: float) -> optax.GradientTransformation:
        # The decay is added to the gradient before momentum, as in PyTorch, and multiplied by the rate afterwards.
        # Dividing it by the rate first makes all parameters decay alike.
        scheduled = optax.sgd(lambda step: rate * triangle(step), config.momentum, nesterov=True)
        return optax.chain(optax.add_decayed_weights(decay / rate), scheduled)

    groups = functools.partial(jax.tree.map_with_path, group_of)
    return optax.partition({"norm": sgd(rate * config.bias_scale), "other": sgd(rate)}, groups)


def group_of(path: Any, _: Array) -> str:
    """Name the group of the parameter at this path."""
    return "norm" if "norm" in jax.tree_util.keystr(path) else "other"


@functools.partial(jit, static_argnames=("config", "train_bias"))
def train_step(
    config: Config, train_bias: bool, network: Any, opt_state: Any, filters: Array, data: Data, draws: Draws, step: int
) -> tuple[Any, Any, Array]:
    """Take step number `step`, from 0. Returns the network, the optimizer's state, and the mean loss [] before it."""
    images, labels = make_batch(config, data, draws, step)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, 10), config.label_smoothing)

    def summed_loss(params: Any) -> tuple[Array, Any]:
        variables = {**network, "params": params}
        logits, updated = Network(config).apply(variables, images, filters, True, train_bias, mutable=["batch_stats"])
        return optax.softmax_cross_entropy(logits, targets).sum(), updated

    params = network["params"]
    (loss, updated), gradients = jax.value_and_grad(summed_loss, has_aux=True)(params)
    updates: Any
    updates, opt_state = make_optimizer(config).update(gradients, opt_state, params)
    if not train_bias:  # momentum and weight decay would move it even without a gradient
        updates["whiten_bias"] = jnp.zeros_like(updates["whiten_bias"])
    return {**updated, "params": optax.apply_updates(params, updates)}, opt_state, loss / config.batch_size


# 8. The lookahead: every few steps the network is replaced by an average of itself and its own past.
@functools.partial(jit, static_argnames="config")
def lookahead(config: Config, past: Any, network: Any, steps_done: int) -> Any:
    """Average parameters and running statistics; the share of the past grows with the cube of the progress."""
    keep = config.lookahead_decay * (steps_done / config.total_steps) ** 3
    return jax.tree.map(lambda old, new: old + (1 - keep) * (new - old), past, network)


# 9. The evaluation, with test-time augmentation: the mean of the logits of six views of each image, which are the image
# and the same moved by a pixel in either direction, each with its mirror image.
@functools.partial(jit, static_argnames="config")
def logits_of(config: Config, network: Any, filters: Array, images: Array) -> Array:
    """Compute the logits [B,10] of images uint8. An unmoved view counts twice."""
    images = normalize(images, config.compute)
    padded = reflect_pad(images, 1)
    places = (images, padded[:, :32, :32], padded[:, 2:, 2:])
    views = jnp.concatenate([view for place in places for view in (place, mirror(place))])
    logits: Any = Network(config).apply(network, views, filters)
    return jnp.average(logits.reshape(6, -1, 10), axis=0, weights=np.array([2, 2, 1, 1, 1, 1], np.float32))


# 10. The training.
def train(config: Config, data: Data, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Train a network. Returns it, the loss of every step, and the logits [M,10] of the test images."""
    data = jax.tree.map(jnp.asarray, data)
    init_key, draws_key = jax.random.split(jax.random.key(seed))
    draws = sample_draws(config, draws_key)
    filters = whitening_filters(config, data.train_images[: config.whiten_examples])
    past = network = jax.jit(Network(config).init)(init_key, jnp.zeros((1, 32, 32, 3), config.compute), filters)
    opt_state, losses, start = make_optimizer(config).init(network["params"]), [], time.perf_counter()
    for step in range(config.total_steps):
        train_bias = step < config.whiten_bias_epochs * config.steps_per_epoch
        network, opt_state, loss = train_step(config, train_bias, network, opt_state, filters, data, draws, step)
        losses.append(loss)
        done, done_in_epoch = step + 1, step % config.steps_per_epoch + 1
        if done % config.lookahead_every == 0:
            network = past = lookahead(config, past, network, done)
        if done_in_epoch == config.steps_per_epoch or done == config.total_steps:
            loss, seconds = np.mean(losses[-done_in_epoch:]), time.perf_counter() - start
            print(f"step {done} of {config.total_steps}: mean loss {loss:.4f}, {seconds:.1f} s", flush=True)
    # The last average is the result. Steps after it do not count: of 476 this is one.
    images = data.test_images[: config.test_examples]
    parts = [images[start : start + 250] for start in range(0, len(images), 250)]  # all at once would take much memory
    return past, np.array(losses), np.concatenate([logits_of(config, past, filters, part) for part in parts])


def main() -> None:
    """Train as the command line says, and print the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    for field in fields(Config):
        kind = (lambda text: tuple(map(int, text.split(",")))) if field.name == "widths" else type(field.default)
        parser.add_argument("--" + field.name.replace("_", "-"), type=kind, default=field.default)
    parser.set_defaults(compute="float32" if jax.default_backend() == "cpu" else "bfloat16")
    flags: dict[str, Any] = vars(parser.parse_args())
    folder, seed = flags.pop("folder"), flags.pop("seed")
    config = Config(**flags)
    data = load_cifar10(folder)
    if not config.batch_size <= config.train_examples <= len(data.train_images):
        parser.error(f"--train-examples must be from --batch-size to {len(data.train_images)}, which {folder} has")
    _, _, logits = train(config, data, seed)
    accuracy = (logits.argmax(1) == data.test_labels[: len(logits)]).mean()
    print(f"accuracy on {len(logits)} test images: {accuracy:.2%}")


if __name__ == "__main__":
    main()
