"""Threads, clock, and the machine by name."""

import os
import platform
import time

THREADS = int(os.environ.get("PEERS_THREADS", "1"))  # of every contender

# "processor": what this process, with all its threads, used of the processor. It is less disturbed where others use the
# machine too, and means something for one thread only.
CLOCK_NAME = os.environ.get("PEERS_CLOCK", "wall")
CLOCK = {"wall": time.perf_counter, "processor": time.process_time}[CLOCK_NAME]


def processor_fields():
    try:
        with open("/proc/cpuinfo") as cpuinfo:
            first = cpuinfo.read().split("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, value in (line.split(":", 1) for line in first.splitlines() if ":" in line)}


def processor():
    """Its name; a virtual machine may hide it, so family, model and what matters of the instructions stand beside it."""
    fields = processor_fields()
    flags = fields.get("flags", "").split()
    matter = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return (f"{fields.get('model name', platform.machine())}, family {fields.get('cpu family', '?')}, "
            f"model {fields.get('model', '?')}, {' '.join(matter)}")
