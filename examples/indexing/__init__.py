"""The parts of `code_index.py` that know nothing of streams."""
