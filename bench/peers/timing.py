"""Contenders in turn, round by round, so that all meet the same machine: A B A B ..."""

import gc
import math
import statistics
import time


def seconds_of(contender, calls):
    start = time.perf_counter()
    for _ in range(calls):
        contender()
    return (time.perf_counter() - start) / calls


def interleaved(contenders, rounds):
    """name => the seconds of each round. The first call of each only warms up, and says how many calls fill 20 ms."""
    calls = {name: math.ceil(20e-3 / seconds_of(contender, 1)) for name, contender in contenders.items()}
    seconds = {name: [] for name in contenders}
    gc.disable()
    for _ in range(rounds):
        for name, contender in contenders.items():
            seconds[name].append(seconds_of(contender, calls[name]))
    gc.enable()
    return seconds


def median_ratio(times, our_times):
    """Each time against ours of the same round."""
    return statistics.median(a / b for a, b in zip(times, our_times))
