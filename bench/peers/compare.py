"""Compares ours with its peers: time in every case, throughput against length, memory. Prints tables, who is the best peer
of each case, and writes a JSON file; ends with an error where a result differs from ours in float by more than 1e-4 of
the largest number, with bfloat16 by more than 5e-2. PEERS_THREADS threads (1)."""

import argparse
import json
import os
import statistics
import subprocess
import sys

import numpy
import onnxruntime
import openvino
import torch

from contenders import CASES, contenders
from inputs import random_inputs
from settings import CLOCK_NAME, THREADS, processor
from timing import interleaved, median_ratio, seconds_of

TOLERANCES = {"float": 1e-4, "bfloat16": 5e-2}  # of the largest number
PICTURED = ("all", "causal", "backward")  # their memory is asked for


def parse_arguments():
    def list_of(text):
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--seq-len", type=int, default=4096)
    parser.add_argument("--head-dims", type=list_of, default=["64", "128"], help="such as 64,128")
    parser.add_argument("--types", type=list_of, default=list(TOLERANCES), help="such as float,bfloat16")
    parser.add_argument("--cases", type=list_of, help=f"some of {','.join(CASES)}, and nothing but their times")
    parser.add_argument("--peers", type=list_of, default=[""], help="those whose names begin so, such as PyTorch,ONNX")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--longest", type=int, default=16384, help="of throughput against length, and of memory")
    parser.add_argument("--quick", action="store_true", help="as --seq-len 1024 --head-dims 64 --rounds 3 --longest 1024")
    parser.add_argument("--out", default="peers.json")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seq_len, arguments.head_dims, arguments.rounds, arguments.longest = 1024, ["64"], 3, 1024
    for given, known in ((arguments.cases or [], CASES), (arguments.types, TOLERANCES)):
        for name in given:
            if name not in known:
                parser.error(f"there is no {name}, expected some of {','.join(known)}")
    return arguments


def make_all(task, peers):
    """Those that can be made and called; of the others it is said why not."""
    inputs, made = random_inputs(task.shape), {}
    for name, make in contenders(task, peers).items():
        try:
            made[name] = make(inputs)
            seconds_of(made[name], 1)
        except Exception as error:  # each peer has its own kinds
            if name.startswith("ours"):
                raise
            made.pop(name, None)
            print(f"  {name} stays out: {str(error).splitlines()[0][:200]}")
    return made


def difference(results, expected):
    """Relative to the largest number of each result."""
    return max(float(numpy.abs(a - b).max() / numpy.abs(b).max()) for a, b in zip(results, expected))


def compare(case_name, task, arguments):
    """Times all contenders of a case; one record each."""
    case, made = CASES[case_name], make_all(task, arguments.peers)
    seconds = interleaved(made, arguments.rounds)
    expected = made["ours, float" if task.bfloat16 else "ours"].results()
    for name, contender in made.items():
        typical = statistics.median(seconds[name])
        yield {
            "case": case.title, "type": "bfloat16" if task.bfloat16 else "float", "head_dim": task.shape.head_dim,
            "contender": name, "seq_len": task.shape.kv_len,
            "milliseconds": typical * 1e3, "gflops": case.flops(task) / typical / 1e9,
            "times_ours": median_ratio(seconds[name], seconds["ours"]),
            "difference": difference(contender.results(), expected),
        }


def peak_bytes(case_name, name, sizes):
    """None where the process came to an end early, out of memory."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peak_memory.py")
    done = subprocess.run([sys.executable, program, case_name, name, *map(str, sizes)], stdout=subprocess.PIPE)
    return int(done.stdout) if done.returncode == 0 else None


def print_times(records):
    print(f"  {'':30}{'N':>7}{'ms':>10}{'GFLOP/s':>10}{'times ours':>12}{'difference':>12}")
    for record in records:
        print("  {contender:30}{seq_len:7}{milliseconds:10.2f}{gflops:10.1f}{times_ours:12.2f}{difference:12.1e}"
              .format(**record), flush=True)
        yield record


def times_of_all_cases(arguments):
    for name in arguments.cases or CASES:
        for head_dim in map(int, arguments.head_dims):
            for number in arguments.types:
                print(f"\n{CASES[name].title}, head_dim {head_dim}, {number}", flush=True)
                task = CASES[name].task(arguments.heads, arguments.seq_len, head_dim, number == "bfloat16")
                yield from print_times(compare(name, task, arguments))


def throughput_by_length(arguments, case="causal", head_dim=64):
    print(f"\n{CASES[case].title}, head_dim {head_dim}, by length")
    for seq_len in (n for n in (256, 1024, 4096, 16384) if n <= arguments.longest):
        # Fewer heads where they are long: GFLOP/s do not depend on how many there are.
        heads = arguments.heads if seq_len <= 4096 else max(1, arguments.heads // 4)
        yield from print_times(compare(case, CASES[case].task(heads, seq_len, head_dim), arguments))


def memory_by_length(arguments, head_dim=64):
    print("\nMiB beyond inputs and results, at the most")
    for case in PICTURED:
        for name in contenders(CASES[case].task(1, 64, head_dim)):
            if name == "zentorch":
                continue  # it is in another process
            for seq_len in sorted({n for n in (1024, 4096) if n < arguments.longest} | {arguments.longest}):
                peak = peak_bytes(case, name, (arguments.heads, seq_len, head_dim))
                shown = "failed" if peak is None else f"{peak / 2**20:.1f}"
                print(f"  {CASES[case].title:30}{name:24}{seq_len:7}{shown:>10}", flush=True)
                yield {"case": CASES[case].title, "contender": name, "seq_len": seq_len, "bytes_beyond": peak}


def print_best_peers(records):
    print("\nthe best peer: times ours")
    for key in dict.fromkeys((r["case"], r["head_dim"], r["type"]) for r in records):
        peers = [r for r in records
                 if (r["case"], r["head_dim"], r["type"]) == key and not r["contender"].startswith("ours")]
        best = min(peers, key=lambda r: r["times_ours"], default=None)
        shown = f"{best['contender']:30}{best['times_ours']:6.2f}" if best else "none"
        print(f"  {key[0]:40}head_dim {key[1]:<5}{key[2]:10}{shown}")


def versions():
    """Of those that share this process; zentorch says its own."""
    return {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__}


def main():
    arguments = parse_arguments()
    machine = {"processor": processor(), "threads": THREADS, "clock": CLOCK_NAME}
    print(f"{machine['processor']}; threads: {THREADS}; clock: {CLOCK_NAME}")
    print(", ".join(f"{name} {version}" for name, version in versions().items()), flush=True)
    times = list(times_of_all_cases(arguments))
    results = machine | {
        "versions": versions(),
        "shape": {"heads": arguments.heads, "seq_len": arguments.seq_len},
        "times": times,
        "throughput": [] if arguments.cases else list(throughput_by_length(arguments)),
        "memory": [] if arguments.cases else list(memory_by_length(arguments)),
    }
    print_best_peers(times)
    with open(arguments.out, "w") as out:
        json.dump(results, out, indent=1)
    wrong = [r for r in results["times"] + results["throughput"] if not r["difference"] <= TOLERANCES[r["type"]]]
    if wrong:
        sys.exit(f"compare.py: differs from ours by more than {TOLERANCES} of the largest number: {wrong}")


main()
