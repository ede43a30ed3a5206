"""Writes schedules.txt: learning rates and weight decays of Megatron-LM's own scheduler.

Run with megatron-core 0.16.1 (pip install --no-deps) and torch 2.11.0:
    python generate.py schedules.txt

A line that starts with a letter is a schedule, by the names of the fields here, "-" where one is not
set; the lines below it are consumed samples and the value there, in the shortest digits that read
back to the same float64:
    rate STYLE PEAK MINIMUM INITIAL WARMUP DECAY TAIL_LENGTH TAIL
    decay STYLE START END SAMPLES
Half way down the lines a scheduler hands its state to another, which counts on; each value has been
compared with that of one that never stopped.
"""

import sys
import types

from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

STYLES = {
    "CONSTANT": "constant",
    "LINEAR": "linear",
    "COSINE": "cosine",
    "INVERSE_SQUARE_ROOT": "inverse-square-root",
    "WARMUP_STABLE_DECAY": "WSD",
}
TAILS = {
    "TAIL_LINEAR": "linear",
    "TAIL_COSINE": "cosine",
    "TAIL_EXPONENTIAL": "exponential",
    "TAIL_MINUS_SQRT": "minus_sqrt",
}

# Of the production run: 1,000,000,000,000 tokens of 8,192 a sample, 768 samples a step.
RUN, BATCH, WARMUP, END, TAIL = 122_070_313, 768, 1_024_000, 121_046_313, 18_310_547
PRODUCTION = [
    768,
    512_000,
    WARMUP,
    WARMUP + 1,
    50_000_000,
    END - TAIL,
    END - TAIL + 1,
    107_313_402,
    111_891_039,
    END,
    END + 1,
    RUN,
]


def scheduler(rate=None, decay=None):
    style, peak, minimum, initial, warmup, end, length, tail = rate or (
        "CONSTANT", 1.0, 0.0, 0.0, 0, 1, None, None)
    increase, start, final, samples = decay or ("CONSTANT", 0.0, 0.0, 1)
    return OptimizerParamScheduler(
        types.SimpleNamespace(param_groups=[{}]),
        init_lr=initial,
        max_lr=peak,
        min_lr=minimum,
        lr_warmup_steps=warmup,
        lr_decay_steps=end,
        lr_decay_style=STYLES[style],
        start_wd=start,
        end_wd=final,
        wd_incr_steps=samples,
        wd_incr_style=increase.lower(),
        wsd_decay_steps=length,
        lr_wsd_decay_style=TAILS.get(tail),
    )


def value(made, kind):
    group = made.optimizer.param_groups[0]
    return group["lr"] if kind == "rate" else group["weight_decay"]


def write(out, kind, options, points):
    words = ["-" if option is None else str(option) for option in options]
    out.write(" ".join([kind] + words) + "\n")
    made = scheduler(**{kind: options})
    for i, samples in enumerate(points):
        if i == len(points) // 2:
            state, made = made.state_dict(), scheduler(**{kind: options})
            made.load_state_dict(state)
        made.step(samples - made.num_steps)
        straight = scheduler(**{kind: options})
        straight.step(samples)
        assert value(made, kind) == value(straight, kind)
        out.write(f"{samples} {value(made, kind)!r}\n")


def check_differences():
    """What this scheduler takes and ../schedule_golden_test.cc says that ours refuses."""
    # A tail that begins before warm-up ends; one without a shape, which fails where it begins.
    scheduler(rate=("WARMUP_STABLE_DECAY", 1.0, 0.0, 0.0, 100, 1000, 950, "TAIL_LINEAR"))
    scheduler(rate=("WARMUP_STABLE_DECAY", 1.0, 0.0, 0.0, 100, 1000, 100, None))
    # A rate below 0.
    scheduler(rate=("LINEAR", 1.0, 0.0, -1.0, 100, 1000, None, None))
    # A state that is loaded twice counts twice.
    twice = scheduler(rate=("LINEAR", 1.0, 0.0, 0.0, 0, 1000, None, None))
    for _ in range(2):
        twice.load_state_dict(twice.state_dict() | {"num_steps": 100})
    assert twice.num_steps == 200


def main(path):
    check_differences()
    with open(path, "w") as out:
        # Ten steps.
        steps = [BATCH * k for k in range(1, 11)]
        mock = ("COSINE", 2e-4, 2e-6, 0.0, 0, 10 * BATCH, None, None)
        write(out, "rate", mock, steps)
        curves = [(style, None, None) for style in STYLES if style != "WARMUP_STABLE_DECAY"]
        curves += [("WARMUP_STABLE_DECAY", TAIL, tail) for tail in TAILS]
        for style, length, tail in curves:
            options = (style, 1.2e-3, 1.2e-5, 0.0, WARMUP, END, length, tail)
            write(out, "rate", options, PRODUCTION)
        # Short ones around every edge: with and without warm-up, the tail from the end of warm-up.
        for style, length, tail in curves:
            for warmup in (0, 100):
                options = (style, 0.1, 0.001, 0.01, warmup, 1000, length and 1000 - warmup, tail)
                write(out, "rate", options, [0, 1, 50, 100, 101, 500, 999, 1000, 1001])
        quarters = [0, BATCH, RUN // 4, RUN // 2, 3 * RUN // 4, RUN - 1, RUN, RUN + 1]
        write(out, "decay", ("CONSTANT", 0.1, 0.1, RUN), quarters)
        for style in ("LINEAR", "COSINE"):
            write(out, "decay", (style, 0.0, 0.1, RUN), quarters)
            write(out, "decay", (style, 0.033, 0.1, RUN), quarters)


if __name__ == "__main__":
    main(sys.argv[1])
