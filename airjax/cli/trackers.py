"""The trackers that --track names, each imported when it is asked for. Each opens a run with `log` and `close`."""

import functools
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from airjax.cli.tracking import Opener, Sink
from airjax.utils.extras import import_extra

TrackerName = Literal["tensorboard", "trackio", "wandb"]
TRACKERS = get_args(TrackerName)
PROJECT = "airjax"
CONFIG_TAG = "config"
RECORDS = "summary.writer.record_writer"


def find_tracker(name: TrackerName, folder: Path, project: str = PROJECT) -> Opener:
    """Import a tracker and return what opens its runs.

    Args:
        name: the tracker.
        folder: where TensorBoard's files are written, a folder for each run. The others have places of their own.
        project: under which trackio and wandb file the runs.

    Raises MissingExtraError with the command that installs what is missing.
    """
    purpose = f"--track {name}"
    if name == "tensorboard":
        _part_of_tensorboard(RECORDS)
        return functools.partial(_open_tensorboard, folder)
    return functools.partial(
        {"trackio": _open_trackio, "wandb": _open_wandb}[name], import_extra(name, name, purpose), project
    )


def _part_of_tensorboard(module: str) -> Any:
    return import_extra(f"tensorboard.{module}", "tensorboard", "--track tensorboard")


def _open_tensorboard(folder: Path, name: str, config: dict[str, Any]) -> Sink:
    # TensorBoard's records, written at once and in this thread: the thread of its own EventFileWriter, and of
    # tensorboardX's, prints a traceback when the disk is full, and the latter's queue then blocks for ever.
    events, summaries = (_part_of_tensorboard(f"compat.proto.{part}_pb2") for part in ("event", "summary"))
    scalars, texts = (_part_of_tensorboard(f"plugins.{part}.summary_v2") for part in ("scalar", "text"))
    place = _new_folder(folder, re.sub(r"[^\w.-]+", "-", name))
    now = time.time()
    file = place / f"events.out.tfevents.{int(now)}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
    writer = _part_of_tensorboard(RECORDS).RecordWriter(file.open("wb"))

    def write(event: Any) -> None:
        writer.write(event.SerializeToString())
        writer.flush()

    def log(values: Mapping[str, float], step: int) -> None:
        parts = [value for tag, number in values.items() for value in scalars.scalar_pb(tag, number).value]
        write(events.Event(wall_time=time.time(), step=step, summary=summaries.Summary(value=parts)))

    write(events.Event(wall_time=now, file_version="brain.Event:2"))
    text = f"```\n{json.dumps(config, indent=2, sort_keys=True)}\n```"
    write(events.Event(wall_time=now, step=0, summary=texts.text_pb(CONFIG_TAG, text)))
    return Sink(log, writer.close)


def _new_folder(folder: Path, name: str) -> Path:
    # Not one that is there: TensorBoard would draw both trainings as one curve.
    place, number = folder / name, 1
    while True:
        try:
            place.mkdir(parents=True)
            return place
        except FileExistsError:
            number += 1
            place = folder / f"{name}-run-{number}"


def _open_trackio(trackio: Any, project: str, name: str, config: dict[str, Any]) -> Sink:
    options = {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False}
    run = trackio.init(project, name=name, config=config, resume="never", **options)
    # Its own `finish`, unlike the run's, forgets the run: else it says at the end of the process that it is finished.
    return Sink(lambda values, step: run.log(dict(values), step=step), trackio.finish)


def _open_wandb(wandb: Any, project: str, name: str, config: dict[str, Any]) -> Sink:
    run = wandb.init(project=project, name=name, config=config, reinit="finish_previous")
    return Sink(lambda values, step: run.log(dict(values), step=step), run.finish)
