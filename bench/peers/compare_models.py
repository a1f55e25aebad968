"""One model, ours and its peers': prefill of prompts, then token by token. Each is a process of its own, in turn, so that
all meet the same machine: tokens/s (median), time relative to ours, and the most memory that the process had. Prints a
table and writes a JSON file."""

import argparse
import dataclasses
import json
import os
import random
import re
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


@dataclasses.dataclass
class Run:
    prefill: float  # seconds
    decode: float
    peak_bytes: int
    tokens: list


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contenders", nargs="+", metavar="NAME=MODEL", help="ours=PROGRAM first")
    parser.add_argument("--prompts", type=int, nargs="+", default=[512, 4096], help="tokens")
    parser.add_argument("--length", type=int, default=64, help="tokens to make, one at a time")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--out", default="models.json")
    return parser.parse_args()


def measured(command, given=""):
    """What it prints, and the most memory that it had."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with process.stdin, process.stdout:
        process.stdin.write(given)
        process.stdin.close()
        printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"compare_models.py: {command[0]} failed: {printed}")
    return printed, usage.ru_maxrss * 1024


def run_ours(program, prompt, length, threads):
    printed, peak = measured([program, "generate", "--tokens", " ".join(map(str, prompt)), "--length", str(length + 1),
                              "--threads", str(threads)])
    rate = {what: float(number) for what, number in re.findall(r"^(.+): \d+ tokens, ([0-9.]+) tokens/s$", printed, re.M)}
    tokens = next(line for line in printed.splitlines() if line[0].isdigit())
    return Run(len(prompt) / rate["prefill"], length / rate["token by token"], peak, [int(t) for t in tokens.split()])


def run_peer(name, model, prompt, length, threads):
    command = [sys.executable, os.path.join(HERE, "model_peer.py"), name, model, str(threads), str(length)]
    printed, peak = measured(command, " ".join(map(str, prompt)))
    said = json.loads(printed.splitlines()[-1])
    return Run(said["prefill"], said["decode"], peak, said["tokens"])


def run(name, model, prompt, length, threads):
    return run_ours(model, prompt, length, threads) if name == "ours" else run_peer(name, model, prompt, length, threads)


def compare(arguments, contenders, count, threads):
    """One record a contender."""
    prompt = random.Random(count).choices(range(arguments.vocabulary), k=count)
    rounds = [{name: run(name, model, prompt, arguments.length, threads) for name, model in contenders.items()}
              for _ in range(arguments.rounds)]
    for name in contenders:
        runs = [of[name] for of in rounds]
        record = {"contender": name, "threads": threads, "prompt": count, "length": arguments.length,
                  "peak_bytes": max(run.peak_bytes for run in runs),
                  "same_tokens": all(run.tokens == of["ours"].tokens for run, of in zip(runs, rounds))}
        for phase, tokens in (("prefill", count), ("decode", arguments.length)):
            record[f"{phase}_tokens_per_second"] = tokens / statistics.median(getattr(run, phase) for run in runs)
            record[f"{phase}_times_ours"] = statistics.median(
                getattr(run, phase) / getattr(of["ours"], phase) for run, of in zip(runs, rounds))
        yield record


def main():
    arguments = parse_arguments()
    contenders = dict(contender.split("=", 1) for contender in arguments.contenders)
    records = []
    print(f"{'':12}{'threads':>8}{'prompt':>8}{'prefill/s':>12}{'times ours':>12}{'decode/s':>12}{'times ours':>12}"
          f"{'peak MiB':>10}{'same tokens':>13}")
    for threads in arguments.threads:
        for count in arguments.prompts:
            for r in compare(arguments, contenders, count, threads):
                print(f"{r['contender']:12}{threads:8}{count:8}{r['prefill_tokens_per_second']:12.1f}"
                      f"{r['prefill_times_ours']:12.2f}{r['decode_tokens_per_second']:12.1f}"
                      f"{r['decode_times_ours']:12.2f}{r['peak_bytes'] / 2**20:10.0f}"
                      f"{'yes' if r['same_tokens'] else 'no':>13}", flush=True)
                records.append(r)
    with open(arguments.out, "w") as out:
        json.dump({"records": records}, out, indent=1)


main()
