"""Reads what a run wrote of its metrics as other programs do, and compares it.

    python3 -m venv VENV && VENV/bin/pip install tensorboard==2.21.0 prometheus_client==0.26.0
    VENV/bin/python trainer/testing/read_metrics.py runs/mock_vlm_tiny/2026-11-30_23-10-00

TensorBoard's reader must have every value of metrics.jsonl under its tag, the parser of
prometheus_client the last one of each name. Ends with 1 and what differs.
"""

import json
import math
import pathlib
import re
import sys

from prometheus_client.openmetrics import parser
from tensorboard.backend.event_processing import event_accumulator

NOT_TAGS = {"kind", "iteration", "time", "consumed_samples", "skipped"}


def close(a, b):
    if b is None:
        return not math.isfinite(a)
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-30)  # events hold floats


def prometheus_name(tag):
    seconds = re.sub(r"-time(?= |$)", " seconds", tag, count=1)
    return "hetero_" + re.sub(r"[^a-zA-Z0-9_]", "_", seconds)


def main():
    folder = pathlib.Path(sys.argv[1])
    events = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    scalars = {tag: {event.step: event.value for event in events.Scalars(tag)}
               for tag in events.Tags()["scalars"]}
    samples = {sample.name: sample.value
               for family in parser.text_string_to_metric_families((folder / "metrics.prom").read_text())
               for sample in family.samples}
    wrong = []
    latest = {}
    num_values = 0
    for text in (folder / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        for tag, value in line.items():
            if tag in NOT_TAGS:
                continue
            num_values += 1
            latest[tag] = value
            read = scalars.get(tag, {}).get(line["iteration"])
            if read is None or not close(read, value):
                wrong.append(f"event {tag} at {line['iteration']}: {read}, not {value}")
    for tag, value in latest.items():
        read = samples.get(prometheus_name(tag))
        if read is None or not close(read, value):
            wrong.append(f"metrics.prom {prometheus_name(tag)}: {read}, not {value}")
    print("\n".join(sorted(latest)))
    print(f"{num_values} values of {len(latest)} tags, {len(scalars)} tags in events, "
          f"{len(samples)} samples in metrics.prom, {len(wrong)} wrong")
    print("\n".join(wrong))
    return 1 if wrong or not num_values else 0


if __name__ == "__main__":
    sys.exit(main())
