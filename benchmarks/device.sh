#!/usr/bin/env bash
# Everything that README.md and docs/ claim of a device, measured on this one: python3 -m benchmarks.device --help
cd "$(dirname "$0")/.." && exec "${PYTHON:-python3}" -m benchmarks.device "$@"
