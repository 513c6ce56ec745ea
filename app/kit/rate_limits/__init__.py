"""Rate limits: exact ones, counted in Redis at each request, and cheap ones, for which processes take blocks."""
