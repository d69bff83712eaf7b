"""What the paper reports in Tables 2 and 6."""

EPOCHS = (10, 20, 40, 80)
FLIPS = ("none", "random", "alternating")

# Table 6: accuracy in percent without flip, with random and with alternating flip, after 10, 20, 40 and 80 epochs.
ACCURACIES: dict[tuple[bool, bool], tuple[tuple[float, float, float], ...]] = {  # by (cutout, test-time augmentation)
    (False, False): (
        (92.3053, 93.0988, 93.2798),
        (92.8166, 93.7446, 93.8652),
        (93.0143, 94.0133, 94.0729),
        (93.0612, 94.1169, 94.1628),
    ),
    (False, True): (
        (93.4071, 93.9488, 94.0186),
        (93.8528, 94.5565, 94.6530),
        (94.0381, 94.7803, 94.8203),
        (94.0638, 94.8506, 94.8676),
    ),
    (True, False): (
        (91.8487, 92.0402, 92.1374),
        (92.8474, 93.3825, 93.4876),
        (93.2675, 94.1014, 94.1952),
        (93.4193, 94.4311, 94.5204),
    ),
    (True, True): (
        (92.6455, 92.7780, 92.8103),
        (93.7862, 94.1306, 94.1670),
        (94.3090, 94.8511, 94.8960),
        (94.5253, 95.1839, 95.2362),
    ),
}

# Table 2: effective speedup of alternating over random flip, in percent, after 10, 20, 40 and 80 epochs.
SPEEDUPS: dict[tuple[str, bool, bool], tuple[float | None, ...]] = {  # by (recipe, cutout, test-time augmentation)
    ("94", False, False): (15.0, 27.1, 38.3, 102.0),
    ("94", False, True): (5.30, 21.3, 36.4, 31.8),
    ("94", True, False): (3.84, 7.42, 18.6, 29.2),
    ("94", True, True): (1.13, 2.00, 9.28, 14.25),
    ("96", True, False): (4.94, 8.99, 17.2, 18.8),
    ("96", True, True): (1.11, 3.58, 6.48, None),
}
