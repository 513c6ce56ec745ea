"""`postrider bench`: how fast it is, beside plain references on the same machine at the same time."""
