"""How much memory does one contender need? A program of its own, so that nobody's leftovers hide what it takes:
peak_memory.py CASE CONTENDER HEADS SEQ_LEN HEAD_DIM prints the bytes beyond inputs and results."""

import sys

from contenders import CASES, contenders
from inputs import random_inputs


def status_bytes(name):
    """VmRSS: what is resident now; VmHWM: the most there has been."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name + ":"))


def made(case, name, *sizes):
    task = CASES[case].task(*sizes)
    return contenders(task)[name](random_inputs(task.shape))


def main(case, name, *sizes):
    made(case, name, 8, 64, 64)()  # loads code, and makes what is made once in a process
    call = made(case, name, *map(int, sizes))
    with open("/proc/self/clear_refs", "w") as clear_refs:
        clear_refs.write("5")  # VmHWM begins anew
    before = status_bytes("VmRSS")
    call()
    print(status_bytes("VmHWM") - before - sum(result.nbytes for result in call.results()))


main(*sys.argv[1:])
