# airjax in a container: docker build --target cpu -t airjax . (or --target cuda for NVIDIA GPUs; the driver is the host's).
# Networks and data are mounted: mkdir -p runs && docker run -v "$PWD/runs:/runs" airjax train --target 94 --out /runs/94
# For a GPU add --gpus all, and for trees of images --shm-size (docs/imagenet.md).

FROM python:3.11.14-slim-bookworm AS wheel
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY airjax ./airjax
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11.14-slim-bookworm AS base
COPY constraints.txt /constraints.txt
COPY --from=wheel /wheels /wheels
# Not root: what is written to a mounted folder belongs to a user. The cache of data and compiled programs is its own.
RUN useradd --create-home --uid 1000 airjax && mkdir /runs && chown airjax /runs
ENV PYTHONUNBUFFERED=1
WORKDIR /runs

FROM base AS cuda
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# jax's own wheels bring CUDA's libraries: no CUDA image is needed.
RUN pip install --no-cache-dir --constraint /constraints.txt "$(echo /wheels/airjax-*.whl)[cuda12,imagenet]"
USER 1000
ENTRYPOINT ["airjax"]
CMD ["--help"]

FROM base AS cpu
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# What oneDNN's threads need. Debian keeps no older version of it than the newest.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir --constraint /constraints.txt "$(echo /wheels/airjax-*.whl)[cpu,imagenet]"
USER 1000
ENTRYPOINT ["airjax"]
CMD ["--help"]
