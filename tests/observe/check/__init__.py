"""Asks every question of every dashboard and rule of a running system, with a real Prometheus."""
