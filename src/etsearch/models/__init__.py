"""Models that lie on this machine: their files, their tokenizers, the threads that own them."""
