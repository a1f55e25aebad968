"""Compares ours with its peers: time at one length in every case, throughput against length, memory. Prints tables and
writes a JSON file; ends with an error where a result differs from ours by more than 1e-4."""

import argparse
import json
import os
import statistics
import subprocess
import sys

import numpy
import onnxruntime
import torch

from contenders import CASES
from inputs import random_inputs
from timing import interleaved, median_ratio

TOLERANCE = 1e-4


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--seq-len", type=int, default=4096)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--longest", type=int, default=16384, help="of throughput against length, and of memory")
    parser.add_argument("--out", default="peers.json")
    return parser.parse_args()


def compare(case_name, shape, rounds):
    """Times all contenders of a case; one record each."""
    case, inputs = CASES[case_name], random_inputs(*shape)
    contenders = {name: make(inputs) for name, make in case.contenders.items()}
    seconds = interleaved(contenders, rounds)
    ours = contenders["ours"].results()
    for name, contender in contenders.items():
        typical = statistics.median(seconds[name])
        yield {
            "case": case_name, "contender": name, "seq_len": shape[1],
            "milliseconds": typical * 1e3, "gflops": case.flops(*shape) / typical / 1e9,
            "times_ours": median_ratio(seconds[name], seconds["ours"]),
            "difference": max(float(numpy.abs(a - b).max()) for a, b in zip(contender.results(), ours)),
        }


def peak_bytes(case_name, name, shape):
    """None where the process came to an end early, out of memory."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peak_memory.py")
    done = subprocess.run([sys.executable, program, case_name, name, *map(str, shape)], stdout=subprocess.PIPE)
    return int(done.stdout) if done.returncode == 0 else None


def print_times(records):
    print(f"  {'':30}{'N':>7}{'ms':>10}{'GFLOP/s':>10}{'times ours':>12}{'difference':>12}")
    for record in records:
        print("  {contender:30}{seq_len:7}{milliseconds:10.2f}{gflops:10.1f}{times_ours:12.2f}{difference:12.1e}"
              .format(**record), flush=True)
        yield record


def times_of_all_cases(arguments):
    for case in CASES:
        print(f"\n{case}")
        shape = (arguments.heads, arguments.seq_len, arguments.head_dim)
        yield from print_times(compare(case, shape, arguments.rounds))


def throughput_by_length(arguments, case="forward, causal"):
    print(f"\n{case}, by length")
    for seq_len in (n for n in (256, 1024, 4096, 16384) if n <= arguments.longest):
        # Fewer heads where they are long: GFLOP/s do not depend on how many there are.
        heads = arguments.heads if seq_len <= 4096 else max(1, arguments.heads // 4)
        yield from print_times(compare(case, (heads, seq_len, arguments.head_dim), arguments.rounds))


def memory_of_all_cases(arguments):
    print("\nMiB beyond inputs and results, at the most")
    for case in CASES:
        for name in CASES[case].contenders:
            for seq_len in sorted({n for n in (1024, 4096) if n < arguments.longest} | {arguments.longest}):
                peak = peak_bytes(case, name, (arguments.heads, seq_len, arguments.head_dim))
                shown = "failed" if peak is None else f"{peak / 2**20:.1f}"
                print(f"  {case:30}{name:20}{seq_len:7}{shown:>10}", flush=True)
                yield {"case": case, "contender": name, "seq_len": seq_len, "bytes_beyond": peak}


def main():
    arguments = parse_arguments()
    results = {
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
        "shape": {"heads": arguments.heads, "head_dim": arguments.head_dim},
        "times": list(times_of_all_cases(arguments)),
        "throughput": list(throughput_by_length(arguments)),
        "memory": list(memory_of_all_cases(arguments)),
    }
    with open(arguments.out, "w") as out:
        json.dump(results, out, indent=1)
    wrong = [r for r in results["times"] + results["throughput"] if not r["difference"] <= TOLERANCE]
    if wrong:
        sys.exit(f"compare.py: differs from ours by more than {TOLERANCE}: {wrong}")


main()
