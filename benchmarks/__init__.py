"""What rxpool costs beside its peers and beside the floor, measured in one run.

``python -m benchmarks`` prints all tables; ``python -m benchmarks operators`` one group.
"""
