"""Applications: the customers of an organisation."""
