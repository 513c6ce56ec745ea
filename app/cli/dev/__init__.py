"""`postrider dev`: every process on one machine, with servers of its own."""
