"""Derandomised augmentation: crops, cutouts and orders whose epochs repeat as little as alternating flip's."""
