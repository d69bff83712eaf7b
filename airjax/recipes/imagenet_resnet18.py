"""ResNet-18 on ImageNet, Table 3: `python -m airjax.train --recipe imagenet-resnet18-16 --data imagenet`."""

from airjax.recipes.augmentation import Augmentation, Tta
from airjax.recipes.claim import Claim
from airjax.recipes.crops import Crops
from airjax.recipes.inputs import Inputs
from airjax.recipes.network_imagenet import ImageNetResNet18
from airjax.recipes.optimizer import CrossEntropy, Triangle
from airjax.recipes.optimizer_heavy_ball import HeavyBall
from airjax.recipes.recipe import Recipe

TRAIN, VAL = 1_281_167, 50_000  # images of ImageNet
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

IMAGENET_RESNET18_16 = Recipe(
    network=ImageNetResNet18(),
    optimizer=HeavyBall(),
    schedule=Triangle(schedule_start=1e-4, schedule_peak=2 / 16, schedule_end=0.0),  # its peak is at epoch 2
    epochs=16.0,
    batch_size=1024,
    train_examples=TRAIN,
    test_examples=VAL,
    averaging=None,
    loss=CrossEntropy(label_smoothing=0.1),
    augmentation=Augmentation(flip="random", translate=0),
    evaluation=Tta(tta_level=1),
    inputs=Inputs(256, 3, 1000, MEAN, STD),
    cropping=Crops(),  # 160 pixels in epochs 0 to 11, 192 in 12 to 15
)

CLAIM_16 = Claim(
    "ResNet-18 on ImageNet in 16 epochs",
    target=None,
    expected_accuracy=0.6765,
    expected_sd=None,
    evidence="Jordan 2024, Table 3: random flip, heavy crop, mirrored views of the 256-pixel test crop; FFCV reports "
    "66.9%; not yet run here",
)

# The longer ones have the same peak, and the ramp at the same fractions of the epochs or where FFCV has it.
IMAGENET_RESNET18_20 = IMAGENET_RESNET18_16.override(epochs=20.0, schedule_peak=2 / 20, crop="light")

CLAIM_20 = Claim(
    "ResNet-18 on ImageNet in 20 epochs, on light crops",
    target=None,
    expected_accuracy=None,
    expected_sd=None,
    evidence="Jordan 2024, Table 3, has 65.80% with random and 66.02% with alternating flip, of the 192-pixel test "
    "crop with mirrored views; the light crop is that of the released code, the square in the middle; not yet run here",
)

IMAGENET_RESNET18_88 = IMAGENET_RESNET18_16.override(
    epochs=88.0,
    schedule_peak=2 / 88,
    ramp_start=65 / 88,  # 160 pixels in epochs 0 to 70, 192 in 71 to 87
    ramp_end=76 / 88,
)

CLAIM_88 = Claim(
    "ResNet-18 on ImageNet in 88 epochs",
    target=None,
    expected_accuracy=0.7245,
    expected_sd=None,
    evidence="Jordan 2024, Table 3: random flip, heavy crop, mirrored views of the 256-pixel test crop; FFCV reports "
    "72.4%; not yet run here",
)
