"""Work made of several runs: iterations, sweeps; and one run on several machines."""
