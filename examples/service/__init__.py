"""A service with limits, for the example of calling one."""
