"""Contenders in turn, round by round, so that all meet the same machine: A B A B ..."""

import gc
import math
import statistics

from settings import CLOCK


def seconds_of(contender, calls):
    """A call, on average. One in another process times itself."""
    if hasattr(contender, "seconds_of"):
        return contender.seconds_of(calls)
    if hasattr(contender, "prepare"):
        contender.prepare()
    start = CLOCK()
    for _ in range(calls):
        contender()
    return (CLOCK() - start) / calls


def interleaved(contenders, rounds):
    """name => the seconds of each round. A first call of each says how many calls fill 20 ms; all have been called before."""
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
