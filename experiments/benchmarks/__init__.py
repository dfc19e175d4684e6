"""Speed and memory, measured in one run, as ratios where the machine would matter."""
