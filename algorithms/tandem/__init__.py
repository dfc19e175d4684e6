"""What the tandem needs beside the general algorithms: queue networks, imitation of its oracles."""
