"""Several worker processes behind one port: their supervisor, the workers, and what these tell each other."""
