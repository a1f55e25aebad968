"""The compiled program of a model, called from Python."""

import os
import subprocess
import tempfile

from safetensors.numpy import load_file, save_file


class Program:
    def __init__(self, path, ranks=0):
        """ranks: started by so many processes of mpiexec; 0: without."""
        launch = ["mpiexec", "-n", str(ranks)] if ranks else []
        self.command = [*launch, os.path.abspath(path)]

    def evaluate(self, **inputs):
        """Arrays by name => `output`."""
        with tempfile.TemporaryDirectory() as folder:
            given, made = os.path.join(folder, "input.safetensors"), os.path.join(folder, "output.safetensors")
            save_file(inputs, given)
            subprocess.run([*self.command, "evaluate", "--input", given, "--output", made], check=True)
            return load_file(made)["output"]

    def generate(self, tokens, length):
        """The likeliest tokens to follow."""
        command = [*self.command, "generate", "--tokens", " ".join(map(str, tokens)), "--length", str(length)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return [int(token) for token in done.stdout.split()]
