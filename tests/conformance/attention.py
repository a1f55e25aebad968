"""attention.py PROGRAM FOLDER: gives the cases that ONNX and PyTorch have for attention to the library, by the program
conformance_attention, and prints how many are as expected, and of each other one why. Ends with 1 if one of them is
wrong. Files go to FOLDER.
"""

import json
import pathlib
import subprocess
import sys
import warnings

import numpy as np

import tensor_file

warnings.filterwarnings("ignore")


def answers(program, folder, calls):
    """Of each call, its results by name, or the reason why there are none."""
    tensors, metadata = {}, {}
    for number, (given, options) in enumerate(calls):
        tensors |= {f"{number}/{name}": array for name, array in given.items()}
        metadata[str(number)] = json.dumps(options)
    asked, answered = folder / "calls.safetensors", folder / "results.safetensors"
    tensor_file.write(asked, tensors, metadata)
    subprocess.run([program, asked, answered], check=True)
    results, refused = tensor_file.read(answered)
    found = [refused.get(str(number), {}) for number in range(len(calls))]
    for name, array in results.items():
        number, name = name.split("/")
        found[int(number)][name] = array
    return found


def verdicts(program, folder, cases):
    """Of each case: "", or why it is not had and whether that is wrong."""
    calls = [case.calls() for case in cases]
    results = iter(answers(program, folder, [call for of_case in calls for call in of_case]))
    for case, of_case in zip(cases, calls):
        given = [next(results) for _ in of_case]
        refusals = [reason for reason in given if isinstance(reason, str)]
        if refusals:
            yield case, f"refused: {refusals[0]}", False
            continue
        try:
            case.check(given)
            yield case, "", False
        except AssertionError as error:
            yield case, "wrong: " + " ".join(str(error).split())[:300], True


def run(program, folder, title, cases):
    """Prints `N of M`. True if nothing is wrong."""
    had, any_wrong = 0, False
    for case, reason, wrong in verdicts(program, folder, cases):
        had += not reason
        any_wrong = any_wrong or wrong
        if reason:
            print(f"  {case.name}: {reason}")
    print(f"{title}: {had} of {len(cases)}")
    return not any_wrong


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    np.random.seed(0)
    import onnx_cases  # each takes seconds to import
    import pytorch_cases

    right = run(program, folder, "ONNX, operator Attention", onnx_cases.cases())
    samples = pytorch_cases.cases()
    for dtype in ("float32", "float64"):
        of_type = [case for case in samples if case.name.endswith(dtype)]
        comparable = [case for case in of_type if not case.random]
        title = f"PyTorch, scaled_dot_product_attention and its gradients in {dtype}"
        right = run(program, folder, title, comparable) and right
        print(f"  {len(of_type) - len(comparable)} more samples are these with dropout, whose result is random")
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
