"""What acts: the lock, who starts and settles tasks, and what happens around that."""
