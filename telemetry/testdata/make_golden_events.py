"""Writes golden.tfevents with TensorBoard's own writer (tensorboard 2.21).

    python3 -m venv VENV && VENV/bin/pip install tensorboard==2.21.0
    VENV/bin/python make_golden_events.py golden.tfevents
"""

import os
import shutil
import sys
import tempfile
from unittest import mock

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

EVENTS = [
    (1, 1700000001.5, [("lm loss", 6.25), ("learning-rate", 0.001)]),
    (2, 1700000002.25, [("lm loss", float("nan"))]),
    (1 << 40, 1700000003.0, [("grad-norm vs samples", -0.5), ("tag with a slash/\u00e9", 0.0)]),
]


def main():
    folder = tempfile.mkdtemp()
    with mock.patch("time.time", return_value=1700000000.0):
        writer = EventFileWriter(folder)
    for step, wall_time, scalars in EVENTS:
        values = [summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars]
        writer.add_event(event_pb2.Event(wall_time=wall_time, step=step, summary=summary_pb2.Summary(value=values)))
    writer.close()
    (name,) = os.listdir(folder)
    shutil.copyfile(os.path.join(folder, name), sys.argv[1])
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
