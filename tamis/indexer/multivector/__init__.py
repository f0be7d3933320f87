"""Multi-vector parts: a vector a token, compared by MaxSim, exactly and without compression."""
