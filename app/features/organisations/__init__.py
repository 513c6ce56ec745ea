"""The tenants and the keys by which their programs call."""
