"""One module per stage, each a process of its own."""

import os

# Threads that wait for each other give their core away instead of spinning: on two cores beside other work, training
# was seven times faster. OpenMP reads it when torch is loaded, so it has to be set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
