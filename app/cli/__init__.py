"""The `postrider` command: starts the processes by name, and what an operator does by hand."""
